"use strict";
/** The book's best levels with own orders in them; rows are made once and changed in place. */
const Ladder = (() => {
  const LEVELS = 12;
  const {make, say} = Parts;
  let rows = null;

  function build(element) {
    const line = kind => make("tr", {class: kind}, make("td"), make("td"), make("td"));
    const asks = Array.from({length: LEVELS}, () => line("ask")), bids = Array.from({length: LEVELS}, () => line("bid"));
    const middle = make("tr", {class: "middle"}, make("td", {colspan: 3}, make("b"), make("span")));
    const head = make("tr", {}, ...["own", "price", "size"].map(label => make("th", {scope: "col"}, label)));
    element.append(make("table", {class: "ladder"}, make("thead", {}, head), make("tbody", {}, ...asks, middle, ...bids)));
    // The best ask stands next to the middle.
    rows = {asks: asks.reverse(), bids, middle};
  }

  /** Show a book: `own` has the sizes of own orders by price, for each side. */
  function show(element, book, own, decimals, last) {
    if (!rows) build(element);
    const sizes = [...book.bids, ...book.asks].map(([, qty]) => qty), most = Math.max(...sizes, 0);
    fill(rows.asks, withOwn(book.asks, own.sell, (a, b) => a - b), own.sell, decimals, most);
    fill(rows.bids, withOwn(book.bids, own.buy, (a, b) => b - a), own.buy, decimals, most);
    const [bold, words] = rows.middle.firstChild.children;
    const [bid, ask] = [book.bids[0]?.[0], book.asks[0]?.[0]];
    say(bold, last === null ? "" : Format.number(last, decimals.price));
    const spread = ask - bid;
    say(words, bid === undefined || ask === undefined ? "one side is empty"
      : `spread ${Format.number(spread, decimals.price)}, ${Format.number(spread / ((ask + bid) / 2) * 1e4, 2)} bps`);
  }

  /** Add own orders at prices at which the book shows nobody: a paper order is in nobody's book. */
  function withOwn(levels, own, order) {
    const shown = new Set(levels.map(([price]) => price)), last = levels.length ? levels[levels.length - 1][0] : null;
    const alone = [...own.keys()].filter(price => !shown.has(price) && (last === null || order(price, last) < 0));
    return [...levels, ...alone.map(price => [price, 0])].sort(([a], [b]) => order(a, b)).slice(0, LEVELS);
  }

  function fill(side, levels, own, decimals, most) {
    for (const [place, row] of side.entries()) {
      const level = levels[place], [mine, price, size] = row.children;
      const held = level ? own.get(level[0]) ?? 0 : 0;
      row.classList.toggle("own", held > 0);
      say(mine, held > 0 ? Format.number(held, decimals.size) : "");
      say(price, level ? Format.number(level[0], decimals.price) : "");
      say(size, level && level[1] ? Format.number(level[1], decimals.size) : "");
      size.style.setProperty("--share", level && most ? `${Math.round(level[1] / most * 100)}%` : "0%");
    }
  }

  return {show};
})();
