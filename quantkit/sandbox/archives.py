"""OKX's downloadable files: which there are, by day and by month, where they lie, and what proves them whole."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from quantkit.clock import NS_PER_MS, datetime_of, time_ns_of
from quantkit.errors import ConfigError
from quantkit.sandbox.archive_files import PACKERS, FileSpan
from quantkit.sandbox.market import JsonRow, MarketSource
from quantkit.sandbox.request import JsonRows, Refused, RestRequest

#: Below this path lie the files.
FILES: Final = "/cdn/"
_DAY_MS: Final = 86_400_000
#: The exchange's day D begins at 16:00 UTC of the day before; that of books at midnight.
_HONG_KONG_MS: Final = 8 * 3_600_000
_MOST_PERIODS: Final = 10
_DATE: Final = re.compile(r"-(\d{4}-\d{2}(?:-\d{2})?)$").search


class FileSeries(NamedTuple):
    """The files of one module.

    Attributes:
        folder: Where they lie, below `FILES`.
        word: What their names call them.
        suffix: Of their names.
        ahead_ms: How much earlier than UTC's their days begin.
        out_after_ms: How long after its end a file is out.
        packings: For how long a file may be: `daily`, `monthly`.
        types: The types of instruments that have them.
    """

    folder: str
    word: str
    suffix: str
    ahead_ms: int
    out_after_ms: int
    packings: tuple[str, ...]
    types: tuple[str, ...] = ("SPOT", "SWAP", "FUTURES")


#: By the number of their module.
SERIES: Final[dict[str, FileSeries]] = {
    "1": FileSeries("okex/traderecords/trades", "trades", ".zip", _HONG_KONG_MS, 2 * _DAY_MS, ("daily", "monthly")),
    "2": FileSeries(
        "okex/traderecords/candlesticks", "candlesticks", ".zip", _HONG_KONG_MS, 2 * _DAY_MS, ("daily", "monthly")
    ),
    "3": FileSeries(
        "okex/traderecords/swaprates",
        "fundingrates",
        ".zip",
        _HONG_KONG_MS,
        2 * _DAY_MS,
        ("daily", "monthly"),
        ("SWAP",),
    ),
    "4": FileSeries("okx/match/orderbook/L2/400lv", "L2orderbook-400lv", ".tar.gz", 0, 3 * _DAY_MS, ("daily",)),
}


class _Period(NamedTuple):
    """A day or a month of the exchange's.

    Attributes:
        name: As files bear it: 2026-01-05 or 2026-01.
        begin_ms, end_ms: UTC ms; the end is not part of it.
    """

    name: str
    begin_ms: int
    end_ms: int


def listed_files(request: RestRequest) -> JsonRows:
    """Return the files that a request names: of instruments, or of all instruments of a family.

    Raises:
        Refused: A parameter is missing or not one of those that are served.
    """
    series = SERIES[request.choice("module", *SERIES)]
    kind = request.choice("instType", *series.types)
    packing = request.choice("dateAggrType", *series.packings)
    begin, end = request.number("begin"), request.number("end")
    if begin is None or end is None or end < begin:
        raise Refused("50014", "begin", status=400)
    names, families = request.listed("instIdList"), request.listed("instFamilyList")
    if not names and not families:
        raise Refused("50015", "instIdList", "instFamilyList", status=400)
    periods = [period for period in _periods(series, packing, begin) if begin <= period.begin_ms <= end]
    if len(periods) > _MOST_PERIODS:
        raise Refused("50076", status=400)
    details = []
    for who, rows in _owners(request.market, series, packing, kind).items():
        if not any(row["instId"] in names or _family(row) in families for row in rows):
            continue
        files = [
            {
                "dateTs": str(period.begin_ms),
                "filename": f"{_stem(series, who, period)}{series.suffix}",
                "sizeMB": "1",
                "url": f"{request.base}{_path(series, packing, who, period)}?v=999",
            }
            for period in periods
            if _is_out(series, period, rows, request.now_ms)
        ]
        own = rows[0]["instId"] if len(rows) == 1 else ""
        details.append({"instType": kind, "instId": own, "instFamily": _family(rows[0]), "groupDetails": files})
    return [
        {"dateAggrType": packing, "details": details, "totalSizeMB": str(sum(len(d["groupDetails"]) for d in details))}
    ]


def file_at(path: str, market: MarketSource, now_ms: int) -> bytes | None:
    """Return the bytes of a file, None where there is none."""
    for series in SERIES.values():
        for packing in series.packings:
            place = f"{FILES}{series.folder}/{packing}/"
            if path.startswith(place) and path.endswith(series.suffix):
                return _file(series, packing, path, market, now_ms)
    return None


def md5_of(content: bytes) -> str:
    """Return what the header Content-MD5 says of a file."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _file(series: FileSeries, packing: str, path: str, market: MarketSource, now_ms: int) -> bytes | None:
    stem = path.rpartition("/")[2].removesuffix(series.suffix)
    date = _DATE(stem)
    if date is None:
        return None
    try:
        begin_ms = time_ns_of(date[1] if packing == "daily" else f"{date[1]}-01") // NS_PER_MS - series.ahead_ms
    except ConfigError:
        return None
    period = next(_periods(series, packing, begin_ms))
    for kind in series.types:
        for who, rows in _owners(market, series, packing, kind).items():
            if path == _path(series, packing, who, period) and _is_out(series, period, rows, now_ms):
                names = [str(row["instId"]) for row in rows]
                span = FileSpan(period.begin_ms, period.end_ms, now_ms)
                return PACKERS[series.word](market, stem, names, span)
    return None


