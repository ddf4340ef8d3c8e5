"use strict";
/**
 * Where finer rows come from. A file holds all of them; a served page asks its server for the part in view, and the
 * frame of a notebook, beyond what it holds, the kernel that drew it. All answer through one function:
 * `source(track, from, to, buckets)` gives pieces of single rows, each with the span that it covers, and buckets of
 * extremes where not every row is told. `isKept` says that they are the page's own, `isWhole` that there is no more to
 * ask for, and `isGone` that nobody answers any more.
 */
const Source = (() => {
  /** Whoever hears a frame's question says so within this time, in ms, however long the answer takes. */
  const HEARD = 1500;
  const block = name => JSON.parse(document.getElementById(name).textContent);

  /** Return the rows that came with the page; `isWhole` says whether there are more elsewhere where they are few. */
  async function kept({rows, buckets, spans}) {
    if (!rows) return null;
    const single = await Columns.rows(rows);
    if (!buckets) return {isKept: true, isWhole: true, pieces: [piece(single, 0, single.t.length)]};
    let start = 0;
    const pieces = spans.map(([from, to]) => piece(single, start, start += to - from));
    return {isKept: true, isWhole: false, buckets: await Columns.buckets(buckets), pieces};
  }

  /** Return neighbouring rows as a piece of the path, with the span that it covers. */
  function piece({t, open, high, low, close}, start, stop) {
    const [ts, opens, highs, lows, closes] = [t, open, high, low, close].map(values => values.subarray(start, stop));
    return {t: ts, open: opens, high: highs, low: lows, close: closes, from: ts[0], to: ts[ts.length - 1]};
  }

  /** Return the packed rows or buckets of a span as an answer. */
  async function answered({count, rows, buckets}, from, to) {
    if (buckets) return {buckets: await Columns.buckets(buckets), count, pieces: [], from, to};
    return {pieces: [{...await Columns.rows(rows), from, to}], from, to};
  }

  function ofFile(rest) {
    return async function source(track) {
      const own = await kept(rest.tracks[track]);
      return own && {...own, isWhole: true};
    };
  }

  function ofServer(meta) {
    return async function source(track, from, to, buckets) {
      const query = new URLSearchParams({from: Math.floor(from), to: Math.ceil(to), buckets});
      const answer = await fetch(`${meta.api}/prices/${encodeURIComponent(meta.tracks[track].id)}?${query}`);
      return answer.ok ? answered(await answer.json(), from, to) : null;
    };
  }

  function ofNotebook(meta, rest) {
    const waiting = new Map(), opened = new Set();
    let asked = 0;
    addEventListener("message", ({source, data}) => {
      if (source !== parent || data?.quantkit !== meta.plot) return;
      waiting.get(data.ask)?.(data);
    });

    /** Ask whoever shows this frame; the promise ends with the answer, or with none where nobody hears. */
    function ask(question) {
      const number = ++asked;
      return new Promise(done => {
        const end = answer => { waiting.delete(number); done(answer); };
        const silence = setTimeout(() => end({gone: true}), HEARD);
        waiting.set(number, answer => { if (answer.heard) clearTimeout(silence); else end(answer); });
        parent.postMessage({quantkit: meta.plot, ask: number, ...question}, "*");
      });
    }

    return async function source(track, from, to, buckets) {
      if (!opened.has(track)) {
        opened.add(track);
        return kept(rest.tracks[track]);
      }
      const question = {place: track, from: Math.floor(from), to: Math.ceil(to), buckets};
      const {rows, gone} = await ask(question);
      if (gone) return {isGone: true};
      return rows ? answered(rows, from, to) : null;
    };
  }

  /** Return the page's own function; `rest` are the columns that came with the page. */
  function open(meta, rest) {
    if (meta.mode === "served") return ofServer(meta);
    return meta.plot ? ofNotebook(meta, rest) : ofFile(rest);
  }

  return {block, open};
})();
