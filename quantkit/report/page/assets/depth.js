"use strict";
/** The book as it stood just before a chosen fill: bids and asks, best in the middle, the fill's own price marked. */
const Depth = (() => {
  const $ = id => document.getElementById(id);
  let meta, tracks = [], chosen = null;

  async function start(given, rest) {
    meta = given;
    tracks = await Promise.all(rest.tracks.map(async ({books}) => books
      ? {...await Columns.unpackAll(books.columns), words: books.words, levels: meta.levels} : null));
    if (!tracks.some(each => each)) return;
    $("fill_before").addEventListener("click", () => step(-1));
    $("fill_after").addEventListener("click", () => step(1));
    Chart.onTap(pick);
  }

  /** Choose the fill nearest to a point of the price panel, if one is close. */
  function pick(moment, price) {
    const books = tracks[Panels.track()], fills = Panels.fills();
    if (!books) return;
    const near = Chart.distance(moment, price);
    let best = -1, least = 14;
    books.fill.forEach((fill, place) => {
      const pixels = near(fills.t[fill], fills.price[fill]);
      if (pixels < least) [best, least] = [place, pixels];
    });
    if (best >= 0) show(best);
  }

  /** Show the book of the first fill at or after a moment, as of a round trip's entry. */
  function showAt(moment) {
    const books = tracks[Panels.track()], fills = Panels.fills();
    if (!books) return hide();
    const place = books.fill.findIndex(fill => fills.t[fill] >= moment);
    return place < 0 ? hide() : show(place);
  }

  function hide() { $("depth").hidden = true; }

  function step(by) {
    const books = tracks[Panels.track()];
    if (books) show((chosen + by + books.fill.length) % books.fill.length);
  }

  function show(place) {
    const books = tracks[Panels.track()], fills = Panels.fills(), own = meta.tracks[Panels.track()];
    const fill = books.fill[place], price = fills.price[fill], isBuy = fills.buy[fill] === 1;
    chosen = place;
    const size = Format.number(books.qty[place], own.qty_decimals);
    $("fill_words").textContent = `${isBuy ? "Buy" : "Sell"} ${size} at ${Format.number(price, own.price_decimals)}, `
      + `${Format.moment(fills.t[fill], true)} UTC; ${books.words[books.word[place]]}`;
    const sides = ["bid", "ask"].map(side => levels(books, side, place));
    const most = Math.max(...sides.flat().map(([, qty]) => qty));
    for (const [i, side] of ["bid", "ask"].entries()) {
      $(`depth_${side}`).replaceChildren(...sides[i].map(level => row(level, own, most, price, side)));
    }
    $("depth").hidden = false;
  }

  /** Return price and size of each level that was there, best first. */
  function levels(books, side, place) {
    const out = [], count = meta.levels;
    for (let i = place * count; i < (place + 1) * count; i++) {
      const qty = books[`${side}_qty`][i];
      if (qty > 0) out.push([books[`${side}_price`][i], qty]);
    }
    return out;
  }

  function row([price, qty], own, most, fillPrice, side) {
    const made = document.createElement("tr"), cells = [price, qty].map(() => document.createElement("td"));
    const bar = document.createElement("i");
    cells[0].textContent = Format.number(price, own.price_decimals);
    cells[1].textContent = Format.number(qty, own.qty_decimals);
    bar.style.width = `${qty / most * 100}%`;
    cells[1].append(bar);
    if (price === fillPrice) made.className = "own";
    made.append(...(side === "bid" ? cells.reverse() : cells));
    return made;
  }

  return {start, showAt, hide};
})();
