"""Readers: how a frame of each public and business channel becomes messages."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.clock import NS_PER_MS, interval_ns
from quantkit.errors import ParseError
from quantkit.events import BookUpdate, Candle, Funding, Mark, OpenInterest, Ticker, Trade
from quantkit.feeds.okx.codec import grammar, wire
from quantkit.feeds.okx.codec.grammar import INSTRUMENT_IDS, OPTIONAL_PRICES, OPTIONAL_QTYS, PRICES, TRADED_QTYS
from quantkit.feeds.okx.codec.messages import (
    BARS,
    BookData,
    ForeignCandle,
    FormingCandle,
    FundingData,
    InstrumentData,
    MarketData,
    Status,
    TradeData,
    Unknown,
)
from quantkit.instruments import Side

#: Makes messages of a frame of a channel: `read(frame, received_ns, channel)`.
Reader: TypeAlias = Callable[[bytes, int, str], "list[Any]"]

# The busiest rows have their whole numbers read by msgspec, which `strict=False` allows from text.
ticker_rows: Final = msgspec.json.Decoder(wire.Rows[wire.TickerRow], strict=False).decode
trade_rows: Final = msgspec.json.Decoder(wire.Rows[wire.TradeRow], strict=False).decode
_books: Final = msgspec.json.Decoder(wire.Push[wire.BookRow]).decode
_candles: Final = msgspec.json.Decoder(wire.Push[wire.CandleRow]).decode
_fundings: Final = msgspec.json.Decoder(wire.Rows[wire.FundingRow]).decode
_marks: Final = msgspec.json.Decoder(wire.Rows[wire.MarkRow]).decode
_indexes: Final = msgspec.json.Decoder(wire.Rows[wire.IndexRow]).decode
_interests: Final = msgspec.json.Decoder(wire.Rows[wire.OpenInterestRow]).decode
_instruments: Final = msgspec.json.Decoder(wire.Rows[wire.InstrumentRow]).decode
_statuses: Final = msgspec.json.Decoder(wire.Rows[wire.StatusRow]).decode

SIDES: Final = {"buy": Side.BUY, "sell": Side.SELL}
#: Channels that send the whole book each time, without an action.
_WHOLE_BOOKS: Final = ("books5",)
_EMPTY: Final[tuple[tuple[str, ...], tuple[str, ...]]] = ((), ())


def _read_tickers(frame: bytes, received_ns: int, channel: str) -> list[MarketData]:
    messages: list[MarketData] = []
    for row in ticker_rows(frame).data:
        bid, ask, last = OPTIONAL_PRICES[row.bid_px], OPTIONAL_PRICES[row.ask_px], OPTIONAL_PRICES[row.last]
        # A price is never zero here, so that `and` asks whether there is one.
        event = Ticker(
            INSTRUMENT_IDS[row.inst_id],
            row.ts * NS_PER_MS,
            received_ns,
            bid,
            bid and OPTIONAL_QTYS[row.bid_sz],
            ask,
            ask and OPTIONAL_QTYS[row.ask_sz],
            last,
            last and OPTIONAL_QTYS[row.last_sz],
        )
        messages.append(MarketData(channel, event))
    return messages


def _read_trades(frame: bytes, received_ns: int, channel: str) -> list[TradeData | Unknown]:
    messages: list[TradeData | Unknown] = []
    for row in trade_rows(frame).data:
        side = SIDES.get(row.side)
        if side is None:
            messages.append(Unknown(f"trade side {row.side}"[:80], INSTRUMENT_IDS[row.inst_id]))
            continue
        event = Trade(
            INSTRUMENT_IDS[row.inst_id],
            row.ts * NS_PER_MS,
            received_ns,
            PRICES[row.px],
            TRADED_QTYS[row.sz],
            side,
            row.trade_id or 0,
        )
        messages.append(TradeData(channel, event, row.count or None, row.seq_id))
    return messages


def _read_books(frame: bytes, received_ns: int, channel: str) -> list[BookData | Unknown]:
    push = _books(frame)
    name = INSTRUMENT_IDS[push.arg.inst_id]
    if channel in _WHOLE_BOOKS:
        is_snapshot = True
    elif push.action in ("snapshot", "update"):
        is_snapshot = push.action == "snapshot"
    else:
        return [Unknown(f"book action {push.action}"[:80], name)]
    messages: list[BookData | Unknown] = []
    for row in push.data:
        bid_texts, ask_texts = _columns(row.bids), _columns(row.asks)
        seq_id, prev_seq_id = row.seq_id, row.prev_seq_id
        update = BookUpdate(
            name,
            grammar.time_ns(row.ts),
            received_ns,
            grammar.prices(bid_texts[0]),
            grammar.qtys(bid_texts[1]),
            grammar.prices(ask_texts[0]),
            grammar.qtys(ask_texts[1]),
            is_snapshot,
            0 if seq_id is None else seq_id,
            -1 if prev_seq_id is None else prev_seq_id,
        )
        messages.append(BookData(channel, update, bid_texts, ask_texts, row.checksum, seq_id, prev_seq_id))
    return messages


def _columns(levels: list[list[Any]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the prices and the sizes of levels; `grammar.prices` and `qtys` refuse anything but text."""
    if not levels:
        return _EMPTY
    columns = tuple(zip(*levels, strict=False))
    if len(columns) < 2:
        raise ParseError("a price level has no size")
    return columns[0], columns[1]


def _read_best(frame: bytes, received_ns: int, channel: str) -> list[MarketData]:
    push = _books(frame)
    name = INSTRUMENT_IDS[push.arg.inst_id]
    messages: list[MarketData] = []
    for row in push.data:
        bid, bid_qty = _best(row.bids)
        ask, ask_qty = _best(row.asks)
        event = Ticker(name, grammar.time_ns(row.ts), received_ns, bid, bid_qty, ask, ask_qty)
        messages.append(MarketData(channel, event))
    return messages


