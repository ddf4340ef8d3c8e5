"use strict";
/** The chart of the live page: price with own orders and fills, equity below it; it follows the end of the run. */
const Lines = (() => {
  const POINTS_MAX = 20000, MARKS_MAX = 400, ROOM = .04;
  const prices = new Map(), fills = [], equity = {t: [], v: []};
  const sources = {}, figures = {};
  let span = 300000, shown = null, orders = [];

  /** Build and draw the figure once. */
  async function start(item, element) {
    const made = Chart.build(item);
    for (const model of made.all_models) {
      if (model.type === "ColumnDataSource") sources[model.name] = model;
      if (model.type === "Figure") figures[model.name] = model;
    }
    await Chart.draw(element, made);
  }

  function trail(name) {
    if (!prices.has(name)) prices.set(name, {t: [], v: []});
    return prices.get(name);
  }

  /** Add points behind those that are there: a server that was started anew sends what it has from its own start. */
  function extend(line, [times, values]) {
    const last = line.t.length ? line.t[line.t.length - 1] : -Infinity;
    const start = times.findIndex(time => time > last);
    if (start < 0) return;
    line.t.push(...times.slice(start));
    line.v.push(...values.slice(start));
    const more = line.t.length - POINTS_MAX;
    if (more > 0) { line.t.splice(0, more); line.v.splice(0, more); }
  }

  function take(message) {
    for (const [name, points] of Object.entries(message.prices)) extend(trail(name), points);
    extend(equity, message.equity);
    const known = fills.length ? fills[fills.length - 1].id : -1;
    fills.push(...message.fills.filter(fill => fill.id > known));
  }

  /** Return the first place at or after a moment. */
  function placeAt(times, moment) {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < moment) low = middle + 1; else high = middle;
    }
    return low;
  }

  /** Return the part of a line from a moment to the end, with the point before it, held until `end`. */
  function part(line, from, end) {
    const start = Math.max(0, placeAt(line.t, from) - 1);
    const [x, y] = [line.t.slice(start), line.v.slice(start)];
    if (x.length && x[x.length - 1] < end) { x.push(end); y.push(y[y.length - 1]); }
    return {x, y};
  }

  function fit(figure, values) {
    if (!values.length) return;
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
    if (!(high > low)) { const around = Math.abs(low) * 1e-4 || 1; low -= around; high += around; }
    const margin = (high - low) * .08;
    figures[figure].y_range.setv({start: low - margin, end: high + margin});
  }

  /** Draw the end of the run: `now` is the newest moment, `working` the open orders of the instrument. */
  function show(instrument, now, working) {
    [shown, orders] = [instrument, working];
    if (!sources.price) return;
    const line = trail(instrument), first = Math.min(line.t[0] ?? now, equity.t[0] ?? now);
    const from = span === "all" ? first : Math.max(first, now - span), length = Math.max(now - from, 1000);
    for (const name of ["price", "equity"]) figures[name].x_range.setv({start: now - length, end: now + length * ROOM});
    const seen = part(line, from, now), worth = part(equity, from, now);
    sources.price.data = seen;
    sources.equity.data = worth;
    const recent = fills.filter(fill => fill.instrument === instrument && fill.ms >= from).slice(-MARKS_MAX);
    for (const side of ["buy", "sell"]) {
      const own = recent.filter(fill => fill.side === side);
      sources[side].data = {x: own.map(fill => fill.ms), y: own.map(fill => fill.price)};
    }
    for (const [name, side] of [["bids", "buy"], ["asks", "sell"]]) {
      const own = working.filter(order => order.side === side && order.price !== null);
      sources[name].data = {
        x0: own.map(order => Math.max(order.ms ?? from, from)), x1: own.map(() => now + length * ROOM), y: own.map(order => order.price),
      };
    }
    // Orders far from the price would press it flat.
    const [low, high] = [Math.min(...seen.y), Math.max(...seen.y)], reach = Math.max(high - low, Math.abs(high) * 2e-4) * 2;
    const near = working.map(order => order.price).filter(price => price !== null && price > low - reach && price < high + reach);
    fit("price", [...seen.y, ...recent.map(fill => fill.price), ...near]);
    fit("equity", worth.y);
  }

  for (const button of document.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
      span = button.dataset.span === "all" ? "all" : Number(button.dataset.span);
      for (const each of document.querySelectorAll("[data-span]")) each.setAttribute("aria-pressed", each === button);
      if (shown) show(shown, Math.max(trail(shown).t.at(-1) ?? 0, equity.t.at(-1) ?? 0), orders);
    });
  }

  return {start, take, show, firstMs: () => equity.t[0] ?? null, lastPrice: name => trail(name).v.at(-1) ?? null, fills};
})();
