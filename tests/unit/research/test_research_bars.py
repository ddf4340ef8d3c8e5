"""Candles from trades against a slow and plain count: by time, volume, trades and money, in exact numbers."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import Gap
from quantkit.instruments import Instrument
from quantkit.research.bars import size_bars, time_bars
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Block, Stream
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-01")
SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", quote="USDT", price_step="0.1", qty_step="0.1", contract_value="0.01")
INVERSE = Instrument(
    "BTC-USD-SWAP", kind="swap", quote="USD", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True
)


class Print(NamedTuple):
    """A trade in whole steps."""

    wait_s: int
    delay_ns: int
    ticks: int
    lots: int


PRINTS = st.lists(
    st.builds(Print, st.integers(0, 90), st.integers(0, 3_000), st.integers(1, 40), st.integers(1, 30)),
    min_size=1,
    max_size=60,
)


def blocks(prints: Sequence[Print], instrument: Instrument, rows: int) -> Iterator[Block]:
    """The trades in blocks of some rows."""
    exchange = START_NS + NS_PER_S * np.cumsum([each.wait_s for each in prints])
    columns = {
        "exchange_ns": exchange,
        # Receipts in order, though a trade's stamp may be older than the one before it.
        "received_ns": np.maximum.accumulate(exchange + np.array([each.delay_ns for each in prints])),
        "price": np.array([instrument.price(each.ticks) for each in prints]),
        "qty": np.array([instrument.qty(each.lots) for each in prints]),
    }
    whole = Block(Stream("trade", instrument.id), len(prints), columns)
    for begin in range(0, len(prints), rows):
        yield whole.slice(begin, min(begin + rows, len(prints)))


def joined(parts: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bars as records."""
    bars = []
    for part in parts:
        names = list(part)
        bars += [
            dict(zip(names, row, strict=True)) for row in zip(*(part[name].tolist() for name in names), strict=True)
        ]
    return bars


def bar(prints: Sequence[tuple[int, int, Print]], instrument: Instrument) -> dict[str, Any]:
    """A bar of prints, counted plainly; each with its receipt and its stamp."""
    ticks = [each.ticks for _, _, each in prints]
    return {
        "open": instrument.price(ticks[0]),
        "high": instrument.price(max(ticks)),
        "low": instrument.price(min(ticks)),
        "close": instrument.price(ticks[-1]),
        "volume": float(instrument.qty_decimal(sum(each.lots for _, _, each in prints))),
        "trades": len(prints),
    }


def stamped(prints: Sequence[Print]) -> list[tuple[int, int, Print]]:
    found, exchange_ns, received_ns = [], START_NS, 0
    for each in prints:
        exchange_ns += each.wait_s * NS_PER_S
        received_ns = max(received_ns, exchange_ns + each.delay_ns)
        found.append((received_ns, exchange_ns, each))
    return found


@settings(deadline=None)
@given(
    PRINTS, st.integers(1, 20), st.sampled_from([SPOT, SWAP, INVERSE]), st.integers(1, 60), st.sampled_from([*"vtd"])
)
def test_bars_of_size_are_those_of_a_plain_count(
    prints: list[Print], rows: int, instrument: Instrument, size: int, unit: str
) -> None:
    """However the trades are cut into blocks."""
    worth = Fraction(instrument.unit)

    def adds(each: Print) -> Fraction:
        if unit == "t":
            return Fraction(1)
        qty = Fraction(instrument.qty_decimal(each.lots))
        if unit == "v":
            return qty
        return qty * worth * (1 if instrument.is_inverse else Fraction(instrument.price_decimal(each.ticks)))

    scale = {"t": 1, "v": Fraction(instrument.qty_step), "d": Fraction(instrument.qty_step) * worth}[unit]
    wanted = Decimal(size) if unit == "t" else Decimal((size * scale).numerator) / (size * scale).denominator
    expected, held, total = [], [], Fraction(0)
    for each in stamped(prints):
        held.append(each)
        total += adds(each[2])
        if total >= Fraction(wanted):
            stamps = {"received_ns": held[-1][0], "open_ns": held[0][1], "close_ns": held[-1][1]}
            expected.append({**bar(held, instrument), **stamps})
            held, total = [], Fraction(0)
    name = {"v": "volume", "t": "ticks", "d": "dollars"}[unit]
    assert joined(size_bars(blocks(prints, instrument, rows), instrument, unit=name, size=wanted)) == expected


