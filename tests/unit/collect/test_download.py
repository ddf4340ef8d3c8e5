"""A download holds what the exchange has, each row once, however it fails, is ended and goes on."""

from pathlib import Path

import pytest
from campaign import scaled
from collect_stage import CONFIG, NOW_NS, SPOT, SWAP, TIMEOUT_S, Killed, Venue, digest, fetched
from simulation.virtual import EPOCH_NS

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S
from quantkit.collect.download import SETTLED_NS
from quantkit.collect.report import DownloadError
from quantkit.errors import ConfigError
from quantkit.events import FeeRate, Funding, Mark, OpenInterest, PositionTier, PriceLimit, Trade
from quantkit.feeds.okx.errors import OkxRequestError, OkxServerError
from quantkit.feeds.okx.rest import calls
from quantkit.feeds.okx.rest.calls import Endpoint
from quantkit.feeds.row_tape import RowTape
from quantkit.quality import check
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.root import WORK

HOUR_NS = 60 * NS_PER_MIN
MONTH = (EPOCH_NS - 31 * NS_PER_DAY, EPOCH_NS)
#: In each fifty requests, five fail: each in its own way.
ONE_IN_TEN = [
    faults.Rest(every=50, times=0, status=500, code="50026", text="System error."),
    faults.Rest(every=50, times=0, status=429, code="50011", text="Requests too frequent."),
    faults.Rest(every=50, times=0, status=429, code="50013", text="Systems are busy."),
    faults.Rest(every=50, times=0, form="cut"),
    faults.Rest(every=50, times=0, delay_s=TIMEOUT_S + 1),
]


def rows(folder: Path, kind: str, instrument: str, interval: str = "") -> list[object]:
    return list(read_events(Catalog(folder), [Stream(kind, instrument, interval)], 0, 2**62))


def test_a_month_from_a_server_that_fails_one_request_in_ten_is_the_month(tmp_path: Path) -> None:
    """Bars, marks and funding of a month, and trades of six hours."""
    venues: list[Venue] = []
    for name, wrong in (("clean", []), ("faulty", ONE_IN_TEN)):
        folder = tmp_path / name
        report = fetched(folder, [SWAP], "candles-1m,funding,marks-1h", *MONTH, faults=wrong, venue=venues)
        trades = fetched(folder, [SWAP], "trades", EPOCH_NS - 6 * HOUR_NS, EPOCH_NS, faults=wrong, venue=venues)
        assert [stream.rows for stream in report.streams] == [31 * 1440, 31 * 3, 31 * 24]
        assert not any(stream.holes for stream in [*report.streams, *trades.streams])
        repeated = sum(report.counters.values()) + sum(trades.counters.values())
        assert (repeated > 10) is bool(wrong)
        assert not any("row" in counted for counted in report.counters)
        assert not [finding for finding in check(Catalog(folder)).findings if finding.severity == "error"]
    clean, _, faulty, _ = venues
    assert len(faulty.asked) > len(clean.asked) * 1.08
    assert digest(tmp_path / "clean") == digest(tmp_path / "faulty")


def test_trades_of_daily_files_are_those_of_the_requests(tmp_path: Path) -> None:
    """Days of UTC from days that begin at 16:00 UTC and overlap: none lost, none twice, sizes in contracts."""
    day = (EPOCH_NS - 8 * NS_PER_DAY, EPOCH_NS - 6 * NS_PER_DAY - 5 * HOUR_NS)
    wrong = [
        faults.Rest(endpoint=".zip", form="cut"),
        faults.Rest(endpoint="market-data-history", status=500, code="50026"),
        faults.Rest(endpoint=".zip", status=503, code="50001"),
    ]
    venues: list[Venue] = []
    filed = fetched(tmp_path / "files", [SWAP], "trades", *day, files=True, faults=wrong, venue=venues)
    asked = fetched(tmp_path / "rest", [SWAP], "trades", *day, venue=venues)
    assert filed.rows == asked.rows == (day[1] - day[0]) // (4 * NS_PER_S)
    assert digest(tmp_path / "files") == digest(tmp_path / "rest")
    by_file, by_page = venues
    assert not [path for _, path, _ in by_file.asked if "history-trades" in path]
    assert (filed.files, asked.files) == (3, 0)
    assert len(by_file.asked) < 15 < len(by_page.asked)
    assert sum(filed.counters.values()) == 3
    assert {name.partition(" after")[0] for name in filed.counters} == {
        "files fetched again",
        "public/market-data-history repeated",
    }
    assert [span.source for span in Catalog(tmp_path / "files").asked] == ["okx at 127.0.0.1:1 files trades"]


