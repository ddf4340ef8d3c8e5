"use strict";
/** Packed columns back into numbers: base64, deflate, byte planes, running sums. packing.py writes them. */
const Columns = (() => {
  function bytes(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text), out = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
    return out;
  }

  /** Undo deflate; `format` is "deflate" or "deflate-raw". */
  async function inflate(text, format) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream(format));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Return a packed column as whole numbers of its step. */
  async function steps(packed) {
    const {n, first, walk, width} = packed;
    const plane = await inflate(packed.z, "deflate-raw");
    const out = new Float64Array(n);
    let sum = first;
    for (let i = 0; i < n; i++) {
      // The lowest bit is the sign.
      const low = plane[i] | plane[n + i] << 8 | plane[2 * n + i] << 16 | plane[3 * n + i] << 24;
      let step = low >>> 1;
      if (width === 8) {
        const high = plane[4 * n + i] | plane[5 * n + i] << 8 | plane[6 * n + i] << 16 | plane[7 * n + i] << 24;
        step += (high >>> 0) * 2147483648;
      }
      if (low & 1) step = -step - 1;
      sum = walk ? sum + step : step;
      out[i] = sum;
    }
    return out;
  }

  /** Turn whole numbers of a step into values, in place: each is the number nearest to its decimal. */
  function scale(values, {times, over}) {
    for (let i = 0; i < values.length; i++) values[i] = values[i] * times / over;
    return values;
  }

  /** Return the values of one packed column. */
  async function unpack(packed) {
    return scale(await steps(packed), packed);
  }

  async function all(packed, read) {
    const names = Object.keys(packed);
    const values = await Promise.all(names.map(name => read(packed[name])));
    return Object.fromEntries(names.map((name, i) => [name, values[i]]));
  }

  /** Return an object with every packed column in it unpacked. */
  const unpackAll = packed => all(packed, unpack);

  /** Return rows with four prices, from the short distances that three of them are kept as; ticks have one price. */
  async function rows(packed) {
    const {t, close, open, high, low} = await all(packed, steps);
    scale(t, packed.t);
    if (!open) {
      scale(close, packed.close);
      return {t, open: close, high: close, low: close, close};
    }
    let before = 0;
    for (let i = 0; i < t.length; i++) {
      open[i] += before;
      high[i] += Math.max(open[i], close[i]);
      low[i] = Math.min(open[i], close[i]) - low[i];
      before = close[i];
    }
    for (const values of [open, high, low, close]) scale(values, packed.close);
    return {t, open, high, low, close};
  }

  /** Return buckets: moments, lowest and highest values; the highest are kept as distances. */
  async function buckets(packed) {
    const {t, low, rise} = await all(packed, steps);
    for (let i = 0; i < t.length; i++) rise[i] += low[i];
    return {t: scale(t, packed.t), low: scale(low, packed.low), high: scale(rise, packed.low)};
  }

  return {inflate, unpack, unpackAll, rows, buckets};
})();
