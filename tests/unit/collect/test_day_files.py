"""Which of the exchange's days hold a UTC day, and whose addresses are believed."""

import asyncio
import io
import zipfile
from pathlib import Path

import httpx2
import numpy as np
import pytest
from simulation.virtual import simulate, virtual_loop

from quantkit.clock import NS_PER_DAY, NS_PER_S, time_ns_of
from quantkit.collect.day_files import DayFiles, FileReading
from quantkit.collect.kinds import kinds_of
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.errors import OkxError, OkxServerError
from quantkit.feeds.okx.rest.archive import ARCHIVES, ArchiveFile
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.instruments import Instrument

NOON_NS = time_ns_of("2026-01-10T12:00:00")
DAY = NOON_NS // NS_PER_DAY
(TRADES,) = kinds_of("trades")


def packed(text: str = "a,b\n1,2\n") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("rows.csv", text)
    return content.getvalue()


class Files(httpx2.AsyncBaseTransport):
    """Answers each request with the next of some bodies."""

    def __init__(self, *answers: httpx2.Response) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0.01)
        self.asked.append(str(request.url))
        return self.answers.pop(0)


def fetch(folder: Path, url: str, *answers: httpx2.Response) -> tuple[Path, list[str]]:
    server = Files(*answers)

    async def main() -> Path:
        config, rng = OkxConfig(url="http://127.0.0.1:1"), np.random.default_rng(1)
        async with OkxRest(config, transport=server, now_ns=virtual_loop().wall_ns, rng=rng) as rest:
            file = ArchiveFile("BTC-USDT-trades-2026-01-10.zip", url, DAY)
            shares = [share async for share in rest.archive.fetch(file, folder)]
            assert shares[-1:] == [1.0]
            return file.path_in(folder)

    return simulate(main()), server.asked


def test_a_day_of_utc_lies_in_two_files() -> None:
    """The exchange's day begins at 16:00 UTC of the day before; near that moment both neighbours may hold a trade."""
    midnight_ns = DAY * NS_PER_DAY
    border_ns = midnight_ns + 16 * 3600 * NS_PER_S
    trades = ARCHIVES["trades"]
    assert list(trades.numbers_of(midnight_ns, midnight_ns + NS_PER_DAY)) == [DAY, DAY + 1]
    assert list(trades.numbers_of(NOON_NS, NOON_NS + NS_PER_S)) == [DAY]
    assert list(trades.numbers_of(border_ns - 30 * NS_PER_S, border_ns - 20 * NS_PER_S)) == [DAY, DAY + 1]
    assert list(trades.numbers_of(border_ns + 30 * NS_PER_S, border_ns + 40 * NS_PER_S)) == [DAY, DAY + 1]
    assert list(trades.numbers_of(border_ns + 90 * NS_PER_S, border_ns + 100 * NS_PER_S)) == [DAY + 1]


def test_months_begin_on_the_exchanges_clock_and_books_on_utc() -> None:
    """December and January from both sides of the same moment; February has its own length."""
    candles, books = ARCHIVES["candles"], ARCHIVES["books"]
    january = (2026 - 1970) * 12
    edge_ns = time_ns_of("2025-12-31T16:00:00")
    assert [candles.number_of(edge_ns + off_ns) - january for off_ns in (-1, 0)] == [-1, 0]
    assert candles.begin_ns(january) == edge_ns
    assert candles.begin_ns(january + 2) - candles.begin_ns(january + 1) == 28 * NS_PER_DAY
    assert [candles.number_of(candles.begin_ns(number)) for number in range(600, 700)] == list(range(600, 700))
    utc = (time_ns_of("2026-01-01"), time_ns_of("2026-02-01"))
    assert [number - january for number in candles.numbers_of(*utc)] == [0, 1]
    day_ns = DAY * NS_PER_DAY
    assert list(books.numbers_of(day_ns, day_ns + NS_PER_DAY)) == [DAY]
    # Until both months are out, two days after the later one's end.
    out_ns = time_ns_of("2026-03-02T16:00:00")
    assert [candles.is_out(*utc, out_ns + off_ns) for off_ns in (-1, 0)] == [False, True]


