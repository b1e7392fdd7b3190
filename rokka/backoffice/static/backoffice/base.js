/* What all pages of the back-office share. Everything works without it, if with more clicks. */
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy it by hand";
  }
  setTimeout(() => { button.textContent = before; }, 1500);
});

/* Pages that somebody else moves on, such as a job's, have parts that are read again: data-live="seconds", with an id. */
for (const part of document.querySelectorAll("[data-live]")) {
  const again = async () => {
    try {
      const answer = await fetch(part.dataset.from || location.href, { headers: { "X-Requested-With": "live" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (part.querySelector("input:checked")) { setTimeout(again, 2000); return; } // somebody is choosing
      const now = answer.ok && page.getElementById(part.id);
      if (now) part.innerHTML = now.innerHTML;
      if (!now || "live" in now.dataset) setTimeout(again, 1000 * part.dataset.live);
      else if (part.dataset.done === "reload") location.reload();
    } catch {
      setTimeout(again, 5000 * part.dataset.live);
    }
  };
  setTimeout(again, 1000 * part.dataset.live);
}

/* What is wider than its place can be scrolled by keyboard, too. */
for (const part of document.querySelectorAll(".table, .results, pre, #places, .acts")) {
  if (part.scrollWidth > part.clientWidth && !part.hasAttribute("tabindex")) {
    part.tabIndex = 0;
    if (!part.hasAttribute("aria-label") && !part.matches("nav, form")) {
      part.setAttribute("role", "region");
      part.setAttribute("aria-label", part.querySelector("caption")?.textContent || "Table");
    }
  }
}
