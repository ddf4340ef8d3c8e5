"use strict";
/** Light and dark, as the system says or the reader chose; and printing, always light. */
const Theme = (() => {
  const KEY = "quantkit-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement, button = document.getElementById("theme");  // a card alone has no buttons
  let onChange = () => {}, before = null;

  // Storage may be forbidden, as for a file.
  function kept() { try { return localStorage.getItem(KEY); } catch { return null; } }
  function keep(name) { try { localStorage.setItem(KEY, name); } catch { /* the choice lasts as long as the page */ } }

  function set(name) {
    root.dataset.theme = name;
    if (button) button.textContent = name === "dark" ? "Light" : "Dark";
    onChange();
  }

  /** Print in light colours, whoever starts it: what is painted before `beforeprint` ends is what is printed. */
  function print(isPrinting) {
    if (isPrinting === (before !== null)) return;
    const chosen = before;
    before = isPrinting ? root.dataset.theme : null;
    set(isPrinting ? "light" : chosen);
  }

  set(kept() || (system.matches ? "dark" : "light"));
  system.addEventListener("change", event => { if (!kept()) set(event.matches ? "dark" : "light"); });
  button?.addEventListener("click", () => {
    set(root.dataset.theme === "dark" ? "light" : "dark");
    keep(root.dataset.theme);
  });
  document.getElementById("print")?.addEventListener("click", () => window.print());
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  matchMedia("print").addEventListener("change", event => print(event.matches));
  return {onChange(call) { onChange = call; }};
})();