def test_days_without_a_file_are_asked_for_by_request(tmp_path: Path) -> None:
    """The newest days, of which no file is out yet."""
    span = (EPOCH_NS - 4 * NS_PER_DAY, EPOCH_NS - 2 * NS_PER_DAY)
    venues: list[Venue] = []
    report = fetched(tmp_path, [SPOT], "trades", *span, files=True, venue=venues)
    assert report.rows == 2 * 21_600
    assert report.files == 2
    assert len([path for _, path, _ in venues[0].asked if "history-trades" in path]) > 200
    ids = [row.trade_id for row in rows(tmp_path, "trade", SPOT) if isinstance(row, Trade)]
    assert ids == sorted(set(ids))


def test_no_limit_is_met_with_several_instruments_at_once(tmp_path: Path) -> None:
    """The exchange counts too: nothing is refused, and streams do not wait for each other."""
    venues: list[Venue] = []
    names = ["BTC-USDT", "ETH-USDT", "BTC-USDT-SWAP", "ETH-USDT-SWAP"]
    days = (EPOCH_NS - 5 * NS_PER_DAY, EPOCH_NS)
    report = fetched(tmp_path, names, "candles-1m,marks-1m,index-1m,tiers,price-limit", *days, venue=venues)
    (venue,) = venues
    assert (set(venue.answers), report.counters) == ({"200"}, {})
    most = {each.path: each for each in vars(calls).values() if isinstance(each, Endpoint)}
    for path in {path for _, path, _ in venue.asked}:
        times_s = [at_s for at_s, asked, _ in venue.asked if asked == path]
        assert all(
            later - first >= most[path].window_s
            for first, later in zip(times_s, times_s[most[path].requests :], strict=False)
        )
    # Marks and indexes, whose limits are the lowest, take as long as one of them alone would.
    per_page = 5 * 1440 / 100
    alone_s = max(2 * per_page * 0.105 * 1.05, 2 * per_page * 0.21 * 1.05)
    assert venue.asked[-1][0] - venue.asked[0][0] < alone_s + 10
    assert {stream.rows for stream in report.streams if "-1m" in stream.kind} == {5 * 1440}


