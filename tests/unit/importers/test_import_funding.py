"""Funding tables: settlements are taken as they are, changing rates become settlements or are refused."""

from pathlib import Path

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import Funding
from quantkit.importers import ImportReport, import_files
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.writer import Writer

SWAP = "deribit:BTC-USDT-SWAP"
START_NS = time_ns_of("2024-01-01")
HOUR_NS = 60 * NS_PER_MIN
US = 1_000


def written(folder: Path, header: str, *rows: str, **options: str) -> tuple[ImportReport, list[Funding]]:
    """Import a CSV of funding; return the report and what is stored."""
    path = folder / "funding.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    report = import_files("funding", [path], to=folder / "data", instrument=SWAP, kind="swap", quote="USDT", **options)  # type: ignore[arg-type]
    stream = Stream("funding", SWAP)
    events = read_events(Catalog(folder / "data"), [stream], 0, 2**62)
    return report, [event for event in events if isinstance(event, Funding)]


TICKER = "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,mark_price"


def told(at_ns: int, rate: float | str, due_ns: int | str, *, late_ns: int = 9 * NS_PER_MS) -> str:
    """Return a row of a derivative ticker, its stamps in microseconds."""
    due = due_ns if isinstance(due_ns, str) else due_ns // US
    return f"deribit,BTC-USDT-SWAP,{at_ns // US},{(at_ns + late_ns) // US},{due},{rate},0.9,42000.5"


def test_a_minute_by_minute_ticker_is_one_settlement(tmp_path: Path) -> None:
    """The rows end a minute before the boundary: 4.2 are charged, and not once a minute."""
    due_ns = START_NS + 8 * HOUR_NS
    rows = [told(START_NS + n * NS_PER_MIN + 101 * NS_PER_MS, 0.0001, due_ns) for n in range(1, 480)]
    report, stored = written(tmp_path, TICKER, *rows)
    assert stored == [Funding(SWAP, due_ns, due_ns, 0.0001, due_ns, True)]
    assert report.ignored == {"rates that were not the last before a settlement": 478}
    assert report.skipped == 0
    (warning,) = report.warnings
    assert "of each settlement the last one told before it was taken" in warning
    bars = "".join(f"{START_NS // NS_PER_S + 60 * n},42000,42001,41999,42000,1\n" for n in range(540))
    (tmp_path / "c.csv").write_text("time,open,high,low,close,volume\n" + bars)
    import_files(
        "candles",
        [tmp_path / "c.csv"],
        to=tmp_path / "data",
        instrument=SWAP,
        kind="swap",
        quote="USDT",
        price_step="0.5",
        qty_step="0.001",
    )
    result = qk.backtest(BuyOnce, data=tmp_path / "data", cash={"USDT": 50_000}, fees=qk.Fees(maker_bps=0, taker_bps=0))
    assert result.stats["funding_received"] == pytest.approx(-4.2, abs=1e-12)


class BuyOnce(qk.Strategy):
    """Buys one at the first candle."""

    def on_start(self) -> None:
        self.subscribe_candles(SWAP, "1m")

    def on_candle(self, candle: qk.Candle) -> None:
        if self.position(SWAP) == 0 and not self.open_orders():
            self.buy(SWAP, 1)


def test_the_last_rate_before_each_settlement_counts(tmp_path: Path) -> None:
    """Not one that is told at it for the next, nor one told after it, whatever the order of the rows."""
    first_ns, second_ns = START_NS + 8 * HOUR_NS, START_NS + 16 * HOUR_NS
    rows = [
        told(first_ns + NS_PER_S, 0.5, first_ns),
        told(first_ns - 2 * NS_PER_S, 0.0002, first_ns),
        told(first_ns, 0.0003, first_ns, late_ns=10 * NS_PER_S),
        told(first_ns - NS_PER_S, 0.0001, first_ns),
        told(first_ns, 0.0009, second_ns),
        told(second_ns - NS_PER_MIN, 0.0004, second_ns),
        told(second_ns - NS_PER_MIN, "", second_ns),
        told(second_ns - NS_PER_MIN, 0.0004, ""),
        told(second_ns + NS_PER_MIN, 0.0007, second_ns + 8 * HOUR_NS),
    ]
    report, stored = written(tmp_path, TICKER, *rows)
    # The rate of the first was received ten seconds after it was due: nobody knew it earlier.
    assert stored == [
        Funding(SWAP, first_ns, first_ns + 10 * NS_PER_S, 0.0003, first_ns, True),
        Funding(SWAP, second_ns, second_ns, 0.0004, second_ns, True),
    ]
    assert report.ignored["rows without a funding rate or the moment of its settlement"] == 2
    assert report.ignored["rates of a settlement that the rows end long before"] == 1


