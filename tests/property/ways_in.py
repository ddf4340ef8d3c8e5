"""Every way in which market data reach a run, each with numbers that occur once and when they are known."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

import quantkit as qk
from quantkit.clock import INTERVALS, NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.events import (
    EVENT_KINDS,
    EVENT_TYPES,
    KINDS,
    BookUpdate,
    Candle,
    Funding,
    Gap,
    Mark,
    MarketEvent,
    Ticker,
    Trade,
)
from quantkit.feeds.replay import MemoryFeed
from quantkit.importers import import_files
from quantkit.instruments import Side
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

NAME: Final = "BTC-USDT-SWAP"
SWAP: Final = qk.Instrument(NAME, kind="swap", quote="USDT", price_step="0.5", qty_step="1")
START_NS: Final = time_ns_of("2024-01-15")  # a Monday
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham")
#: From where on sixty days hold a change of every zone's clock, to summer or to winter.
CHANGES: Final = (datetime(2024, 3, 5), datetime(2024, 10, 1))  # noqa: DTZ001  the zones follow


class Setting(NamedTuple):
    """What a way is tried with.

    Attributes:
        seed: Of the numbers that nobody needs to choose.
        zone: Of local times.
        interval: Of candles.
        longer: Another interval, asked for without being there; None for none.
        shift_ns: How far the candles' opens lie off the multiples of their interval.
        late_ns: How late a row may come at most, where a way knows receipts.
        warmup: How many candles come before the run.
        block_rows: Rows read ahead.
    """

    seed: int
    zone: str
    interval: str
    longer: str | None
    shift_ns: int
    late_ns: int
    warmup: int
    block_rows: int


class Given(NamedTuple):
    """Data for `backtest`, the instrument they are of, and from when on each of their numbers is known."""

    data: Any
    instrument: str
    known_ns: dict[float, int]


class Numbers:
    """Hands out numbers that rise and occur once, and notes from when on they are known."""

    def __init__(self, setting: Setting) -> None:
        self.known_ns: dict[float, int] = {}
        self.random = np.random.default_rng(setting.seed)
        self._late_ns = setting.late_ns
        self._received_ns = 0

    def fresh(self, count: int, known_ns: int) -> list[float]:
        """Return prices on the step of 0.5."""
        first = 2_000 + len(self.known_ns)
        prices = [(first + place) / 2 for place in range(count)]
        self.known_ns.update(dict.fromkeys(prices, known_ns))
        return prices

    def restart(self) -> None:
        """Begin another stream, whose rows come in an order of their own."""
        self._received_ns = 0

    def received_ns(self, exchange_ns: int) -> int:
        """Return when a row came: late, by whole milliseconds, and after the row before it."""
        late_ns = int(self.random.integers(0, self._late_ns // NS_PER_MS + 1)) * NS_PER_MS
        self._received_ns = max(self._received_ns, exchange_ns + late_ns)
        return self._received_ns


def opens_of(setting: Setting, count: int) -> list[tuple[int, int]]:
    """Return opens and closes of candles with holes: days from midnight to midnight of the zone, others in UTC."""
    places = np.flatnonzero(np.random.default_rng(setting.seed + 1).random(count) < 0.9).tolist() or [0]
    if setting.interval == "1d":
        spans = _clock_spans(datetime(2024, 1, 15), 24, count, setting)  # noqa: DTZ001  its zone follows
        return [spans[place] for place in places]
    length = INTERVALS[setting.interval]
    first_ns = START_NS + setting.shift_ns
    return [(first_ns + place * length, first_ns + (place + 1) * length) for place in places]


def changing_opens_of(setting: Setting) -> list[tuple[int, int]]:
    """Return opens and closes of candles, days and four hours by a clock that is put forward or back among them."""
    start = CHANGES[setting.seed % 2]
    if setting.interval == "1d":
        return _clock_spans(start, 24, 60, setting)
    # A clock that moves by half an hour leaves no grid of four hours that a table without a zone could show.
    if setting.interval == "4h" and setting.zone != "Australia/Lord_Howe":
        return _clock_spans(start, 4, 360, setting)
    return opens_of(setting, 60)


def _clock_spans(start: datetime, hours: int, count: int, setting: Setting) -> list[tuple[int, int]]:
    zone = ZoneInfo(setting.zone)
    marks = [(start + timedelta(hours=hours * place)).replace(tzinfo=zone) for place in range(count + 1)]
    moments = [int(mark.astimezone(UTC).timestamp()) * NS_PER_S + setting.shift_ns for mark in marks]
    return list(pairwise(moments))


def moments_of(setting: Setting, count: int, span_ns: int = 30 * NS_PER_MIN) -> list[int]:
    """Return rising stamps in whole milliseconds from one end of a span to the other, some of them equal."""
    random = np.random.default_rng(setting.seed + 2)
    places_ms = np.sort(random.integers(1, span_ns // NS_PER_MS, size=count))
    places_ms[0], places_ms[-1] = 1, span_ns // NS_PER_MS
    places_ms[1::5] = places_ms[::5][: len(places_ms[1::5])]
    moments: list[int] = (START_NS + places_ms * NS_PER_MS).tolist()
    return moments


# Frames and rows ------------------------------------------------------------------------------------------------------


def frame(setting: Setting, folder: Path) -> Given:
    """A frame whose index is in the zone."""
    numbers = Numbers(setting)
    spans = changing_opens_of(setting)
    rows = [numbers.fresh(4, close_ns) for _, close_ns in spans]
    index = pd.DatetimeIndex([open_ns for open_ns, _ in spans], tz="UTC").tz_convert(setting.zone)
    bars = pd.DataFrame(rows, columns=["low", "open", "close", "high"], index=index)
    return Given({NAME: bars}, NAME, numbers.known_ns)


def _rows(setting: Setting) -> tuple[list[list[MarketEvent]], Numbers]:
    """Return late rows of every kind, each kind in its order."""
    found: list[list[MarketEvent]] = []
    numbers = Numbers(setting)
    bars: list[MarketEvent] = []
    for open_ns, close_ns in opens_of(setting, 60):
        received_ns = numbers.received_ns(close_ns)
        low, opened, close, high = numbers.fresh(4, received_ns)
        ends = (opened, high, low, close)
        bars.append(Candle(NAME, close_ns, received_ns, open_ns, close_ns, *ends, 1.0, setting.interval))
    found.append(bars)
    hooked = [name for name in EVENT_TYPES if EVENT_KINDS[name].hook is not None and name != "candle"]
    for kind in (EVENT_TYPES[name] for name in hooked):
        numbers.restart()
        rows: list[MarketEvent] = []
        for number, at_ns in enumerate(
            moments_of(setting, 30, min(60 * INTERVALS[setting.interval], 7_200 * NS_PER_MIN))
        ):
            received_ns = numbers.received_ns(at_ns)
            first, second = numbers.fresh(2, received_ns)
            if kind is Trade:
                rows.append(Trade(NAME, at_ns, received_ns, first, 1.0, Side.BUY, number + 1))
            elif kind is Ticker:
                rows.append(Ticker(NAME, at_ns, received_ns, first, 1.0, second, 1.0))
            elif kind is BookUpdate:
                sides = ((first,), (1.0,), (second,), (1.0,))
                rows.append(BookUpdate(NAME, at_ns, received_ns, *sides, True, number))
            elif kind is Mark:
                rows.append(Mark(NAME, at_ns, received_ns, first))
            elif kind is Funding:
                rate = numbers.random.random() / 1_000
                numbers.known_ns[rate] = received_ns
                rows.append(Funding(NAME, at_ns, received_ns, rate, at_ns, False))
            elif kind is Gap:
                rows.append(Gap(NAME, at_ns, received_ns, "trades", at_ns, at_ns, "lost"))
            else:  # a kind of numbers alone
                fields = EVENT_KINDS[KINDS[kind]].fields
                rows.append(kind(NAME, at_ns, received_ns, *numbers.fresh(len(fields), received_ns)))
        found.append(rows)
    return found, numbers


def folder_rows(setting: Setting, folder: Path) -> Given:
    """Rows of every kind in a folder."""
    found, numbers = _rows(setting)
    with Writer(folder / "data", row_group_rows=50) as writer:
        writer.write_instrument(SWAP)
        for rows in found:
            writer.write(Block.from_events(rows))
    return Given(folder / "data", NAME, numbers.known_ns)


def memory_rows(setting: Setting, folder: Path) -> Given:
    """The same as a feed in memory."""
    found, numbers = _rows(setting)
    events = [event for rows in found for event in rows]
    return Given(MemoryFeed(events, [SWAP], block_rows=setting.block_rows), NAME, numbers.known_ns)


# Tables ---------------------------------------------------------------------------------------------------------------

_UNITS: Final = (NS_PER_S, NS_PER_MS, 1_000, 1)


def spelled(setting: Setting, moments_ns: Sequence[int]) -> tuple[list[str], str | None]:
    """Return times as a table has them, epoch numbers or ISO text with or without a zone, and `--timezone`."""
    whole_s = all(moment % NS_PER_S == 0 for moment in moments_ns)
    form = setting.seed % 6
    if form < 4 and (form or whole_s):
        return [str(moment // _UNITS[form]) for moment in moments_ns], None
    stamps = pd.DatetimeIndex(list(moments_ns), tz="UTC").tz_convert(setting.zone)
    if form == 4:
        return [stamp.isoformat(timespec="milliseconds") for stamp in stamps], None
    return [stamp.tz_localize(None).isoformat(sep=" ", timespec="milliseconds") for stamp in stamps], setting.zone


def _table(format_name: str, folder: Path, columns: dict[str, list[Any]], timezone: str | None, seed: int) -> None:
    """Write columns as CSV, or in Parquet, and import them."""
    table = pd.DataFrame(columns)
    file = folder / f"{format_name}.table"
    if seed % 2:
        table.to_parquet(file)
    else:
        table.to_csv(file, index=False)
    import_files(format_name, [file], to=folder / "data", instrument=SWAP, timezone=timezone)


def candles_table(setting: Setting, folder: Path) -> Given:
    """Bars of a table; a time is a bar's open."""
    numbers = Numbers(setting)
    spans = changing_opens_of(setting)
    bars = np.array([numbers.fresh(4, close_ns) for _, close_ns in spans]).T
    times, timezone = spelled(setting, [open_ns for open_ns, _ in spans])
    prices = {name: column.tolist() for name, column in zip(("low", "open", "close", "high"), bars, strict=True)}
    _table("candles", folder, {"time": times, **prices, "volume": [1.0] * len(spans)}, timezone, setting.seed)
    return Given(folder / "data", NAME, numbers.known_ns)


