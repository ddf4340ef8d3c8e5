"use strict";
/** The span of time in view: buttons, keys, wheel, the bar below, and the readout line. */
const View = (() => {
  const $ = id => document.getElementById(id);
  const MARGIN = .02;
  let meta, source, isQueued = false, isAsking = false, drag = null;

  const whole = () => Math.max(1, meta.end - meta.begin) * (1 + 2 * MARGIN);

  function start(given) {
    meta = given;
    const margin = Math.max(1, meta.end - meta.begin) * MARGIN;
    Chart.setView(meta.begin - margin, meta.end + margin);
  }

  function set(from, to) { Chart.setView(from, to); }

  /** Keep the view inside the run, and not shorter than twelve rows. */
  function clamp() {
    let [from, to] = Chart.getView();
    const span = Math.min(Math.max(to - from, Panels.least()), whole());
    if (span !== to - from) {
      const middle = (from + to) / 2;
      from = middle - span / 2;
      to = middle + span / 2;
    }
    const margin = span * MARGIN;
    if (from < meta.begin - margin) [from, to] = [meta.begin - margin, meta.begin - margin + span];
    if (to > meta.end + margin) [from, to] = [meta.end + margin - span, meta.end + margin];
    const [oldFrom, oldTo] = Chart.getView();
    if (from !== oldFrom || to !== oldTo) Chart.setView(from, to);
  }

  /** Draw the view; the promise ends once the finest rows that it needs are there. */
  function refresh() {
    clamp();
    const [from, to] = Chart.getView();
    Panels.show(from, to);
    place(from, to);
    return source ? refine(from, to) : null;
  }

  function moved() {
    if (isQueued) return;
    isQueued = true;
    requestAnimationFrame(() => { isQueued = false; refresh(); });
  }

  /** Ask for finer rows where they would show more; the latest view wins. */
  async function refine(from, to) {
    if (isAsking || !Panels.wants(from, to)) return undefined;
    const track = Panels.track(), span = to - from;
    isAsking = true;
    const found = await source(track, from - span, to + span, 4 * $("stack").clientWidth);
    isAsking = false;
    if (!found) return undefined;
    Panels.refine(track, found);
    read(meta.end);
    return refresh();
  }

  /** Show where the view is in the run, and which button it equals. */
  function place(from, to) {
    const run = Math.max(1, meta.end - meta.begin), bar = $("where");
    bar.style.left = Math.max(0, (from - meta.begin) / run * 100) + "%";
    bar.style.right = Math.max(0, (meta.end - to) / run * 100) + "%";
    for (const button of document.querySelectorAll("[data-span]")) {
      const span = button.dataset.span === "all" ? whole() : Number(button.dataset.span);
      button.setAttribute("aria-pressed", Math.abs((to - from) / span - 1) < .02);
    }
  }

  function read(moment) {
    $("readout").replaceChildren(...Panels.read(moment).map(([label, value]) => {
      const part = document.createElement("span"), strong = document.createElement("b");
      strong.textContent = value;
      part.append(label && label + " ", strong);
      return part;
    }));
  }

  /** Bring the chart into the window, if it is not there. */
  function reveal() {
    const top = $("chart").getBoundingClientRect().top;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (top < 0 || top > innerHeight * .6) $("chart").scrollIntoView({behavior: isCalm ? "auto" : "smooth"});
  }

  /** Go to a span with room on both sides. */
  function goTo(from, to, room) {
    const least = Panels.least() * 1.5, length = Math.max(to - from, least), middle = (from + to) / 2;
    set(middle - length * (.5 + room), middle + length * (.5 + room));
    reveal();
  }

  function keys(event) {
    if (event.key === "Escape") return takeWheel(false);
    const [from, to] = Chart.getView(), span = to - from, middle = (from + to) / 2;
    const moves = {ArrowLeft: [-.2, 1], ArrowRight: [.2, 1], "+": [0, .6], "=": [0, .6], "-": [0, 1.6]};
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || !$("stack").contains(document.activeElement)) return undefined;
    event.preventDefault();
    const [shift, scale] = move, centre = middle + shift * span;
    return set(centre - span * scale / 2, centre + span * scale / 2);
  }

  function takeWheel(isTaken) {
    Chart.takeWheel(isTaken);
    $("hint").textContent = isTaken ? "The wheel zooms; Esc gives it back to the page"
      : "Drag to pan; click the chart and the wheel zooms";
  }

  function dragBar() {
    const bar = $("where");
    bar.addEventListener("pointerdown", event => {
      drag = {x: event.clientX, view: Chart.getView()};
      bar.setPointerCapture(event.pointerId);
    });
    bar.addEventListener("pointermove", event => {
      if (!drag) return;
      const shift = (event.clientX - drag.x) / bar.parentNode.clientWidth * (meta.end - meta.begin);
      set(drag.view[0] + shift, drag.view[1] + shift);
    });
    bar.addEventListener("pointerup", () => { drag = null; });
  }

  function spans() {
    for (const button of document.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => {
        if (button.dataset.span === "all") return start(meta);
        const [from, to] = Chart.getView(), middle = (from + to) / 2, half = Number(button.dataset.span) / 2;
        return set(middle - half, middle + half);
      });
    }
  }

  function tabs() {
    const buttons = [...document.querySelectorAll("[data-track]")];
    const choose = button => {
      setTrack(Number(button.dataset.track));
      button.focus();
    };
    for (const [place, button] of buttons.entries()) {
      button.addEventListener("click", () => choose(button));
      button.addEventListener("keydown", event => {
        const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
        if (step) choose(buttons[(place + step + buttons.length) % buttons.length]);
      });
    }
  }

  /** Show another instrument in the price and position panels. */
  function setTrack(track) {
    Panels.setTrack(track);
    Depth.hide();
    for (const button of document.querySelectorAll("[data-track]")) {
      const isChosen = Number(button.dataset.track) === track;
      button.setAttribute("aria-selected", isChosen);
      button.tabIndex = isChosen ? 0 : -1;
    }
    read(meta.end);
    return refresh();
  }

  /** Let the reader move; `finer` is the page's source of rows. */
  function listen(finer) {
    source = finer;
    Chart.onHover(read);
    $("stack").addEventListener("pointerdown", () => takeWheel(true));
    document.addEventListener("pointerdown", event => { if (!$("stack").contains(event.target)) takeWheel(false); });
    document.addEventListener("keydown", keys);
    $("hold").addEventListener("click", () => { Panels.setHold(!Panels.isHoldShown()); refresh(); });
    for (const row of document.querySelectorAll("tr[data-from]")) {
      const go = () => goTo(Number(row.dataset.from), Number(row.dataset.to), .15);
      row.addEventListener("click", go);
      row.addEventListener("keydown", event => { if (event.key === "Enter") go(); });
    }
    spans();
    tabs();
    dragBar();
    new ResizeObserver(() => { Panels.resize($("stack").clientWidth); moved(); }).observe($("stack"));
  }

  return {start, refresh, moved, read, goTo, setTrack, listen, set};
})();
