"""Measure what margin adds to a run of 3,900 fills: the same run without, isolated and cross, in turn."""

from functools import partial
from pathlib import Path

from market import store_candles
from measure import cpu, show, spread
from orders import Cross

import quantkit as qk

ROUNDS = 9
#: One tier without end, so that nothing but the fills decides.
_TIERS = {"BENCH-USDT": [{"max_qty": "1000000", "maintenance_rate": "0.004", "max_leverage": "100"}]}


def _run(folder: Path, margin: str) -> qk.Result:
    """Hold a coin while the fast average is above the slow one, and look at the statistics."""
    more = {"max_leverage": 10} if margin == "off" else {"margin": margin, "leverage": 10, "tiers": _TIERS}
    result = qk.backtest(Cross(), data=folder, cash={"USDT": 1_000}, fees=qk.Fees(), progress=False, **more)
    assert len(result.stats)
    return result


def bench_margin(folder: Path) -> None:
    """A crossing of two averages over 100,000 candles, to the finished result; a fill changes the bounds each time."""
    store_candles(folder / "margin", 100_000)
    modes = ("off", "isolated", "cross")
    times: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(ROUNDS):
        for mode in modes:
            times[mode].append(cpu(partial(_run, folder / "margin", mode)))
    median = {mode: spread(found) for mode, found in times.items()}
    for mode in modes:
        show(
            f"100,000 candles, cross of two averages, margin {mode}",
            f"{median[mode][0]:.3f} s",
            f"{median[mode][1]:.3f}",
        )
    for mode in modes[1:]:
        ratios = sorted(own / off for own, off in zip(times[mode], times["off"], strict=True))
        show(f"  {mode} over none", f"{ratios[len(ratios) // 2]:.3f} times", "<= 1.10")
    show("  fills", f"{len(_run(folder / 'margin', 'isolated').fills)}")
