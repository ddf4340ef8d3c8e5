"""Files of the local exchange: listed as OKX lists them, in its shapes, cut on its days, and failing on request."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from typing import Any

import pytest
from sandbox_callers import Caller, ask

from quantkit.clock import datetime_of
from quantkit.errors import ConfigError
from quantkit.sandbox import faults
from quantkit.sandbox.archives import FILES
from quantkit.sandbox.faults import parse_fault
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.listing import ListedInstrument, default_listings

DAY_MS = 86_400_000
EARLIER_MS = 8 * 3_600_000
LISTED = {"module": "1", "instType": "SWAP", "instFamilyList": "BTC-USDT", "dateAggrType": "daily"}
FUTURES = [
    ListedInstrument(
        id=f"BTC-USD-{day}", kind="FUTURES", asset="BTC", price=100_000.0, price_decimals=1, qty_decimals=0, min_lots=1,
        lots=60, code=code, contract_value="100", is_inverse=True,
    )
    for day, code in (("251226", 20001), ("991225", 20002), ("991231", 20003))
]  # fmt: skip


def market() -> GeneratedMarket:
    return GeneratedMarket(3, [*default_listings(), *FUTURES], orders_per_s=0, tick_ms=1000)


def file_of(call: Caller, url: str) -> tuple[int, bytes]:
    reply = call.api.answer("GET", url.partition("?")[0], "", {}, address="me", now_s=0.0)
    if reply.status == 200:
        digest = hashlib.md5(reply.body, usedforsecurity=False).digest()
        assert reply.headers["Content-MD5"] == base64.b64encode(digest).decode()
    return reply.status, reply.body


def listed(call: Caller, module: str, days: tuple[int, int], **change: str) -> list[dict[str, Any]]:
    """Return the files of days before today, their begins on the exchange's clock."""
    today = call.exchange.now_ms() // DAY_MS
    ahead_ms = 0 if module == "4" else EARLIER_MS
    begin, end = ((today - day) * DAY_MS - ahead_ms for day in days)
    (listing,) = call.data(
        "public/market-data-history", **{**LISTED, "module": module, "begin": begin, "end": end, **change}
    )
    return [file for details in listing["details"] for file in details["groupDetails"]]


