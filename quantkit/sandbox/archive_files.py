"""The contents of OKX's downloadable files: tables in a zip, lines of JSON in a tar."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from quantkit.sandbox.channels import Topic
from quantkit.sandbox.market import JsonRow, MarketSource

_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
#: Trades are cut where a file happened to be closed, some seconds off: the first or the last of them lie in the
#: neighbour's file, and at every third edge in both.
_EDGES_MS: Final = (-19_000, -19_000, 7_000)
_BOTH: Final = 0
#: Files of trades had other columns before: the oldest ones bear Chinese names beside the English ones.
_SOURCE_SINCE_MS: Final = 30 * _DAY_MS
_BILINGUAL_BEFORE_MS: Final = 60 * _DAY_MS
_BILINGUAL: Final = "trade_id/撮合id,side/交易方向,size/数量,price/价格,created_time/成交时间"
_TRADES: Final = "instrument_name,trade_id,side,price,size,created_time"
_CANDLES: Final = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
_FUNDING: Final = "instrument_name,funding_rate,funding_time"
_ROWS_AT_ONCE: Final = 30_000


class FileSpan(NamedTuple):
    """The time that a file is of.

    Attributes:
        begin_ms, end_ms: UTC ms; the end is not part of it.
        now_ms: When it is asked for.
    """

    begin_ms: int
    end_ms: int
    now_ms: int


#: Makes a file of a market, its name without suffix, instruments and a span.
_Packer = Callable[[MarketSource, str, Sequence[str], FileSpan], bytes]


def _trades(market: MarketSource, stem: str, names: Sequence[str], span: FileSpan) -> bytes:
    age_ms = span.now_ms - span.end_ms
    is_bilingual = age_ms > _BILINGUAL_BEFORE_MS and len(names) == 1 and "futureschain" not in stem
    has_source = age_ms < _SOURCE_SINCE_MS
    lines = []
    for name in names:
        for row in _trade_rows(market, name, span):
            if is_bilingual:
                lines.append(f"{row['tradeId']},{row['side'].upper()},{row['sz']},{row['px']},{row['ts']}")
            else:
                source = ",0" if has_source else ""
                lines.append(f"{name},{row['tradeId']},{row['side']},{row['px']},{row['sz']},{row['ts']}{source}")
    if is_bilingual:
        return _zipped(stem, _BILINGUAL, lines, encoding="gb18030")
    return _zipped(stem, f"{_TRADES},source" if has_source else _TRADES, lines)


def _trade_rows(market: MarketSource, name: str, span: FileSpan) -> list[JsonRow]:
    """Return the trades of a file, oldest first."""
    begin_ms = span.begin_ms + _edge_ms(span.begin_ms)
    end_ms = span.end_ms if _edge_number(span.end_ms) == _BOTH else span.end_ms + _edge_ms(span.end_ms)
    rows = market.older_trades(name, None, end_ms, _ROWS_AT_ONCE)
    while rows and int(rows[-1]["ts"]) >= begin_ms:
        older = market.older_trades(name, int(rows[-1]["tradeId"]), None, _ROWS_AT_ONCE)
        if not older:
            break
        rows += older
    return [row for row in reversed(rows) if int(row["ts"]) >= begin_ms]


def _edge_number(at_ms: int) -> int:
    return at_ms // _DAY_MS % len(_EDGES_MS)


def _edge_ms(at_ms: int) -> int:
    return _EDGES_MS[_edge_number(at_ms)]


def _candles(market: MarketSource, stem: str, names: Sequence[str], span: FileSpan) -> bytes:
    minutes = (span.end_ms - span.begin_ms) // _MINUTE_MS
    lines = []
    for name in names:
        rows = market.candles(Topic("candle1m", name), span.end_ms, minutes, span.now_ms)
        for at_ms, *values, confirm in reversed(rows):
            if int(at_ms) >= span.begin_ms:
                lines.append(",".join((name, *values, at_ms, confirm)))
    return _zipped(stem, _CANDLES, lines)


def _funding(market: MarketSource, stem: str, names: Sequence[str], span: FileSpan) -> bytes:
    """Return settled rates; their stamps are some seconds late."""
    lines = [
        f"{name},{row['realizedRate']},{int(row['fundingTime']) + 1000 * (int(row['fundingTime']) // _MINUTE_MS % 7)}"
        for name in names
        for row in reversed(market.fundings(name, span.now_ms))
        if span.begin_ms <= int(row["fundingTime"]) < span.end_ms
    ]
    return _zipped(stem, _FUNDING, lines)


def _zipped(stem: str, header: str, lines: Sequence[str], *, encoding: str = "utf-8") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{stem}.csv", "\n".join([header, *lines, ""]).encode(encoding))
    return packed.getvalue()


def _books(market: MarketSource, stem: str, names: Sequence[str], span: FileSpan) -> bytes:
    """Return a tar of one member for each instrument, a line for each snapshot or update."""
    packed = io.BytesIO()
    _, _, rest = stem.partition("-L2orderbook")
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as file,
        tarfile.open(fileobj=file, mode="w") as archive,
    ):
        for name in names:
            content = b"".join(_book_lines(market, name, span))
            member = tarfile.TarInfo(f"{name}-L2orderbook{rest}.data")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _book_lines(market: MarketSource, name: str, span: FileSpan) -> Iterator[bytes]:
    for row in market.past_book(name, span.begin_ms, span.end_ms):
        yield msgspec.json.encode({"instId": name, **row}) + b"\n"


#: By the word of the files' names.
PACKERS: Final[dict[str, _Packer]] = {
    "trades": _trades,
    "candlesticks": _candles,
    "fundingrates": _funding,
    "L2orderbook-400lv": _books,
}
