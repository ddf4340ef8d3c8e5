"use strict";
/** Numbers and moments as a reader sees them: a real minus, thousands marked, UTC. */
const Format = (() => {
  const MINUS = "\u2212";
  const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
  const writers = new Map();

  function writer(decimals) {
    if (!writers.has(decimals)) {
      const digits = {minimumFractionDigits: decimals, maximumFractionDigits: decimals};
      writers.set(decimals, new Intl.NumberFormat("en-US", digits));
    }
    return writers.get(decimals);
  }

  function number(value, decimals = 2) {
    const text = writer(decimals).format(value);
    if (text[0] !== "-") return text;
    return /[1-9]/.test(text) ? MINUS + text.slice(1) : text.slice(1);
  }

  /** Write a number with its sign; what rounds to zero has none. */
  function signed(value, decimals = 2) {
    const text = number(value, decimals);
    return value > 0 && /[1-9]/.test(text) ? "+" + text : text;
  }

  /** Write milliseconds since 1970 to the minute, or to the millisecond. */
  function moment(ms, isFine = false) {
    return new Date(ms).toISOString().slice(0, isFine ? 23 : 16).replace("T", " ");
  }

  function length(ms) {
    if (ms < SECOND) return `${number(ms, 0)} ms`;
    if (ms < MINUTE) return `${number(ms / SECOND, 1)} s`;
    if (ms < HOUR) return `${number(ms / MINUTE, ms % MINUTE ? 1 : 0)} min`;
    if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${String(Math.floor(ms % HOUR / MINUTE)).padStart(2, "0")}`;
    return `${number(ms / DAY, 1)} d`;
  }

  return {number, signed, moment, length, MINUTE};
})();
