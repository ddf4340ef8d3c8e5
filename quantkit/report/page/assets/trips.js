"use strict";
/** Round trips as a table: 34 rows in the document however many there are, sorted and searched at once. */
const Trips = (() => {
  const $ = id => document.getElementById(id);
  const ROW = 28, ROWS = 34, BEFORE = 8, PRINTED = 60;
  const CONDITION = /^(pnl|return|held|fees|qty|mae|mfe)\s*([<>])\s*(-?[\d.]+)$/;
  let meta, trips, columns, shown = [], chosen = -1, texts = null, isPrinting = false;
  let sorted = {column: "number", isRising: true};

  /** Each column: what it is sorted by, and how it reads. */
  function kinds() {
    const own = row => meta.tracks[trips.track[row]];
    const pct = (name, decimals, write) => row => write(trips[name][row], decimals) + " %";
    const at = name => row => trips[name][row];
    const money = (name, write) => row => write(trips[name][row], meta.pnl_decimals);
    const price = name => row => Format.number(trips[name][row], own(row).price_decimals);
    const moment = name => row => Format.moment(trips[name][row] - meta.offset, meta.is_fine);
    const held = row => trips.exit[row] - trips.entry[row];
    const side = row => trips.long[row] ? "long" : "short";
    return {
      number: [row => row, row => String(row + 1), "text"],
      entry: [at("entry"), moment("entry"), "text"],
      exit: [at("exit"), moment("exit"), "text"],
      instrument: [at("track"), row => own(row).id, "text"],
      side: [at("long"), side, "text"],
      qty: [at("qty"), row => Format.number(trips.qty[row], own(row).qty_decimals)],
      entry_price: [at("entry_price"), price("entry_price")],
      exit_price: [at("exit_price"), price("exit_price")],
      held: [held, row => Format.length(held(row))],
      fees: [at("fees"), money("fees", Format.number)],
      pnl: [at("pnl"), money("pnl", Format.signed)],
      return: [at("return"), pct("return", meta.return_decimals, Format.signed)],
      mae: [at("mae"), pct("mae", meta.move_decimals, Format.number)],
      mfe: [at("mfe"), pct("mfe", meta.move_decimals, Format.number)],
      tag: [at("tag"), row => meta.tags[trips.tag[row]], "text"],
    };
  }

  /** Return the test that a search asks for: `pnl < -20`, or text in any cell; null for none. */
  function test(query) {
    if (!query) return null;
    const asked = CONDITION.exec(query.replaceAll("\u2212", "-"));
    if (!asked) return row => textOf(row).includes(query);
    const [, name, relation, limit] = asked;
    const value = name === "held" ? row => (trips.exit[row] - trips.entry[row]) / Format.MINUTE : row => trips[name][row];
    return relation === ">" ? row => value(row) > Number(limit) : row => value(row) < Number(limit);
  }

  function textOf(row) {
    texts ||= Array.from(trips.entry, (_, each) => columns.map(column => column.write(each)).join(" ").toLowerCase());
    return texts[row];
  }

  /** Choose and order the rows. */
  function arrange() {
    const query = $("find").value.trim().toLowerCase(), wanted = test(query), count = trips.entry.length;
    const key = columns.find(column => column.name === sorted.column).key, turn = sorted.isRising ? 1 : -1;
    shown = Array.from({length: count}, (_, row) => row);
    if (wanted) shown = shown.filter(wanted);
    const keys = Float64Array.from({length: count}, (_, row) => key(row));
    shown.sort((a, b) => (keys[a] - keys[b]) * turn || a - b);
    const all = Format.number(count, 0);
    $("count").textContent = query ? `${Format.number(shown.length, 0)} of ${all}` : all;
    $("scroll").scrollTop = 0;
    fill();
  }

  function cell(text, classes) {
    const made = document.createElement("td");
    made.textContent = text;
    made.className = classes;
    return made;
  }

  function padding(rows) {
    const row = document.createElement("tr"), made = cell("", "");
    row.className = "pad";
    made.colSpan = columns.length;
    made.style.height = rows * ROW + "px";
    row.append(made);
    return row;
  }

  /** Put the rows that can be seen into the document. */
  function fill() {
    const first = isPrinting ? 0 : Math.max(0, Math.min(Math.floor($("scroll").scrollTop / ROW) - BEFORE, shown.length - ROWS));
    const last = Math.min(shown.length, first + (isPrinting ? PRINTED : ROWS)), focused = document.activeElement?.dataset?.row;
    const rows = first ? [padding(first)] : [];
    for (const row of shown.slice(first, last)) {
      const made = document.createElement("tr");
      made.dataset.row = row;
      made.tabIndex = 0;
      made.setAttribute("aria-selected", row === chosen);
      for (const {name, write, classes} of columns) {
        const isMoney = name === "pnl" || name === "return", tone = trips.pnl[row] > 0 ? " gain" : trips.pnl[row] < 0 ? " loss" : "";
        made.append(cell(write(row), classes + (isMoney ? tone : "")));
      }
      rows.push(made);
    }
    if (last < shown.length && !isPrinting) rows.push(padding(shown.length - last));
    $("rows").replaceChildren(...rows);
    if (focused !== undefined) $("rows").querySelector(`[data-row="${focused}"]`)?.focus({preventScroll: true});
  }

  /** Show a round trip in the chart. */
  function goTo(row) {
    chosen = row;
    fill();
    if (trips.track[row] !== Panels.track()) View.setTrack(trips.track[row]);
    View.goTo(trips.entry[row], trips.exit[row], .6);
    View.read(trips.exit[row]);
    Depth.showAt(trips.entry[row]);
  }

  function onRow(event) {
    const row = event.target.closest("tr[data-row]");
    if (row) goTo(Number(row.dataset.row));
  }

  function keys(event) {
    if (event.key === "Enter") return onRow(event);
    const step = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"}[event.key];
    const next = step && event.target.closest("tr[data-row]")?.[step];
    if (!next?.dataset.row) return undefined;
    event.preventDefault();
    next.focus();
    return undefined;
  }

  function sortBy(head) {
    const column = head.dataset.column;
    // Numbers are asked for from the largest on; the order of closing from the first.
    const isRising = sorted.column === column ? !sorted.isRising : column === "number";
    sorted = {column, isRising};
    for (const other of document.querySelectorAll("th[data-column]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    arrange();
  }

  /** Make the table, if there are round trips. */
  function start(given, all) {
    if (!$("rows")) {
      if ($("find")) $("find").hidden = true;
      return;
    }
    meta = given;
    trips = all;
    const known = kinds(), heads = [...document.querySelectorAll("th[data-column]")];
    columns = heads.map(head => {
      const [key, write, kind = ""] = known[head.dataset.column];
      if (kind) head.classList.add(kind);
      return {name: head.dataset.column, key, write, classes: [head.classList.contains("wide") ? "wide" : "", kind].join(" ").trim()};
    });
    for (const head of heads) head.firstChild.addEventListener("click", () => sortBy(head));
    $("find").addEventListener("input", arrange);
    $("scroll").addEventListener("scroll", fill);
    $("rows").addEventListener("click", onRow);
    $("rows").addEventListener("keydown", keys);
    addEventListener("beforeprint", () => { isPrinting = true; fill(); });
    addEventListener("afterprint", () => { isPrinting = false; fill(); });
    heads[0].setAttribute("aria-sort", "ascending");
    arrange();
  }

  return {start, goTo};
})();
