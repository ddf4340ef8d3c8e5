"""OKX's downloadable files: which there are, and their bytes on disk, whole or not at all."""

import asyncio
import gzip
import re
import tarfile
import zipfile
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, datetime_of
from quantkit.errors import ParseError
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.errors import DAMAGE, OkxError, OkxServerError, damage
from quantkit.feeds.okx.rest.calls import MARKET_DATA_HISTORY, RestCalls
from quantkit.feeds.okx.rest.http import HttpClient
from quantkit.feeds.okx.rest.ids import kind_of, own_id, type_of_kind

#: So many days or months are listed at once; more than ten are refused.
_LISTED: Final = 9
#: A file that comes damaged is fetched so often; a large one costs some minutes each time.
_FETCHES: Final = 4
_HONG_KONG_NS: Final = 8 * 60 * NS_PER_MIN
_NAME: Final = re.compile(
    r"(?P<who>[A-Z0-9_-]+?)-(?P<chain>futureschain-)?(?P<word>trades|candlesticks|fundingrates|L2orderbook-400lv)"
    r"-(?P<year>\d{4})-(?P<month>\d{2})(?:-(?P<day>\d{2}))?\.(?:zip|tar\.gz)"
).fullmatch
_PART_BYTES: Final = 1 << 22


class ArchiveKind(NamedTuple):
    """One kind of files, each of a day or a month of the exchange's.

    Attributes:
        module: Of `public/market-data-history`.
        word: What the files' names call it.
        is_monthly: Whether a file holds a month, not a day.
        ahead_ns: How much earlier than UTC's its days begin.
        edge_ns: Rows this near to a file's edge may lie in its neighbour.
        published_ns: How long after its end a file may be out.
    """

    module: str
    word: str
    is_monthly: bool
    ahead_ns: int
    edge_ns: int
    published_ns: int

    def number_of(self, at_ns: int) -> int:
        """Return the number of the day or month that holds a moment, counted from January 1970 on."""
        days = (at_ns + self.ahead_ns) // NS_PER_DAY
        if not self.is_monthly:
            return days
        date = datetime_of(days * NS_PER_DAY)
        return (date.year - 1970) * 12 + date.month - 1

    def begin_ns(self, number: int) -> int:
        """Return when a day or month begins, UTC ns."""
        days = number
        if self.is_monthly:
            days = datetime(1970 + number // 12, number % 12 + 1, 1, tzinfo=UTC).toordinal() - _EPOCH_ORDINAL
        return days * NS_PER_DAY - self.ahead_ns

    def numbers_of(self, from_ns: int, to_ns: int) -> range:
        """Return the days or months whose files hold the rows of a span; its end is not part of it."""
        return range(self.number_of(from_ns - self.edge_ns), self.number_of(to_ns - 1 + self.edge_ns) + 1)

    def is_out(self, from_ns: int, to_ns: int, now_ns: int) -> bool:
        """Return whether every file of a span should have been published."""
        return self.begin_ns(self.numbers_of(from_ns, to_ns).stop) + self.published_ns <= now_ns


_EPOCH_ORDINAL: Final = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
#: The kinds of files by what they hold. The exchange cuts days at 16:00 UTC, but those of books at midnight.
ARCHIVES: Final[dict[str, ArchiveKind]] = {
    "trades": ArchiveKind("1", "trades", False, _HONG_KONG_NS, NS_PER_MIN, 2 * NS_PER_DAY),
    "candles": ArchiveKind("2", "candlesticks", True, _HONG_KONG_NS, 0, 2 * NS_PER_DAY),
    "funding": ArchiveKind("3", "fundingrates", True, _HONG_KONG_NS, NS_PER_MIN, 2 * NS_PER_DAY),
    "books": ArchiveKind("4", "L2orderbook-400lv", False, 0, 0, 3 * NS_PER_DAY),
}


class ArchiveFile(NamedTuple):
    """One file.

    Attributes:
        name: Without a path.
        url: Where it is.
        number: Of its day or month, as its kind counts them.
    """

    name: str
    url: str
    number: int

    def path_in(self, folder: Path) -> Path:
        """Return where it lies once it has been fetched."""
        return folder / self.name.rpartition("/")[2]


class _File(msgspec.Struct):
    filename: str
    url: str


class _Details(msgspec.Struct, rename="camel"):
    group_details: list[_File] = []


class _Listing(msgspec.Struct):
    details: list[_Details] = []


_listings: Final = msgspec.json.Decoder(list[_Listing] | _Listing)


class Archive:
    """Lists and fetches files.

    Args:
        calls: Makes the requests that list them, and says how long to wait after a failure.
        http: Fetches them.
        host: The server that is asked: its own files are taken, and those of OKX's own hosts.
    """

    def __init__(self, calls: RestCalls, http: HttpClient, host: str) -> None:
        self._calls = calls
        self._http = http
        self._host = host

    async def listed(self, kind: ArchiveKind, instrument: str, first: int, last: int) -> dict[int, ArchiveFile]:
        """Return the files of days or months, both included, that hold an instrument's rows, by their number.

        Raises:
            ParseError: A reply cannot be understood.
            OkxError: A request failed.
        """
        found: dict[int, ArchiveFile] = {}
        for begin in range(first, last + 1, _LISTED):
            found |= await self._some(kind, instrument, begin, min(begin + _LISTED - 1, last))
        return found

    async def _some(self, kind: ArchiveKind, instrument: str, first: int, last: int) -> dict[int, ArchiveFile]:
        type_ = type_of_kind(kind_of(own_id(instrument)))
        family = "-".join(instrument.split("-")[:2])
        by = {"instIdList": instrument} if type_ == "SPOT" else {"instFamilyList": family}
        # The exchange counts from its own midnight, and leaves out a newest file whose day has begun by then.
        begin, end = (str(kind.begin_ns(number) // NS_PER_MS) for number in (first - 1, last))
        aggregation = "monthly" if kind.is_monthly else "daily"
        query = {"module": kind.module, "instType": type_, **by, "dateAggrType": aggregation}
        reply = await self._calls.get(MARKET_DATA_HISTORY, {**query, "begin": begin, "end": end})
        try:
            decoded = _listings.decode(reply.data)
        except wire.DECODE_ERRORS as error:
            raise ParseError(str(error), where=f"OKX {MARKET_DATA_HISTORY.path} {instrument}") from None
        found: dict[int, ArchiveFile] = {}
        listings = [decoded] if isinstance(decoded, _Listing) else decoded
        for file in (file for listing in listings for details in listing.details for file in details.group_details):
            name = _NAME(file.filename)
            # Futures of a family share their files; without the word in the name they are the spot pair's.
            who = family if type_ == "FUTURES" else instrument
            if name is None or (name["who"], name["word"]) != (who, kind.word):
                continue
            if (name["chain"] is not None) is not (type_ == "FUTURES") or (name["day"] is None) is not kind.is_monthly:
                continue
            number = _number(int(name["year"]), int(name["month"]), name["day"])
            if number is not None and first <= number <= last:
                found[number] = ArchiveFile(file.filename, file.url, number)
        return found

    async def fetch(self, file: ArchiveFile, folder: Path) -> AsyncGenerator[float, None]:
        """Fetch a file, and end once it lies in a folder whole: every checksum of it agrees.

        Yields:
            How much of it has come, from 0 to 1; less again where it is fetched anew.

        Raises:
            OkxServerError: Its address is not OKX's, or it stays damaged.
            OkxError: The request failed for good.
        """
        place = urlsplit(file.url)
        host = place.hostname or ""
        is_okx = place.scheme == "https" and (host == "okx.com" or host.endswith(".okx.com"))
        if not is_okx and place.netloc != self._host:
            raise OkxServerError(f"{file.name}: its address {host!r} is not OKX's; nothing is fetched from there")
        path = file.path_in(folder)
        failures = damages = 0
        while True:
            try:
                async with aclosing(self._http.fetch(file.url, path, where=f"OKX {file.name}")) as shares:
                    async for share in shares:
                        yield share
                await _check(path)
                return
            except OkxError as error:
                path.unlink(missing_ok=True)
                failures += 1
                damages += error.code == DAMAGE
                if damages == _FETCHES:
                    raise OkxServerError(
                        f"{file.name} came damaged {damages} times ({error.text}): try again later, or ask without "
                        "files (--no-files)",
                        code=DAMAGE,
                        where=file.name,
                    ) from None
                wait_s = self._calls.wait_s(error, failures, MARKET_DATA_HISTORY)
                if wait_s is None:
                    raise
                self._calls.count(f"files fetched again after {error.code or type(error).__name__}")
                await asyncio.sleep(wait_s)


def _number(year: int, month: int, day: str | None) -> int | None:
    """Return the number of the day or month in a file's name; None where there is no such day."""
    try:
        date = datetime(year, month, 1 if day is None else int(day), tzinfo=UTC)
    except ValueError:
        return None
    return (year - 1970) * 12 + month - 1 if day is None else date.toordinal() - _EPOCH_ORDINAL


async def _check(path: Path) -> None:
    """Refuse a file that is not whole; others run meanwhile, since a book's takes seconds.

    Raises:
        OkxServerError: It is cut, or its contents do not agree with their checksums.
    """
    damaged: str | None = None
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        else:
            with gzip.open(path) as stream:
                while stream.read(_PART_BYTES):
                    await asyncio.sleep(0)
            with tarfile.open(path) as members:
                members.next()
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError) as error:
        damaged = str(error)
    if damaged is not None:
        raise damage(path.name, damaged)
