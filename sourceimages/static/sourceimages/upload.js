/* Files that are dropped or chosen, sent a few at a time, each with its progress and what became of it. */
"use strict";

const form = document.querySelector("[data-upload]");
const list = document.querySelector(".uploads");
const said = document.getElementById("said");
const token = form.elements.csrfmiddlewaretoken.value;
const AT_ONCE = 3;
const waiting = [];
const counts = { new: 0, known: 0, refused: 0 };
let running = 0;

const tell = () => {
  const left = waiting.length + running;
  const parts = [];
  if (counts.new) parts.push(`${counts.new} uploaded`);
  if (counts.known) parts.push(`${counts.known} known already`);
  if (counts.refused) parts.push(`${counts.refused} refused`);
  if (left) parts.push(`${left} to go`);
  said.textContent = parts.join(", ");
};

const finish = (item, kind, text, href) => {
  counts[kind] += 1;
  item.querySelector("progress")?.remove();
  const state = item.querySelector(".label");
  state.textContent = kind === "new" ? "uploaded" : kind === "known" ? "known already" : "refused";
  state.className = `label ${kind === "refused" ? "failed" : "done"}`;
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
  const state = item.querySelector(".label");
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    progress.value = event.loaded / event.total;
    state.textContent = event.loaded < event.total ? `${Math.floor(100 * event.loaded / event.total)} %` : "being read";
  });
  request.addEventListener("loadend", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* no answer of ours */ }
    if (request.status === 200 && answer.items) {
      const [picture] = answer.items;
      finish(item, picture.created ? "new" : "known", "", picture.href);
    } else if (request.status) finish(item, "refused", answer.error?.message || `There was no answer to be understood (${request.status}). Log in again, or try later.`);
    else finish(item, "refused", "The connection broke off. Try again.");
    resolve();
  });
  const body = new FormData();
  body.append("filedata", file, file.name);
  request.open("PUT", form.dataset.upload);
  request.setRequestHeader("X-CSRFToken", token);
  request.send(body);
});

const next = async () => {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  const [file, item] = waiting.shift();
  await send(file, item);
  running -= 1;
  tell();
  next();
};

const take = (files) => {
  for (const file of files) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = file.name;
    const state = document.createElement("span");
    state.className = "label";
    state.textContent = "waiting";
    const progress = document.createElement("progress");
    progress.max = 1;
    progress.value = 0;
    progress.setAttribute("aria-label", `progress of ${file.name}`);
    item.append(name, state, progress);
    list.append(item);
    if (file.size > Number(form.dataset.limit)) {
      finish(item, "refused", `The file has ${file.size.toLocaleString("en")} bytes; the limit of this server is ${Number(form.dataset.limit).toLocaleString("en")} (MAX_FILE_SIZE).`);
    } else waiting.push([file, item]);
  }
  tell();
  for (let count = 0; count < AT_ONCE; count += 1) next();
};

form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); form.classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, (event) => { event.preventDefault(); form.classList.remove("over"); });
document.addEventListener("drop", (event) => take(event.dataTransfer.files));
window.addEventListener("beforeunload", (event) => { if (running || waiting.length) event.preventDefault(); });
