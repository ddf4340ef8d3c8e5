"use strict";
/** Two runs side by side: numbers, what was set, assumptions, equities in one chart, the first order that differs. */
(async () => {
  const $ = id => document.getElementById(id);
  const BUCKETS = 1300;
  const {make, say, sense, cell} = Parts;
  const [a, b] = ["a", "b"].map(name => new URLSearchParams(location.search).get(name) ?? "");

  const plain = value => value === null || value === undefined ? "n/a"
    : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? shorter(value)
      : String(value).replace(/^(\d{4}-\d\d-\d\d)T([\d:.]+)Z$/, "$1 $2");

  /** Write a number with at most four decimals, thousands marked; a smaller one with its first digits. */
  function shorter(value) {
    if (Math.abs(value) >= 1e15 || (value && Math.abs(value) < 1e-6)) return value.toExponential(3);
    const most = value && Math.abs(value) < .01 ? 8 : 4;
    let digits = 0;
    while (digits < most && Math.abs(value * 10 ** digits - Math.round(value * 10 ** digits)) > 1e-7) digits++;
    return Format.number(value, digits);
  }

  function runRow(letter, run) {
    return make("tr", {}, make("td", {class: "text"}, make("b", {}, letter)), ...RunCells.of(run));
  }

  function changes(heading, found) {
    if (!found.length) return [];
    const rows = found.map(({name, a: one, b: other}) => make("tr", {}, cell(name, "text"), cell(plain(one), "text"), cell(plain(other), "text")));
    return [make("h3", {}, heading), make("table", {class: "list"}, make("tbody", {}, ...rows))];
  }

  function words(heading, found) {
    return found.length ? [make("h3", {}, heading), make("ul", {class: "plain"}, ...found.map(text => make("li", {}, text)))] : [];
  }

  function put(id, parts, none) { $(id).replaceChildren(...(parts.length ? parts : [make("p", {class: "none"}, none)])); }

  function order(found) {
    const first = found.order ?? found.fill;
    if (!first) return say($("order_words"), found.is_same_result ? "Every order and every fill is the same." : "Orders cannot be compared.");
    const kind = found.order ? "Order" : "Every order is the same; fill";
    const missing = first.a === null ? " exists in B alone" : first.b === null ? " exists in A alone" : " differs";
    say($("order_words"), `${kind} ${Format.number(first.number, 0)}, ${plain(first.at)},${missing}`);
    const changed = new Set(first.changes.map(change => change.name));
    const names = Object.keys(first.a ?? first.b);
    $("order").hidden = false;
    $("order_rows").replaceChildren(...names.map(name => make("tr", {class: changed.has(name) ? "changed" : null},
      cell(name, "text"), cell(first.a ? plain(first.a[name]) : "-", "text"), cell(first.b ? plain(first.b[name]) : "-", "text"))));
    return undefined;
  }

  function numbers(found) {
    $("no_numbers").hidden = found.length > 0;
    $("numbers").replaceChildren(...found.map(({name, a: one, b: other}) => {
      const change = typeof one === "number" && typeof other === "number" ? other - one : null;
      return make("tr", {}, cell(name, "text"), cell(plain(one)), cell(plain(other)),
        cell(change === null ? "" : (change > 0 ? "+" : "") + shorter(change), "wide"));
    }));
  }

  /** Draw both equities as change in per cent; each is cut by extremes, so that no spike is lost. */
  async function curves(found) {
    if (!found.a.is_whole || !found.b.is_whole) {
      $("no_figure").hidden = false;
      return say($("no_figure"), "Of one run only the numbers are kept; run it again with --save to keep its equity.");
    }
    const [one, other] = await Promise.all([found.a, found.b].map(run => Api.get(`/runs/${encodeURIComponent(run.id)}/equity`, {buckets: BUCKETS})));
    const made = Chart.build(await (await fetch("/assets/diff.json")).json());
    const models = kind => [...made.all_models].filter(model => model.type === kind);
    const source = Object.fromEntries(models("ColumnDataSource").map(model => [model.name, model]));
    const [figure] = models("Figure");
    source.first.data = {x: one.time_ms, y: one.change_pct};
    source.second.data = {x: other.time_ms, y: other.change_pct};
    const times = [...one.time_ms, ...other.time_ms], values = [...one.change_pct, ...other.change_pct, 0];
    const [from, to, low, high] = [Math.min(...times), Math.max(...times), Math.min(...values), Math.max(...values)];
    const margin = (high - low || 1) * .06;
    figure.x_range.setv({start: from, end: Math.max(to, from + 1)});
    figure.y_range.setv({start: low - margin, end: high + margin});
    await Chart.draw($("figure"), made);
    Theme.onChange(() => Chart.theme());
    return undefined;
  }

  let found;
  try {
    found = await Api.get("/diff", {a, b});
  } catch (error) {
    say($("told"), error.message);
    $("told").hidden = false;
    document.documentElement.dataset.state = "whole";
    return;
  }
  say($("verdict"), found.is_same_result === null ? "Two runs" : found.is_same_result ? "The same result" : "Different results");
  $("pair").hidden = false;
  $("runs").replaceChildren(runRow("A", found.a), runRow("B", found.b));
  say($("name_a"), `A, ${found.a.name}`);
  say($("name_b"), `B, ${found.b.name}`);
  $("notes").replaceChildren(...found.notes.map(text => make("p", {class: "warn"}, text)));
  order(found);
  put("inputs", [...changes("Code, by digest", found.code), ...changes("Parameters", found.parameters), ...changes("Options", found.options), ...changes("Data", found.data)], "Code, parameters, options and data are the same.");
  put("assumed", [...words("A", found.assumptions_a), ...words("B", found.assumptions_b)], "Both assumed the same.");
  $("code_card").hidden = !found.code_diff;
  $("code").textContent = found.code_diff;
  numbers(found.numbers);
  await curves(found);
  document.documentElement.dataset.state = "whole";
  $("to_live").hidden = !(await Api.get("/session")).has_live;
})();
