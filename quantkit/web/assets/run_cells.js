"use strict";
/** A run as cells of a table: its name with what it is and its parameters, span, main numbers, moment, hash. */
const RunCells = (() => {
  const {make, sense, cell} = Parts;
  const either = (value, write) => value === null || value === undefined ? "n/a" : write(value);
  const plain = value => typeof value === "object" ? JSON.stringify(value) : String(value);
  const day = moment => moment.slice(0, 10);

  /** Return the cells of a run, in the order of the heads Run, Span, Return, Sharpe, Drawdown, Trips, When, Hash. */
  function of(run) {
    const {stats} = run;
    const title = run.is_whole ? make("a", {href: "/runs/" + encodeURIComponent(run.id)}, run.name) : make("b", {}, run.name);
    const words = Object.entries(run.parameters).map(([name, value]) => `${name}=${plain(value)}`).join(" ");
    const tags = [
      run.kind === "live" ? make("span", {class: "tag"}, "live") : "",
      run.state === "finished" ? "" : make("span", {class: run.state === "running" ? "tag" : "tag bad", title: run.note}, run.state),
    ];
    return [
      make("td", {class: "text"}, make("bdi", {}, title), " ", ...tags, make("small", {class: "mono"}, words)),
      cell(!run.start ? "" : run.end ? `${day(run.start)} to ${day(run.end)}` : `from ${day(run.start)}`, "wide text"),
      cell(either(stats.return_pct, value => Format.signed(value) + " %"), sense(stats.return_pct)),
      cell(either(stats.sharpe_ratio, Format.signed)),
      cell(either(stats.max_drawdown, value => Format.signed(100 * value) + " %")),
      cell(either(stats.trades, value => Format.number(value, 0)), "wide"),
      cell(run.at.slice(0, 16).replace("T", " "), "wide"),
      make("td", {class: "wide"}, make("code", {title: run.hash}, run.hash.slice(0, 10))),
    ];
  }

  return {of};
})();