@settings(deadline=None)
@given(PRINTS, st.integers(1, 20), st.sampled_from(["1m", "5m", "1w"]))
def test_bars_of_time_are_those_of_a_plain_count(prints: list[Print], rows: int, interval: str) -> None:
    from quantkit.clock import bar_open_ns, interval_ns

    held: dict[int, list[tuple[int, int, Print]]] = {}
    for each in stamped(prints):
        held.setdefault(bar_open_ns(each[1], interval), []).append(each)
    expected = []
    for open_ns, inside in held.items():
        close_ns = open_ns + interval_ns(interval)
        received_ns = max(close_ns, *(received for received, _, _ in inside))
        expected.append({**bar(inside, SPOT), "received_ns": received_ns, "open_ns": open_ns, "close_ns": close_ns})
    assert joined(time_bars(blocks(prints, SPOT, rows), SPOT, interval)) == expected


def test_a_trade_that_came_late_is_in_its_candle() -> None:
    """It is taken by the exchange's stamp, and the order of stamps tells the close."""
    columns = {
        "exchange_ns": np.array([10, 59, 61, 58]) * NS_PER_S + START_NS,
        "received_ns": np.array([11, 60, 62, 63]) * NS_PER_S + START_NS,
        "price": np.array([1.0, 2.0, 3.0, 4.0]),
        "qty": np.ones(4),
    }
    first, second = joined(time_bars(iter([Block(Stream("trade", SPOT.id), 4, columns)]), SPOT, "1m"))
    assert (first["trades"], first["close"], first["high"]) == (3, 2.0, 4.0)
    assert first["received_ns"] == START_NS + 63 * NS_PER_S
    assert second["open"] == 3.0


def test_sums_are_exact_where_floats_are_not() -> None:
    """Ten times 0.1 is 1, and money beyond 64 bits is money."""
    prints = [Print(1, 0, 10, 1)] * 10
    coarse = Instrument("A-B", price_step="1", qty_step="0.1")
    (only,) = joined(size_bars(blocks(prints, coarse, 100), coarse, unit="volume", size=1.0))
    assert (only["trades"], only["volume"]) == (10, 1.0)
    fine = Instrument("C-D", price_step="0.00000001", qty_step="0.00000001")
    dear = [Print(1, 0, 10**15, 10**9)] * 8
    (first, second) = joined(size_bars(blocks(dear, fine, 3), fine, unit="dollars", size=Decimal(4 * 10**8)))
    assert (first["trades"], second["trades"]) == (4, 4)


