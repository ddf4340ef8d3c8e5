"""Runs on longer candles: built of what fits, refused in one line where nothing does, known when their bars are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import DataError
from quantkit.events import Candle
from quantkit.feeds.replay import ReplayFeed
from quantkit.importers import import_files
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

SWAP = "AAA-USDT-SWAP"
META = qk.Instrument(SWAP, kind="swap", price_step="0.1", qty_step="0.001")
COLUMNS = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def hours(start: str = "2024-01-01", end: str = "2024-03-01", minute: int = 0) -> pd.DataFrame:
    """Return bars of an hour along a random path."""
    index = pd.date_range(start, end, freq="1h", inclusive="left", tz="UTC") + pd.Timedelta(minutes=minute)
    close = np.round(1000 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, len(index)))), 1)
    opened = np.r_[1000.0, close[:-1]]
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": 1.0}, index=index)


def days(bars: pd.DataFrame, opens_at: str) -> pd.DataFrame:
    """Return days that open at an hour of UTC, the whole ones."""
    return bars.resample("24h", offset=opens_at).agg(COLUMNS).iloc[1:-1]


def imported(folder: Path, **frames: pd.DataFrame) -> Path:
    """Import frames as CSV files of bars and return the data folder."""
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        frame.assign(time=frame.index.strftime("%Y-%m-%dT%H:%M:%SZ")).to_csv(path, index=False)
        steps = {"price_step": "0.1", "qty_step": "0.001"}
        import_files("candles", [path], to=folder / "data", instrument=SWAP, timezone="UTC", **steps)  # type: ignore[arg-type]
    return folder / "data"


class Reader(qk.Strategy):
    """Notes every candle, when it came, and what `history` said of its interval then."""

    interval: str = "1w"
    finer: str = ""
    warmup: int = 0

    def on_start(self) -> None:
        self.seen: list[tuple[int, Candle]] = []
        self.subscribe_candles(SWAP, self.interval, warmup=self.warmup)
        if self.finer:
            self.subscribe_candles(SWAP, self.finer)

    def on_candle(self, candle: Candle) -> None:
        self.seen.append((self.now, candle))
        assert self.history(SWAP, candle.interval, 1) == [candle]
        assert all(past.received_ns <= self.now for past in self.history(SWAP, self.interval, 50))

    def longer(self) -> list[tuple[int, float]]:
        """Return when the longer candles came, and their closes."""
        return [(now, candle.close) for now, candle in self.seen if candle.interval == self.interval]


REFUSED = f"1w of {SWAP} cannot be built from 1d that open at 16:00 UTC; import 1w, or finer candles"


@pytest.mark.parametrize(("warmup", "start"), [(0, None), (2, None), (2, "2024-02-10"), (0, "2024-02-10")])
def test_weeks_of_days_that_open_at_16_are_refused(tmp_path: Path, warmup: int, start: str | None) -> None:
    """Before the run, with and without a warm-up: no hook has been called."""
    data = imported(tmp_path, days=days(hours(), "16h"))
    strategy = Reader(warmup=warmup)
    with pytest.raises(DataError) as caught:
        qk.backtest(strategy, data=data, start=start)
    assert str(caught.value).startswith(REFUSED)
    assert strategy.seen == []


def test_weeks_of_such_days_in_a_frame_are_refused() -> None:
    """One law for frames and files."""
    with pytest.raises(DataError) as caught:
        qk.backtest(Reader(), data={SWAP: days(hours(), "16h")}, instruments=[META])
    assert str(caught.value).startswith(REFUSED)


@pytest.mark.parametrize("opens_at", ["16h", "0h"])
def test_weeks_come_of_the_hours_where_the_days_do_not_fit(tmp_path: Path, opens_at: str) -> None:
    """The same weeks at the same moments as of days on the grid, and every close had been traded by then."""
    bars = hours()
    strategy = Reader(finer="1h")
    result = qk.backtest(strategy, data=imported(tmp_path, hours=bars, days=days(bars, opens_at)))
    weeks = bars.resample("W-MON", label="left", closed="left").agg(COLUMNS)["close"]
    ends = {int(monday.value) + 7 * NS_PER_DAY: close for monday, close in weeks.items()}
    assert len(strategy.longer()) >= 7
    assert all(ends[now] == close for now, close in strategy.longer())
    assert f"{SWAP}: 1w is built from {'1h' if opens_at == '16h' else '1d'}" in result.assumptions
    source = "interval=1h" if opens_at == "16h" else "interval=1d"
    assert any(source in path for path in result.config["data_files"])


def test_days_of_hours_at_half_past_are_refused(tmp_path: Path) -> None:
    """The offset is said as it is."""
    with pytest.raises(
        DataError, match=r"1d of .* cannot be built from 1h that open 30m past a multiple of 1h; import"
    ):
        qk.backtest(Reader(interval="1d"), data=imported(tmp_path, hours=hours(minute=30)))


def test_every_stream_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """So that nobody brings what is there already."""
    bars = hours(minute=30)
    data = imported(tmp_path, hours=bars, days=days(hours(), "16h"))
    with pytest.raises(DataError, match="from 1d that open at 16:00 UTC, nor from 1h that open 30m past a mult"):
        qk.backtest(Reader(), data=data)


def minutes_with_a_shift(path: Path) -> Path:
    """Import minutes of which sixty in the middle open 14 s late, as of a known hour of an exchange's own files."""
    first = time_ns_of("2018-02-08T06:20") // NS_PER_S
    opens = [first + 60 * i for i in range(40)]
    opens += [first + 60 * 40 + 14 + 60 * i for i in range(60)]
    opens += [first + 60 * 101 + 60 * i for i in range(160)]
    rows = "".join(f"{s * 1000},{100 + i},{100.5 + i},{99.5 + i},{100 + i},1\n" for i, s in enumerate(opens))
    (path / "x.csv").write_text("open_time,open,high,low,close,volume\n" + rows)
    import_files(
        "candles", [path / "x.csv"], to=path / "data", instrument=SWAP, kind="swap", price_step="0.1", qty_step="0.1"
    )
    return path / "data"


