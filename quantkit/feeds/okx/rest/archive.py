"""OKX's daily files: which there are, and their bytes on disk, whole or not at all."""

import asyncio
import re
import zipfile
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from quantkit.clock import NS_PER_DAY, NS_PER_MS, time_ns_of
from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.errors import OkxError, OkxServerError
from quantkit.feeds.okx.rest.calls import MARKET_DATA_HISTORY, RestCalls
from quantkit.feeds.okx.rest.http import HttpClient
from quantkit.feeds.okx.rest.ids import kind_of, own_id, type_of_kind

#: Modules of `public/market-data-history`, by the word in the files' names.
MODULES: Final = {"trades": "1"}
#: So many days are listed at once; more are refused.
DAYS_LISTED: Final = 10
_NAME: Final = re.compile(r"([A-Z0-9_-]+?)-(?:futureschain-)?trades-(\d{4}-\d{2}-\d{2})\.zip").fullmatch


class ArchiveFile(NamedTuple):
    """One daily file.

    Attributes:
        name: Without a path.
        url: Where it is.
        day: Its number since 1970-01-01, as the exchange counts days: they begin at 16:00 UTC of the day before.
    """

    name: str
    url: str
    day: int


class _File(msgspec.Struct):
    filename: str
    url: str


class _Details(msgspec.Struct, rename="camel"):
    group_details: list[_File] = []


class _Listing(msgspec.Struct):
    details: list[_Details] = []


_listings: Final = msgspec.json.Decoder(list[_Listing])


class Archive:
    """Lists and fetches daily files of trades.

    Args:
        calls: Makes the requests that list them, and says how long to wait after a failure.
        http: Fetches them.
        host: The server that is asked: its own files are taken, and those of OKX's own hosts.
    """

    def __init__(self, calls: RestCalls, http: HttpClient, host: str) -> None:
        self._calls = calls
        self._http = http
        self._host = host

    async def trades(self, instrument: str, first_day: int, last_day: int) -> list[ArchiveFile]:
        """Return the files of days, both included, that hold an instrument's trades, in order of days.

        Raises:
            ParseError: The reply cannot be understood.
            OkxError: The request failed.
        """
        type_ = type_of_kind(kind_of(own_id(instrument)))
        family = "-".join(instrument.split("-")[:2])
        by = {"instIdList": instrument} if type_ == "SPOT" else {"instFamilyList": family}
        begin, end = (str(day * NS_PER_DAY // NS_PER_MS) for day in (first_day, last_day))
        query = {"module": MODULES["trades"], "instType": type_, **by, "dateAggrType": "daily"}
        reply = await self._calls.get(MARKET_DATA_HISTORY, {**query, "begin": begin, "end": end})
        try:
            listed = _listings.decode(reply.data)
        except wire.DECODE_ERRORS as error:
            raise ParseError(str(error), where=f"OKX {MARKET_DATA_HISTORY.path} {instrument}") from None
        found: dict[int, ArchiveFile] = {}
        for file in (file for listing in listed for details in listing.details for file in details.group_details):
            name = _NAME(file.filename)
            if name is None or name[1] not in (instrument, family):
                continue
            if name[1] == family != instrument and "futureschain" not in file.filename:
                continue  # the trades of the spot pair of that name
            day = time_ns_of(name[2]) // NS_PER_DAY
            if first_day <= day <= last_day:
                found[day] = ArchiveFile(file.filename, file.url, day)
        return [found[day] for day in sorted(found)]

    async def fetch(self, file: ArchiveFile, folder: Path) -> Path:
        """Return a file on disk once it is whole: its packed contents carry checksums, and all of them agree.

        Raises:
            OkxServerError: Its address is not OKX's, or it stays damaged.
            OkxError: The request failed for good.
        """
        place = urlsplit(file.url)
        host = place.hostname or ""
        is_okx = place.scheme == "https" and (host == "okx.com" or host.endswith(".okx.com"))
        if not is_okx and place.netloc != self._host:
            raise OkxServerError(f"{file.name}: its address {host!r} is not OKX's; nothing is fetched from there")
        path = folder / file.name.rpartition("/")[2]
        failures = 0
        while True:
            try:
                await self._http.fetch(file.url, path, where=f"OKX {file.name}")
                _check(path)
                return path
            except OkxError as error:
                path.unlink(missing_ok=True)
                failures += 1
                wait_s = self._calls.wait_s(error, failures, MARKET_DATA_HISTORY)
                if wait_s is None:
                    raise
                self._calls.count(f"daily files fetched again after {error.code or type(error).__name__}")
                await asyncio.sleep(wait_s)


def _check(path: Path) -> None:
    """Refuse a file that is not whole.

    Raises:
        OkxServerError: It is cut, or its contents do not agree with their checksums.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        damaged = str(error)
    if damaged is not None:
        raise OkxServerError(
            f"{path.name} is damaged ({damaged}); try again later", code="damage", where=path.name, is_retryable=True
        )