@pytest.mark.long
@pytest.mark.campaign
def test_a_download_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """Whatever request it dies at: what was stored stays and is not asked for again."""
    span = (EPOCH_NS - 75 * NS_PER_DAY, EPOCH_NS)
    kinds = "candles-1h,funding,marks-1h"
    venues: list[Venue] = []
    fetched(tmp_path / "whole", [SWAP], kinds, *span, venue=venues)
    whole = len(venues[0].asked)
    deaths = range(4, whole, 6)
    # Some of them from the first to the last, all of them in a campaign.
    for number in sorted({len(deaths) * each // scaled(2) for each in range(scaled(2))} | {len(deaths) - 1}):
        dies_at = deaths[number]
        folder = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            fetched(folder, [SWAP], kinds, *span, dies_at=dies_at)
        kept = Catalog(folder).asked
        fetched(folder, [SWAP], kinds, *span, venue=venues)
        assert {each.stream for each in kept} <= {each.stream for each in Catalog(folder).asked}
        assert digest(folder) == digest(tmp_path / "whole")
        assert not list(folder.glob(".*staging*"))
    assert len(venues[-1].asked) < whole  # killed late, it had little left to do


def test_an_update_goes_on_and_a_second_one_has_nothing_to_do(tmp_path: Path) -> None:
    half_ns = EPOCH_NS - 10 * NS_PER_DAY
    fetched(tmp_path / "steps", [SWAP, SPOT], "candles-1h,index-1h", MONTH[0], half_ns)
    fetched(tmp_path / "steps", [], "", None, EPOCH_NS, update=True)
    fetched(tmp_path / "whole", [SWAP, SPOT], "candles-1h,index-1h", MONTH[0], EPOCH_NS)
    assert digest(tmp_path / "steps") == digest(tmp_path / "whole")
    venues: list[Venue] = []
    again = fetched(tmp_path / "steps", [], "", None, EPOCH_NS, update=True, venue=venues)
    assert (again.rows, [stream.rows for stream in again.streams]) == (0, [0, 0, 0])
    assert not [path for _, path, _ in venues[0].asked if "candles" in path]
    replaced = fetched(tmp_path / "steps", [SWAP], "candles-1h", half_ns, EPOCH_NS, replace=True)
    assert replaced.rows == 240
    assert digest(tmp_path / "steps") == digest(tmp_path / "whole")


def test_nothing_is_asked_for_that_may_still_come(tmp_path: Path) -> None:
    """The newest minute stays out, and the next update brings it."""
    from_ns = NOW_NS - 4 * NS_PER_MIN
    fetched(tmp_path, [SPOT], "candles-1m,trades", from_ns)
    candles = rows(tmp_path, "candle", SPOT, "1m")
    assert [row.open_ns for row in candles] == [from_ns, from_ns + NS_PER_MIN, from_ns + 2 * NS_PER_MIN]  # type: ignore[attr-defined]
    later_ns = NOW_NS + 3 * NS_PER_MIN
    fetched(tmp_path, [], "", update=True, now_ns=later_ns)
    candles = rows(tmp_path, "candle", SPOT, "1m")
    assert [row.open_ns for row in candles] == list(range(from_ns, later_ns - SETTLED_NS, NS_PER_MIN))  # type: ignore[attr-defined]
    ids = [row.trade_id for row in rows(tmp_path, "trade", SPOT) if isinstance(row, Trade)]
    assert ids == sorted(set(ids))


def test_holes_of_the_exchange_are_told_and_kept(tmp_path: Path) -> None:
    """Of bars each missing one, of funding and trades what lies before the exchange's memory."""
    begun_ns = EPOCH_NS - 90 * NS_PER_DAY
    from_ns = begun_ns - 2 * NS_PER_DAY
    report = fetched(tmp_path, [SWAP], "candles-1h,funding", from_ns, begun_ns + NS_PER_DAY)
    for stream, step_ns in zip(report.streams, (HOUR_NS, 8 * HOUR_NS), strict=True):
        (hole,) = stream.holes
        assert hole.from_ns == from_ns
        assert abs(hole.to_ns - begun_ns) <= step_ns
    trades = fetched(tmp_path, [SWAP], "trades", begun_ns - 12 * HOUR_NS, begun_ns + HOUR_NS)
    (hole,) = trades.streams[0].holes
    assert hole.from_ns == begun_ns - 12 * HOUR_NS
    assert abs(hole.to_ns - begun_ns) < NS_PER_MIN
    # So a second call has nothing to ask for: who asked for a span knows that there is none.
    venues: list[Venue] = []
    again = fetched(tmp_path, [SWAP], "candles-1h,trades", begun_ns - 12 * HOUR_NS, begun_ns, venue=venues)
    assert [path for _, path, _ in venues[0].asked if "history" in path] == []
    assert [stream.rows for stream in again.streams] == [0, 0]


def test_what_exists_now_only_is_stored_with_its_moment(tmp_path: Path) -> None:
    kinds = "tiers,price-limit,fee-rates,open-interest,instruments"
    report = fetched(tmp_path, [SWAP, SPOT], kinds)
    assert report.left_out == [f"{SPOT} has no tiers", f"{SPOT} has no open-interest"]
    tiers = [row for row in rows(tmp_path, "position_tier", SWAP) if isinstance(row, PositionTier)]
    modes = [row.margin_mode for row in tiers]
    assert (modes.count("cross"), modes.count("isolated"), [row.tier for row in tiers[:3]]) == (8, 8, [1, 2, 3])
    assert (tiers[0].min_qty, tiers[0].max_qty, tiers[0].max_leverage) == (0.0, 1000.0, 100.0)
    (limit,) = rows(tmp_path, "price_limit", SPOT)
    assert isinstance(limit, PriceLimit)
    assert limit.is_enforced
    assert limit.lowest_sell is not None
    assert limit.highest_buy is not None
    assert limit.lowest_sell < limit.highest_buy
    (fee,) = rows(tmp_path, "fee_rate", SPOT)
    assert isinstance(fee, FeeRate)
    assert (fee.maker, fee.taker, fee.level) == (0.0008, 0.001, "Lv1")  # what is paid is above zero
    (interest,) = rows(tmp_path, "open_interest", SWAP)
    assert isinstance(interest, OpenInterest)
    assert {row.received_ns // NS_PER_MIN for row in [*tiers, limit, fee, interest]} == {NOW_NS // NS_PER_MIN}
    # A day later they are other rows; the metadata, which are the same, are not written again.
    fetched(tmp_path, [SWAP, SPOT], kinds, now_ns=NOW_NS + HOUR_NS)
    assert len(rows(tmp_path, "price_limit", SPOT)) == 2
    assert [len(versions) for versions in Catalog(tmp_path).versions().values()] == [1, 1]


def test_marks_are_known_at_the_close_of_their_bar(tmp_path: Path) -> None:
    day = (EPOCH_NS - NS_PER_DAY, EPOCH_NS)
    fetched(tmp_path, [SWAP], "marks-1h,index-1h,funding", *day)
    marks, index = rows(tmp_path, "mark", SWAP), rows(tmp_path, "mark", SPOT)
    for found, source in ((marks, "mark"), (index, "index")):
        known = [row for row in found if isinstance(row, Mark)]
        assert [row.received_ns for row in known] == list(range(day[0], day[1], HOUR_NS))
        assert {(row.source, row.exchange_ns - row.received_ns) for row in known} == {(source, 0)}
    paid = [row for row in rows(tmp_path, "funding", SWAP) if isinstance(row, Funding)]
    assert [row.funding_ns for row in paid] == list(range(day[0], day[1], 8 * HOUR_NS))


def test_a_strategy_trades_on_what_was_downloaded(tmp_path: Path) -> None:
    fetched(tmp_path, [SWAP], "candles-1h,funding,marks-1h", EPOCH_NS - 20 * NS_PER_DAY, EPOCH_NS)
    params = {"instrument": SWAP, "interval": "1h", "qty": 1, "fast": 3, "slow": 8}
    result = qk.backtest("ma_cross", params=params, data=tmp_path)
    assert len(result.fills) > 4
    assert not any("hole" in text for text in result.outcome.warnings)


def test_what_cannot_be_is_refused_before_anything_is_asked_for(tmp_path: Path) -> None:
    venues: list[Venue] = []
    with pytest.raises(ConfigError, match="BTC-USDT candles-1m has a history; say from when"):
        fetched(tmp_path, [SPOT], "candles-1m", venue=venues)
    assert venues[0].asked == []
    with pytest.raises(OkxRequestError, match="51001"):
        fetched(tmp_path, ["NO-SUCH"], "candles-1m", *MONTH)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_nothing_is_downloaded_beside_a_collector(tmp_path: Path) -> None:
    """Its next rows would be refused; once it has ended the folder is free."""
    venues: list[Venue] = []
    tape = RowTape(tmp_path / WORK / "tape")
    tape.open()
    try:
        with pytest.raises(ConfigError, match="a collector records into this folder"):
            fetched(tmp_path, [SPOT], "candles-1h", EPOCH_NS - NS_PER_DAY, EPOCH_NS, venue=venues)
    finally:
        tape.close()
    assert venues[0].asked == []
    assert fetched(tmp_path, [SPOT], "candles-1h", EPOCH_NS - NS_PER_DAY, EPOCH_NS).rows == 24


def test_a_server_that_stays_away_ends_the_download_and_keeps_what_came(tmp_path: Path) -> None:
    wrong = [faults.Rest(endpoint="mark-price-candles", times=0)]
    span = (EPOCH_NS - 40 * NS_PER_DAY, EPOCH_NS)
    with pytest.raises(DownloadError, match="the rest is stored: BTC-USDT-SWAP marks-1h: OKX market/") as failed:
        fetched(tmp_path, [SWAP], "candles-1h,marks-1h", *span, faults=wrong)
    assert [(stream.kind, stream.rows) for stream in failed.value.report.streams] == [
        ("candles-1h", 960),
        ("marks-1h", 0),
    ]
    with pytest.raises(OkxServerError):
        fetched(tmp_path, [SWAP], "marks-1h", *span, faults=wrong)
    assert len(rows(tmp_path, "candle", SWAP, "1h")) == 40 * 24
    assert rows(tmp_path, "mark", SWAP) == []


def test_the_call_takes_what_people_write() -> None:
    """And refuses in one line what cannot be meant."""
    for arguments, options, message in (
        ((), {}, "no instrument is named"),
        ((SPOT,), {}, "no kind of data is named"),
        ((SPOT, "candles-1m", "2026-01-02", "2026-01-01"), {}, "the end 2026-01-01T00:00:00Z is not after the start"),
        (([""], "candles-1m", "2026-01-02"), {}, "instrument id '' is not usable"),
        (("okx:BTC-USDT", "candles-1m", "2026-01-02"), {}, "is written with its exchange; did you mean 'BTC-USDT'"),
        ((SPOT, "candles-1m", "2200-01-01"), {}, "the start 2200-01-01T00:00:00Z has not come yet"),
        ((SPOT, "candles-1m", "2026-01-02"), {"update": True, "replace": True}, "give one of them"),
        (([], "trades"), {"update": True}, "name both instruments and kinds"),
    ):
        with pytest.raises(ConfigError, match=message):
            qk.download(*arguments, okx=CONFIG, **options)  # type: ignore[arg-type]
