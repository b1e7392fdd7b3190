/* The page of one picture: more fields of metadata, and areas that are drawn with mouse, pen or finger. */
"use strict";

const fields = document.querySelector("[data-fields]");
const add = document.querySelector("[data-add-field]");
if (fields && add) {
  add.hidden = false;
  add.addEventListener("click", () => {
    const another = fields.lastElementChild.cloneNode(true);
    for (const one of another.querySelectorAll("input, textarea")) one.value = "";
    fields.append(another);
    another.querySelector("input").focus();
  });
}

const drawing = document.querySelector(".drawing");
const area = document.querySelector("[data-area]");
if (drawing && area) {
  const [width, height] = [Number(drawing.dataset.width), Number(drawing.dataset.height)];
  const svg = drawing.querySelector("svg");
  const rect = svg.querySelector("[data-drawn]");
  const inputs = Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, area.elements[name]]));
  const within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
  const show = () => { for (const [name, input] of Object.entries(inputs)) rect.setAttribute(name, input.value || 0); };
  const fill = () => {
    const chosen = area.elements.area.selectedOptions[0].dataset;
    for (const [name, input] of Object.entries(inputs)) input.value = chosen[name] ?? "";
    show();
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [within((event.clientX - box.left) / box.width * width, width), within((event.clientY - box.top) / box.height * height, height)];
  };
  let start = null;
  svg.addEventListener("pointerdown", (event) => { start = at(event); svg.setPointerCapture(event.pointerId); event.preventDefault(); });
  svg.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    inputs.x.value = Math.min(x, start[0]);
    inputs.y.value = Math.min(y, start[1]);
    inputs.width.value = Math.max(1, Math.abs(x - start[0]));
    inputs.height.value = Math.max(1, Math.abs(y - start[1]));
    show();
  });
  svg.addEventListener("pointerup", () => { start = null; });
  area.elements.area.addEventListener("change", fill);
  area.addEventListener("input", (event) => { if (event.target.type === "number") show(); });
  show();
}
