"""Files of days and months bring what requests bring; what is damaged or not listed ends one stream, not all."""

import asyncio
import tarfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import msgspec
import numpy as np
import pytest
from collect_stage import CONFIG, KEY, SPOT, SWAP, Venue, digest, fetched
from simulation.virtual import EPOCH_NS, simulate, virtual_loop

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of, wall_ns
from quantkit.collect.download import Downloader
from quantkit.collect.kinds import kinds_of
from quantkit.collect.plan import Wish
from quantkit.collect.report import DownloadError, DownloadReport
from quantkit.errors import ConfigError
from quantkit.events import BookUpdate
from quantkit.feeds.okx.errors import OkxRequestError, OkxServerError
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.listing import ListedInstrument, default_listings
from quantkit.sandbox.market import JsonRow
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

HOUR_NS = 60 * NS_PER_MIN
FUTURES = [
    ListedInstrument(
        id=f"BTC-USD-{day}", kind="FUTURES", asset="BTC", price=100_000.0, price_decimals=1, qty_decimals=0, min_lots=1,
        lots=lots, code=code, contract_value="100", is_inverse=True,
    )
    for day, code, lots in (("260626", 20001, 60), ("260828", 20002, 60), ("270326", 20003, 90))
]  # fmt: skip
EXPIRED, FUTURE = "BTC-USD-260626", "BTC-USD-260828"


class Market(GeneratedMarket):
    """With futures, one of them expired, a pair that is suspended and one that is not open yet."""

    def __init__(self) -> None:
        super().__init__(3, [*default_listings(), *FUTURES], orders_per_s=0, tick_ms=60_000)

    def instruments(self) -> list[JsonRow]:
        rows = super().instruments()
        states = {"ETH-USDT": {"state": "suspend"}, "SOL-USDT": {"state": "preopen", "tickSz": "", "lotSz": ""}}
        return [row | states.get(row["instId"], {}) for row in rows]


def both_ways(
    folder: Path, names: Sequence[str], kinds: str, span: tuple[int, int], *wrong: faults.Fault
) -> tuple[DownloadReport, DownloadReport, list[str]]:
    """Return what files bring and what requests bring, and the endpoints asked for the former."""
    venues: list[Venue] = []
    filed = fetched(folder / "files", names, kinds, *span, files=True, faults=wrong, venue=venues, market=Market)
    asked = fetched(folder / "requests", names, kinds, *span, market=Market)
    assert digest(folder / "files") == digest(folder / "requests")
    return filed, asked, [path for _, path, _ in venues[0].asked]


def test_bars_and_rates_of_monthly_files_are_those_of_the_requests(tmp_path: Path) -> None:
    """June's UTC days lie in two of the exchange's months, which meet at 16:00 UTC of its last one."""
    span = (time_ns_of("2026-06-25"), time_ns_of("2026-07-01"))
    filed, asked, paths = both_ways(tmp_path, [SWAP], "candles-1m,funding", span)
    assert [stream.rows for stream in filed.streams] == [6 * 1440, 18]
    assert (filed.files, asked.files, [stream.holes for stream in filed.streams]) == (4, 0, [[], []])
    assert not [path for path in paths if "history-candles" in path or "funding-rate" in path]
    assert {each.source for each in Catalog(tmp_path / "files").asked} == {
        "okx at 127.0.0.1:1 files candles-1m",
        "okx at 127.0.0.1:1 files funding",
    }


def test_short_spans_of_bars_and_months_that_are_not_out_come_by_request(tmp_path: Path) -> None:
    span = (time_ns_of("2026-07-29"), time_ns_of("2026-08-03"))
    venues: list[Venue] = []
    report = fetched(tmp_path, [SWAP], "candles-1m,funding,candles-1h", *span, files=True, venue=venues)
    assert (report.files, [stream.rows for stream in report.streams]) == (0, [5 * 1440, 15, 120])
    assert not [path for _, path, _ in venues[0].asked if "market-data" in path]