def test_hours_of_minutes_that_open_14_s_off_are_refused(tmp_path: Path) -> None:
    """Though the first and the last bar of the file lie on the grid; a span without the odd bars can be run."""
    data = minutes_with_a_shift(tmp_path)
    with pytest.raises(DataError) as caught:
        qk.backtest(Reader(interval="1h", finer="1m"), data=data)
    assert str(caught.value) == (
        f"1h of {SWAP} cannot be built from 1m that open 14s past a multiple of 1m; import 1h, or finer candles "
        "(the first such bar opens at 2018-02-08T07:59:14Z)"
    )
    later = Reader(interval="1h", finer="1m")
    qk.backtest(later, data=data, start="2018-02-08T09:10")
    assert [now for now, _ in later.longer()] == [time_ns_of("2018-02-08T10:00")]
    with pytest.raises(DataError, match="cannot be built"):
        qk.backtest(Reader(interval="1h", warmup=2), data=data, start="2018-02-08T10:00")


def test_a_candle_of_late_bars_is_late_too(tmp_path: Path) -> None:
    """5m of minutes that came 7 s late are known 7 s late, in a run, in its warm-up and to `history`."""
    start_ns = time_ns_of("2025-05-05")
    bars = [
        Candle(SWAP, c, c + 7 * NS_PER_S, c - NS_PER_MIN, c, 100.0, 101.0, 99.0, 100.0, 1.0, "1m")
        for c in (start_ns + n * NS_PER_MIN for n in range(1, 31))
    ]
    with Writer(tmp_path / "data") as writer:
        writer.write_instrument(META)
        writer.write(Block.from_events(bars))
    for warmup in (0, 2):
        strategy = Reader(interval="5m", finer="1m", warmup=warmup)
        qk.backtest(strategy, data=tmp_path / "data")
        minutes = {candle.close_ns: now for now, candle in strategy.seen if candle.interval == "1m"}
        longer = [(now, candle) for now, candle in strategy.seen if candle.interval == "5m"]
        assert len(longer) >= 5
        for now, candle in longer:
            assert now == candle.received_ns == candle.close_ns + 7 * NS_PER_S
            assert now == minutes.get(candle.close_ns, now)


def test_finer_candles_that_do_not_reach_the_span_are_passed_over(tmp_path: Path) -> None:
    """Days of January fit nothing of March; the hours do, and what has no row decides nothing."""
    march = hours("2024-03-01", "2024-04-01")
    data = imported(tmp_path, days=days(hours(), "16h"), hours=march)
    feed = ReplayFeed(data)
    strategy = Reader()
    qk.backtest(strategy, data=feed, start="2024-03-04")
    assert len(strategy.longer()) == 4
    with pytest.raises(DataError, match=r"no data: .* runs from"):
        qk.backtest(Reader(), data=data, start="2025-03-04", end="2025-04-04")
