/* The upload page: sends files that are dropped or chosen, and shows the progress and result of each. */
"use strict";

const form = document.querySelector("[data-upload]");
const list = document.querySelector(".uploads");
const status = document.getElementById("status");
const token = form.elements.csrfmiddlewaretoken.value;
const MAX_CONCURRENT = 3;
const queue = [];
const counts = { uploaded: 0, duplicate: 0, rejected: 0 };
let running = 0;

const updateStatus = () => {
  const parts = [];
  for (const [result, count] of Object.entries(counts)) if (count) parts.push(`${count} ${result}`);
  const remaining = queue.length + running;
  if (remaining) parts.push(`${remaining} remaining`);
  status.textContent = parts.join(", ");
};

const finish = (item, result, text, href) => {
  counts[result] += 1;
  item.querySelector("progress")?.remove();
  const label = item.querySelector(".label");
  label.textContent = result;
  label.className = `label ${{ uploaded: "succeeded", duplicate: "", rejected: "failed" }[result]}`;
  if (text) {
    const error = document.createElement("span");
    error.className = "error";
    error.textContent = text;
    item.append(error);
  }
  if (href) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = item.querySelector(".name").textContent;
    item.querySelector(".name").replaceChildren(link);
  }
};

const send = (file, item) => new Promise((resolve) => {
  const request = new XMLHttpRequest();
  const progress = item.querySelector("progress");
  const label = item.querySelector(".label");
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    progress.value = event.loaded / event.total;
    label.textContent = event.loaded < event.total ? `${Math.floor(100 * event.loaded / event.total)} %` : "processing";
  });
  request.addEventListener("loadend", () => {
    let response = {};
    try { response = JSON.parse(request.responseText); } catch { /* not JSON, such as the error page of a proxy */ }
    if (request.status === 200 && response.items) {
      const [image] = response.items;
      finish(item, image.created ? "uploaded" : "duplicate", "", image.href);
    } else if (request.status) finish(item, "rejected", response.error?.message || `Unexpected response (${request.status}). Log in again, or try later.`);
    else finish(item, "rejected", "Connection lost. Try again.");
    resolve();
  });
  const body = new FormData();
  body.append("filedata", file, file.name);
  request.open("PUT", form.dataset.upload);
  request.setRequestHeader("X-CSRFToken", token);
  request.send(body);
});

const next = async () => {
  if (running >= MAX_CONCURRENT || !queue.length) return;
  running += 1;
  const [file, item] = queue.shift();
  await send(file, item);
  running -= 1;
  updateStatus();
  next();
};

const addFiles = (files) => {
  for (const file of files) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = file.name;
    const label = document.createElement("span");
    label.className = "label";
    label.textContent = "queued";
    const progress = document.createElement("progress");
    progress.max = 1;
    progress.value = 0;
    progress.setAttribute("aria-label", `progress of ${file.name}`);
    item.append(name, label, progress);
    list.append(item);
    if (file.size > Number(form.dataset.limit)) {
      finish(item, "rejected", `The file has ${file.size.toLocaleString("en")} bytes; the limit is ${Number(form.dataset.limit).toLocaleString("en")} bytes (MAX_FILE_SIZE).`);
    } else queue.push([file, item]);
  }
  updateStatus();
  for (let count = 0; count < MAX_CONCURRENT; count += 1) next();
};

form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("files").addEventListener("change", (event) => { addFiles(event.target.files); event.target.value = ""; });
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, (event) => { event.preventDefault(); form.classList.remove("over"); });
document.addEventListener("drop", (event) => addFiles(event.dataTransfer.files));
window.addEventListener("beforeunload", (event) => { if (running || queue.length) event.preventDefault(); });
