"""Each REST method turns OKX's rows into typed values, leaves bad rows out, and never fails in an unknown way."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.virtual import simulate, virtual_loop

from quantkit.errors import ParseError, QuantkitError
from quantkit.events import BookUpdate, Candle, Funding, Ticker, Trade
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxRequestError
from quantkit.feeds.okx.rest.replies import AccountConfig
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.instruments import Instrument, Side

SHARED = Path(__file__).parents[4] / "shared"
CONFIG = OkxConfig(url="http://127.0.0.1:1", retry=RetryPolicy(give_up_after=1))
TS = "1747087163557"
TS_NS = 1747087163557_000_000
SPOT = {
    "instId": "BTC-USDT",
    "instType": "SPOT",
    "baseCcy": "BTC",
    "quoteCcy": "USDT",
    "tickSz": "0.1",
    "lotSz": "0.00000001",
    "minSz": "0.00001",
    "state": "live",
}
SWAP = {
    "instId": "BTC-USD-SWAP",
    "instType": "SWAP",
    "instFamily": "BTC-USD",
    "uly": "BTC-USD",
    "settleCcy": "BTC",
    "ctVal": "100",
    "ctMult": "1",
    "ctType": "inverse",
    "ctValCcy": "USD",
    "tickSz": "0.1",
    "lotSz": "1",
    "minSz": "1",
    "state": "live",
    "instIdCode": 10458,
}


class Canned(httpx2.AsyncBaseTransport):
    """Gives bodies in turn, then empty lists, and keeps what was asked."""

    def __init__(self, *bodies: Any) -> None:
        self._bodies = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
        self.asked: list[httpx2.URL] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url)
        return httpx2.Response(200, content=self._bodies.pop(0) if self._bodies else b'{"code":"0","data":[]}')


def rows(*found: Any) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": list(found)}


def ask(
    server: Canned, use: Callable[[OkxRest], Coroutine[Any, Any, Any]], **options: Any
) -> tuple[Any, "Counter[str]"]:
    """Return what `use` returns and what the client counted."""

    async def main() -> Any:
        rng = np.random.default_rng(1)
        async with OkxRest(CONFIG, transport=server, now_ns=virtual_loop().wall_ns, rng=rng, **options) as rest:
            return await use(rest), rest.counters

    found: tuple[Any, Counter[str]] = simulate(main())
    return found


# Instruments ------------------------------------------------------------------------------------------------------


def test_instruments_of_a_kind() -> None:
    server = Canned(rows(SPOT))
    found, counters = ask(server, lambda rest: rest.instruments("spot", valid_from_ns=5))
    assert found == [
        Instrument(
            "BTC-USDT",
            price_step="0.1",
            qty_step="0.00000001",
            min_qty="0.00001",
            source="capture",
            valid_from_ns=5,
        )
    ]
    assert not counters
    assert str(server.asked[0]).endswith("/api/v5/public/instruments?instType=SPOT")


def test_one_bad_row_never_spoils_the_load() -> None:
    """Before opening all numbers may be blank; new states and kinds appear; a row may be nonsense."""
    preopen = {**SPOT, "instId": "NEW-USDT", "state": "preopen", "tickSz": "", "lotSz": "", "minSz": ""}
    renewed = {**SPOT, "instId": "ETH-USDT", "baseCcy": "ETH", "state": "post_only", "ruleType": "rebase_contract"}
    malformed = [
        {**SPOT, "instId": "A-USDT", "tickSz": "NaN"},
        {**SPOT, "instId": "../../etc"},
        {**SPOT, "instId": 7},
        {"instType": "SPOT"},
        None,
        17,
    ]
    found, counters = ask(
        Canned(rows(preopen, *malformed, {**SPOT, "instType": "SPOTLIGHT"}, renewed)),
        lambda rest: rest.instruments("spot"),
    )
    assert [each.id for each in found] == ["ETH-USDT"]
    assert sum(counters.values()) == len(malformed) + 2


@pytest.mark.parametrize(
    ("name", "inst_type", "row"),
    [("BTC-USDT", "SPOT", SPOT), ("BTC-USD-SWAP", "SWAP", SWAP)],
)
def test_an_instruments_kind_is_told_from_its_id(name: str, inst_type: str, row: dict[str, Any]) -> None:
    server = Canned(rows(row))
    found, _ = ask(server, lambda rest: rest.instrument(name))
    assert found.id == name
    assert dict(server.asked[0].params) == {"instType": inst_type, "instId": name}


def test_a_dated_id_is_a_future() -> None:
    row = {**SWAP, "instId": "BTC-USD-261225", "instType": "FUTURES"}
    server = Canned(rows(row))
    found, _ = ask(server, lambda rest: rest.instrument("BTC-USD-261225"))
    assert (found.kind, found.is_inverse, str(found.contract_value)) == ("future", True, "100")
    assert server.asked[0].params["instType"] == "FUTURES"


@pytest.mark.parametrize("reply", [rows(), {"code": "51001", "msg": "Instrument ID does not exist", "data": []}])
def test_an_unknown_instrument_is_an_error_with_advice(reply: dict[str, Any]) -> None:
    with pytest.raises(
        OkxRequestError, match=r"BTC-USDX: .*does not exist .*51001.*; check the instrument id"
    ) as caught:
        ask(Canned(reply), lambda rest: rest.instrument("BTC-USDX"))
    assert caught.value.code == "51001"


def test_an_instrument_that_is_not_open_yet_says_so() -> None:
    with pytest.raises(OkxRequestError, match="wait until it opens"):
        ask(Canned(rows({**SPOT, "tickSz": ""})), lambda rest: rest.instrument("BTC-USDT"))


# Snapshots --------------------------------------------------------------------------------------------------------


def test_a_book_is_a_snapshot_with_its_number() -> None:
    row = {
        "asks": [["41006.8", "0.6", "0", "1"], ["41006.9", "0.3", "0", "2"]],
        "bids": [["41006.7", "0.4", "0", "1"]],
        "ts": TS,
        "seqId": 3235851742,
    }
    server = Canned(rows(row))
    found, _ = ask(server, lambda rest: rest.book("BTC-USDT", 2))
    received_ns = found.received_ns
    assert found == BookUpdate(
        "BTC-USDT",
        TS_NS,
        received_ns,
        (41006.7,),
        (0.4,),
        (41006.8, 41006.9),
        (0.6, 0.3),
        is_snapshot=True,
        seq=3235851742,
    )
    assert received_ns > TS_NS
    assert dict(server.asked[0].params) == {"instId": "BTC-USDT", "sz": "2"}
    body = json.dumps(rows(row)).encode()
    assert ask(Canned(body), lambda rest: rest.book_body("BTC-USDT"))[0] == body


@pytest.mark.parametrize(
    "reply",
    [
        rows(),
        rows({"asks": [["1", "-1"]], "bids": [], "ts": TS}),
        rows({"asks": [], "ts": TS}),
        rows({"asks": [], "bids": [], "ts": TS}, {"asks": [], "bids": [], "ts": TS}),
        {"code": "0", "data": {}},
    ],
)
def test_a_malformed_book_is_an_error(reply: dict[str, Any]) -> None:
    with pytest.raises(ParseError, match="OKX market/books BTC-USDT"):
        ask(Canned(reply), lambda rest: rest.book("BTC-USDT"))


TICKER = {
    "instType": "SPOT",
    "instId": "BTC-USDT",
    "last": "10",
    "lastSz": "0.5",
    "askPx": "",
    "askSz": "",
    "bidPx": "9.5",
    "bidSz": "2",
    "ts": TS,
}


def test_tickers_of_a_kind_and_of_one_instrument() -> None:
    other = {**TICKER, "instId": "ETH-USDT", "bidPx": "1e5"}
    found, counters = ask(Canned(rows(TICKER, other)), lambda rest: rest.tickers("spot"))
    assert found == [Ticker("BTC-USDT", TS_NS, found[0].received_ns, 9.5, 2.0, None, None, 10.0, 0.5)]
    assert sum(counters.values()) == 1
    one, _ = ask(Canned(rows(TICKER)), lambda rest: rest.ticker("BTC-USDT"))
    assert (one.instrument, one.bid, one.received_ns > TS_NS) == ("BTC-USDT", 9.5, True)
    with pytest.raises(ParseError, match="OKX market/ticker ETH-USDT: no quote"):
        ask(Canned(rows(TICKER)), lambda rest: rest.ticker("ETH-USDT"))


# Rows of history --------------------------------------------------------------------------------------------------


def test_trades_are_received_when_they_happened_and_odd_rows_left_out() -> None:
    good = {"instId": "BTC-USDT", "side": "buy", "sz": "0.00013669", "px": "102537.9", "tradeId": "9", "ts": TS}
    odd = [
        {**good, "tradeId": "8", "side": "sideways"},
        {**good, "tradeId": "7", "px": "Infinity"},
        {**good, "tradeId": "6", "instId": "ETH-USDT"},
        {**good, "tradeId": "x"},
        {**good, "tradeId": "5", "sz": "0"},
        None,
    ]
    found, counters = ask(Canned(rows(*odd, good)), lambda rest: rest.trades("BTC-USDT"))
    assert found == [Trade("BTC-USDT", TS_NS, TS_NS, 102537.9, 0.00013669, Side.BUY, 9)]
    assert sum(counters.values()) == len(odd)


def test_funding_takes_what_was_charged_and_older_rows_without_it() -> None:
    good = {"instId": "BTC-USDT-SWAP", "fundingRate": "0.5", "realizedRate": "-0.0001", "fundingTime": TS}
    older = {"instId": "BTC-USDT-SWAP", "fundingRate": "0.0002", "fundingTime": "1747000000000"}
    odd = [
        {**good, "fundingTime": "1747000000001", "realizedRate": "", "fundingRate": ""},
        {**good, "fundingTime": "1747000000002", "instId": "ETH-USDT-SWAP"},
        {**good, "fundingTime": ""},
    ]
    found, counters = ask(Canned(rows(good, *odd, older)), lambda rest: rest.funding_history("BTC-USDT-SWAP"))
    early_ns = 1747000000000_000_000
    assert found == [
        Funding("BTC-USDT-SWAP", early_ns, early_ns, 0.0002, early_ns, is_settled=True),
        Funding("BTC-USDT-SWAP", TS_NS, TS_NS, -0.0001, TS_NS, is_settled=True),
    ]
    assert sum(counters.values()) == len(odd)


def test_candles_of_a_recorded_reply() -> None:
    reply = rows(
        ["1747094100000", "102806.1", "102820.4", "102806.1", "102820.4", "1", "1", "1", "0"],
        ["1747094040000", "102806.1", "102820.4", "102806.1", "102820.4", "1040.37", "10.4", "1069603.3", "1"],
        ["1747093980000", "102806", "102820.5", "102783.1", "102806.1", "7164.04", "71.6", "7364701.5", "1"],
        ["1747093920000", "1", "0.5", "1", "1", "1", "1", "1", "1"],
    )
    found, counters = ask(Canned(reply), lambda rest: rest.candles("BTC-USDT-SWAP", "1m"))
    open_ns, close_ns = 1747094040000_000_000, 1747094100000_000_000
    assert found[1] == Candle(
        "BTC-USDT-SWAP", close_ns, close_ns, open_ns, close_ns, 102806.1, 102820.4, 102806.1, 102820.4, 1040.37, "1m"
    )
    assert [candle.close_ns for candle in found] == [open_ns, close_ns]
    assert sum(counters.values()) == 1


# The account and the clock ----------------------------------------------------------------------------------------


def test_an_account_with_new_words_and_blank_fields() -> None:
    server = Canned(rows({"acctLv": "9", "posMode": "net_mode", "perm": "", "newField": {"a": 1}}))
    found, _ = ask(server, OkxRest.account_config, credentials=Credentials("k", "s", "p"))
    assert found == AccountConfig("9", "net_mode", (), pays_fees_in_quote=False, uid="", fee_level="")


@pytest.mark.parametrize("reply", [rows(), rows({"ts": "soon"}), rows({}), rows({"ts": TS}, {"ts": TS})])
def test_a_clock_that_says_nothing_is_an_error(reply: dict[str, Any]) -> None:
    with pytest.raises(ParseError, match="OKX public/time"):
        ask(Canned(reply), OkxRest.server_time_ns)


# Anything at all --------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    ("instId", "instType", "tickSz", "lotSz", "tradeId", "px", "sz", "side", "ts", "asks", "bids", "fundingTime")
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from((TS, "BTC-USDT", "SPOT", "1", "")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=6),
    max_leaves=12,
)
_METHODS: dict[str, Callable[[OkxRest], Coroutine[Any, Any, Any]]] = {
    "time": OkxRest.server_time_ns,
    "instruments": lambda rest: rest.instruments("spot"),
    "instrument": lambda rest: rest.instrument("BTC-USDT"),
    "candles": lambda rest: rest.candles("BTC-USDT", "1m"),
    "candle rows": lambda rest: rest.candle_rows(channels.candles("BTC-USDT", "1m"), 0, TS_NS),
    "trades": lambda rest: rest.trades("BTC-USDT"),
    "book": lambda rest: rest.book("BTC-USDT"),
    "tickers": lambda rest: rest.tickers("spot"),
    "ticker": lambda rest: rest.ticker("BTC-USDT"),
    "funding": lambda rest: rest.funding_history("BTC-USDT"),
    "account": OkxRest.account_config,
}


@given(
    method=st.sampled_from(sorted(_METHODS)),
    body=st.one_of(
        st.binary(max_size=60),
        _VALUES.map(lambda value: json.dumps(value).encode()),
        st.lists(_VALUES, max_size=3).map(lambda found: json.dumps({"code": "0", "data": found}).encode()),
        st.tuples(_VALUES, _VALUES).map(lambda pair: json.dumps({"code": pair[0], "msg": pair[1]}).encode()),
    ),
)
@settings(max_examples=400, deadline=None)
def test_any_body_is_a_value_or_a_documented_error(method: str, body: bytes) -> None:
    said = ""
    try:
        ask(Canned(body), _METHODS[method], credentials=Credentials("k", "s", "p"))
    except QuantkitError as error:
        said = str(error)
    assert said.isprintable()


# Recordings -------------------------------------------------------------------------------------------------------

FRAMES = SHARED / "okx" / "frames" / "nautilus_test_data.jsonl"
LOGS = sorted((SHARED / "data" / "okx" / "ws-raw").glob("okx_rest_instruments_*.log.gz"))


@pytest.mark.skipif(not FRAMES.exists(), reason="recordings that lie beside the repository")
@pytest.mark.parametrize(
    ("name", "use", "count"),
    [
        ("http_get_candlesticks_full.json", lambda rest: rest.candles("BTC-USDT-SWAP", "1m"), None),
        ("http_get_funding_rate_history.json", lambda rest: rest.funding_history("BTC-USDT-SWAP"), None),
        ("http_get_trades.json", lambda rest: rest.trades("BTC-USDT", 10**6), None),
        ("http_get_order_book.json", lambda rest: rest.book("BTC-USDT"), 1),
        ("http_get_instruments_spot.json", lambda rest: rest.instruments("spot"), None),
        ("http_get_instruments_swap.json", lambda rest: rest.instruments("swap"), None),
        ("http_get_instruments_futures.json", lambda rest: rest.instruments("future"), None),
    ],
)
def test_recorded_replies_are_understood_whole(
    name: str, use: Callable[[OkxRest], Coroutine[Any, Any, Any]], count: int | None
) -> None:
    frames = {each["name"]: each["frame"] for each in map(json.loads, FRAMES.read_text().splitlines())}
    found, counters = ask(Canned(frames[name]), use)
    assert (len(found) if count is None else 1) == len(frames[name]["data"])
    assert not counters


@pytest.mark.skipif(not LOGS, reason="recordings that lie beside the repository")
@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_recorded_lists_of_instruments_are_understood_whole(log: Path) -> None:
    kinds = {"SPOT": "spot", "SWAP": "swap", "FUTURES": "future"}
    seen = []
    for line in gzip.decompress(log.read_bytes()).splitlines():
        head, _, rest_of_line = line.partition(b" -> ")
        kind = kinds.get(head.rpartition(b"instType=")[2].decode())
        body = rest_of_line.partition(b": ")[2]
        if kind is None or not body:
            continue
        found, counters = ask(Canned(body), lambda rest, kind=kind: rest.instruments(kind))  # type: ignore[misc]
        assert len(found) == len(json.loads(body)["data"])
        assert not counters
        seen.append(kind)
    assert seen