def clocks_of(
    setting: Setting, moments: list[int], numbers: Numbers
) -> tuple[dict[str, list[Any]], str | None, list[int]]:
    """Return the columns of one clock or of two, `--timezone`, and from when on the rows are known."""
    times, timezone = spelled(setting, moments)
    if setting.seed % 4 < 2:
        return {"time": times}, timezone, moments
    received = [numbers.received_ns(moment) for moment in moments]
    return {"time": times, "local_timestamp": spelled(setting, received)[0]}, timezone, received


def trades_table(setting: Setting, folder: Path, numbers: Numbers | None = None) -> Given:
    """Prints of a table, with one clock or two."""
    numbers = numbers or Numbers(setting)
    numbers.restart()
    clocks, timezone, known = clocks_of(setting, moments_of(setting, 40), numbers)
    prices = [numbers.fresh(1, moment)[0] for moment in known]
    columns = {**clocks, "price": prices, "size": [1.0] * 40, "side": ["buy"] * 40}
    _table("trades", folder, columns, timezone, setting.seed)
    return Given(folder / "data", NAME, numbers.known_ns)


def tickers_table(setting: Setting, folder: Path) -> Given:
    """Best bids and asks of a table."""
    numbers = Numbers(setting)
    clocks, timezone, known = clocks_of(setting, moments_of(setting, 40), numbers)
    quotes = [numbers.fresh(2, moment) for moment in known]
    columns = {**clocks, "bid": [bid for bid, _ in quotes], "ask": [ask for _, ask in quotes]}
    _table("tickers", folder, {**columns, "bid_qty": [1.0] * 40, "ask_qty": [1.0] * 40}, timezone, setting.seed)
    return Given(folder / "data", NAME, numbers.known_ns)


