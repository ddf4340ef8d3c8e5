"""The slow oracle and the engine on recorded markets: the same orders, fills and money."""

from pathlib import Path
from typing import Any

import pytest
from oracle.engine import Oracle, OracleConfig
from oracle.scripted import fill_text, money_text

from quantkit.clock import NS_PER_S
from quantkit.feeds.replay import ReplayFeed
from quantkit.fees import Fees
from quantkit.loading import load_strategy
from quantkit.options import RunOptions
from quantkit.rows.columns import Stream
from quantkit.simulated import simulated_run
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
BTC = "binance:BTC-USDT-SWAP"

CASES: list[tuple[str, str, str, int, dict[str, float], dict[str, Any]]] = [
    ("quoter", BTC, "book", 8, {"USDT": 10_000.0}, {"half_spread_bps": 0.3}),
    ("quoter", BTC, "ticker", 8, {"USDT": 10_000.0}, {"half_spread_bps": 0.3}),
    ("imbalance", BTC, "book", 8, {"USDT": 10_000.0}, {"flow_window": 20, "book_threshold": 0.2}),
    ("imbalance", BTC, "trade", 8, {"USDT": 10_000.0}, {"flow_window": 20, "book_threshold": 0.2}),
    ("quoter", "UNI-USD-SWAP", "book", 29, {"UNI": 500.0}, {"qty": 10.0, "max_position": 50.0, "half_spread_bps": 3.0}),
    ("quoter", "ELON-USDT", "book", 29, {"USDT": 5_000.0, "ELON": 5e9}, {"qty": 1e8, "max_position": 1e9}),
]


@pytest.mark.parametrize(("name", "instrument", "kind", "seconds", "cash", "params"), CASES)
def test_a_recorded_market_gives_the_same_run(
    name: str, instrument: str, kind: str, seconds: int, cash: dict[str, float], params: dict[str, Any]
) -> None:
    """Row by row without columns or gates, and with search on and off."""
    catalog = Catalog(ROOT / "data")
    metadata = catalog.instruments()[instrument]
    streams = [stream for stream in catalog.coverage() if stream.instrument == instrument and stream.kind != "candle"]
    start_ns = max(catalog.coverage()[Stream(one, instrument)].start_ns for one in (kind, "book"))
    end_ns = start_ns + seconds * NS_PER_S
    fees = {instrument: Fees.preset_for(metadata)}
    kind_of = load_strategy(str(ROOT / "strategies" / f"{name}.py"))

    events = list(read_events(catalog, streams, start_ns, end_ns))
    oracle = Oracle(
        events,
        [metadata],
        kind_of(instrument=instrument, **params),
        OracleConfig(
            cash=cash,
            match_on={instrument: kind},
            fees=fees,
            start_ns=start_ns,
            end_ns=end_ns,
            venue_rules="off" if ":" in instrument else "okx",
        ),
    ).run()
    assert len(oracle.orders) > 0
    for search in (True, False):
        config = RunOptions(
            cash=dict(cash), match_on={instrument: kind}, fees=fees, start_ns=start_ns, end_ns=end_ns, search=search
        )
        outcome = simulated_run(ReplayFeed(catalog), kind_of(instrument=instrument, **params), config).run()
        told = [(e.order_id, e.at_ns, e.reported_ns, e.state, e.reason) for e in outcome.order_events]
        assert told == oracle.order_events
        assert [fill_text(fill) for fill in outcome.fills] == [fill_text(fill) for fill in oracle.fills]
        assert money_text(outcome.cash) == money_text(oracle.account.cash)
        curve = outcome.curve
        columns = (curve.time_ns, curve.equity, curve.cash, curve.exposure, curve.drawdown, curve.is_grid)
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == oracle.curve
