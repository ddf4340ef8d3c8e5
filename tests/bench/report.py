"""Measure the page of a run: its size, what it costs to build, and what a browser takes until it shows."""

import os
import statistics
from functools import partial
from pathlib import Path

import market
from market import INSTRUMENT
from measure import cpu, show

import quantkit as qk
from quantkit.indicators import Sma
from quantkit.report.page.page import render
from quantkit.report.result import Result

YEAR_ROWS, MONTH_ROWS = 525_600, 43_200
ROUNDS = 5
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


class Crossing(qk.Strategy):
    """Holds while the fast average of minutes is above the slow one: about 10,000 fills a year."""

    fast: int = 16
    slow: int = 64

    def on_start(self) -> None:
        self.subscribe_candles(INSTRUMENT.id, "1m")
        self.fast_ma, self.slow_ma = Sma(self.fast), Sma(self.slow)

    def on_candle(self, candle: qk.Candle) -> None:
        fast, slow = self.fast_ma.update(candle.close), self.slow_ma.update(candle.close)
        if self.slow_ma.is_ready:
            self.target(candle.instrument, 0.01 if fast > slow else 0.0)


def run_of(folder: Path, rows: int, strategy: qk.Strategy | None = None) -> Result:
    """Run a strategy over generated minutes, the same ones each time."""
    market.store_candles(folder, rows)
    return qk.backtest(strategy or Crossing(), data=folder, cash={"USDT": 10_000})


def bench_report(folder: Path) -> None:
    """A month and a year of minutes."""
    for name, rows, strategy, most in (
        ("month", MONTH_ROWS, Crossing(fast=600, slow=2_400), 1.2),
        ("year", YEAR_ROWS, None, 6.0),
    ):
        result = run_of(folder / name, rows, strategy)
        assert result.hash  # the command has it before it writes the page, and the statistics
        assert result.numbers
        fills = len(result.outcome.fills)
        page = render(result)
        path = folder / f"{name}.html"
        path.write_bytes(page)
        show(f"report, {name} of 1m, {fills:,} fills, size", f"{len(page) / 1e6:.2f} MB", f"<= {most} MB")
        times = [cpu(partial(render, result)) for _ in range(ROUNDS)]
        show("  built, CPU", f"{statistics.median(times):.2f} s", "<= 3 s")
        browse(path)


def browse(path: Path) -> None:
    """Open a page in Chromium several times, each in a new profile."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        show("  in a browser", "no playwright")
        return
    found: dict[str, list[float]] = {}
    with sync_playwright() as driver:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for _ in range(ROUNDS):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            session = context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})  # the CPU of the page's main thread
            page.goto(path.as_uri(), wait_until="commit")
            page.locator("html[data-state=drawn], html[data-state=whole]").wait_for(state="attached", timeout=60_000)
            metrics = session.send("Performance.getMetrics")["metrics"]
            busy = next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
            found.setdefault("busy", []).append(busy)
            page.locator("html[data-state=whole]").wait_for(state="attached", timeout=60_000)
            for name, value in page.evaluate(_READ).items():
                found.setdefault(name, []).append(value)
            found.setdefault("pan", []).append(page.evaluate(_PAN))
            context.close()
        browser.close()
    for key, what, target in (
        ("paint", "header and numbers painted, wall", "<= 0.4 s"),
        ("drawn", "charts painted, wall", "<= 1 s"),
        ("busy", "CPU of the main thread until then", "<= 1 s"),
        ("whole", "every row at hand, wall", "<= 3 s"),
        ("pan", "a frame while panning", "<= 0.05 s"),
    ):
        show(f"  {what}", f"{statistics.median(found[key]):.2f} s", target)
        show("    the best round", f"{min(found[key]):.2f} s")


_READ = """() => {
  const at = name => performance.getEntriesByName(name)[0].startTime / 1000;
  return {paint: at("first-contentful-paint"), drawn: at("drawn"), whole: at("whole")};
}"""
_PAN = """async () => {
  const {begin} = Source.block("meta"), frame = () => new Promise(done => requestAnimationFrame(done)), frames = 20;
  View.set(begin + 1e6, begin + 4e8);
  await frame();
  await frame();
  const started = performance.now();
  for (let i = 0; i < frames; i++) {
    const [from, to] = Chart.getView();
    View.set(from + 1e6, to + 1e6);
    await frame();
  }
  await frame();
  return (performance.now() - started) / 1000 / (frames + 1);
}"""