def marks_table(setting: Setting, folder: Path) -> Given:
    """Mark prices of a table, beside trades to match on."""
    numbers = Numbers(setting)
    clocks, timezone, known = clocks_of(setting, sorted(set(moments_of(setting, 40))), numbers)
    marks = [numbers.fresh(1, moment)[0] for moment in known]
    _table("marks", folder, {**clocks, "mark_price": marks}, timezone, setting.seed)
    return trades_table(setting, folder, numbers)


def funding_table(setting: Setting, folder: Path) -> Given:
    """Settlements of a table, or rates that change until they are settled, some of which came late."""
    numbers = Numbers(setting)
    # Early in the trades' minutes, so that the run meets it however late it comes.
    due_ns = START_NS + 4 * NS_PER_MIN
    moments = [due_ns - 8 * 60 * NS_PER_MIN, due_ns]
    rates = numbers.random.random(2) / 1_000
    if setting.seed % 3:
        numbers.known_ns.update(zip(rates.tolist(), moments, strict=True))
        times, timezone = spelled(setting, moments)
        _table("funding", folder, {"funding_time": times, "funding_rate": rates.tolist()}, timezone, setting.seed)
    else:
        told = [due_ns - 60 * NS_PER_S, due_ns - NS_PER_S]
        received = [numbers.received_ns(moment) for moment in told]
        numbers.known_ns.update(zip(rates.tolist(), [max(due_ns, moment) for moment in received], strict=True))
        stamps = {"timestamp": told, "local_timestamp": received, "funding_timestamp": [due_ns, due_ns]}
        columns = {name: [moment // NS_PER_MS for moment in moments] for name, moments in stamps.items()}
        _table("funding", folder, {**columns, "funding_rate": rates.tolist()}, None, setting.seed)
    # Trades that came in time, so that the rates come within the run.
    return trades_table(setting._replace(seed=setting.seed // 4 * 4), folder, numbers)


# Captures -------------------------------------------------------------------------------------------------------------


def okx_capture(setting: Setting, folder: Path) -> Given:
    """Frames of OKX's sockets of every kind, stamped when they came."""
    numbers = Numbers(setting)
    pushes: list[tuple[int, str, int]] = []
    for number, at_ns in enumerate(moments_of(setting, 20), 1):
        pushes += [
            (at_ns, channel, number) for channel in ("trades", "mark-price", "open-interest", "bbo-tbt", "books")
        ]
    closes = range(START_NS + NS_PER_MIN, START_NS + 30 * NS_PER_MIN, NS_PER_MIN)
    pushes += [(close_ns, "candle1m", 0) for close_ns in closes]
    lines = []
    for exchange_ns, channel, number in sorted(pushes):
        received_ns = numbers.received_ns(exchange_ns)
        low, opened, close, high = (str(price) for price in numbers.fresh(4, received_ns))
        row: Any = {"instId": NAME, "ts": str(exchange_ns // NS_PER_MS)}
        rest = {}
        match channel:
            case "trades":
                row |= {"tradeId": str(number), "px": low, "sz": "1", "side": "buy"}
            case "mark-price":
                row |= {"instType": "SWAP", "markPx": low}
            case "open-interest":
                row |= {"instType": "SWAP", "oi": low, "oiCcy": high, "oiUsd": ""}
            case "candle1m":
                stamp = str((exchange_ns - NS_PER_MIN) // NS_PER_MS)
                row = [stamp, opened, high, low, close, "1", "1", "1", "1"]
            case _:
                row |= {"bids": [[low, "1", "0", "1"]], "asks": [[high, "1", "0", "1"]]}
                row |= {"seqId": number, "prevSeqId": -1}
                rest = {"action": "snapshot"} if channel == "books" else {}
        document = {"arg": {"channel": channel, "instId": NAME}, **rest, "data": [row]}
        lines.append(f"{received_ns // NS_PER_S}.{received_ns // NS_PER_MS % 1000:03d}: {json.dumps(document)}")
    (folder / "okx.log").write_text("\n".join(lines) + "\n")
    import_files("okx/ws-raw", [folder / "okx.log"], to=folder / "data", instrument=SWAP)
    return Given(folder / "data", NAME, numbers.known_ns)


def binance_capture(setting: Setting, folder: Path) -> Given:
    """Lines of Binance's streams, stamped when they came."""
    numbers = Numbers(setting)
    lines = []

    def line(received_ns: int, document: dict[str, Any]) -> None:
        lines.append(f"{received_ns} {json.dumps(document)}")

    for number, at_ns in enumerate(moments_of(setting, 20)):
        received_ns = numbers.received_ns(at_ns)
        bid, traded, ask = numbers.fresh(3, received_ns)
        if not number:
            top = ask
            line(received_ns, {"lastUpdateId": 1, "bids": [[str(bid), "1"]], "asks": [[str(ask), "1"]]})
            continue
        stamps = {"E": at_ns // NS_PER_MS, "T": at_ns // NS_PER_MS, "s": "BTCUSDT"}
        for event, fields in (
            ("bookTicker", {"u": number, "b": str(bid), "B": "1", "a": str(ask), "A": "1"}),
            ("trade", {"t": number, "p": str(traded), "q": "1", "m": True, "X": "MARKET"}),
        ):
            line(received_ns, {"stream": f"btcusdt@{event}", "data": {"e": event, **stamps, **fields}})
        best, above = numbers.fresh(2, received_ns)
        chain = {
            "U": number,
            "u": number + 1,
            "pu": number,
            "b": [[str(best), "1"]],
            "a": [[str(top), "0"], [str(above), "1"]],
        }
        top = above
        line(received_ns, {"stream": "btcusdt@depth", "data": {"e": "depthUpdate", **stamps, **chain}})
    (folder / "binance.log").write_text("\n".join(lines) + "\n")
    import_files("binance/ws-raw", [folder / "binance.log"], to=folder / "data", kind="swap")
    return Given(folder / "data", f"binance:{NAME}", numbers.known_ns)


#: The importers by format.
IMPORTS: Final[dict[str, Callable[[Setting, Path], Given]]] = {
    "candles": candles_table,
    "trades": trades_table,
    "tickers": tickers_table,
    "marks": marks_table,
    "funding": funding_table,
    "okx/ws-raw": okx_capture,
    "binance/ws-raw": binance_capture,
}
#: Everything else that `backtest` takes.
OTHERS: Final[dict[str, Callable[[Setting, Path], Given]]] = {
    "frame": frame,
    "folder": folder_rows,
    "memory": memory_rows,
}
