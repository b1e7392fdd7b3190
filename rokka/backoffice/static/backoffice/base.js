/* Shared by all pages of the admin, which also work without JavaScript. */
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy failed";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

/* Reload elements with data-poll="seconds" and an id from data-url, by default this page, while the response has data-poll. */
for (const part of document.querySelectorAll("[data-poll]")) {
  const poll = async () => {
    try {
      const response = await fetch(part.dataset.url || location.href, { headers: { "X-Requested-With": "poll" } });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      if (part.querySelector("input:checked")) { setTimeout(poll, 2000); return; } // keep the selection
      const update = response.ok && page.getElementById(part.id);
      if (update) part.innerHTML = update.innerHTML;
      if (!update || "poll" in update.dataset) setTimeout(poll, 1000 * part.dataset.poll);
      else if (part.dataset.done === "reload") location.reload();
    } catch {
      setTimeout(poll, 5000 * part.dataset.poll);
    }
  };
  setTimeout(poll, 1000 * part.dataset.poll);
}

/* Make overflowing elements scrollable by keyboard. */
for (const part of document.querySelectorAll(".table, .results, pre, #nav, .row.actions")) {
  if (part.scrollWidth > part.clientWidth && !part.hasAttribute("tabindex")) {
    part.tabIndex = 0;
    if (!part.hasAttribute("aria-label") && !part.matches("nav, form")) {
      part.setAttribute("role", "region");
      part.setAttribute("aria-label", part.querySelector("caption")?.textContent || "Table");
    }
  }
}

/* Show the current page in a navigation that is wider than the screen. */
const nav = document.getElementById("nav"), current = nav?.querySelector("[aria-current]");
if (current) nav.scrollLeft = current.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;
