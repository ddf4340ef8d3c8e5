"""Trades, quotes, marks and funding rates of foreign tables: one event a row."""

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY, NS_PER_S
from quantkit.errors import ConfigError
from quantkit.importers import funding
from quantkit.importers.archives import ForeignFile
from quantkit.importers.intake import Intake
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading, in_time_order
from quantkit.importers.report import Progress
from quantkit.importers.tables import FOUND_BY_ITSELF, Chunk, ColumnLayout, TableFile
from quantkit.importers.times import DAY_NAMES, TimeFormat, TimeReader
from quantkit.instruments import plain
from quantkit.rows.columns import Block, Column, Stream

_TIMES: Final = (
    "time",
    "timestamp",
    "ts",
    "datetime",
    "created_time",
    "trade_time",
    "time_ms",
    "time_seconds",
    "t",
    "ts_event",
    "exchange_ns",
    "date",
)
#: A second clock beside that of the exchange: the receiver's.
_RECEIVED: Final = (
    "local_timestamp",
    "received_ns",
    "received_time",
    "received",
    "receipt_timestamp",
    "receipt_time",
    "ts_recv",
    "local_ts",
)
#: Columns that only tables of books have.
_BOOKS: Final = {
    "is_snapshot": f"changes of an order book; {FOUND_BY_ITSELF}",
    "update_type": f"changes of an order book; {FOUND_BY_ITSELF}",
    "asks[0]_price": f"order-book snapshots; {FOUND_BY_ITSELF}",
}
#: Columns of tables that are no trades, where there is no price.
_NO_TRADES: Final = {
    "bid_price": "best bid and ask; import it as tickers",
    "ask_price": "best bid and ask; import it as tickers",
    "high": "candles; import it as candles",
    "percentage": "depth in bands around the price; there is no importer for it",
}
_INSTRUMENTS: Final = ("instrument_name", "instid", "inst_id", "symbol", "pair", "ticker", "coin")

TRADES: Final = ColumnLayout(
    {
        "time": (*_TIMES, "transact_time"),
        "day": DAY_NAMES,
        "received": _RECEIVED,
        "price": ("price", "px", "p", "trade_price"),
        "qty": ("qty", "size", "sz", "amount", "quantity", "volume", "q", "trade_size"),
        "side": ("side", "taker_side", "aggressor", "direction", "taker"),
        "is_buyer_maker": ("is_buyer_maker", "isbuyermaker", "buyer_maker", "m"),
        "trade_id": ("trade_id", "tradeid", "id", "agg_trade_id", "tid"),
        "instrument": _INSTRUMENTS,
    },
    required=("time", "price", "qty"),
    # Binance's own downloads without a header line: contracts, then spot.
    headless={
        6: ("trade_id", "price", "qty", "", "time", "is_buyer_maker"),
        7: ("trade_id", "price", "qty", "", "time", "is_buyer_maker", ""),
    },
    foreign=_BOOKS,
    likely=_NO_TRADES,
)
TICKERS: Final = ColumnLayout(
    {
        "time": _TIMES,
        "day": DAY_NAMES,
        "received": _RECEIVED,
        "bid": ("bid", "bid_price", "bid_px", "best_bid", "best_bid_price", "bidpx", "bidprice", "bp"),
        "bid_qty": (
            "bid_qty",
            "bid_size",
            "bid_amount",
            "bid_sz",
            "best_bid_qty",
            "best_bid_size",
            "bidqty",
            "bidsz",
            "bv",
        ),
        "ask": ("ask", "ask_price", "ask_px", "best_ask", "best_ask_price", "askpx", "askprice", "ap"),
        "ask_qty": (
            "ask_qty",
            "ask_size",
            "ask_amount",
            "ask_sz",
            "best_ask_qty",
            "best_ask_size",
            "askqty",
            "asksz",
            "av",
        ),
        "last": ("last", "last_price", "last_px"),
        "last_qty": ("last_qty", "last_size", "last_sz"),
        "bid_pair": ("bid_price_bid_size",),
        "ask_pair": ("ask_price_ask_size",),
        "instrument": _INSTRUMENTS,
    },
    required=("time",),
    foreign=_BOOKS,
)
MARKS: Final = ColumnLayout(
    {
        "time": _TIMES,
        "day": DAY_NAMES,
        "received": _RECEIVED,
        "price": ("mark_price", "markprice", "mark_px", "markpx", "mark", "price", "px", "open"),
        "instrument": _INSTRUMENTS,
    },
    required=("time", "price"),
    foreign=_BOOKS,
)
FUNDING: Final = funding.layout_of(
    {"time": _TIMES, "day": DAY_NAMES, "received": _RECEIVED, "instrument": _INSTRUMENTS}, foreign=_BOOKS
)

