/* The list of pictures: filters apply at once and say how many they would find; ticks are counted. */
"use strict";

const searching = document.querySelector(".searching");
searching.addEventListener("change", (event) => {
  if (!event.target.matches("select")) return;
  if (event.target.name === "organization") {
    for (const one of searching.querySelectorAll("[data-filter], #q")) one.value = "";
    for (const one of searching.querySelectorAll("[data-filter]")) one.disabled = true;
  }
  if (event.target.name === "state") searching.querySelector("[name=sort]")?.setAttribute("disabled", "");
  searching.requestSubmit();
});

if (searching.dataset.counts) {
  fetch(searching.dataset.counts + location.search).then((answer) => answer.ok ? answer.json() : null).then((found) => {
    if (!found?.filters) return;
    for (const select of searching.querySelectorAll("[data-filter]")) {
      const counts = found.filters[select.name];
      if (!counts) continue;
      for (const option of select.options) {
        const count = counts[option.value];
        if (count !== undefined) option.textContent += ` (${count.toLocaleString("en")})`;
        else if (option.value && !option.selected && select.name === "format") option.hidden = true;
      }
    }
    const total = document.querySelector("[data-total]");
    if (found.total !== null && /[a-z]/.test(total?.textContent ?? "")) total.textContent = found.total.toLocaleString("en"); // it was "more than"
  }).catch(() => { /* then there are no counts */ });
}

const form = document.getElementById("chosen");
const ticks = [...form.querySelectorAll("[name=ids]")];
const said = form.querySelector("[data-ticked]");
const tell = () => {
  const count = ticks.filter((one) => one.checked).length;
  const all = form.querySelector("[name=all]")?.checked;
  if (said) said.textContent = all ? "all that match" : count ? `${count} ticked` : "nothing ticked yet";
};
form.addEventListener("change", (event) => {
  if (event.target.matches("[data-tick-all]")) for (const one of ticks) one.checked = event.target.checked;
  tell();
});
let last = null;
form.addEventListener("click", (event) => { /* with shift, everything between two ticks */
  if (!event.target.matches("[name=ids]")) return;
  if (event.shiftKey && last) {
    const [from, to] = [ticks.indexOf(last), ticks.indexOf(event.target)].sort((a, b) => a - b);
    for (const one of ticks.slice(from, to + 1)) one.checked = event.target.checked;
    tell();
  }
  last = event.target;
});
tell();