def test_sizes_off_the_stated_step_are_counted_in_a_finer_one() -> None:
    """The data are right, the metadata are not."""
    wrong = Instrument("A-B", price_step="1", qty_step="1")
    columns = {
        "exchange_ns": START_NS + np.arange(4),
        "received_ns": START_NS + np.arange(4),
        "price": np.ones(4),
        "qty": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    (only,) = joined(size_bars(iter([Block(Stream("trade", "A-B"), 4, columns)]), wrong, unit="volume", size=1))
    assert only["volume"] == 1.0
    columns["qty"] = np.array([0.1, np.pi, 0.3, 0.4])
    with pytest.raises(qk.DataError, match="A-B: sizes of trades are on no step down to"):
        joined(size_bars(iter([Block(Stream("trade", "A-B"), 4, columns)]), wrong, unit="volume", size=1))


@pytest.mark.parametrize("given_", [{"volume": 0}, {"dollars": -1.0}, {"ticks": 1.5}, {"volume": float("inf")}])
def test_a_size_that_is_none_is_refused(given_: dict[str, Any], tmp_path: Path) -> None:
    stored(tmp_path)
    with pytest.raises(qk.ConfigError, match=f"{next(iter(given_))}="):
        Catalog(tmp_path).candles(SPOT.id, **given_).arrow()


def stored(root: Path, *, gap_s: tuple[int, int] | None = None) -> Catalog:
    """Ten minutes of trades, one a second, in small row groups."""
    seconds = np.arange(30, 600)
    stamps = START_NS + seconds * NS_PER_S
    columns = {
        "exchange_ns": stamps,
        "received_ns": stamps + 1_000,
        "price": 100.0 + seconds % 7 / 10,
        "qty": 0.001 * (1 + seconds % 3),
        "side": (seconds % 2).astype(np.int8),
        "trade_id": seconds,
    }
    with Writer(root, row_group_rows=64) as writer:
        writer.write_instrument(SPOT)
        writer.write(Block(Stream("trade", SPOT.id), len(seconds), columns))
        if gap_s is not None:
            begin, end = (START_NS + second * NS_PER_S for second in gap_s)
            writer.write(Block.from_events([Gap(SPOT.id, end, end, "trades", begin, end, "connection")]))
    return Catalog(root)


def test_candles_that_are_not_whole_are_left_out(tmp_path: Path) -> None:
    """The first begins before the data and the last ends after them."""
    frame = stored(tmp_path).candles(SPOT.id, interval="1m").pandas()
    assert [stamp.minute for stamp in frame.index] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert frame["trades"].tolist() == [60] * 8
    assert frame["volume"].tolist() == [0.12] * 8
    assert not frame["has_gap"].any()
    within = Catalog(tmp_path).candles(SPOT.id, "2026-01-01T00:03", "2026-01-01T00:05", interval="1m").pandas()
    assert within.equals(frame.loc["2026-01-01T00:03":"2026-01-01T00:04:59"])


def test_a_candle_over_lost_trades_says_so(tmp_path: Path) -> None:
    catalog = stored(tmp_path, gap_s=(130, 190))
    frame = catalog.candles(SPOT.id, interval="1m").pandas()
    assert [stamp.minute for stamp in frame.index[frame["has_gap"]]] == [2, 3]
    assert catalog.candles(SPOT.id, ticks=50).pandas()["has_gap"].tolist() == [False, False, True, True, *[False] * 7]


def test_no_trades_are_no_candles(tmp_path: Path) -> None:
    catalog = stored(tmp_path)
    for chosen in ({"interval": "1m"}, {"ticks": 10}):
        frame = catalog.candles(SPOT.id, "2027-01-01", **chosen).pandas()
        assert (len(frame), frame.index.dtype) == (0, "datetime64[ns, UTC]")


def test_candles_from_trades_are_those_that_the_exchange_made(tmp_path: Path) -> None:
    """`from_trades` builds them where they are stored, to compare; the same span, the same numbers."""
    made = stored(tmp_path).candles(SPOT.id, interval="1m").pandas()
    opens = made.index.view(np.int64)
    with Writer(tmp_path) as writer:
        columns = {name: made[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
        closes = opens + NS_PER_MIN
        stamps = {"received_ns": closes, "exchange_ns": closes, "open_ns": opens, "close_ns": closes}
        writer.write(Block(Stream("candle", SPOT.id, "1m"), len(made), {**columns, **stamps}))
    catalog = Catalog(tmp_path)
    names = ["open", "high", "low", "close", "volume"]
    assert catalog.candles(SPOT.id, interval="1m", columns=names).pandas().equals(made[names])
    assert catalog.candles(SPOT.id, interval="1m", columns=names, from_trades=True).pandas().equals(made[names])


def test_without_metadata_there_is_no_exact_sum(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events([qk.Trade("A-B", START_NS, START_NS, 1.0, 1.0, qk.Side.BUY)]))
    with pytest.raises(qk.DataError, match="A-B: data but no metadata"):
        Catalog(tmp_path).candles("A-B", ticks=1).arrow()
