"use strict";
/**
 * Where finer rows come from. A file holds all of them; a served page asks its server for the part in view. Both answer
 * through one function: `source(track, from, to, buckets)` gives pieces of single rows, each with the span that it
 * covers, and buckets of extremes where not every row is told; `isWhole` says that there is no more to ask for.
 */
const Source = (() => {
  const block = name => JSON.parse(document.getElementById(name).textContent);

  function ofFile(rest) {
    return async function source(track) {
      const {rows, buckets, spans} = rest.tracks[track];
      if (!rows) return null;
      const single = await Columns.rows(rows);
      if (!buckets) return {pieces: [piece(single, 0, single.t.length)], isWhole: true};
      let start = 0;
      const pieces = spans.map(([from, to]) => piece(single, start, start += to - from));
      return {buckets: await Columns.buckets(buckets), pieces, isWhole: true};
    };
  }

  /** Return neighbouring rows as a piece of the path, with the span that it covers. */
  function piece({t, open, high, low, close}, start, stop) {
    const [ts, opens, highs, lows, closes] = [t, open, high, low, close].map(values => values.subarray(start, stop));
    return {t: ts, open: opens, high: highs, low: lows, close: closes, from: ts[0], to: ts[ts.length - 1]};
  }

  function ofServer(meta) {
    return async function source(track, from, to, buckets) {
      const query = new URLSearchParams({from: Math.floor(from), to: Math.ceil(to), buckets});
      const answer = await fetch(`${meta.api}/prices/${encodeURIComponent(meta.tracks[track].id)}?${query}`);
      if (!answer.ok) return null;
      const packed = await answer.json();
      if (packed.buckets) return {buckets: await Columns.buckets(packed.buckets), pieces: [], from, to};
      const rows = await Columns.rows(packed.rows);
      return {pieces: [{...rows, from, to}]};
    };
  }

  /** Return the page's own function; `rest` are the columns that came with the page. */
  function open(meta, rest) {
    return meta.mode === "served" ? ofServer(meta) : ofFile(rest);
  }

  return {block, open};
})();
