"""Faults on request: each does what it says, to whom it says, as often as it says, and the log knows."""

import asyncio
import json
from itertools import pairwise

import pytest
from sandbox_stage import ABORT, Book, Client, play

from quantkit.errors import ConfigError
from quantkit.sandbox import faults
from quantkit.sandbox.board import FaultBoard
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import decode_faults, parse_fault
from quantkit.sandbox.generated import GeneratedMarket


def chain_of(client: Client, instrument: str = "BTC-USDT") -> list[tuple[int, int]]:
    return [(row["prevSeqId"], row["seqId"]) for row in client.rows("books", instrument)]


def breaks(chain: list[tuple[int, int]]) -> int:
    return sum(1 for (_, last), (prev, _) in pairwise(chain) if prev not in (last, -1))


def test_a_gap_drops_one_update_of_one_client() -> None:
    async def scenario(exchange: Exchange) -> None:
        client, other = Client(exchange, "public"), Client(exchange, "public")
        for each in (client, other):
            await each.subscribe("books", "BTC-USDT")
        exchange.inject(faults.LostPush(channel="books", connection=1))
        await asyncio.sleep(2)
        assert breaks(chain_of(client)) == 1
        assert breaks(chain_of(other)) == 0
        assert len(chain_of(other)) == len(chain_of(client)) + 1
        (lost,) = exchange.log.lost()
        assert (lost.connection, lost.what, lost.text) == (1, "gap", "")
        assert (lost.prev_seq_id, lost.seq_id) == next(link for link in chain_of(other) if link not in chain_of(client))

    play(scenario)


def test_a_gap_of_a_book_never_drops_a_snapshot() -> None:
    async def scenario(exchange: Exchange) -> None:
        exchange.inject(faults.LostPush(channel="books"))
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        assert chain_of(client)[0][0] == -1
        await asyncio.sleep(1)
        assert breaks(chain_of(client)) == 1

    play(scenario)


def test_a_gap_of_trades_shows_in_their_ids() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("trades", "BTC-USDT")
        await asyncio.sleep(1)
        exchange.inject(faults.LostPush(channel="trades"))
        await asyncio.sleep(2)
        rows = client.rows("trades")
        holes = [int(row["tradeId"]) - int(row["count"]) - int(last["tradeId"]) for last, row in pairwise(rows)]
        assert sum(1 for hole in holes if hole) == 1

    play(scenario)


def test_a_duplicate_comes_right_after() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        exchange.inject(faults.Duplicate(channel="books", times=3))
        await asyncio.sleep(2)
        chain = chain_of(client)
        assert sum(1 for last, link in pairwise(chain) if last == link) == 3

    play(scenario)


def test_a_crossed_update_keeps_its_chain() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        exchange.inject(faults.Crossed(channel="books"))
        await asyncio.sleep(1)
        assert breaks(chain_of(client)) == 0
        with pytest.raises(AssertionError, match="the book is crossed"):
            Book(is_strict=False).take_all(client.pushes("books"))

    play(scenario)


def test_a_reset_links_and_goes_back() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        await asyncio.sleep(1)
        exchange.inject(faults.Reset(instrument="BTC-USDT"))
        await asyncio.sleep(1)
        chain = chain_of(client)
        assert breaks(chain) == 0
        assert sum(1 for prev, seq in chain if seq < prev) == 1
        Book().take_all(client.pushes("books"))

    play(scenario)


@pytest.mark.parametrize("form", ["cut", "number", "type"])
def test_malformed_frames(form: str) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("trades", "BTC-USDT")
        exchange.inject(faults.Malformed(channel="trades", form=form))
        await asyncio.sleep(2)
        (bad,) = [each.text for each in exchange.log.lost()]
        assert bad in client.texts
        if form == "cut":
            with pytest.raises(json.JSONDecodeError):
                json.loads(bad)
        elif form == "number":
            assert json.loads(bad)["data"][0]["px"] == "NaN"
        else:
            assert isinstance(json.loads(bad)["data"], dict)

    play(scenario)


@pytest.mark.parametrize("what", ["field", "channel", "event"])
def test_unknown_things(what: str) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        exchange.inject(faults.UnknownContent(channel="books", what=what))
        await asyncio.sleep(1)
        assert sum(1 for text in client.texts if "surprise" in text) == 1
        assert breaks(chain_of(client)) == 0

    play(scenario)