class Unfit(GeneratedMarket):
    """Its files say of every bar that it is still open, and hold no trade."""

    def older_trades(self, instrument: str, trade_id: int | None, at_ms: int | None, count: int) -> list[JsonRow]:
        return super().older_trades(instrument, trade_id, at_ms, count) if count < 10_000 else []

    def candles(self, topic: Topic, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        rows = super().candles(topic, until_ms, count, now_ms)
        return rows if count < 10_000 else [[*row[:-1], "0"] for row in rows]


def test_what_a_file_lacks_comes_by_request(tmp_path: Path) -> None:
    """Only what neither has is a hole."""
    span = (time_ns_of("2026-06-25"), time_ns_of("2026-06-30"))
    market = Unfit(3, 6, orders_per_s=0, tick_ms=60_000)
    report = fetched(tmp_path, [SWAP], "candles-1m", *span, files=True, market=lambda: market)
    assert (report.rows, report.files, report.streams[0].holes) == (5 * 1440, 1, [])
    assert report.counters == {"files of candles-1m without all rows, which were asked for by request": 1}
    span = (EPOCH_NS - 6 * NS_PER_DAY, EPOCH_NS - 6 * NS_PER_DAY + HOUR_NS)
    market = Unfit(3, 6, orders_per_s=0, tick_ms=60_000)
    report = fetched(tmp_path, [SWAP], "trades", *span, files=True, market=lambda: market)
    assert (report.rows, report.files, report.streams[0].holes) == (900, 1, [])


@pytest.mark.parametrize("ago", [6, 7, 8])
def test_the_edges_of_files_lose_and_double_no_trade(tmp_path: Path, ago: int) -> None:
    """The three kinds of edges: early, early with the first trades in both files, late."""
    edge_ns = EPOCH_NS - ago * NS_PER_DAY + 16 * HOUR_NS
    filed, _, _ = both_ways(tmp_path, [SPOT], "trades", (edge_ns - NS_PER_MIN, edge_ns + NS_PER_MIN))
    assert (filed.rows, filed.files, filed.counters) == (30, 2, {})


@pytest.mark.parametrize("ago", [45, 75])
def test_older_files_of_trades_bring_the_same(tmp_path: Path, ago: int) -> None:
    """Without a column of sources, and with Chinese names, another order of columns and no instrument."""
    begin_ns = EPOCH_NS - ago * NS_PER_DAY + 15 * HOUR_NS
    filed, _, _ = both_ways(tmp_path, [SWAP], "trades", (begin_ns, begin_ns + 2 * HOUR_NS))
    assert (filed.rows, filed.files) == (1800, 2)


def test_a_future_is_taken_out_of_its_familys_files(tmp_path: Path) -> None:
    begin_ns = EPOCH_NS - 6 * NS_PER_DAY + 12 * HOUR_NS
    filed, _, paths = both_ways(tmp_path, [FUTURE], "trades", (begin_ns, begin_ns + HOUR_NS))
    assert (filed.rows, filed.files) == (900, 1)
    assert [path for path in paths if "BTC-USD-futureschain-trades" in path]


def test_a_file_that_comes_damaged_is_fetched_again(tmp_path: Path) -> None:
    """Cut, with one bit changed, under another's checksum."""
    wrong = [faults.Rest(endpoint=".zip", form=form) for form in ("cut", "flip", "digest")]
    begin_ns = EPOCH_NS - 6 * NS_PER_DAY
    filed, _, _ = both_ways(tmp_path, [SWAP], "trades", (begin_ns, begin_ns + HOUR_NS), *wrong)
    assert (filed.rows, filed.counters) == (900, {"files fetched again after damage": 3})


def test_a_file_that_stays_damaged_is_named_and_all_else_comes(tmp_path: Path) -> None:
    """In one line, after four downloads; nothing says that the exchange was asked for it."""
    span = (EPOCH_NS - 6 * NS_PER_DAY, EPOCH_NS - 6 * NS_PER_DAY + HOUR_NS)
    wrong = [faults.Rest(endpoint=".zip", form="flip", times=0)]
    venues: list[Venue] = []
    with pytest.raises(DownloadError) as failed:
        fetched(tmp_path, [SWAP], "trades,candles-1h", *span, files=True, faults=wrong, venue=venues)
    (line,) = failed.value.report.failures
    assert line.startswith(f"{SWAP} trades: {SWAP}-trades-2026-08-20.zip came damaged 4 times (")
    assert line.endswith("): try again later, or ask without files (--no-files)")
    assert "\n" not in line
    assert len([path for _, path, _ in venues[0].asked if path.endswith(".zip")]) == 4
    assert [each.kind for each in Catalog(tmp_path).asked] == ["candle"]
    # Once the server is whole again, the same command brings the rest.
    assert fetched(tmp_path, [SWAP], "trades,candles-1h", *span, files=True).rows == 900


# Instruments that are refused ----------------------------------------------------------------------------------


def test_what_the_exchange_refuses_is_told_in_a_line_each_and_the_others_finish(tmp_path: Path) -> None:
    """A suspended pair has a history like any other."""
    names = [SPOT, "NO-SUCH", EXPIRED, "SOL-USDT", "ETH-USDT", FUTURE]
    span = (EPOCH_NS - NS_PER_DAY, EPOCH_NS)
    with pytest.raises(DownloadError) as failed:
        fetched(tmp_path, names, "candles-1h,price-limit", *span, market=Market)
    report = failed.value.report
    unknown, expired, unopened = report.failures
    assert unknown.startswith("OKX public/instruments NO-SUCH: ")
    assert unknown.endswith(
        "check the instrument id, for example BTC-USDT or BTC-USDT-SWAP, and that the region trades it"
    )
    assert expired == (
        f"{EXPIRED} expired on 2026-06-26 and is not listed any more: fetch its files of trades from "
        f"okx.com/historical-data and import them (quantkit import FILE... --only {EXPIRED} --contract-value N)"
    )
    assert unopened.startswith("SOL-USDT: OKX lists it, but without steps")
    done = {(stream.instrument, stream.kind): stream.rows for stream in report.streams}
    assert done == {(name, kind): rows for name in (SPOT, "ETH-USDT", FUTURE) for kind, rows in KINDS.items()}


KINDS = {"candles-1h": 24, "price-limit": 1}


def test_a_single_instrument_that_is_refused_is_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(OkxRequestError, match=f"{EXPIRED} expired on 2026-06-26"):
        fetched(tmp_path, [EXPIRED], "candles-1h", EPOCH_NS - NS_PER_DAY, EPOCH_NS, market=Market)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_an_update_leaves_out_what_has_expired_meanwhile(tmp_path: Path) -> None:
    """A line of a crontab does not fail for ever because of it."""
    fetched(tmp_path, [FUTURE, SPOT], "candles-1h", EPOCH_NS - NS_PER_DAY, EPOCH_NS, market=Market)
    later_ns = EPOCH_NS + 3 * NS_PER_DAY
    updated = fetched(tmp_path, [], "", None, EPOCH_NS + HOUR_NS, update=True, now_ns=later_ns, market=Market)
    assert updated.left_out == [f"{FUTURE} expired on 2026-08-28"]
    assert [(stream.instrument, stream.rows) for stream in updated.streams] == [(SPOT, 1)]


# Two at once ---------------------------------------------------------------------------------------------------


def test_two_downloads_into_one_folder_store_each_row_once(tmp_path: Path) -> None:
    """Whatever the one stores between the other's question and its answer."""

    async def main() -> list[DownloadReport]:
        market = GeneratedMarket(3, 6, orders_per_s=0, tick_ms=60_000)
        async with Exchange(market, wall_ns=virtual_loop().wall_ns) as exchange:
            await asyncio.sleep(60)
            begin_ns = EPOCH_NS - 40 * NS_PER_DAY
            options = {"config": CONFIG, "credentials": KEY, "now_ns": virtual_loop().wall_ns}
            jobs = [Downloader(tmp_path / "both", transport=Venue(exchange), **options) for _ in range(2)]
            kinds, later_ns = kinds_of("candles-1h,funding,marks-1h"), begin_ns + 10 * NS_PER_DAY
            wishes = [
                Wish([SWAP], kinds, from_ns, EPOCH_NS, is_update=False, replaces=False)
                for from_ns in (begin_ns, later_ns)
            ]
            found = await asyncio.gather(*(job.run(wish) for job, wish in zip(jobs, wishes, strict=True)))
            alone = Downloader(tmp_path / "alone", transport=Venue(exchange), **options)
            await alone.run(wishes[0])
            return found

    reports = simulate(main())
    assert digest(tmp_path / "both") == digest(tmp_path / "alone")
    assert sum(report.rows for report in reports) == 40 * 24 * 2 + 40 * 3


# Books ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange() -> Iterator[SandboxServer]:
    with SandboxServer(GeneratedMarket(orders_per_s=0)) as server:
        yield server


def test_books_come_by_whole_days_from_their_files(exchange: SandboxServer, tmp_path: Path) -> None:
    """Every line of the file is a row; what is not out yet is told, and asked for again later."""
    day = wall_ns() // NS_PER_DAY - 5
    noon_ns = day * NS_PER_DAY + 12 * HOUR_NS
    okx = qk.OkxConfig(url=exchange.url)
    shares: list[float] = []
    exchange.inject(faults.Rest(endpoint=".tar.gz", form="flip"))
    report = qk.download(
        SWAP,
        "books",
        noon_ns,
        noon_ns + HOUR_NS,
        data=tmp_path,
        okx=okx,
        progress=lambda _, done, wanted: shares.append(done / wanted),
    )
    (stream,) = report.streams
    assert (stream.from_ns, stream.to_ns) == (day * NS_PER_DAY, (day + 1) * NS_PER_DAY)
    assert (report.files, report.counters, stream.late_from_ns) == (1, {"files fetched again after damage": 1}, 0)
    assert shares[-1] == 1.0
    assert len({round(share, 1) for share in shares}) > 3
    date = np.datetime64(day, "D")
    path = (
        f"/cdn/okx/match/orderbook/L2/400lv/daily/{str(date).replace('-', '')}/{SWAP}-L2orderbook-400lv-{date}.tar.gz"
    )
    with urlopen(exchange.url + path) as reply, tarfile.open(fileobj=BytesIO(reply.read())) as archive:
        content = archive.extractfile(archive.getmembers()[0])
        assert content is not None
        lines = [msgspec.json.decode(line) for line in content]
    rows = list(read_events(Catalog(tmp_path), [Stream("book", SWAP)], 0, 2**62))
    assert stream.rows == len(lines) == len(rows) > 5_000
    for line, row in zip(lines, rows, strict=True):
        assert isinstance(row, BookUpdate)
        assert (row.exchange_ns, row.is_snapshot) == (int(line["ts"]) * NS_PER_MS, line["action"] == "snapshot")
        assert list(zip(row.bid_prices, row.bid_qtys, strict=True)) == [
            (float(p), float(q)) for p, q, _ in line["bids"]
        ]
        assert list(zip(row.ask_prices, row.ask_qtys, strict=True)) == [
            (float(p), float(q)) for p, q, _ in line["asks"]
        ]
    again = qk.download(SWAP, "books", noon_ns, noon_ns + HOUR_NS, data=tmp_path, okx=okx)
    assert (again.rows, again.files, again.streams[0].held_rows) == (0, 0, len(rows))
    later = qk.download(SWAP, "books", wall_ns() - NS_PER_DAY, data=tmp_path, okx=okx)
    assert later.rows == 0
    assert later.streams[0].late_from_ns == (day + 4) * NS_PER_DAY


def test_a_day_of_books_without_a_file_is_a_hole_and_known_only_when_it_is_old(
    exchange: SandboxServer, tmp_path: Path
) -> None:
    """Before the exchange began there is none, and none will come; books by request there are not."""
    day_ns = wall_ns() // NS_PER_DAY * NS_PER_DAY
    okx = qk.OkxConfig(url=exchange.url)
    begin_ns = day_ns - 100 * NS_PER_DAY
    report = qk.download(SWAP, "books", begin_ns, begin_ns + NS_PER_DAY, data=tmp_path, okx=okx)
    assert [(hole.from_ns, hole.to_ns) for hole in report.streams[0].holes] == [(begin_ns, begin_ns + NS_PER_DAY)]
    assert [each.kind for each in Catalog(tmp_path).asked] == ["book"]
    with pytest.raises(ConfigError, match="books: the exchange has their past in files alone; leave out --no-files"):
        qk.download(SWAP, "books", begin_ns, data=tmp_path, okx=okx, files=False)


def test_books_that_stay_damaged_are_named(exchange: SandboxServer, tmp_path: Path) -> None:
    day_ns = (wall_ns() // NS_PER_DAY - 6) * NS_PER_DAY
    okx = qk.OkxConfig(url=exchange.url)
    exchange.inject(faults.Rest(endpoint=".tar.gz", form="cut", times=4))
    with pytest.raises(OkxServerError, match=r"\.tar\.gz came damaged 4 times \(.*MD5 is not the one"):
        qk.download(SWAP, "books", day_ns, day_ns + NS_PER_S, data=tmp_path, okx=okx)
    assert [each.kind for each in Catalog(tmp_path).asked] == []
