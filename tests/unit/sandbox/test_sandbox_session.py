"""Requests and their answers: acks, refusals, limits, logins, and how connections end."""

import asyncio
import json

import pytest
from sandbox_stage import Client, play

from quantkit.errors import ConfigError
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.rules import Rules
from quantkit.venue_rules.window import Window


def test_every_arg_is_acknowledged_with_the_id_and_the_connection() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "/ws/v5/public")
        args = [{"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "ETH-USDT"}]
        events = await client.ask("subscribe", *args, request_id="1512")
        assert [(event["event"], event["id"], event["arg"]) for event in events] == [
            ("subscribe", "1512", arg) for arg in args
        ]
        (connection,) = {event["connId"] for event in events}
        assert len(connection) == 8
        int(connection, 16)

    play(scenario)


def test_connections_have_ids_of_their_own() -> None:
    async def scenario(exchange: Exchange) -> None:
        events = [(await Client(exchange, "public").subscribe("tickers", "BTC-USDT"))[0]["connId"] for _ in range(5)]
        assert len(set(events)) == 5

    play(scenario)


@pytest.mark.parametrize(
    ("path", "arg", "code"),
    [
        ("public", {"channel": "tickers", "instId": "NO-SUCH"}, "60018"),
        ("public", {"channel": "no-such", "instId": "BTC-USDT"}, "60018"),
        ("public", {"channel": "tickers"}, "60018"),
        ("public", {}, "60018"),
        ("public", {"channel": "index-tickers", "instId": "BTC-USDT-SWAP"}, "60018"),
        ("public", {"channel": "funding-rate", "instId": "BTC-USDT"}, "60018"),
        ("public", {"channel": "instruments", "instType": "STOCK"}, "60018"),
        ("public", {"channel": "candle1m", "instId": "BTC-USDT"}, "64001"),
        ("public", {"channel": "account"}, "60018"),
        ("business", {"channel": "tickers", "instId": "BTC-USDT"}, "64002"),
        ("business", {"channel": "candle1h", "instId": "BTC-USDT"}, "60018"),
        ("private", {"channel": "account"}, "60011"),
        ("private", {"channel": "positions", "instType": "NOPE"}, "60018"),
        ("private", {"channel": "tickers", "instId": "BTC-USDT"}, "60018"),
        ("public", {"channel": "books-l2-tbt", "instId": "BTC-USDT"}, "60011"),
    ],
)
def test_a_wrong_arg_is_refused_and_the_others_live_on(path: str, arg: dict[str, str], code: str) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, path)
        good = {"channel": "candle1m" if path == "business" else "tickers", "instId": "BTC-USDT"}
        events = await client.ask("subscribe", arg, *([good] if path != "private" else []), request_id="x1")
        refused = [event for event in events if event["event"] == "error"]
        assert [(event["code"], event["id"]) for event in refused] == [(code, "x1")]
        assert [event["arg"] for event in events if event["event"] == "subscribe"] == (
            [good] if path != "private" else []
        )
        if code == "60018":
            assert all(f"{name}:{value}" in refused[0]["msg"] for name, value in arg.items())

    play(scenario)


@pytest.mark.parametrize(
    ("text", "code", "request_id"),
    [
        ("junk", "60012", None),
        ("[1]", "60012", None),
        ('{"op":"ping"}', "60012", None),
        ('{"id":"a1","op":"order-book","args":[{"instIdCode":1,"side":"buy"}]}', "60012", "a1"),
        ('{"id":"a1","op":"subscribe"}', "60013", "a1"),
        ('{"id":"a1","op":"subscribe","args":[]}', "60013", "a1"),
        ('{"id":"a1","op":"subscribe","args":["tickers"]}', "60013", "a1"),
        ('{"id":"a1","op":"subscribe","args":[{"channel":1}]}', "60012", "a1"),
        ('{"id":"no-hyphen","op":"subscribe","args":[{"channel":"status"}]}', "60033", None),
        ('{"id":"' + "x" * 33 + '","op":"subscribe","args":[{"channel":"status"}]}', "60033", None),
        ("{" * 5000, "60012", None),
    ],
)
def test_a_malformed_request_is_refused_and_costs_nothing_else(text: str, code: str, request_id: str | None) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        client.tell(text)
        await asyncio.sleep(0.001)
        (event,) = client.frames()
        assert (event["event"], event["code"], event.get("id")) == ("error", code, request_id)
        assert (await client.subscribe("tickers", "BTC-USDT"))[0]["event"] == "subscribe"

    play(scenario)


def test_null_in_an_arg_is_not_given() -> None:
    """As NautilusTrader sends it: the arg is acknowledged, pushed and ended without its empty keys."""
    sent = {"channel": "tickers", "instType": None, "instFamily": None, "instId": "BTC-USDT"}
    plain = {"channel": "tickers", "instId": "BTC-USDT"}

    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for operation in ("subscribe", "unsubscribe"):
            (event,) = await client.ask(operation, sent)
            assert (event["event"], event["arg"]) == (operation, plain)
        await client.ask("subscribe", sent)
        await client.ask("subscribe", plain)
        assert [push["arg"] for push in client.pushes("tickers")] == [plain] * 2
        (event,) = await client.ask("subscribe", {"channel": None, "instId": "BTC-USDT"})
        assert event["code"] == "60018"
        (event,) = await client.ask("subscribe", {"channel": "tickers", "instId": 7})
        assert event["code"] == "60012"

    play(scenario)


@pytest.mark.parametrize(
    "operation",
    [
        "order",
        "batch-orders",
        "cancel-order",
        "batch-cancel-orders",
        "amend-order",
        "batch-amend-orders",
        "mass-cancel",
    ],
)
def test_operations_on_orders_are_refused_in_the_form_of_their_reply(operation: str) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        request = {"id": "7a", "op": operation, "args": [{"instIdCode": 1, "side": "buy"}]}
        client.tell(json.dumps(request))
        await asyncio.sleep(0.001)
        assert (client.frames()[-1]["event"], client.frames()[-1]["code"]) == ("error", "60011")
        await client.login()
        for request_id, echoed in (("7a", "7a"), (None, ""), ("no-hyphen", ""), (7, "")):
            client.tell(json.dumps(request | {"id": request_id}))
            await asyncio.sleep(0.001)
            reply = client.frames()[-1]
            assert (reply["id"], reply["op"], reply["code"], reply["data"]) == (echoed, operation, "60028", [])
            assert set(reply) == {"id", "op", "code", "msg", "data", "inTime", "outTime"}
            assert reply["inTime"] == reply["outTime"]

    play(scenario)


def test_channels_of_algo_orders_and_warnings_are_silent() -> None:
    async def scenario(exchange: Exchange) -> None:
        business, private = Client(exchange, "business"), Client(exchange, "private")
        for client, channel, fields in (
            (business, "orders-algo", {"instType": "ANY"}),
            (business, "algo-advance", {"instType": "SWAP"}),
            (private, "liquidation-warning", {"instType": "ANY"}),
            (private, "account-greeks", {}),
        ):
            (event,) = await client.subscribe(channel, **fields)
            assert event["code"] == "60011"
        await business.login()
        await private.login()
        for channel in ("orders-algo", "algo-advance"):
            assert [each["event"] for each in await business.subscribe(channel, instType="ANY")] == ["subscribe"]
            (event,) = await business.subscribe(channel)
            assert event["code"] == "60018"
        assert [each["event"] for each in await private.subscribe("account-greeks")] == [
            "subscribe",
            "channel-conn-count",
        ]
        assert (await private.subscribe("liquidation-warning", instType="ANY"))[0]["event"] == "subscribe"
        exchange.push("orders-algo", {"instType": "SWAP", "algoId": "5"})
        await asyncio.sleep(1)
        (push,) = business.pushes("orders-algo")
        assert (push["arg"]["uid"], push["data"][0]["algoId"]) == ("100000000000000001", "5")

    play(scenario)


def test_a_duplicate_is_acknowledged_again_and_its_data_are_not_doubled() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for _ in range(3):
            assert [event["event"] for event in await client.subscribe("books", "BTC-USDT")] == ["subscribe"]
        # The order of an arg's keys says nothing.
        await client.ask("subscribe", {"instId": "BTC-USDT", "channel": "books"})
        await asyncio.sleep(1)
        seqs = [row["seqId"] for row in client.rows("books")]
        assert len(seqs) == len(set(seqs)) > 5
        assert [push["action"] for push in client.pushes("books")].count("snapshot") == 1

    play(scenario)


def test_unsubscribe_ends_the_data_and_a_new_subscribe_brings_a_snapshot() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        await asyncio.sleep(0.5)
        (event,) = await client.ask("unsubscribe", {"channel": "books", "instId": "BTC-USDT"}, request_id="u1")
        assert (event["event"], event["id"]) == ("unsubscribe", "u1")
        count = len(client.texts)
        await asyncio.sleep(0.5)
        assert len(client.texts) == count
        await client.subscribe("books", "BTC-USDT")
        assert [push["action"] for push in client.pushes("books")].count("snapshot") == 2
        (event,) = await client.ask("unsubscribe", {"channel": "books", "instId": "NO-SUCH"})
        assert event["code"] == "60018"

    play(scenario)


def test_the_text_ping_is_answered_and_keeps_the_connection() -> None:
    async def scenario(exchange: Exchange) -> None:
        client, silent = Client(exchange, "public"), Client(exchange, "public")
        for _ in range(4):
            await asyncio.sleep(20)
            client.tell("ping")
        await asyncio.sleep(0.01)
        assert client.texts == ["pong"] * 4
        assert client.closed is None
        assert silent.closed == (4004, "No data received in 30s.")
        await asyncio.sleep(29.9)
        assert client.closed is None
        await asyncio.sleep(0.2)
        assert client.closed is not None

    play(scenario)


def test_pushes_keep_the_connection_too() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("tickers", "BTC-USDT")
        await asyncio.sleep(120)
        assert client.closed is None

    play(scenario)


def test_480_operations_an_hour() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        args = [{"channel": "tickers", "instId": "BTC-USDT"}, {"channel": "status"}]
        for number in range(480):
            await client.ask("subscribe" if number % 2 else "unsubscribe", *args)
        assert {event["event"] for event in client.frames() if "event" in event} == {"subscribe", "unsubscribe"}
        (event,) = await client.subscribe("status")
        assert event["code"] == "60014"
        for _ in range(200):
            await asyncio.sleep(18)
            client.tell("ping")
        assert (await client.subscribe("status"))[0]["event"] == "subscribe"

    play(scenario, GeneratedMarket(instruments=1, orders_per_s=0.0, tick_ms=200))


def test_a_request_that_is_too_large_ends_the_connection() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.ask("subscribe", *[{"channel": "tickers", "instId": "BTC-USDT"}] * 2000)
        assert client.closed is not None
        assert client.closed[0] == 1009

    play(scenario)


def test_a_slow_consumer_is_closed_with_4005() -> None:
    async def scenario(exchange: Exchange) -> None:
        client, other = Client(exchange, "public"), Client(exchange, "public")
        for each in (client, other):
            await each.subscribe("books", "BTC-USDT")
        client.is_reading.clear()
        await asyncio.sleep(300)
        assert client.closed == (4005, "Write buffer is full")
        assert other.closed is None
        assert len(other.rows("books")) > 2000

    play(scenario, rules=Rules(write_buffer_bytes=50_000))


def test_books_l2_tbt_rules_out_the_other_books() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        assert (await client.login("sandbox-vip"))["event"] == "login"
        await client.subscribe("books", "BTC-USDT")
        await client.subscribe("books50-l2-tbt", "BTC-USDT")
        await client.subscribe("books", "ETH-USDT")
        events = await client.subscribe("books-l2-tbt", "BTC-USDT")
        assert [(event["event"], event["arg"]["channel"]) for event in events] == [
            ("subscribe", "books-l2-tbt"),
            ("unsubscribe", "books"),
            ("unsubscribe", "books50-l2-tbt"),
        ]
        # The reverse order is acknowledged first and refused then.
        events = await client.subscribe("books", "BTC-USDT")
        assert [event["event"] for event in events] == ["subscribe", "error"]
        assert events[1]["code"] == "64004"
        count = len(client.pushes("books", "BTC-USDT"))
        await asyncio.sleep(1)
        assert len(client.pushes("books", "BTC-USDT")) == count
        assert len(client.pushes("books-l2-tbt")) > 10

    play(scenario)


def test_vip_channels_need_a_vip_key() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.login()
        assert (await client.subscribe("books-l2-tbt", "BTC-USDT"))[0]["code"] == "64003"
        private = Client(exchange, "private")
        await private.login()
        assert (await private.subscribe("fills", instType="ANY"))[0]["code"] == "64003"

    play(scenario)


# Login --------------------------------------------------------------------------------------------------------


def test_a_login_is_acknowledged_and_a_second_one_refused() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        event = await client.login()
        assert {**event, "connId": ""} == {"event": "login", "code": "0", "msg": "", "connId": ""}
        assert (await client.login())["code"] == "60031"
        assert (await client.subscribe("account"))[0]["event"] == "subscribe"

    play(scenario)


@pytest.mark.parametrize(
    ("key", "changes", "code"),
    [
        ("no-such-key", {}, "60005"),
        ("sandbox-eea", {}, "60032"),
        ("sandbox-demo", {}, "50101"),
        ("sandbox-key", {"passphrase": "wrong"}, "60024"),
        ("sandbox-key", {"secret": "wrong"}, "60007"),
        ("sandbox-key", {"sign": ""}, "60009"),
        ("sandbox-key", {"timestamp": "yesterday"}, "60004"),
        ("sandbox-key", {"timestamp": "1767225000"}, "60006"),
        ("sandbox-key", {"timestamp": "nan"}, "60006"),
    ],
)
def test_a_wrong_login_is_refused(key: str, changes: dict[str, str], code: str) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        assert (await client.login(key, **changes))["code"] == code
        assert (await client.subscribe("account"))[0]["code"] == "60011"

    play(scenario)


@pytest.mark.parametrize(("skew_s", "is_taken"), [(-29, True), (29, True), (-32, False), (32, False)])
def test_a_login_may_be_off_by_30_seconds(skew_s: int, is_taken: bool) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        event = await client.login(timestamp=str(exchange.now_ms() // 1000 + skew_s))
        assert (event["event"] == "login") is is_taken

    play(scenario)


def test_a_demo_exchange_takes_demo_keys_only() -> None:
    async def scenario(exchange: Exchange) -> None:
        assert (await Client(exchange, "private").login("sandbox-key"))["code"] == "50101"
        assert (await Client(exchange, "private").login("sandbox-demo"))["event"] == "login"

    play(scenario, is_demo=True)


# Private channels ---------------------------------------------------------------------------------------------


def test_private_channels_begin_with_their_state_and_the_number_of_connections() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        await client.login()
        for channel, fields in (
            ("account", {}),
            ("positions", {"instType": "ANY"}),
            ("balance_and_position", {}),
            ("orders", {"instType": "SPOT"}),
        ):
            events = await client.subscribe(channel, **fields)
            assert [event["event"] for event in events] == ["subscribe", "channel-conn-count"]
            assert (events[1]["channel"], events[1]["connCount"]) == (channel, "1")
        (account,) = client.pushes("account")
        assert account["arg"]["uid"] == "100000000000000001"
        assert (account["eventType"], account["curPage"], account["lastPage"]) == ("snapshot", 1, True)
        assert {row["ccy"]: row["eq"] for row in account["data"][0]["details"]} == {"USDT": "500", "SOL": "7"}
        assert client.pushes("positions")[0]["data"] == [{"instType": "SWAP", "instId": "BTC-USDT-SWAP", "pos": "1"}]
        assert client.rows("balance_and_position")[0]["eventType"] == "snapshot"
        assert client.pushes("orders") == []
        await asyncio.sleep(11)
        assert len(client.pushes("account")) == len(client.pushes("positions")) == 3

    row = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "pos": "1"}
    play(scenario, account=UserAccount({"USDT": "500", "SOL": "7"}, [row]))


def test_event_only_subscriptions_get_no_regular_pushes() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        await client.login()
        await client.subscribe("account", extraParams='{"updateInterval":"0"}')
        await asyncio.sleep(20)
        assert len(client.pushes("account")) == 1

    play(scenario)


def test_scripted_pushes_reach_those_they_match() -> None:
    async def scenario(exchange: Exchange) -> None:
        spot, every = Client(exchange, "private"), Client(exchange, "private")
        for client, kind in ((spot, "SPOT"), (every, "ANY")):
            await client.login()
            await client.subscribe("orders", instType=kind)
        rows = [{"instType": "SPOT", "ordId": "1"}, {"instType": "SWAP", "ordId": "2"}]
        exchange.push("orders", *rows)
        await asyncio.sleep(0.01)
        assert spot.rows("orders") == rows[:1]
        assert every.rows("orders") == rows
        exchange.push("account", {"uTime": "1"}, eventType="event_update")
        await asyncio.sleep(0.01)
        assert spot.pushes("account") == []

    play(scenario)


def test_too_many_connections_of_a_private_channel() -> None:
    async def scenario(exchange: Exchange) -> None:
        clients = [Client(exchange, "private") for _ in range(3)]
        events = []
        for client in clients:
            await client.login()
            events.append(await client.subscribe("account"))
        assert [pair[1]["event"] for pair in events] == ["channel-conn-count"] * 2 + ["channel-conn-count-error"]
        assert [pair[1]["connCount"] for pair in events] == ["1", "2", "2"]
        assert clients[2].pushes("account") == []
        clients[0].leave()
        await clients[0].serving
        assert (await clients[2].subscribe("account"))[1]["event"] == "channel-conn-count"

    play(scenario, rules=Rules(connections_per_channel=2))


# The rest -----------------------------------------------------------------------------------------------------


def test_too_many_channels_of_a_connection() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        for name in ("BTC-USDT", "ETH-USDT", "SOL-USDT"):
            await client.subscribe("tickers", name)
        assert client.closed is not None
        assert client.closed[0] == 4009

    play(scenario, rules=Rules(channels_per_connection=2))


def test_three_handshakes_a_second_for_each_address() -> None:
    async def scenario(exchange: Exchange) -> None:
        assert [exchange.admit("a") for _ in range(3)] == [None] * 3
        refused = exchange.admit("a")
        assert refused is not None
        assert refused.status == 429
        assert exchange.admit("b") is None
        await asyncio.sleep(1.0)
        assert exchange.admit("a") is None

    play(scenario)


def test_the_end_of_the_exchange_closes_connections() -> None:
    clients = []

    async def scenario(exchange: Exchange) -> None:
        clients.append(Client(exchange, "public"))
        await asyncio.sleep(0.1)

    exchange = play(scenario)
    assert clients[0].closed is not None
    assert clients[0].closed[0] == 1001
    assert not exchange.sessions


def test_a_connection_that_ends_leaves_nothing_behind() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("books", "BTC-USDT")
        client.leave()
        await client.serving
        assert not exchange.sessions
        assert not exchange.topics
        assert exchange.state()["connections"] == []
        assert exchange.state()["connections_so_far"] == 1

    play(scenario)


def test_an_unknown_path_is_refused() -> None:
    async def scenario(exchange: Exchange) -> None:
        with pytest.raises(ConfigError, match="there is no path 'secret'"):
            await exchange.serve(Client(exchange, "public"), "/ws/v5/secret")

    play(scenario)


def test_state_is_json() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("tickers", "BTC-USDT")
        state = exchange.state()
        assert json.loads(json.dumps(state))["connections"][0]["subscriptions"] == ["tickers BTC-USDT"]

    play(scenario)


def test_rules_are_checked_and_scaled() -> None:
    with pytest.raises(ConfigError, match="idle_s is 0"):
        Rules(idle_s=0)
    rules = Rules().faster(10)
    assert (rules.idle_s, rules.notice_s, rules.login_window_s) == (3.0, 6.0, 3.0)
    assert (rules.connects_per_s, rules.operations_per_h) == (3, 480)


def test_a_window_slides() -> None:
    window = Window(2, 10.0)
    assert [window.take(now_s) for now_s in (0, 9, 9.9, 10, 10.1, 19, 20)] == [
        True,
        True,
        False,
        True,
        False,
        True,
        True,
    ]