def test_a_stalled_channel_is_silent_for_its_time() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        await client.subscribe("tickers", "BTC-USDT")
        exchange.inject(faults.Stall(channel="books", for_s=5))
        before = len(client.rows("tickers"))
        count = len(client.rows("books"))
        await asyncio.sleep(4.9)
        assert len(client.rows("books")) == count
        assert len(client.rows("tickers")) > before
        await asyncio.sleep(1)
        assert len(client.rows("books")) > count
        assert breaks(chain_of(client)) == 1
        assert not exchange.faults

    play(scenario)


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_stalled_connection_answers_pings_or_not(is_deaf: bool) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("tickers", "BTC-USDT")
        exchange.inject(faults.Stall(path="public", is_deaf=is_deaf))
        count = len(client.texts)
        client.tell("ping")
        assert await client.subscribe("tickers", "ETH-USDT") == []
        await asyncio.sleep(3)
        assert client.texts[count:] == ([] if is_deaf else ["pong"])
        exchange.faults.clear()
        assert len(await client.subscribe("tickers", "ETH-USDT")) == 1

    play(scenario)


@pytest.mark.parametrize("code", [1000, 1001, 4001, 4004, 4005, 4006, 4007, 4008, 4009])
def test_close_codes(code: int) -> None:
    async def scenario(exchange: Exchange) -> None:
        client, private = Client(exchange, "public"), Client(exchange, "private")
        exchange.inject(faults.Close(code=code, reason="why", path="public", after_s=2))
        await asyncio.sleep(1.9)
        assert client.closed is None
        await asyncio.sleep(0.2)
        assert client.closed == (code, "why")
        assert private.closed is None

    play(scenario)


def test_a_close_strikes_as_many_as_asked() -> None:
    async def scenario(exchange: Exchange) -> None:
        clients = [Client(exchange, "public") for _ in range(4)]
        await asyncio.sleep(0.01)
        exchange.inject(faults.Close(times=3))
        await asyncio.sleep(0.01)
        assert sum(client.closed is not None for client in clients) == 3
        exchange.inject(faults.Drop(times=0))
        await asyncio.sleep(0.01)
        assert [client.closed for client in clients].count((ABORT, "")) == 1

    play(scenario)


def test_a_drop_can_name_what_the_connection_holds() -> None:
    async def scenario(exchange: Exchange) -> None:
        one, two = Client(exchange, "public"), Client(exchange, "public")
        await one.subscribe("books", "BTC-USDT")
        await two.subscribe("books", "ETH-USDT")
        exchange.inject(faults.Drop(channel="books", instrument="ETH-USDT"))
        await asyncio.sleep(0.01)
        assert (one.closed, two.closed) == (None, (ABORT, ""))

    play(scenario)


def test_a_notice_comes_before_the_close() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "business")
        await client.subscribe("candle1m", "BTC-USDT")
        exchange.inject(faults.UpgradeNotice(path="business"))
        await asyncio.sleep(1)
        (notice,) = [event for event in client.frames() if event.get("event") == "notice"]
        assert notice["code"] == "64008"
        await asyncio.sleep(58.5)
        assert client.closed is None
        await asyncio.sleep(1)
        assert client.closed is not None

    play(scenario)


def test_a_refused_argument_an_ack_that_never_comes_and_a_missing_snapshot() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        exchange.inject(faults.Refuse(channel="tickers", instrument="ETH-USDT", code="64003"))
        events = await client.ask(
            "subscribe", *[{"channel": "tickers", "instId": name} for name in ("BTC-USDT", "ETH-USDT", "SOL-USDT")]
        )
        assert [event.get("code", "ok") for event in events] == ["ok", "64003", "ok"]
        exchange.inject(faults.NoAck(channel="books"), faults.NoSnapshot(channel="books"))
        assert await client.subscribe("books", "BTC-USDT") == []
        await asyncio.sleep(1)
        assert [push["action"] for push in client.pushes("books")][:1] == ["update"]
        assert exchange.log.counts["no_snapshot"] == 1
        exchange.inject(faults.NoAck())
        assert await client.ask("unsubscribe", {"channel": "books", "instId": "BTC-USDT"}) == []

    play(scenario)


