/* The list of images: applies filters on change, shows the number of images per filter value, counts the selection. */
"use strict";

const filters = document.querySelector(".filters");
filters.addEventListener("change", (event) => {
  if (!event.target.matches("select")) return;
  if (event.target.name === "organization") {
    for (const input of filters.querySelectorAll("[data-filter], #q")) input.value = "";
    for (const select of filters.querySelectorAll("[data-filter]")) select.disabled = true;
  }
  if (event.target.name === "state") filters.querySelector("[name=sort]")?.setAttribute("disabled", "");
  filters.requestSubmit();
});

if (filters.dataset.counts) {
  fetch(filters.dataset.counts + location.search).then((response) => response.ok ? response.json() : null).then((facets) => {
    if (!facets?.filters) return;
    for (const select of filters.querySelectorAll("[data-filter]")) {
      const counts = facets.filters[select.name];
      if (!counts) continue;
      for (const option of select.options) {
        const count = counts[option.value];
        if (count !== undefined) option.textContent += ` (${count.toLocaleString("en")})`;
        else if (option.value && !option.selected && select.name === "format") option.hidden = true;
      }
    }
    const total = document.querySelector("[data-total]");
    if (facets.total !== null && /[a-z]/.test(total?.textContent ?? "")) total.textContent = facets.total.toLocaleString("en"); // was "more than …"
  }).catch(() => { /* the list works without counts */ });
}

const form = document.getElementById("selection");
const checkboxes = [...form.querySelectorAll("[name=ids]")];
const status = form.querySelector("[data-selected-count]");
const updateStatus = () => {
  if (!status) return;
  const count = checkboxes.filter((checkbox) => checkbox.checked).length;
  const all = form.querySelector("[name=all]")?.checked;
  status.textContent = all ? `all ${form.querySelector("[data-total]").textContent} results selected` : `${count} selected`;
};
form.addEventListener("change", (event) => {
  if (event.target.matches("[data-select-all]")) for (const checkbox of checkboxes) checkbox.checked = event.target.checked;
  updateStatus();
});
let last = null;
form.addEventListener("click", (event) => { /* Shift-click selects the range since the last click */
  if (!event.target.matches("[name=ids]")) return;
  if (event.shiftKey && last) {
    const [start, end] = [checkboxes.indexOf(last), checkboxes.indexOf(event.target)].sort((a, b) => a - b);
    for (const checkbox of checkboxes.slice(start, end + 1)) checkbox.checked = event.target.checked;
    updateStatus();
  }
  last = event.target;
});
updateStatus();
