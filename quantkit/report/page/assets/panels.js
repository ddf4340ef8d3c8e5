"use strict";
/** What stands in the four panels for a span of time. Times are milliseconds, `from` and `to` a view's ends. */
const Panels = (() => {
  const EMPTY = {x: [], y: [], x0: [], x1: [], y0: [], y1: [], width: [], open: [], close: [], low: [], high: []};
  /** An answer covers three views; once the view is less than this part of it, finer rows are asked for. */
  const ASK_AGAIN = 5;
  const GONE = " Finer rows came from the kernel that drew this cell: run it again, or draw a span by"
    + " result.plot(start=..., end=...).";
  const $ = id => document.getElementById(id);
  let meta, tracks = [], equity, under, trips, hold = null;
  let current = 0, width = 1200, fed = {}, isHoldShown = true;

  /** Take what the first picture needs. */
  async function load(given, first) {
    meta = given;
    const [line, deepest, largest] =
      await Promise.all([Columns.buckets(first.equity), Columns.unpackAll(first.under), Columns.unpackAll(first.trips)]);
    equity = Levels.build(line.t, line.low, line.high);
    under = Levels.build(deepest.t, deepest.y, deepest.y);
    trips = largest;
    tracks = await Promise.all(first.tracks.map(async ({path, fills, mean}) => ({
      overview: path ? levelsOf(await Columns.buckets(path)) : null,
      kept: null, asked: null, isWhole: false, isGone: false, stops: null,
      fills: fills ? withSums(await Columns.unpackAll(fills)) : null,
      mean: mean ? await Columns.unpackAll(mean) : null,
    })));
    if (meta.is_long_short) $("position_word").textContent = "Net position";
    if (!meta.hold) return;
    hold = {...meta.hold};
    if (first.hold) {
      const own = await Columns.unpackAll(first.hold);
      hold.levels = Levels.build(own.t, own.y, own.y);
    }
    $("hold_name").textContent = hold.name;
    $("hold").hidden = false;
  }

  /** Take everything else: the whole curve, all round trips, fills and stops. */
  async function loadRest(rest) {
    const [line, deepest, all] =
      await Promise.all([Columns.buckets(rest.equity), Columns.unpackAll(rest.under), Columns.unpackAll(rest.trips)]);
    equity = Levels.build(line.t, line.low, line.high);
    under = Levels.build(deepest.t, deepest.y, deepest.y);
    trips = all;
    await Promise.all(rest.tracks.map(async ({fills, stops}, i) => {
      tracks[i].fills = withSums(await Columns.unpackAll(fills));
      tracks[i].stops = await Columns.unpackAll(stops);
    }));
    fed = {};
  }

  /** Take finer rows of a track: the page's own for good, others in place of those of the span asked for before. */
  function refine(place, found) {
    const track = tracks[place];
    if (found.isGone) {
      track.isGone = true;
      return;
    }
    const {buckets, pieces, count, from = -Infinity, to = Infinity} = found;
    const {rows, stride} = meta.tracks[place];
    const finer = {
      from, to, levels: buckets ? levelsOf(buckets) : null, pieces: pieces.map(piece => ({...piece, levels: null})),
      each: found.isKept ? stride : power((count || rows) / (buckets?.t.length || 1)),
    };
    if (found.isKept) Object.assign(track, {kept: finer, isWhole: found.isWhole});
    else track.asked = finer;
    delete fed.price;
    delete fed.hold;
  }

  /** Return the power of two nearest to a number of rows: of so many each bucket has the extremes. */
  function power(rows) { return 2 ** Math.max(0, Math.round(Math.log2(rows))); }

  function levelsOf({t, low, high}) { return Levels.build(t, low, high); }

  /** Add what a position's mean over a span is read from, its sum over time up to each fill. */
  function withSums(fills) {
    fills.area = new Float64Array(fills.t.length);
    for (let i = 1; i < fills.t.length; i++) {
      fills.area[i] = fills.area[i - 1] + fills.held[i - 1] * (fills.t[i] - fills.t[i - 1]);
    }
    return fills;
  }

  /** Return the finest that is there of a track for a span: single rows (`piece`), or buckets of `each` so many. */
  function finest(track, from, to) {
    // What lies beyond the run needs no rows.
    const begin = Math.max(from, meta.begin), end = Math.min(to, meta.end);
    const piece = pieceOf(track, begin, end);
    if (piece) {
      piece.levels ||= levelsOf(piece);
      return {levels: piece.levels, piece, each: 1};
    }
    const {overview} = track, {rows} = meta.tracks[tracks.indexOf(track)];
    let best = {levels: overview, piece: null, each: power(rows / Math.max(1, overview[0].n))};
    for (const finer of [track.kept, track.asked]) {
      if (!finer?.levels || finer.from > begin || end > finer.to || finer.each >= best.each) continue;
      best = {levels: finer.levels, piece: null, each: finer.each};
    }
    return best;
  }

  function pieceOf(track, begin, end) {
    const {kept, asked, isWhole} = track;
    if (kept && isWhole && !kept.levels) return kept.pieces[0];
    const pieces = [...(asked?.pieces || []), ...(kept?.pieces || [])];
    return pieces.find(piece => piece.from <= begin && end <= piece.to);
  }

  /** Put a slice of a level into a source, with one view of margin on each side; skip it while that still covers. */
  function feed(name, levels, from, to, {scale = 1, isHeld = false, more = null} = {}) {
    const k = Levels.pick(levels, from, to, width), old = fed[name];
    if (old && old.levels === levels && old.k === k && old.from <= from && old.to >= to) return k;
    const level = levels[k], span = to - from;
    const [start, stop] = Levels.span(level, from - span, to + span);
    const line = Levels.line(level, start, stop, isHeld && k === 0);
    if (scale !== 1) line.y = line.y.map(value => value * scale);
    fed[name] = {
      levels, k, from: start ? from - span : -Infinity, to: stop < level.n ? to + span : Infinity,
    };
    Chart.put(name, more ? {...line, ...more(line)} : line);
    return k;
  }

  /** Draw everything for a span. */
  function show(from, to) {
    const track = tracks[current];
    const fills = track.fills;
    const [first, last] = fills ? [Levels.rowAt(fills.t, from), Levels.rowAt(fills.t, to)] : [0, Infinity];
    const isMany = last - first > meta.marks_max;
    const seen = showPrice(track, from, to);
    const [lowest, highest] = showStops(track, from, to);
    if (track.overview) Chart.range("price", Math.min(seen.low, lowest), Math.max(seen.high, highest));
    showMarks(track, from, to, first, last, isMany);
    showPosition(track, from, to, first, last, isMany);
    showEquity(from, to);
    const k = feed("drawdown", under, from, to, {more: line => ({zero: new Float64Array(line.x.length)})});
    Chart.range("drawdown", Math.min(Levels.extent(under[k], from, to)[0], -1e-4), 0, .1, .16);
    $("resolution").textContent = words(seen);
    $("book_note").textContent = meta.tracks[current].book_note;
  }

  function showPrice(track, from, to) {
    if (!track.overview) {
      for (const name of ["price", "wicks", "up", "down"]) Chart.put(name, EMPTY);
      return {low: Infinity, high: -Infinity, rowsAPoint: 0};
    }
    const {levels, piece, each} = finest(track, from, to), k = Levels.pick(levels, from, to, width);
    const [low, high] = Levels.extent(levels[k], from, to), {interval} = meta.tracks[current];
    const [start, stop] = Levels.span(levels[0], from, to);
    if (piece && interval && stop - start <= meta.candles_max) showCandles(piece, start, stop);
    else {
      feed("price", levels, from, to, {isHeld: piece && !interval});
      for (const name of ["wicks", "up", "down"]) Chart.put(name, EMPTY);
    }
    return {low, high, rowsAPoint: each * 2 ** k};
  }

  function showCandles(rows, start, stop) {
    const interval = meta.tracks[current].interval, middle = t => t - interval / 2;
    const bodies = {up: {x: [], width: [], open: [], close: []}, down: {x: [], width: [], open: [], close: []}};
    for (let i = start; i < stop; i++) {
      const body = rows.close[i] >= rows.open[i] ? bodies.up : bodies.down;
      body.x.push(middle(rows.t[i]));
      body.width.push(interval * .7);
      body.open.push(rows.open[i]);
      body.close.push(rows.close[i]);
    }
    const x = Array.from(rows.t.subarray(start, stop), middle);
    Chart.put("wicks", {x, low: rows.low.subarray(start, stop), high: rows.high.subarray(start, stop)});
    Chart.put("up", bodies.up);
    Chart.put("down", bodies.down);
    Chart.put("price", EMPTY);
    delete fed.price;
  }

  /** Draw triggers, and return the lowest and highest of those that stretch the panel: in a narrow view only. */
  function showStops(track, from, to) {
    const out = {x0: [], x1: [], y: []}, {stops} = track;
    for (let i = 0; stops && i < stops.price.length && out.y.length < meta.stops_max; i++) {
      if (stops.from[i] >= to || stops.to[i] <= from) continue;
      out.x0.push(stops.from[i]);
      out.x1.push(stops.to[i]);
      out.y.push(stops.price[i]);
    }
    Chart.put("stops", out);
    const own = to - from < (meta.end - meta.begin) / 4 ? out.y : [];
    return [Math.min(Infinity, ...own), Math.max(-Infinity, ...own)];
  }

  /** Draw fills and round trips: all while they can be told apart, else the largest by profit or loss. */
  function showMarks(track, from, to, first, last, isMany) {
    const buy = {x: [], y: []}, sell = {x: [], y: []}, liquidation = {x: [], y: []};
    const lines = {gain: {x0: [], y0: [], x1: [], y1: []}, loss: {x0: [], y0: [], x1: [], y1: []}};
    const {fills} = track, most = isMany ? meta.largest : meta.marks_max;
    for (let i = first; !isMany && i < last; i++) {
      const side = fills.liquidation?.[i] ? liquidation : fills.buy[i] ? buy : sell;
      side.x.push(fills.t[i]);
      side.y.push(fills.price[i]);
    }
    let drawn = 0, inView = 0;
    for (let place = 0; place < trips.entry.length; place++) {
      const i = isMany ? trips.by_size[place] : place;
      if (trips.track[i] !== current || trips.entry[i] > to || trips.exit[i] < from) continue;
      inView++;
      if (drawn >= most) continue;
      drawn++;
      const line = trips.pnl[i] > 0 ? lines.gain : lines.loss;
      line.x0.push(trips.entry[i]);
      line.y0.push(trips.entry_price[i]);
      line.x1.push(trips.exit[i]);
      line.y1.push(trips.exit_price[i]);
      if (!isMany) continue;
      const [entry, exit] = trips.long[i] ? [buy, sell] : [sell, buy];
      entry.x.push(trips.entry[i]);
      entry.y.push(trips.entry_price[i]);
      exit.x.push(trips.exit[i]);
      exit.y.push(trips.exit_price[i]);
    }
    Chart.put("buy", buy);
    Chart.put("sell", sell);
    Chart.put("liquidation", liquidation);
    $("liquidated").hidden = !liquidation.x.length;
    Chart.put("trip_gain", lines.gain);
    Chart.put("trip_loss", lines.loss);
    const there = fills ? inView : meta.trips;
    $("shown").textContent = drawn < there
      ? `${Format.number(drawn, 0)} largest of ${Format.number(there, 0)} round trips drawn; zoom in for all` : "";
  }

  /** Draw the position: each step while steps can be seen, else its mean over every second pixel. */
  function showPosition(track, from, to, first, last, isMany) {
    const {fills, mean} = track, x = [], y = [];
    const begin = Math.max(from, meta.begin), end = Math.min(to, meta.end);
    if (!isMany) {
      let held = first ? fills.held[first - 1] : 0;
      x.push(begin);
      y.push(held);
      for (let i = first; i < last; i++) {
        x.push(fills.t[i], fills.t[i]);
        y.push(held, held = fills.held[i]);
      }
      x.push(end);
      y.push(held);
    } else if (!fills) {
      for (let i = 0; i < mean.y.length; i++) {
        x.push(mean.t[i], mean.t[i + 1]);
        y.push(mean.y[i], mean.y[i]);
      }
    } else {
      const parts = Math.round(width / 2), step = (end - begin) / parts;
      let before = sumOf(fills, begin);
      for (let i = 0; i < parts; i++) {
        const sum = sumOf(fills, begin + (i + 1) * step), held = (sum - before) / step;
        x.push(begin + i * step, begin + (i + 1) * step);
        y.push(held, held);
        before = sum;
      }
    }
    const long = y.map(value => Math.max(value, 0)), short = y.map(value => Math.min(value, 0));
    Chart.put("position", {x, zero: new Float64Array(x.length), long, short});
    const low = Math.min(0, ...short), high = Math.max(0, ...long);
    Chart.range("position", low, high > low ? high : 1, .12);
    $("mean").textContent = isMany ? "mean" : "";
  }

  function sumOf(fills, moment) {
    const i = Levels.rowAt(fills.t, moment) - 1;
    return i < 0 ? 0 : fills.area[i] + fills.held[i] * (moment - fills.t[i]);
  }

  function showEquity(from, to) {
    const k = feed("equity", equity, from, to);
    let [low, high] = Levels.extent(equity[k], from, to);
    if (hold && isHoldShown) {
      const levels = holdLevels(from, to), factor = hold.factor || 1;
      const kHold = feed("hold", levels, from, to, {scale: factor});
      const [holdLow, holdHigh] = Levels.extent(levels[kHold], from, to);
      low = Math.min(low, holdLow * factor);
      high = Math.max(high, holdHigh * factor);
    }
    Chart.range("equity", low, high);
  }

  function holdLevels(from, to) {
    return hold.levels || finest(tracks[hold.track], from, to).levels;
  }

  /** Show or hide buy and hold. */
  function setHold(isShown) {
    isHoldShown = isShown;
    $("hold").setAttribute("aria-pressed", isShown);
    $("hold_key").hidden = !isShown;
    Chart.setVisible("hold", isShown);
  }

  /** Start without buy and hold where it would flatten the strategy's line. */
  function chooseHold() {
    if (!hold) return;
    const [low, high] = Levels.extent(equity[0], meta.begin, meta.end);
    const [holdLow, holdHigh] = Levels.extent(holdLevels(meta.begin, meta.end)[0], meta.begin, meta.end);
    setHold((holdHigh - holdLow) * (hold.factor || 1) <= 5 * (high - low));
  }

  /** Say which rows are drawn. */
  function words({rowsAPoint}) {
    const own = meta.tracks[current];
    if (!rowsAPoint) return own.reason;
    const what = own.interval ? `candles of ${Format.length(own.interval)}` : {ticker: "mids", book: "mids"}[own.kind] || `${own.kind}s`;
    const drawn = rowsAPoint === 1 ? `Price: all ${what}`
      : `Price: each point the lowest and the highest of ${Format.number(rowsAPoint, 0)} ${what}`;
    return `${drawn}${cut(own)}. No extreme is left out.${tracks[current].isGone ? GONE : ""}`;
  }

  /** Say what the page has of a path that is longer than it holds. */
  function cut({stride, rows, single}) {
    if (stride === 1) return "";
    const isAsking = meta.plot && !tracks[current].isGone;
    const extremes = `; of ${Format.number(rows, 0)} rows ${meta.mode === "card" ? "this cell" : "this file"} has the `
      + `extremes of each ${Format.number(stride, 0)}, and ${Format.number(single, 0)} single rows around fills`;
    return extremes + (isAsking ? "; finer ones come from the notebook's kernel" : "");
  }

  /** Return what the readout line says of a moment, as pairs of label and value; empty without rows. */
  function read(moment) {
    const own = meta.tracks[current], track = tracks[current], {fills} = track, out = [];
    const rows = pieceOf(track, moment, moment);
    if (rows) {
      const found = own.interval ? Levels.rowAt(rows.t, moment) : Levels.rowAt(rows.t, moment + 1e-6) - 1;
      const i = Math.min(rows.t.length - 1, Math.max(0, found));
      const price = value => Format.number(value, own.price_decimals);
      out.push(["", Format.moment(rows.t[i], own.interval < Format.MINUTE)]);
      const kinds = own.interval ? ["open", "high", "low", "close"] : ["close"];
      const names = own.interval ? ["O", "H", "L", "C"] : [own.kind === "ticker" || own.kind === "book" ? "Mid" : "Price"];
      kinds.forEach((kind, place) => out.push([names[place], price(rows[kind][i])]));
    } else out.push(["", Format.moment(Math.min(meta.end, Math.max(meta.begin, moment)), meta.is_fine)]);
    const line = equity[0], at = Math.min(line.n - 1, Levels.rowAt(line.t, moment));
    if (fills) {
      const last = Levels.rowAt(fills.t, moment + 1e-6) - 1;
      const held = last < 0 ? "0" : Format.signed(fills.held[last], own.qty_decimals);
      const isLiquidated = last >= 0 && fills.liquidation?.[last] === 1;
      out.push([meta.is_long_short ? "Net position" : "Position", isLiquidated ? `${held}, liquidated` : held]);
    }
    if (at >= 0) {
      out.push(["Equity", Format.number(line.high[at], meta.money_decimals)]);
      if (meta.return_times !== null) {
        out.push(["vs start", Format.signed(line.high[at] * meta.return_times - 100) + " %"]);
      }
      const deep = under[0].low[Math.min(under[0].n - 1, Math.max(0, Levels.rowAt(under[0].t, moment + 1e-6) - 1))];
      out.push(["Drawdown", Format.number(deep * 100) + " %"]);
    }
    return out;
  }

  return {
    load, loadRest, refine, show, read, setHold, chooseHold,
    isHoldShown: () => isHoldShown,
    trips: () => trips,
    fills: () => tracks[current].fills,
    track: () => current,
    setTrack(track) { current = track; delete fed.price; },
    /** Return whether finer rows of the track in view are elsewhere. */
    wants(from, to) {
      const track = tracks[current], {asked} = track;
      if (!track.overview || track.isWhole || track.isGone) return false;
      // What came with the page is taken whatever the view.
      if (meta.mode !== "served" && !track.kept) return true;
      const {levels, piece} = finest(track, from, to), [start, stop] = Levels.span(levels[0], from, to);
      // A point for every second pixel is a line without gaps.
      if (piece || stop - start > width / 2) return false;
      const isAnswered = asked && asked.from <= Math.max(from, meta.begin) && Math.min(to, meta.end) <= asked.to;
      return !isAnswered || asked.to - asked.from > ASK_AGAIN * (to - from);
    },
    resize(pixels) { width = pixels; fed = {}; },
    /** Return the shortest view: twelve rows. */
    least() {
      const own = meta.tracks[current];
      const row = own.interval || (meta.end - meta.begin) / Math.max(1, own.rows);
      return Math.min(Math.max(row * 12, 200), meta.end - meta.begin || 1);
    },
  };
})();