_SIDES: Final = {
    **dict.fromkeys(("buy", "b", "bid", "1", "+1", "buyer"), 0),
    # FIX, and so NautilusTrader, counts from 1.
    **dict.fromkeys(("sell", "s", "ask", "a", "-1", "2", "seller"), 1),
}
#: Who rested is not who took: a buyer that was the maker was sold to.
_MAKERS: Final = dict.fromkeys(("1", "true", "t", "yes"), 1) | dict.fromkeys(("0", "false", "f", "no"), 0)

#: Turns a chunk into the kind's columns, noting what is wrong with which row.
_Parse: TypeAlias = Callable[[Reading, Intake], dict[str, Column]]


def import_rows(
    format_name: str,
    files: Sequence[ForeignFile],
    intake: Intake,
    *,
    instrument_id: str | None,
    zone: tzinfo | None,
    time_format: TimeFormat | None,
    columns: Mapping[str, str] | None,
    progress: Progress | None,
) -> None:
    """Take the rows of tables of format `trades`, `tickers`, `marks` or `funding`, in the order of the files' times.

    A second clock in the table is the receipt clock, and orders the rows. A single stamp serves as both exchange and
    receipt time. Rows that go back in time are skipped. Of changing funding rates, the last before each settlement is
    taken.

    Raises:
        ConfigError: A column, the time zone or the instrument is missing, or a table runs newest first.
    """
    layout, kind, parse = _FORMATS[format_name]
    names = Names(instrument_id, intake.tally)
    newest_ns = 0
    newest_ids: set[int] = set()
    told = funding.ToldRates(intake.tally)
    lists = funding.SettlementList()
    for file in in_time_order([TableFile(source, layout, columns) for source in files], zone, time_format):
        intake.tally.files.append(file.file)
        times = TimeReader(file.file, zone, is_strict=kind in ("funding", "mark"), time_format=time_format)
        receipts = TimeReader(file.file, zone, time_format=time_format)
        is_first = True
        for chunk in file.chunks(intake.tally, progress):
            reading = Reading(chunk)
            names.select(reading)
            if kind == "funding" and funding.is_told(chunk):
                told.take(reading, zone, time_format)
                continue
            exchange_ns = reading.times("time", times)
            time_ns = reading.times("received", receipts) if "received" in chunk.columns else exchange_ns
            values = parse(reading, intake)
            if is_first:
                _refuse_newest_first(reading, time_ns)
            is_first = False
            _refuse_ahead(reading, exchange_ns, time_ns)
            _refuse_backward(reading, time_ns, newest_ns)
            if kind == "trade":
                _refuse_repeated(reading, time_ns, values["trade_id"], newest_ns, newest_ids)
            elif kind == "funding":
                _refuse_equal(reading, time_ns, newest_ns)
                lists.take(reading, exchange_ns)
            good = reading.kept(intake.tally)
            if not good.any():
                continue
            previous_ns, newest_ns = newest_ns, int(time_ns[good][-1])
            if kind == "trade":
                fresh = set(values["trade_id"][good & (time_ns == newest_ns)].tolist()) - {0}
                newest_ids = fresh | newest_ids if newest_ns == previous_ns else fresh
            block = {name: column[good] for name, column in values.items()}
            block |= {"received_ns": time_ns[good], "exchange_ns": exchange_ns[good]}
            if time_ns is not exchange_ns:
                late_ns = block["received_ns"] - block["exchange_ns"]
                least = int(late_ns.argmin())
                intake.latency(int(block["exchange_ns"][least]), int(block["received_ns"][least]))
            if kind == "funding":
                block["funding_ns"] = block["exchange_ns"]
            intake.add_block(Block(Stream(kind, names.instrument), int(good.sum()), block))
        if times.ambiguous:
            intake.tally.warn(
                f"{file.file}: {times.ambiguous} local times came twice and were told apart by their order"
            )
        if not file.has_header:
            intake.tally.warn(f"{file.file} has no header line; its columns were taken as in Binance's downloads")
    settlements = None if told.is_empty else told.block(names.instrument)
    if settlements is not None:
        intake.add_block(settlements)


