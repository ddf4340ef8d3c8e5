"use strict";
/** The page's start: the first picture from little, then everything else. `data-state` of the root says how far it is. */
(async () => {
  const $ = id => document.getElementById(id), root = document.documentElement;
  const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const mark = state => { root.dataset.state = state; performance.mark(state); };
  const meta = Source.block("meta"), figures = Source.block("figures");
  const parsed = () => new Promise(done => {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", done); else done();
  });
  const library = $("library") ? Chart.load($("library").textContent) : null;

  await Promise.all([library, Panels.load(meta, Source.block("first"))]);
  mark("loaded");
  const panels = Chart.buildPanels(figures.panels, innerWidth <= 900);
  View.start(meta);
  Panels.resize($("stack").clientWidth);
  Panels.chooseHold();
  View.refresh();
  await Chart.draw($("figure_panels"), panels);
  label();
  await painted();
  mark("drawn");

  Theme.onChange(() => Chart.repaint());
  Chart.onView(View.moved);
  // It comes last in the page, so that the first picture does not wait for it.
  await parsed();
  const rest = Source.block("rest");
  await Panels.loadRest(rest);
  View.listen(Source.open(meta, rest));
  Trips.start(meta, Panels.trips());
  await Depth.start(meta, rest);
  await View.setTrack(0);
  for (const name of Object.keys(figures)) {
    if (name !== "panels") await Chart.draw($("figure_" + name), Chart.build(figures[name]));
  }
  await painted();
  mark("whole");

  /** Put the words of each panel at its top. */
  function label() {
    let top = 4;
    for (const name of Chart.PANELS) {
      $("label_" + name).style.top = top + "px";
      top += Chart.height(name);
    }
  }
})();
