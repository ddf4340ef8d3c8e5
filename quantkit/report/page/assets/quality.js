"use strict";
/** The page of a check: its figures, one after the other. `data-state` of the root says how far it is. */
(async () => {
  const root = document.documentElement, $ = id => document.getElementById(id);
  const figures = JSON.parse($("figures").textContent);
  await Chart.load($("library").textContent);
  Chart.setNarrow(innerWidth <= 900);
  for (const [name, figure] of Object.entries(figures)) {
    await Chart.draw($("figure_" + name), Chart.build(figure));
  }
  Theme.onChange(() => Chart.theme());
  root.dataset.state = "whole";
})();