def table(body: bytes, encoding: str = "utf-8") -> tuple[str, list[list[str]]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        (member,) = archive.namelist()
        header, *lines = archive.read(member).decode(encoding).splitlines()
    return header, [line.split(",") for line in lines]


def test_files_are_listed_two_days_after_their_day_and_hold_it() -> None:
    """Cut some seconds beside 16:00 UTC; together the days hold every trade, some twice."""

    def check(call: Caller) -> None:
        files = listed(call, "1", (6, 0))
        assert len(files) == 4  # of seven days, three are not out yet
        assert all(file["url"].startswith(FILES) for file in files)
        begins = [int(file["dateTs"]) for file in files]
        assert [(at_ms + EARLIER_MS) % DAY_MS for at_ms in begins] == [0] * 4
        ids: list[int] = []
        off_ms = set()
        for file, begin_ms in zip(files, begins, strict=True):
            header, rows = table(file_of(call, file["url"])[1])
            assert header == "instrument_name,trade_id,side,price,size,created_time,source"
            stamps = [int(row[5]) for row in rows]
            assert stamps == sorted(stamps)
            off_ms.add((stamps[0] - begin_ms) // 1000)
            assert -20_000 <= stamps[0] - begin_ms < 12_000
            ids += [int(row[1]) for row in rows]
        assert len(off_ms) >= 2
        assert set(ids) == set(range(min(ids), max(ids) + 1))
        assert 0 < len(ids) - len(set(ids)) < 20
        url = files[0]["url"]
        for wrong in (
            url.replace(".zip", ".csv"),
            url.replace("BTC-USDT-SWAP", "NO-SUCH"),
            url.replace("/daily/", "/"),
        ):
            assert file_of(call, wrong)[0] == 404
        # Who begins at midnight of UTC is eight hours into the exchange's day, and does not get it.
        today = call.exchange.now_ms() // DAY_MS
        assert len(listed(call, "1", (6, 0), begin=str((today - 6) * DAY_MS))) == 3

    ask(check, market=market())


def test_older_files_of_trades_have_other_columns() -> None:
    """First Chinese names beside the English ones and no instrument, then no source."""

    def check(call: Caller) -> None:
        old, middle = listed(call, "1", (70, 70))[0], listed(call, "1", (45, 45))[0]
        header, rows = table(file_of(call, old["url"])[1], "gb18030")
        names = [name.partition("/")[0] for name in header.split(",")]
        assert names == ["trade_id", "side", "size", "price", "created_time"]
        assert not header.isascii()
        assert len(rows[0]) == 5
        header, rows = table(file_of(call, middle["url"])[1])
        assert (header, len(rows[0])) == ("instrument_name,trade_id,side,price,size,created_time", 6)

    ask(check, market=market())


def test_files_of_a_family_hold_every_future_of_it() -> None:
    """But no expired one, which is not listed any more."""

    def check(call: Caller) -> None:
        (file,) = listed(call, "1", (5, 5), instType="FUTURES", instFamilyList="BTC-USD")
        assert file["filename"].startswith("BTC-USD-futureschain-trades-")
        _, rows = table(file_of(call, file["url"])[1])
        assert {row[0] for row in rows} == {"BTC-USD-991225", "BTC-USD-991231"}
        assert call.code("public/instruments", instType="FUTURES", instId="BTC-USD-251226") == (200, "51001")
        (row,) = call.data("public/instruments", instType="FUTURES", instId="BTC-USD-991231")
        assert row["expTime"] == "4102387200000"

    ask(check, market=market())


def test_candles_and_rates_come_by_the_month() -> None:
    """Of the exchange's clock: the first bar of November opens at 16:00 UTC of the last day of October."""

    def check(call: Caller) -> None:
        # Of the exchange's last three months one is whole and out.
        (candles,) = listed(call, "2", (89, 0), dateAggrType="monthly")
        begin_ms = int(candles["dateTs"])
        assert datetime_of((begin_ms + EARLIER_MS) * 10**6).day == 1
        header, rows = table(file_of(call, candles["url"])[1])
        assert header == "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
        opens = [int(row[8]) for row in rows]
        assert opens == list(range(begin_ms, begin_ms + 60_000 * len(rows), 60_000))
        assert len(rows) == 30 * 1440
        (day,) = listed(call, "2", (5, 5))
        assert len(table(file_of(call, day["url"])[1])[1]) == 1440
        (rates,) = listed(call, "3", (89, 0), dateAggrType="monthly")
        header, rows = table(file_of(call, rates["url"])[1])
        assert header == "instrument_name,funding_rate,funding_time"
        late_s = {int(row[2]) // 1000 % 60 for row in rows}
        assert late_s > {0}
        assert max(late_s) < 10
        (whole,) = listed(call, "3", (5, 5))
        assert whole["filename"].startswith("allswap-fundingrates-")
        _, rows = table(file_of(call, whole["url"])[1])
        assert {row[0] for row in rows} == {"BTC-USDT-SWAP", "ETH-USDT-SWAP", "BTC-USD-SWAP"}

    ask(check, market=market())


def test_books_are_lines_of_json_in_a_tar_of_a_day_of_utc() -> None:
    """A snapshot each quarter of an hour, changes between, and no book crossed."""

    def check(call: Caller) -> None:
        assert listed(call, "4", (3, 0)) == []
        (file,) = listed(call, "4", (4, 4))
        with tarfile.open(fileobj=io.BytesIO(file_of(call, file["url"])[1])) as archive:
            (member,) = archive.getmembers()
            content = archive.extractfile(member)
            assert content is not None
            lines = [json.loads(line) for line in content]
        assert member.name == file["filename"].replace(".tar.gz", ".data")
        assert {line["instId"] for line in lines} == {"BTC-USDT-SWAP"}
        stamps = [int(line["ts"]) for line in lines]
        begin_ms = int(file["dateTs"])
        assert (begin_ms % DAY_MS, stamps[0], stamps == sorted(set(stamps))) == (0, begin_ms, True)
        assert begin_ms + DAY_MS - 60_000 < stamps[-1] < begin_ms + DAY_MS
        snapshots = [int(line["ts"]) for line in lines if line["action"] == "snapshot"]
        assert snapshots == list(range(begin_ms, begin_ms + DAY_MS, 900_000))
        book: dict[str, dict[float, float]] = {"asks": {}, "bids": {}}
        for line in lines:
            for side, levels in book.items():
                if line["action"] == "snapshot":
                    levels.clear()
                for price, size, _ in line[side]:
                    levels[float(price)] = float(size)
                    if not float(size):
                        del levels[float(price)]
            assert max(book["bids"]) < min(book["asks"])
            assert len(book["bids"]) == len(book["asks"]) == 12

    ask(check, market=market())


@pytest.mark.parametrize(
    "change",
    [
        {"module": "9"},
        {"dateAggrType": "hourly"},
        {"instFamilyList": ""},
        {"end": 0},
        {"begin": 0, "end": 12 * DAY_MS},
        {"instType": "OPTION"},
        {"module": "3", "instType": "SPOT"},
        {"module": "4", "dateAggrType": "monthly"},
    ],
)
def test_what_is_not_listed_is_refused(change: dict[str, object]) -> None:
    def check(call: Caller) -> None:
        now_ms = call.exchange.now_ms()
        query = {**LISTED, "begin": now_ms - 3 * DAY_MS, "end": now_ms, **change}
        status, body = call.asked("public/market-data-history", **query)
        assert (status, body["code"]) != (200, "0")

    ask(check)


def test_every_third_request_fails_in_its_way() -> None:
    def check(call: Caller) -> None:
        call.exchange.inject(faults.Rest(endpoint="public/time", every=3, times=2, form="cut"))
        bodies = [call.reply("public/time").body for _ in range(9)]
        whole = [place for place, body in enumerate(bodies) if _is_whole(body)]
        assert whole == [0, 1, 3, 4, 6, 7, 8]
        call.exchange.inject(faults.Rest(endpoint="public/time", delay_s=2.5))
        call.exchange.inject(faults.Rest(endpoint="market/ticker", status=500, code="50026"))
        # One fault of another endpoint does not stand before those behind it.
        assert call.reply("market/ticker", instId="BTC-USDT").status == 500
        assert call.reply("public/time").delay_s == 2.5

    ask(check)


def test_a_file_comes_with_a_bit_changed_or_under_anothers_checksum() -> None:
    def check(call: Caller) -> None:
        path = listed(call, "3", (5, 5))[0]["url"].partition("?")[0]
        true = call.api.answer("GET", path, "", {}, address="me", now_s=0.0)
        call.exchange.inject(faults.Rest(endpoint=".zip", form="flip"), faults.Rest(endpoint=".zip", form="digest"))
        flipped, foreign = (call.api.answer("GET", path, "", {}, address="me", now_s=0.0) for _ in range(2))
        differing = [
            place for place, pair in enumerate(zip(true.body, flipped.body, strict=True)) if len(set(pair)) > 1
        ]
        assert (len(differing), flipped.headers) == (1, true.headers)
        assert foreign.body == true.body
        assert foreign.headers["Content-MD5"] != true.headers["Content-MD5"]

    ask(check)


def _is_whole(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def test_faults_of_requests_are_written_as_others_are() -> None:
    assert parse_fault("rest,every=10,times=0,form=cut") == faults.Rest(every=10, times=0, form="cut")
    for wrong in ("rest,every=0", "rest,form=long", "rest,delay_s=-1"):
        with pytest.raises(ConfigError, match="a REST fault"):
            parse_fault(wrong)