def test_a_settlement_told_only_afterwards_is_known_afterwards(tmp_path: Path) -> None:
    """A list whose rows are stamped when they were published."""
    due = [START_NS + n * 8 * HOUR_NS for n in (1, 2)]
    rows = [
        f"{at // NS_PER_MS},{(at + 3 * NS_PER_S) // NS_PER_MS},{rate}"
        for at, rate in zip(due, (1e-4, 2e-4), strict=True)
    ]
    _, stored = written(tmp_path, "fundingTime,ts,fundingRate", *rows)
    assert [(each.funding_ns, each.received_ns, each.rate) for each in stored] == [
        (due[0], due[0] + 3 * NS_PER_S, 1e-4),
        (due[1], due[1] + 3 * NS_PER_S, 2e-4),
    ]


def test_old_rates_are_told_and_unreached_settlements_left_out(tmp_path: Path) -> None:
    """A rate of hours before the boundary may have changed since."""
    first_ns = START_NS + 8 * HOUR_NS
    rows = [told(START_NS, 0.0001, first_ns), told(first_ns, 0.0002, first_ns + 8 * HOUR_NS)]
    report, stored = written(tmp_path, TICKER, *rows)
    assert [each.rate for each in stored] == [0.0001]
    assert any(
        "of 1 of 1 settlements was told more than 15m before, the first at 2024-01-01T08" in w for w in report.warnings
    )
    (tmp_path / "only").mkdir()
    with pytest.raises(DataError, match="no funding row to store"):
        written(tmp_path / "only", TICKER, rows[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="rows without a funding rate"):
        written(tmp_path / "empty", TICKER, told(START_NS, 0.0001, ""))


@pytest.mark.parametrize("column", ["timestamp", "time", "funding_time"])
def test_rates_minutes_apart_are_no_settlements(tmp_path: Path, column: str) -> None:
    """Without the moment of settlement there is nothing to make of them."""
    rows = [f"{(START_NS + n * NS_PER_MIN) // NS_PER_MS},0.0001" for n in range(100)]
    with pytest.raises(ConfigError, match=r"rates are 1m apart, too close for settlements: .* --column time="):
        written(tmp_path, f"{column},funding_rate", *rows)
    with pytest.raises(ConfigError, match="rates are 1m apart"):
        written(
            tmp_path,
            TICKER,
            *(told(START_NS + n * NS_PER_MIN, 1e-4, 0) for n in range(9)),
            columns={"time": "timestamp"},
        )  # type: ignore[arg-type]


def test_a_rate_beside_a_settlement_is_skipped(tmp_path: Path) -> None:
    """Hourly settlements with one that comes twice, milliseconds apart."""
    stamps = [0, 1, 2, 2.000001, 3, 4]
    rows = [f"{int(START_NS + hour * HOUR_NS) // NS_PER_MS},0.0001" for hour in stamps]
    report, stored = written(tmp_path, "calc_time,last_funding_rate", *rows)
    assert [(each.funding_ns - START_NS) / HOUR_NS for each in stored] == [0, 1, 2, 3, 4]
    assert [row.why for row in report.skipped_rows] == [
        "the rate comes 0.003s after the one before; no settlement does"
    ]


def test_data_check_names_rates_that_are_charged_too_often(tmp_path: Path) -> None:
    """However they came in: two of four rates, counted across row groups; predictions are no matter."""
    moments = [0, 60, 90, 91]
    rows = [Funding(SWAP, at, at, 1e-4, at, True) for at in (START_NS + minute * NS_PER_MIN for minute in moments)]
    rows.insert(1, Funding(SWAP, START_NS + NS_PER_MIN, START_NS + NS_PER_MIN, 1e-4, START_NS, False))
    with Writer(tmp_path, row_group_rows=2) as writer:
        writer.write(Block.from_events(rows))
    (found,) = (finding for finding in check(Catalog(tmp_path)).findings if "settlement" in finding.what)
    assert found.what == (
        f"1 settlement follows within 30m of the one before, first at {found.places[0]}; changing rates are charged "
        "as settled, import them again"
    )
    assert (found.places[0].at_ns, found.places[0].row) == (START_NS + 91 * NS_PER_MIN, 4)