def _best(levels: list[list[Any]]) -> tuple[float | None, float | None]:
    if not levels:
        return None, None
    (prices, qtys) = _columns(levels[:1])
    return grammar.prices(prices)[0], grammar.qtys(qtys)[0] or None


def read_candles(
    frame: bytes, received_ns: int, channel: str
) -> "list[MarketData | FormingCandle | ForeignCandle | Unknown]":
    """Make messages of a frame of a candle channel of any bar."""
    push = _candles(frame)
    name = INSTRUMENT_IDS[push.arg.inst_id]
    bar = channel.removeprefix("candle")
    interval = BARS.get(bar)
    length_ns = interval_ns(interval) if interval is not None else 0
    messages: list[MarketData | FormingCandle | ForeignCandle | Unknown] = []
    for row in push.data:
        if row.confirm not in ("0", "1"):
            messages.append(Unknown(f"candle confirm {row.confirm}"[:80], name))
            continue
        is_closed = row.confirm == "1"
        open_ns = grammar.time_ns(row.ts)
        prices = (PRICES[row.open], PRICES[row.high], PRICES[row.low], PRICES[row.close])
        if prices[1] < max(prices) or prices[2] > min(prices):
            raise ParseError(f"open and close are not within high and low: {prices}")
        volume = grammar.qty(row.vol)
        if interval is None:
            messages.append(ForeignCandle(channel, name, bar, open_ns, received_ns, *prices, volume, is_closed))
            continue
        close_ns = open_ns + length_ns
        candle = Candle(name, close_ns, received_ns, open_ns, close_ns, *prices, volume, interval)
        messages.append(MarketData(channel, candle) if is_closed else FormingCandle(channel, candle))
    return messages


def _read_fundings(frame: bytes, received_ns: int, channel: str) -> list[FundingData | Unknown]:
    messages: list[FundingData | Unknown] = []
    for row in _fundings(frame).data:
        name = INSTRUMENT_IDS[row.inst_id]
        if not row.funding_rate or not row.funding_time:
            messages.append(Unknown("funding without a rate", name))
            continue
        event = Funding(
            name,
            # Frames without a stamp of their own (old documentation examples) are as old as their receipt.
            grammar.time_ns(row.ts) if row.ts else received_ns,
            received_ns,
            grammar.number(row.funding_rate),
            grammar.time_ns(row.funding_time),
            is_settled=False,
        )
        has_settled = row.sett_state == "settled" and row.sett_funding_rate != ""
        settled_rate = grammar.number(row.sett_funding_rate) if has_settled else None
        messages.append(FundingData(channel, event, settled_rate, _interval_ns(row, event.funding_ns)))
    return messages


def _interval_ns(row: wire.FundingRow, funding_ns: int) -> int | None:
    """Return the time from the next settlement to the one after; a row without it is good for all else."""
    try:
        return grammar.time_ns(row.next_funding_time) - funding_ns
    except ParseError:
        return None


def _read_marks(frame: bytes, received_ns: int, channel: str) -> list[MarketData]:
    return [
        MarketData(
            channel, Mark(INSTRUMENT_IDS[row.inst_id], grammar.time_ns(row.ts), received_ns, PRICES[row.mark_px])
        )
        for row in _marks(frame).data
    ]


def _read_indexes(frame: bytes, received_ns: int, channel: str) -> list[MarketData]:
    return [
        MarketData(
            channel,
            Mark(INSTRUMENT_IDS[row.inst_id], grammar.time_ns(row.ts), received_ns, PRICES[row.idx_px], "index"),
        )
        for row in _indexes(frame).data
    ]


def _read_interests(frame: bytes, received_ns: int, channel: str) -> list[MarketData]:
    return [
        MarketData(
            channel,
            OpenInterest(
                INSTRUMENT_IDS[row.inst_id],
                grammar.time_ns(row.ts),
                received_ns,
                grammar.qty(row.oi),
                grammar.qty(row.oi_ccy) if row.oi_ccy else None,
                grammar.qty(row.oi_usd) if row.oi_usd else None,
            ),
        )
        for row in _interests(frame).data
    ]


def _read_instruments(frame: bytes, received_ns: int, channel: str) -> list[InstrumentData]:
    del channel
    return [InstrumentData(row, received_ns) for row in _instruments(frame).data]


def _read_statuses(frame: bytes, received_ns: int, channel: str) -> list[Status]:
    del received_ns, channel
    return [
        Status(row.title, row.state, row.service_type, _announced_ns(row.begin), _announced_ns(row.end))
        for row in _statuses(frame).data
    ]


def _announced_ns(text: str) -> int | None:
    """Return when maintenance begins or ends; OKX's own example counts seconds, its text milliseconds."""
    if not text:
        return None
    return grammar.time_ns(f"{text}000" if len(text) == 10 else text)


def _each(names: Iterable[str], reader: Reader) -> dict[str, Reader]:
    return dict.fromkeys(names, reader)


#: By channel; those of candles are `read_candles`.
READERS: Final[dict[str, Reader]] = {
    "tickers": _read_tickers,
    "bbo-tbt": _read_best,
    "funding-rate": _read_fundings,
    "mark-price": _read_marks,
    "index-tickers": _read_indexes,
    "open-interest": _read_interests,
    "instruments": _read_instruments,
    "status": _read_statuses,
    **_each(("trades", "trades-all"), _read_trades),
    **_each(("books", "books-l2-tbt", "books50-l2-tbt", *_WHOLE_BOOKS), _read_books),
}
