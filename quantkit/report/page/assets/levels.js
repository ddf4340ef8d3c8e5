"use strict";
/**
 * A pyramid over rows: level k holds the lowest and the highest of 2^k rows, on a fixed grid of rows. A view is a slice
 * of one level, so nothing is computed while it moves, and no spike is lost.
 */
const Levels = (() => {
  const SMALLEST = 512;

  function build(t, low, high) {
    const levels = [{t, low, high, n: t.length}];
    for (let last = levels[0]; last.n > SMALLEST; last = levels[levels.length - 1]) {
      const n = last.n + 1 >> 1;
      const next = {t: new Float64Array(n), low: new Float64Array(n), high: new Float64Array(n), n};
      for (let i = 0; i < n; i++) {
        const a = 2 * i, b = Math.min(a + 1, last.n - 1);
        next.t[i] = last.t[a];
        next.low[i] = Math.min(last.low[a], last.low[b]);
        next.high[i] = Math.max(last.high[a], last.high[b]);
      }
      levels.push(next);
    }
    return levels;
  }

  /** Return the first row at or after a moment. */
  function rowAt(t, moment) {
    let low = 0, high = t.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (t[middle] < moment) low = middle + 1; else high = middle;
    }
    return low;
  }

  /** Return the level with about one bucket a pixel. */
  function pick(levels, from, to, pixels) {
    const rows = rowAt(levels[0].t, to) - rowAt(levels[0].t, from);
    let k = 0;
    while (k < levels.length - 1 && rows / 2 ** k > pixels * 1.1) k++;
    return k;
  }

  /** Return the rows of a level that a span needs, one beyond it on each side. */
  function span(level, from, to) {
    return [Math.max(0, rowAt(level.t, from) - 1), Math.min(level.n, rowAt(level.t, to) + 1)];
  }

  /** Return the lowest and the highest value within a span. */
  function extent(level, from, to) {
    const [start, stop] = span(level, from, to);
    let low = Infinity, high = -Infinity;
    for (let i = start; i < stop; i++) {
      if (level.low[i] < low) low = level.low[i];
      if (level.high[i] > high) high = level.high[i];
    }
    return [low, high];
  }

  /** Return a line through both extremes of each bucket, ordered so that it does not jump; or steps that hold. */
  function line(level, start, stop, isHeld) {
    const x = new Float64Array(2 * (stop - start)), y = new Float64Array(2 * (stop - start));
    for (let i = start, at = 0; i < stop; i++, at += 2) {
      x[at] = x[at + 1] = level.t[i];
      const before = i > start ? i - 1 : i;
      if (isHeld) {
        y[at] = level.low[before];
        y[at + 1] = level.low[i];
        continue;
      }
      const isRising = level.low[i] + level.high[i] > level.low[before] + level.high[before];
      y[at] = isRising ? level.low[i] : level.high[i];
      y[at + 1] = isRising ? level.high[i] : level.low[i];
    }
    return {x, y};
  }

  return {build, rowAt, pick, span, extent, line};
})();
