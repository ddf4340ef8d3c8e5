"use strict";
/** The live page: what the newest status says, with its age; and three commands. */
(async () => {
  const $ = id => document.getElementById(id), root = document.documentElement;
  const {make, say, sense, cell} = Parts;
  const STALE_MS = 2000, ASKED_MS = 4000, TICK_MS = 250, FILLS = 60, LATEST = 5;
  let status = null, chosen = null, decimals = {price: 2, size: 4}, asked = null;

  const ms = ns => ns / 1e6;
  const time = (at, digits = 8) => new Date(at).toISOString().slice(11, 11 + digits);
  const either = (value, write) => value === null || value === undefined ? "n/a" : write(value);
  const plural = (count, noun) => `${Format.number(count, 0)} ${noun}${count === 1 ? "" : "s"}`;

  /** Return how many decimals a number needs, at most eight. */
  function digits(value) {
    for (let count = 0; count < 8; count++) if (Math.abs(value * 10 ** count - Math.round(value * 10 ** count)) < 1e-6) return count;
    return 8;
  }

  function take(message) {
    for (const fill of message.fills) fill.ms = ms(fill.filled_ns);
    Lines.take(message);
    if (!message.status) return;
    status = message.status;
    if (!names().includes(chosen)) choose(names()[0] ?? null);
    measure();
    numbers();
    health();
    tables();
    log();
    draw();
    root.dataset.state = "whole";
    root.dataset.number = status.number;
  }

  /** Return the instruments that the page can show. */
  function names() {
    const found = [...status.books.map(book => book.instrument), ...status.streams.map(stream => stream.name.split(" ")[0])];
    return [...new Set(found)];
  }

  function choose(name) {
    chosen = name;
    say($("instrument"), name ?? "");
    const others = names().length > 1 ? names() : [];
    $("instruments").replaceChildren(...others.map(each => {
      const button = make("button", {"aria-pressed": each === name}, each);
      button.addEventListener("click", () => { choose(each); draw(); });
      return button;
    }));
  }

  /** Find the decimals of the instrument's prices and sizes from what is seen; they never become fewer. */
  function measure() {
    const book = bookOf();
    const seen = book ? [...book.bids, ...book.asks] : [];
    decimals = {
      price: Math.max(decimals.name === chosen ? decimals.price : 0, ...seen.map(([price]) => digits(price))),
      size: Math.max(decimals.name === chosen ? decimals.size : 0, ...seen.map(([, qty]) => digits(qty))),
      name: chosen,
    };
  }

  function bookOf() { return status.books.find(book => book.instrument === chosen); }

  // Numbers ------------------------------------------------------------------------------------------------------

  function amount(id, value, write, words) {
    say($(id), either(value, write));
    $(id).className = sense(value) ?? "";
    say($(id + "_words"), words);
  }

  function numbers() {
    const {currency} = status;
    say($("strategy"), status.strategy);
    amount("pnl", status.pnl, Format.signed, `${currency}, after fees`);
    amount("today", status.pnl_today, Format.signed, `${currency}, since midnight`);
    const own = status.positions.filter(each => each.instrument === chosen);
    const others = status.positions.length - own.length;
    amount("position", own.reduce((sum, each) => sum + each.qty, 0), value => Format.signed(value, digits(value)), others ? `${chosen}; ${others} more` : chosen ?? "");
    const fees = Object.entries(status.fees).filter(([, paid]) => paid !== 0);
    const main = status.fees[currency] ?? (fees.length === 1 ? fees[0][1] : 0), rest = fees.filter(([name]) => name !== currency);
    say($("fees"), Format.number(main));
    say($("fees_words"), [plural(status.fills_count, "fill"), ...rest.map(([name, paid]) => `${plain(paid)} ${name}`)].join(", "));
    say($("drawdown"), either(status.drawdown, value => Format.signed(100 * value) + " %"));
    say($("drawdown_words"), "below its highest equity");
  }

  function health() {
    const lags = new Map(status.streams.map(each => [each.name, each.lag_ms]));
    const parts = status.connections.map(each => [make("i", {class: each.state === "live" ? "dot" : "dot off"}), each.name, wordsOf(each, lags)]);
    parts.push(["", "socket to hook p99", either(status.latency_p99_ms, value => Format.number(value, 1) + " ms")]);
    parts.push(["", "in", Format.number(status.rows_per_s, 0) + " rows/s"]);
    parts.push(["", "queue", `${Format.number(status.queue, 0)} of ${Format.number(status.queue_max, 0)}`]);
    parts.push(["", "recorded", status.recording ? size(status.recorded_bytes) : "nowhere"]);
    const gap = status.gap_lines.at(-1);
    parts.push(["", "gaps", Format.number(status.gaps, 0) + (gap ? `, last ${time(ms(gap.at_ns))}` : "")]);
    $("health").replaceChildren(...parts.map(([dot, label, value]) => make("span", {}, dot, label + " ", make("b", {}, value))));
  }

  /** Say of a connection how late its newest rows came by the exchange's clock, the latest of its streams, or what is wrong. */
  function wordsOf(connection, lags) {
    if (connection.state !== "live") return `${connection.state} ${connection.error}`;
    const known = connection.streams.map(name => lags.get(name) ?? null).filter(value => value !== null);
    return known.length ? Format.number(Math.max(...known), 0) + " ms" : "live";
  }

  function size(bytes) {
    if (bytes < 1e6) return Format.number(bytes / 1e3, 0) + " kB";
    return bytes < 1e9 ? Format.number(bytes / 1e6, 1) + " MB" : Format.number(bytes / 1e9, 2) + " GB";
  }

  // Tables -------------------------------------------------------------------------------------------------------

  function rows(id, found) {
    $(id).replaceChildren(...found);
    $("no_" + id).hidden = found.length > 0;
    $(id).parentNode.hidden = !found.length;
  }

  const side = name => cell(name, `text ${name === "buy" ? "gain" : "loss"}`);
  const price = value => either(value, given => Format.number(given, Math.max(digits(given), decimals.price)));
  const plain = value => Format.number(value, digits(value));

  function tables() {
    rows("orders", status.open_orders.map(order => make("tr", {},
      cell([order.id, order.position_side === "net" ? "" : order.position_side, order.tag].filter(Boolean).join(" "), "text"), side(order.side), cell(price(order.price)),
      cell(`${plain(order.qty - order.filled_qty)} / ${plain(order.qty)}`), cell(either(order.queue_ahead, plain), "wide"),
      cell(order.sent_ns ? Format.length(Math.max(0, ms(status.now_ns - order.sent_ns))) : "n/a"))));
    rows("positions", status.positions.map(each => make("tr", {},
      cell(each.position_side === "net" ? each.instrument : `${each.instrument} ${each.position_side}`, "text"), cell(Format.signed(each.qty, digits(each.qty))), cell(either(each.average, value => Format.number(value, Math.min(digits(value), decimals.price + 2))), "wide"), cell(price(each.mark)),
      cell(Format.signed(each.unrealised), sense(each.unrealised)))));
    rows("fills", Lines.fills.slice(-FILLS).reverse().map(fill => make("tr", {},
      cell(time(fill.ms), "text"), side(fill.side), cell(plain(fill.qty)), cell(price(fill.price)), cell(fill.role, "wide"), cell(Format.number(Number(fill.fee), 4)))));
  }

  function log() {
    const lines = status.log.map(each => ({at: ms(each.at_ns), text: each.text, isBad: each.kind === "gap"}));
    const notes = status.notes.map(text => ({at: null, text, isBad: true}));
    const found = [...lines.reverse(), ...notes.reverse()];
    $("log").replaceChildren(...found.map(({at, text, isBad}) => make("li", {class: isBad ? "bad" : null},
      at === null ? "" : make("time", {}, time(at, 12)), text)));
    $("no_log").hidden = found.length > 0;
  }

  function draw() {
    const own = status.open_orders.filter(order => order.instrument === chosen).map(order => ({...order, ms: order.sent_ns ? ms(order.sent_ns) : null}));
    Lines.show(chosen, ms(status.now_ns), own);
    const first = Lines.firstMs();
    say($("since"), first === null ? "" : `Price and equity since ${time(first)} UTC; what was before this page's server is drawn by the lows and highs of 15 s, at most an hour`);
    const book = bookOf();
    $("no_book").hidden = Boolean(book);
    $("ladder").hidden = !book;
    if (!book) return say($("no_book"), "The strategy subscribes no book of this instrument.");
    const sizes = {buy: new Map(), sell: new Map()};
    for (const order of own.filter(each => each.price !== null)) {
      const side = sizes[order.side];
      side.set(order.price, (side.get(order.price) ?? 0) + order.qty - order.filled_qty);
    }
    return Ladder.show($("ladder"), book, sizes, decimals, Lines.lastPrice(chosen));
  }

  /** List the latest runs of the folder; the list of all of them tells what is wrong with it. */
  async function latest() {
    const {runs} = await Api.get("/runs", {limit: LATEST}).catch(() => ({runs: []}));
    rows("runs", runs.map(run => make("tr", {}, ...RunCells.of(run))));
  }

  // Commands -----------------------------------------------------------------------------------------------------

  async function command(name, confirm = "") {
    let answer;
    try {
      answer = await Api.change("POST", "/live/commands", {command: name, confirm});
    } catch (error) {
      return tell(error.message);
    }
    if (answer.confirm) return ask(name, answer);
    forget();
    return tell(`${LABELS[name]}: taken at ${time(answer.taken_at_ns / 1e6, 12)}`, false);
  }

  const LABELS = {pause: "Pause", resume: "Resume", cancel_all: "Cancel all", stop: "Stop"};

  /** Ask once more, in place. */
  function ask(name, {confirm, asks}) {
    forget();
    const button = $(name);
    asked = {name, confirm, label: button.textContent, timer: setTimeout(forget, ASKED_MS)};
    button.textContent = name === "stop" ? "Yes, stop" : "Yes, cancel all";
    button.classList.add("sure");
    tell(asks);
  }

  function forget() {
    if (!asked) return;
    clearTimeout(asked.timer);
    $(asked.name).textContent = asked.label;
    $(asked.name).classList.remove("sure");
    asked = null;
    say($("asked"), "");
  }

  function tell(text, isBad = true) {
    say($("asked"), text);
    $("asked").classList.toggle("loss", isBad);
  }

  $("pause").addEventListener("click", () => command(status?.is_paused ? "resume" : "pause"));
  for (const name of ["cancel_all", "stop"]) {
    $(name).addEventListener("click", () => command(name, asked?.name === name ? asked.confirm : ""));
  }
  document.addEventListener("keydown", event => { if (event.key === "Escape") forget(); });

  // State --------------------------------------------------------------------------------------------------------

  function tick() {
    const age = Feed.ageMs(), isOpen = Feed.isOpen() && !Feed.reason();
    const isStale = age === null || age > STALE_MS;
    document.body.classList.toggle("stale", isStale && status !== null);
    const isGood = isOpen && !isStale, isPaused = Boolean(status?.is_paused);
    $("state").className = `state ${isGood ? isPaused ? "held" : "" : "off"}`;
    $("state").firstChild.className = isGood ? "dot" : "dot off";
    say($("state_words"), isGood ? `${isPaused ? "paused" : "running"}, paper` : words(age));
    for (const name of ["pause", "cancel_all", "stop"]) $(name).disabled = !isGood;
    if (!asked) say($("pause"), isPaused ? "Resume strategy" : "Pause strategy");
    if (status) say($("clock"), `${time(ms(status.wall_ns))} UTC, since ${time(ms(status.started_ns))}`);
  }

  function words(age) {
    const why = Feed.reason() || "no news of the run";
    return age === null ? why : `${why}; what is shown is ${Format.length(age)} old`;
  }

  setInterval(tick, TICK_MS);
  tick();
  const item = await (await fetch("/assets/live.json")).json();
  await Lines.start(item, $("figure"));
  Theme.onChange(() => Chart.theme());
  latest();
  await Feed.follow(take);
})();
