"""Daily files of the local exchange: listed as OKX lists them, cut at 16:00 UTC, and failing on request."""

import io
import json
import zipfile

import pytest
from sandbox_callers import Caller, ask

from quantkit.errors import ConfigError
from quantkit.sandbox import faults
from quantkit.sandbox.archives import FILES
from quantkit.sandbox.faults import parse_fault

DAY_MS = 86_400_000
EARLIER_MS = 8 * 3_600_000
LISTED = {"module": "1", "instType": "SWAP", "instFamilyList": "BTC-USDT", "dateAggrType": "daily"}


def file_of(call: Caller, path: str) -> tuple[int, bytes]:
    reply = call.api.answer("GET", path, "", {}, address="me", now_s=0.0)
    return reply.status, reply.body


def test_files_are_listed_two_days_after_their_day_and_hold_it() -> None:
    def check(call: Caller) -> None:
        today = call.exchange.now_ms() // DAY_MS
        span = {"begin": (today - 6) * DAY_MS, "end": today * DAY_MS}
        (listing,) = call.data("public/market-data-history", **LISTED, **span)
        (details,) = listing["details"]
        assert details["instId"] == "BTC-USDT-SWAP"
        names = [file["filename"] for file in details["groupDetails"]]
        assert len(names) == 4  # of seven days, three are not out yet
        url = details["groupDetails"][0]["url"]
        assert url.startswith(FILES)
        status, body = file_of(call, url)
        assert status == 200
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (member,) = archive.namelist()
            header, *lines = archive.read(member).decode().splitlines()
        assert header == "instrument_name,trade_id,side,price,size,created_time,source"
        stamps = [int(line.split(",")[5]) for line in lines]
        begin_ms = (today - 6) * DAY_MS - EARLIER_MS
        assert stamps == sorted(stamps)
        # Some seconds of the day before are in the file too, as they are in OKX's.
        assert -20_000 <= stamps[0] - begin_ms < 0
        assert begin_ms + DAY_MS - 5_000 <= stamps[-1] < begin_ms + DAY_MS
        ids = [int(line.split(",")[1]) for line in lines]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert file_of(call, url.replace(".zip", ".csv"))[0] == 404
        assert file_of(call, url.replace("BTC-USDT-SWAP", "NO-SUCH"))[0] == 404

    ask(check)


@pytest.mark.parametrize(
    "change",
    [
        {"module": "9"},
        {"dateAggrType": "hourly"},
        {"instFamilyList": ""},
        {"end": 0},
        {"begin": 0},
        {"instType": "OPTION"},
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