def test_a_refusal_can_have_a_text_of_its_own() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        exchange.inject(faults.Refuse(code="64007", text="try later"))
        (event,) = await client.subscribe("tickers", "BTC-USDT")
        assert (event["code"], event["msg"]) == ("64007", "try later")

    play(scenario)


def test_a_login_that_fails_once() -> None:
    async def scenario(exchange: Exchange) -> None:
        exchange.inject(faults.LoginFailure(code="60006"))
        client = Client(exchange, "private")
        assert (await client.login())["code"] == "60006"
        assert (await client.login())["event"] == "login"
        exchange.inject(faults.LoginFailure(is_closing=True))
        other = Client(exchange, "private")
        assert (await other.login())["code"] == "60009"
        assert other.closed == (4001, "Login failed")

    play(scenario)


def test_a_clock_that_is_off_refuses_logins_and_tells_its_time() -> None:
    async def scenario(exchange: Exchange) -> None:
        exchange.inject(faults.ClockSkew(offset_s=90))
        client = Client(exchange, "private")
        assert (await client.login())["code"] == "60006"
        event = await client.login(timestamp=str(exchange.now_ms() // 1000 + 90))
        assert event["event"] == "login"

    play(scenario)


def test_handshakes_are_refused_on_one_path() -> None:
    async def scenario(exchange: Exchange) -> None:
        exchange.inject(faults.Handshake(status=503, retry_after_s=7, path="business", times=2))
        assert exchange.admit("a", "/ws/v5/public") is None
        for _ in range(2):
            refused = exchange.admit("a", "/ws/v5/business")
            assert refused is not None
            assert (refused.status, refused.retry_after_s) == (503, 7)
        assert exchange.admit("a", "/ws/v5/business") is None
        assert [each.details for each in exchange.log.happened("refused")] == ["503", "503"]

    play(scenario)


def test_a_private_channel_is_refused_by_its_count() -> None:
    async def scenario(exchange: Exchange) -> None:
        exchange.inject(faults.AccountConnections(channel="orders"))
        client = Client(exchange, "private")
        await client.login()
        events = await client.subscribe("orders", instType="ANY")
        assert [event["event"] for event in events] == ["subscribe", "channel-conn-count-error"]
        assert events[1]["connCount"] == "30"

    play(scenario)


def test_a_fault_sleeps_and_strikes_so_often() -> None:
    now_s = 0.0
    board = FaultBoard(lambda: now_s)
    board.add(faults.NoAck(after_s=5, times=2))
    assert board.find(faults.NoAck) is None
    now_s = 5.0
    assert board.find(faults.NoSnapshot) is None
    assert board.find(faults.NoAck, is_struck=False) is not None
    assert [board.find(faults.NoAck) is not None for _ in range(3)] == [True, True, False]
    assert not board
    board.add(faults.NoAck(times=0))
    assert [board.find(faults.NoAck) is not None for _ in range(50)] == [True] * 50


def test_faults_as_text_and_json() -> None:
    assert parse_fault("stall, channel=books, for_s=2.5, is_deaf=true") == faults.Stall(
        channel="books", for_s=2.5, is_deaf=True
    )
    assert parse_fault("drop") == faults.Drop()
    assert decode_faults(b'[{"kind":"drop"},{"kind":"gap","channel":"books","times":0}]') == [
        faults.Drop(),
        faults.LostPush(channel="books", times=0),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "nonsense"),
        ("gap,channel", "channel=value"),
        ("gap,chanel=books", "chanel"),
        ("close,code=999", "999"),
        ("close,code=many", "code"),
        ("gap,path=secret", "secret"),
        ("gap,times=-1", "zero or more"),
        ("gap,after_s=nan", "zero or more"),
        ("malformed,form=soft", "soft"),
        ("unknown,what=else", "else"),
        ("handshake,status=200", "200"),
    ],
)
def test_a_fault_that_cannot_be_meant(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_fault(text)


def test_a_wrong_json_fault() -> None:
    for body in (b"{", b"{}", b'{"kind":"gap","times":"many"}', b"\xff"):
        with pytest.raises(ConfigError, match="no fault"):
            decode_faults(body)


def test_a_reset_of_an_unknown_instrument_is_told_at_once() -> None:
    async def scenario(exchange: Exchange) -> None:
        with pytest.raises(ConfigError, match="NO-SUCH"):
            exchange.inject(faults.Reset(instrument="NO-SUCH"))

    play(scenario, GeneratedMarket(instruments=1))
