"use strict";
/** Elements from text: nothing that came from outside is ever read as HTML. */
const Parts = (() => {
  /** Make an element; attributes that are null or false are left out, children are elements or text. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.map(child => child instanceof Node ? child : line(child)));
    return element;
  }

  /** Return outside text on one line, without control characters and marks that turn the direction of writing. */
  function line(text) {
    return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, " ");
  }

  /** Give an element a text, if it has another one. */
  function say(element, text) {
    const shown = line(text);
    if (element.textContent !== shown) element.textContent = shown;
  }

  /** Return the class of an amount by its sign. */
  function sense(value) { return value > 0 ? "gain" : value < 0 ? "loss" : null; }

  /** Return a cell of a table. */
  function cell(text, kind = null) { return make("td", {class: kind}, text); }

  return {make, line, say, sense, cell};
})();
