/* The page of one image: adding metadata fields, a warning before unsaved ones are lost, drawing areas. */
"use strict";

const fields = document.querySelector("[data-fields]");
const add = document.querySelector("[data-add-field]");
if (fields && add) {
  add.hidden = false;
  add.addEventListener("click", () => {
    const row = fields.lastElementChild.cloneNode(true);
    for (const input of row.querySelectorAll("input, textarea")) input.value = "";
    fields.append(row);
    row.querySelector("input").focus();
  });
}

const metadata = document.querySelector("#metadata form");
if (metadata) {
  let unsaved = false;
  metadata.addEventListener("input", () => { unsaved = true; });
  metadata.addEventListener("submit", () => { unsaved = false; });
  window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
}

const drawing = document.querySelector(".drawing");
const area = document.querySelector("[data-area]");
if (drawing && area) {
  const [width, height] = [Number(drawing.dataset.width), Number(drawing.dataset.height)];
  const svg = drawing.querySelector("svg");
  const rect = svg.querySelector("[data-drawn]");
  const inputs = Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, area.elements[name]]));
  const clamp = (value, max) => Math.max(0, Math.min(max, Math.round(value)));
  const drawRect = () => { for (const [name, input] of Object.entries(inputs)) rect.setAttribute(name, input.value || 0); };
  const loadArea = () => {
    const selected = area.elements.area.selectedOptions[0].dataset;
    for (const [name, input] of Object.entries(inputs)) input.value = selected[name] ?? "";
    drawRect();
  };
  const position = (event) => {
    const box = svg.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width * width, width), clamp((event.clientY - box.top) / box.height * height, height)];
  };
  let start = null;
  svg.addEventListener("pointerdown", (event) => { start = position(event); svg.setPointerCapture(event.pointerId); event.preventDefault(); });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = position(event);
    inputs.x.value = Math.min(x, start[0]);
    inputs.y.value = Math.min(y, start[1]);
    inputs.width.value = Math.max(1, Math.abs(x - start[0]));
    inputs.height.value = Math.max(1, Math.abs(y - start[1]));
    drawRect();
  });
  svg.addEventListener("pointerup", () => { start = null; });
  area.elements.area.addEventListener("change", loadArea);
  area.addEventListener("input", (event) => { if (event.target.type === "number") drawRect(); });
  drawRect();
}