# Order ----------------------------------------------------------------------------------------------------------


def _newest(reading: Reading, time_ns: NDArray[np.int64], newest_ns: int) -> NDArray[np.int64]:
    """Return for each row the newest time of the good rows before it."""
    usable = time_ns.copy()
    if reading.bad:
        usable[list(reading.bad)] = 0
    newest: NDArray[np.int64] = np.maximum.accumulate(np.concatenate(([newest_ns], usable)))[:-1]
    return newest


def _refuse_newest_first(reading: Reading, time_ns: NDArray[np.int64]) -> None:
    """Refuse a table whose good rows all run backward.

    Raises:
        ConfigError: They do; skipping all rows but one would be no import.
    """
    good = np.ones(len(time_ns), np.bool_)
    good[list(reading.bad)] = False
    steps = np.diff(time_ns[good])
    if (steps < 0).any() and not (steps > 0).any():
        raise ConfigError(f"{reading.chunk.file}: rows are newest first; sort the rows by time")


def _refuse_ahead(reading: Reading, exchange_ns: NDArray[np.int64], received_ns: NDArray[np.int64]) -> None:
    """Refuse rows whose two clocks are too far apart: one such row must not shift all the others."""
    for index in np.flatnonzero(exchange_ns - received_ns > NS_PER_DAY).tolist():
        ahead_s = (int(exchange_ns[index]) - int(received_ns[index])) / NS_PER_S
        reading.refuse({index: f"the exchange's stamp is {plain(ahead_s)} s ahead of the receipt"})


def _refuse_backward(reading: Reading, time_ns: NDArray[np.int64], newest_ns: int) -> None:
    newest = _newest(reading, time_ns, newest_ns)
    for index in np.flatnonzero(time_ns < newest).tolist():
        back_s = (int(newest[index]) - int(time_ns[index])) / 1e9
        reading.refuse({index: f"time goes back by {plain(back_s)} s; sort the rows by time"})


def _refuse_equal(reading: Reading, time_ns: NDArray[np.int64], newest_ns: int) -> None:
    reading.refuse_where(time_ns == _newest(reading, time_ns, newest_ns), "the time is that of the row before")


def _refuse_repeated(
    reading: Reading, time_ns: NDArray[np.int64], ids: Column, newest_ns: int, newest_ids: set[int]
) -> None:
    """Refuse trades whose id came before at the same time; 0 is no id."""
    order = np.lexsort((ids, time_ns))
    same = (ids[order][1:] == ids[order][:-1]) & (time_ns[order][1:] == time_ns[order][:-1]) & (ids[order][1:] != 0)
    repeated = np.zeros(len(ids), np.bool_)
    repeated[order[1:][same]] = True
    if newest_ids:
        repeated |= (time_ns == newest_ns) & np.isin(ids, list(newest_ids))
    reading.refuse_where(repeated, "the trade id came before")


# Fields ---------------------------------------------------------------------------------------------------------