def test_only_the_files_that_the_next_day_needs_stay_on_disk(tmp_path: Path) -> None:
    """A download of years does not fill the disk for temporary files."""
    pair = Instrument("BTC-USDT", price_step="0.1", qty_step="0.1")
    rows = [f"BTC-USDT,{day},buy,1.5,2,{day * 86_400_000 + 1000},0" for day in range(DAY, DAY + 3)]
    text = "\n".join(["instrument_name,trade_id,side,price,size,created_time,source", *rows, ""])
    listed = [
        {"filename": f"BTC-USDT-trades-2026-01-{10 + day}.zip", "url": f"http://127.0.0.1:1/{day}"} for day in range(4)
    ]
    data = [{"details": [{"groupDetails": listed}]}]
    listing = httpx2.Response(200, json={"code": "0", "msg": "", "data": data})
    server = Files(listing, *[httpx2.Response(200, content=packed(text)) for _ in range(4)])

    async def main() -> list[list[int]]:
        async with OkxRest(OkxConfig(url="http://127.0.0.1:1"), transport=server) as rest:
            files, found = DayFiles(rest, TRADES, ARCHIVES["trades"], pair, tmp_path, last=DAY + 3), []
            for day in range(DAY, DAY + 3):
                span = (day * NS_PER_DAY, (day + 1) * NS_PER_DAY)
                assert await files.has(span)
                assert [share async for share in files.read(span)][-1] == 0.5
                found.append([sum(map(len, files.blocks(span))), len(list(tmp_path.glob("*.zip")))])
            return found

    # Of each day one trade, from two files; both hold it, and it counts once.
    assert simulate(main()) == [[1, 2]] * 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/cdn/a.zip", "https://static.okx.com/cdn/a.zip", "https://okx.com/a.zip"]
)
def test_what_is_damaged_is_fetched_again(tmp_path: Path, url: str) -> None:
    whole = packed()
    flipped = bytearray(whole)
    flipped[whole.index(b"1,2")] ^= 1
    answers = [
        httpx2.Response(200, content=whole[:-30]),
        httpx2.Response(200, content=bytes(flipped)),
        httpx2.Response(503),
        httpx2.Response(200, content=whole),
    ]
    path, asked = fetch(tmp_path, url, *answers)
    assert (path.read_bytes(), len(asked)) == (whole, 4)


@pytest.mark.parametrize(
    "url",
    ["http://static.okx.com/a.zip", "https://okx.com.example/a.zip", "https://example/okx.com", "http://127.0.0.1:2/a"],
)
def test_addresses_of_others_are_not_believed(tmp_path: Path, url: str) -> None:
    with pytest.raises(OkxServerError, match="is not OKX's; nothing is fetched from there"):
        fetch(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OkxError):
        fetch(tmp_path, "http://127.0.0.1:1/a.zip", httpx2.Response(404))
    assert list(tmp_path.iterdir()) == []


def test_reading_a_book_ends_with_whoever_waits_for_it(tmp_path: Path) -> None:
    """A day of a book takes minutes: Ctrl-C neither waits for its end nor leaves rows behind."""
    line = '{"instId":"BTC-USDT","action":"snapshot","ts":"%d","asks":[["101","1","1"]],"bids":[["100","1","1"]]}'
    path = tmp_path / "BTC-USDT-L2orderbook-400lv-2026-01-10.data"
    path.write_text("\n".join(line % (NOON_NS // 10**6 + number) for number in range(80_000)) + "\n")
    pair = Instrument("BTC-USDT", price_step="0.1", qty_step="0.1")
    (books,) = kinds_of("books")

    async def main() -> None:
        rest = OkxRest(OkxConfig(url="http://127.0.0.1:1"))
        DayFiles(rest, books, ARCHIVES["books"], pair, tmp_path, last=DAY)
        reading = FileReading(books, pair.id, tmp_path / "instrument.json", tmp_path / "rows")

        async def read() -> None:
            async for share in reading.run([path]):
                assert share < 1.0
                begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not (tmp_path / "rows" / "manifest.jsonl").exists()
