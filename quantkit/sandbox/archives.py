"""The daily files of trades: which there are, and their bytes: a zip of one CSV, cut on UTC+8 as OKX's are."""

import io
import re
import zipfile
from typing import Final

from quantkit.clock import NS_PER_MS, datetime_of, time_ns_of
from quantkit.errors import ConfigError
from quantkit.sandbox.market import MarketSource
from quantkit.sandbox.request import JsonRows, Refused, RestRequest

#: Below this path lie the files.
FILES: Final = "/cdn/okex/traderecords/trades/daily/"
_DAY_MS: Final = 86_400_000
#: The exchange's day D begins at 16:00 UTC of the day before; rows of some seconds earlier are in its file too.
_EARLIER_MS: Final = 8 * 3_600_000
_OVERLAP_MS: Final = 19_000
#: A file is out two days after its day.
_OUT_AFTER_MS: Final = 2 * _DAY_MS
_MOST_DAYS: Final = 10
_PATH: Final = re.compile(r"(\d{8})/([A-Z0-9_-]+)-trades-(\d{4}-\d{2}-\d{2})\.zip").fullmatch
_HEADER: Final = "instrument_name,trade_id,side,price,size,created_time,source"
_ROWS_AT_ONCE: Final = 30_000


def listed_files(request: RestRequest) -> JsonRows:
    """Return the files of the days that a request names: of instruments, or of all instruments of a family.

    Raises:
        Refused: A parameter is missing or not one of those that are served.
    """
    request.choice("module", "1")
    kind = request.choice("instType", "SPOT", "SWAP", "FUTURES")
    request.choice("dateAggrType", "daily")
    begin, end = request.number("begin"), request.number("end")
    if begin is None or end is None or end < begin:
        raise Refused("50014", "begin", status=400)
    names, families = request.listed("instIdList"), request.listed("instFamilyList")
    if not names and not families:
        raise Refused("50015", "instIdList", "instFamilyList", status=400)
    days = range(begin // _DAY_MS, end // _DAY_MS + 1)
    if len(days) > _MOST_DAYS:
        raise Refused("51000", "end")
    details = []
    for row in request.market.instruments():
        name = row["instId"]
        if row["instType"] != kind or (name not in names and row.get("instFamily") not in families):
            continue
        files = [_file(request.base, name, day) for day in days if _is_out(day, request.now_ms)]
        details.append({"instType": kind, "instId": name, "groupDetails": files})
    return [{"dateAggrType": "daily", "details": details}]


def _file(base: str, name: str, day: int) -> dict[str, str]:
    date = f"{datetime_of(day * _DAY_MS * NS_PER_MS):%Y-%m-%d}"
    file = f"{name}-trades-{date}.zip"
    return {"filename": file, "url": f"{base}{FILES}{date.replace('-', '')}/{file}", "sizeMB": "1"}


def _is_out(day: int, now_ms: int) -> bool:
    return (day + 1) * _DAY_MS - _EARLIER_MS + _OUT_AFTER_MS <= now_ms


def file_at(path: str, market: MarketSource, now_ms: int) -> bytes | None:
    """Return the bytes of a file, None where there is none."""
    found = _PATH(path.removeprefix(FILES))
    if found is None or found[3].replace("-", "") != found[1]:
        return None
    name = found[2]
    try:
        day = time_ns_of(found[3]) // NS_PER_MS // _DAY_MS
    except ConfigError:
        return None
    if not _is_out(day, now_ms) or name not in {row["instId"] for row in market.instruments()}:
        return None
    begin_ms = day * _DAY_MS - _EARLIER_MS
    rows = market.older_trades(name, None, begin_ms + _DAY_MS, _ROWS_AT_ONCE)
    while rows and int(rows[-1]["ts"]) >= begin_ms - _OVERLAP_MS:
        older = market.older_trades(name, int(rows[-1]["tradeId"]), None, _ROWS_AT_ONCE)
        if not older:
            break
        rows += older
    lines = [
        f"{name},{row['tradeId']},{row['side']},{row['px']},{row['sz']},{row['ts']},0"
        for row in reversed(rows)
        if int(row["ts"]) >= begin_ms - _OVERLAP_MS
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}-trades-{found[3]}.csv", "\n".join([_HEADER, *lines, ""]))
    return packed.getvalue()