def _trades(reading: Reading, intake: Intake) -> dict[str, Column]:
    price, qty = reading.numbers("price"), reading.numbers("qty")
    reading.refuse_where(price <= 0.0, "price is not above zero")
    reading.refuse_where(qty <= 0.0, "size is not above zero")
    columns = reading.chunk.columns
    if "side" in columns:
        side = reading.coded("side", _SIDES)
    elif "is_buyer_maker" in columns:
        side = reading.coded("is_buyer_maker", _MAKERS)
    else:
        raise ConfigError(
            f"{reading.chunk.file} has no column for the taker's side; name it: columns={{'side': '...'}} or "
            "columns={'is_buyer_maker': '...'}"
        )
    has_ids = "trade_id" in columns
    trade_id = reading.integers("trade_id") if has_ids else np.zeros(len(reading.chunk), np.int64)
    return {"price": price, "qty": qty, "side": side, "trade_id": trade_id}


def _tickers(reading: Reading, intake: Intake) -> dict[str, Column]:
    chunk = reading.chunk
    for side in ("bid", "ask"):
        if f"{side}_pair" in chunk.columns and side not in chunk.columns:
            reading.chunk = chunk = _split_pair(reading, side)
    if "bid" not in chunk.columns or "ask" not in chunk.columns:
        raise ConfigError(
            f"{chunk.file} has no column for bid and ask; name them: columns={{'bid': '...', 'ask': '...'}}"
        )
    nothing = np.full(len(chunk), np.nan)
    values: dict[str, Column] = {
        field: reading.numbers(field, is_optional=True) if field in chunk.columns else nothing
        for field in ("bid", "bid_qty", "ask", "ask_qty", "last", "last_qty")
    }
    for field, column in values.items():
        if field.endswith("qty"):
            reading.refuse_where(column < 0.0, f"{field} is below zero")
        else:
            reading.refuse_where(column <= 0.0, f"{field} is not above zero")
    reading.refuse_where(np.isnan(values["bid"]) & np.isnan(values["ask"]), "bid and ask are both missing")
    reading.refuse_where(values["bid"] > values["ask"], "bid is above ask")
    return values


def _split_pair(reading: Reading, side: str) -> Chunk:
    """Return the chunk with a column of `price_size` texts as two columns."""
    parts = [text.partition("_") for text in reading.texts(f"{side}_pair")]
    chunk = reading.chunk
    columns = {**chunk.columns, side: [part[0] for part in parts], f"{side}_qty": [part[2] for part in parts]}
    return Chunk(chunk.file, chunk.lines, columns, chunk.text, chunk.malformed)


def _marks(reading: Reading, intake: Intake) -> dict[str, Column]:
    price = reading.numbers("price")
    reading.refuse_where(price <= 0.0, "price is not above zero")
    return {"price": price, "source": np.full(len(price), "mark", dtype=object)}


def _funding(reading: Reading, intake: Intake) -> dict[str, Column]:
    rate = funding.rates_of(reading)
    return {"rate": rate, "is_settled": np.ones(len(rate), np.bool_)}


def _open_interest(reading: Reading, intake: Intake) -> dict[str, Column]:
    nothing = np.full(len(reading.chunk), np.nan)
    values: dict[str, Column] = {"qty": reading.numbers("qty")}
    for field in ("coins", "usd"):
        has_it = field in reading.chunk.columns
        values[field] = reading.numbers(field, is_optional=True) if has_it else nothing
    for field, column in values.items():
        reading.refuse_where(column < 0.0, f"{field} is below zero")
    return values


#: What turns a chunk into the columns of a kind.
PARSERS: Final[dict[str, _Parse]] = {
    "trade": _trades,
    "ticker": _tickers,
    "mark": _marks,
    "funding": _funding,
    "open_interest": _open_interest,
}

_FORMATS: Final[dict[str, tuple[ColumnLayout, str, _Parse]]] = {
    "trades": (TRADES, "trade", _trades),
    "tickers": (TICKERS, "ticker", _tickers),
    "marks": (MARKS, "mark", _marks),
    "funding": (FUNDING, "funding", _funding),
}