def _owners(market: MarketSource, series: FileSeries, packing: str, kind: str) -> dict[str, list[JsonRow]]:
    """Return whose files there are, as their names say, with the instruments in each.

    Futures of a family lie in one file; the rates of all swaps of a day do too.
    """
    found: dict[str, list[JsonRow]] = {}
    for row in market.instruments():
        if row["instType"] != kind:
            continue
        who = f"{_family(row)}-futureschain" if kind == "FUTURES" else str(row["instId"])
        if series.word == "fundingrates" and packing == "daily":
            who = "allswap"
        found.setdefault(who, []).append(row)
    return found


def _family(row: JsonRow) -> str:
    return str(row.get("instFamily") or row["instId"])


def _stem(series: FileSeries, who: str, period: _Period) -> str:
    return f"{who}-{series.word}-{period.name}"


def _path(series: FileSeries, packing: str, who: str, period: _Period) -> str:
    folder = period.name.replace("-", "")
    return f"{FILES}{series.folder}/{packing}/{folder}/{_stem(series, who, period)}{series.suffix}"


def _is_out(series: FileSeries, period: _Period, rows: Sequence[JsonRow], now_ms: int) -> bool:
    """Return whether a file has been published, of instruments that were listed at its time."""
    oldest_ms = min(int(row["listTime"]) for row in rows)
    return oldest_ms < period.end_ms and period.end_ms + series.out_after_ms <= now_ms


def _periods(series: FileSeries, packing: str, from_ms: int) -> Iterator[_Period]:
    """Yield eleven periods, the first of which holds a moment: one more than may be asked for."""
    begin_ms = (from_ms + series.ahead_ms) // _DAY_MS * _DAY_MS
    for _ in range(_MOST_PERIODS + 2):
        begin = datetime_of(begin_ms * NS_PER_MS)
        end_ms, name = begin_ms + _DAY_MS, f"{begin:%Y-%m-%d}"
        if packing == "monthly":
            begin = begin.replace(day=1)
            name = f"{begin:%Y-%m}"
            month = begin.year * 12 + begin.month
            begin_ms, end_ms = (
                time_ns_of(f"{number // 12:04d}-{number % 12 + 1:02d}-01") // NS_PER_MS for number in (month - 1, month)
            )
        yield _Period(name, begin_ms - series.ahead_ms, end_ms - series.ahead_ms)
        begin_ms = end_ms
