"use strict";
/** The list of runs: searched by the server, sorted here, two of them picked to be compared. */
(async () => {
  const $ = id => document.getElementById(id);
  const PAGE = 200, PAUSE_MS = 150;
  const {make, say} = Parts;
  const COLUMNS = [
    ["", null, null],
    ["Run", run => run.name, "text"],
    ["Span", run => run.start, "wide text"],
    ["Return", run => run.stats.return_pct, null],
    ["Sharpe", run => run.stats.sharpe_ratio, null],
    ["Drawdown", run => run.stats.max_drawdown, null],
    ["Trips", run => run.stats.trades, "wide"],
    ["When", run => run.at, "wide"],
    ["Hash", run => run.hash, "wide"],
  ];
  const picked = new Set();
  let runs = [], total = 0, sorted = null, isDown = true, asked = 0;

  /** Ask for the runs of a search; an answer that a later one overtook is dropped. */
  async function load(isMore = false) {
    const turn = ++asked;
    let found;
    try {
      found = await Api.get("/runs", {search: $("find").value, limit: PAGE, offset: isMore ? runs.length : 0});
    } catch (error) {
      found = {total: 0, runs: [], notes: [error.message]};
    }
    if (turn !== asked) return;
    runs = isMore ? [...runs, ...found.runs] : found.runs;
    total = found.total;
    $("notes").hidden = !found.notes.length;
    say($("notes"), found.notes.join(" "));
    show();
  }

  function show() {
    const value = sorted === null ? null : COLUMNS[sorted][1];
    const order = value ? [...runs].sort((a, b) => compare(value(a), value(b)) * (isDown ? -1 : 1)) : runs;
    $("rows").replaceChildren(...order.map(row));
    say($("count"), total === 1 ? "1 run" : `${Format.number(total, 0)} runs`);
    $("more").hidden = runs.length >= total;
    $("none").hidden = total > 0;
    say($("none"), $("find").value ? "No run has all these words." : "No run yet: quantkit backtest leaves one here.");
    for (const [place, head] of [...$("heads").children].entries()) {
      head.setAttribute("aria-sort", place !== sorted ? "none" : isDown ? "descending" : "ascending");
    }
  }

  /** Compare values; what is missing comes last in both directions. */
  function compare(a, b) {
    const [hasA, hasB] = [a ?? "" , b ?? ""].map(value => value !== "");
    if (!hasA || !hasB) return (hasA - hasB) * (isDown ? 1 : -1);
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function row(run) {
    const box = make("input", {type: "checkbox", "aria-label": "Pick to compare"});
    box.checked = picked.has(run.id);
    box.disabled = !run.is_whole;
    box.addEventListener("change", () => pick(run.id, box.checked));
    return make("tr", {}, make("td", {}, box), ...RunCells.of(run));
  }

  function pick(id, isPicked) {
    if (isPicked) picked.add(id); else picked.delete(id);
    while (picked.size > 2) picked.delete(picked.values().next().value);
    $("compare").disabled = picked.size !== 2;
    say($("compare"), picked.size === 2 ? "Compare" : "Pick two to compare");
    show();
  }

  function heads() {
    $("heads").replaceChildren(...COLUMNS.map(([label, value, kind], place) => {
      const head = make("th", {class: kind, scope: "col"});
      if (!value) return head;
      const button = make("button", {}, label);
      button.addEventListener("click", () => {
        [isDown, sorted] = [sorted === place ? !isDown : true, place];
        show();
      });
      head.append(button);
      return head;
    }));
  }

  let pause = 0;
  $("find").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(load, PAUSE_MS); });
  $("more").addEventListener("click", () => load(true));
  $("compare").addEventListener("click", () => {
    const [a, b] = picked;
    location.assign("/diff?" + new URLSearchParams({a, b}));
  });
  heads();
  await load();
  document.documentElement.dataset.state = "whole";
  $("to_live").hidden = !(await Api.get("/session")).has_live;
})();
