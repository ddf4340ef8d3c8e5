"""The REST endpoints of a user: an account that holds money and has no orders, in OKX's fields and errors."""

import asyncio
import json
from typing import Any

import pytest
from sandbox_callers import Caller, ask
from sandbox_stage import Client, play

from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.private import POSTED, PRIVATE
from quantkit.sandbox.rest import ENDPOINTS
from quantkit.sandbox.rules import Rules

#: OKX's fields of a currency in `account/balance`, of July 2026.
DETAILS = [
    "accAvgPx",
    "autoLendMtAmt",
    "autoLendStatus",
    "availBal",
    "availEq",
    "borrowFroz",
    "cashBal",
    "ccy",
    "clSpotInUseAmt",
    "colBorrAutoConversion",
    "colRes",
    "collateralEnabled",
    "collateralRestrict",
    "crossLiab",
    "disEq",
    "eq",
    "eqUsd",
    "fixedBal",
    "frozenBal",
    "frpType",
    "imr",
    "interest",
    "isoEq",
    "isoLiab",
    "isoUpl",
    "liab",
    "maxLoan",
    "maxSpotInUse",
    "mgnRatio",
    "mmr",
    "notionalLever",
    "openAvgPx",
    "ordFrozen",
    "rewardBal",
    "smtSyncEq",
    "spotBal",
    "spotCopyTradingEq",
    "spotInUseAmt",
    "spotIsoBal",
    "spotUpl",
    "spotUplRatio",
    "stgyEq",
    "totalPnl",
    "totalPnlRatio",
    "twap",
    "uTime",
    "upl",
    "uplLiab",
]
TOTALS = [
    "adjEq",
    "availEq",
    "borrowFroz",
    "delta",
    "deltaLever",
    "deltaNeutralStatus",
    "details",
    "imr",
    "isoEq",
    "mgnRatio",
    "mmr",
    "notionalUsd",
    "notionalUsdForBorrow",
    "notionalUsdForFutures",
    "notionalUsdForOption",
    "notionalUsdForSwap",
    "ordFroz",
    "totalEq",
    "uTime",
    "upl",
]


def test_the_balance_has_every_field_and_counts_every_currency() -> None:
    def check(call: Caller) -> None:
        (row,) = call.data("account/balance")
        assert sorted(row) == sorted(TOTALS)
        assert [each["ccy"] for each in row["details"]] == ["USDT", "BTC", "SOL", "XYZ"]
        assert all(sorted(each) == sorted(DETAILS) for each in row["details"])
        empty = {name: value for name, value in row["details"][0].items() if not isinstance(value, str)}
        assert empty == {"collateralEnabled": False, "collateralRestrict": False}
        # What the market prices is worth that; nobody prices XYZ.
        price = {name: float(call.data("market/index-tickers", instId=f"{name}-USDT")[0]["idxPx"]) for name in ("SOL",)}
        price["BTC"] = float(call.data("market/index-tickers", instId="BTC-USD")[0]["idxPx"])
        worth = {each["ccy"]: each["eqUsd"] for each in row["details"]}
        assert worth["USDT"] == "500"
        assert worth["XYZ"] == ""
        assert float(worth["BTC"]) == pytest.approx(0.25 * price["BTC"])
        assert float(worth["SOL"]) == pytest.approx(2 * price["SOL"])
        assert float(row["totalEq"]) == pytest.approx(500 + 0.25 * price["BTC"] + 2 * price["SOL"])

    ask(check, account=UserAccount({"USDT": "500", "BTC": "0.25", "SOL": "2", "XYZ": "9"}))


def test_several_currencies_are_asked_for_at_once() -> None:
    def check(call: Caller) -> None:
        whole = call.data("account/balance")[0]
        for wanted, expected in (("BTC,USDT", ["USDT", "BTC"]), ("BTC", ["BTC"]), ("ETH", []), ("BTC,,ETH", ["BTC"])):
            (row,) = call.data("account/balance", ccy=wanted)
            assert [each["ccy"] for each in row["details"]] == expected
            assert row["totalEq"] == whole["totalEq"], "the total is of all, whatever is shown"
        assert call.asked("account/balance", ccy=",".join(map(str, range(21))))[1]["code"] == "50025"
        assert [row["ccy"] for row in call.data("asset/currencies", ccy="USDT,BTC")] == ["BTC", "USDT"]
        rows = call.data("account/leverage-info", instId="BTC-USDT-SWAP,ETH-USDT-SWAP", mgnMode="cross")
        assert [row["instId"] for row in rows] == ["BTC-USDT-SWAP", "ETH-USDT-SWAP"]

    ask(check)


def test_the_account_channel_has_the_same_fields_but_for_its_own_two() -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "private")
        await client.login()
        await client.subscribe("account")
        await client.subscribe("account", ccy="BTC")
        every, one = (push["data"][0] for push in client.pushes("account"))
        assert sorted(every) == sorted(TOTALS)
        own = {"coinUsdPrice", "maxSpotInUseAmt"} | set(DETAILS) - {"maxSpotInUse"}
        assert all(set(each) == own for each in every["details"])
        assert [each["ccy"] for each in one["details"]] == ["BTC"]
        assert one["totalEq"] == every["totalEq"]

    play(scenario)


def test_fees_instruments_and_leverage_fit_the_instruments() -> None:
    def check(call: Caller) -> None:
        for kind, rates in (("SPOT", ("-0.0008", "-0.001")), ("SWAP", ("-0.0002", "-0.0005"))):
            rows = call.data("account/instruments", instType=kind)
            assert rows == call.data("public/instruments", instType=kind)
            (fee,) = call.data("account/trade-fee", instType=kind)
            assert {group["groupId"] for group in fee["feeGroup"]} == {row["groupId"] for row in rows}
            assert {(group["maker"], group["taker"]) for group in fee["feeGroup"]} == {rates}
            assert (fee["maker"], fee["taker"], fee["level"]) == (*rates, "Lv1")
        assert call.data("account/trade-fee", instType="SPOT", instId="BTC-USDT")[0]["feeGroup"][0]["groupId"] == "1"
        assert call.data("account/trade-fee", instType="SPOT", groupId="9")[0]["feeGroup"] == []
        (row,) = call.data("account/leverage-info", instId="BTC-USDT-SWAP", mgnMode="isolated")
        assert row == {"ccy": "", "instId": "BTC-USDT-SWAP", "mgnMode": "isolated", "posSide": "net", "lever": "3"}
        assert [row["ccy"] for row in call.data("account/leverage-info", ccy="BTC", mgnMode="cross")] == ["BTC"]
        sizes = call.data("account/max-avail-size", instId="BTC-USDT,BTC-USD-SWAP", tdMode="cross")
        assert [(row["availBuy"], row["availSell"]) for row in sizes] == [("100000", "1"), ("1", "1")]
        (config,) = call.data("account/config")
        assert (config["acctLv"], config["posMode"]) == ("2", "net_mode")

    ask(check)


def test_positions_are_those_of_the_account() -> None:
    rows = [
        {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "posId": "1", "pos": "3"},
        {"instType": "SWAP", "instId": "ETH-USDT-SWAP", "posId": "2", "pos": "-1"},
        {"instType": "MARGIN", "instId": "BTC-USDT", "posId": "3", "pos": "1"},
    ]

    def check(call: Caller) -> None:
        assert call.data("account/positions") == rows
        assert call.data("account/positions", instType="MARGIN") == rows[2:]
        assert call.data("account/positions", instId="BTC-USDT,ETH-USDT-SWAP") == rows[1:]
        assert call.data("account/positions", posId="2") == rows[1:2]
        (risk,) = call.data("account/account-position-risk")
        assert [row["pos"] for row in risk["posData"]] == ["3", "-1", "1"]
        assert [row["ccy"] for row in risk["balData"]] == ["USDT", "BTC"]

    ask(check, account=UserAccount(positions=rows))


def test_open_orders_are_those_of_the_account() -> None:
    rows = [
        {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordId": "1", "clOrdId": "a"},
        {"instType": "SPOT", "instId": "BTC-USDT", "ordId": "2", "clOrdId": "b"},
    ]

    def check(call: Caller) -> None:
        assert call.data("trade/orders-pending") == rows
        assert call.data("trade/orders-pending", instType="SPOT") == rows[1:]
        assert call.data("trade/orders-pending", instId="BTC-USDT-SWAP") == rows[:1]

    ask(check, account=UserAccount(orders=rows))


def test_currencies_are_those_of_the_market_and_the_account() -> None:
    def check(call: Caller) -> None:
        rows = call.data("asset/currencies")
        assert [row["ccy"] for row in rows] == ["BTC", "ETH", "SOL", "USDT", "XYZ"]
        assert all(row["canDep"] is row["canWd"] is False and row["chain"].startswith(row["ccy"]) for row in rows)
        (value,) = call.data("asset/asset-valuation")
        assert value["totalBal"] == call.data("account/balance")[0]["totalEq"]

    ask(check, account=UserAccount({"XYZ": "1"}))


@pytest.mark.parametrize(
    ("endpoint", "params"),
    [
        ("trade/orders-pending", {}),
        ("trade/orders-pending", {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "limit": "100"}),
        ("trade/orders-history", {"instType": "SPOT", "begin": "1767225600000"}),
        ("trade/orders-history-archive", {"instType": "SPOT"}),
        ("trade/fills", {"after": "77"}),
        ("trade/fills-history", {"instType": "SWAP"}),
        ("trade/orders-algo-pending", {"ordType": "conditional"}),
        ("trade/orders-algo-history", {"ordType": "oco", "state": "canceled"}),
        ("account/positions-history", {}),
        ("account/bills", {}),
        ("account/bills-archive", {}),
        ("asset/balances", {"ccy": "BTC"}),
        ("asset/deposit-history", {}),
    ],
)
def test_nothing_has_happened_yet(endpoint: str, params: dict[str, str]) -> None:
    def check(call: Caller) -> None:
        assert call.data(endpoint, **params) == []

    ask(check)


@pytest.mark.parametrize(
    ("endpoint", "params", "expected"),
    [
        ("trade/orders-history", {}, (400, "50014")),
        ("trade/fills-history", {"instType": "STOCK"}, (200, "51000")),
        ("trade/orders-pending", {"instType": "STOCK"}, (200, "51000")),
        ("trade/orders-pending", {"limit": "many"}, (200, "51000")),
        ("trade/orders-algo-pending", {}, (400, "50014")),
        ("trade/order", {"instId": "BTC-USDT"}, (200, "51003")),
        ("trade/order", {"instId": "BTC-USDT", "clOrdId": "a"}, (200, "51603")),
        ("trade/order", {"instId": "NO-SUCH", "ordId": "7"}, (200, "51001")),
        ("trade/order-algo", {}, (400, "50015")),
        ("trade/order-algo", {"algoId": "7"}, (200, "51603")),
        ("account/leverage-info", {"instId": "BTC-USDT"}, (400, "50014")),
        ("account/leverage-info", {"instId": "BTC-USDT", "mgnMode": "both"}, (200, "51000")),
        ("account/leverage-info", {"mgnMode": "cross"}, (400, "50015")),
        ("account/max-avail-size", {"tdMode": "cash"}, (400, "50014")),
        ("account/trade-fee", {}, (400, "50014")),
        ("account/trade-fee", {"instType": "SPOT", "instId": "NO-SUCH"}, (200, "51001")),
        ("asset/asset-valuation", {"ccy": "XYZ"}, (200, "51000")),
        # OKX has these, the sandbox has not.
        ("account/max-loan", {}, (410, "50005")),
        ("asset/deposit-address", {"ccy": "BTC"}, (410, "50005")),
        ("rubik/stat/taker-volume", {}, (410, "50005")),
        ("users/subaccount/list", {}, (410, "50005")),
        # Nobody has these.
        ("nonsense", {}, (404, "404")),
        ("", {}, (404, "404")),
    ],
)
def test_errors(endpoint: str, params: dict[str, str], expected: tuple[int, str]) -> None:
    def check(call: Caller) -> None:
        status, body = call.asked(endpoint, **params)
        assert (status, body["code"]) == expected
        assert body["msg"]
        assert body["data"] == []

    ask(check)


@pytest.mark.parametrize("endpoint", sorted(PRIVATE))
def test_a_users_endpoints_are_signed(endpoint: str) -> None:
    ask(lambda call: check_refused(call, endpoint))


def check_refused(call: Caller, endpoint: str) -> None:
    assert call.code(endpoint) == (401, "50103")


@pytest.mark.parametrize(
    ("endpoint", "body", "expected"),
    [
        ("trade/order", '{"instId": "BTC-USDT", "sz": "1"}', (410, "50005")),
        ("trade/batch-orders", '[{"instId": "BTC-USDT"}]', (410, "50005")),
        ("trade/cancel-all-after", '{"timeOut": "0"}', (410, "50005")),
        ("account/set-leverage", '{"lever": 3}', (410, "50005")),
        ("account/set-position-mode", '{"posMode": "net_mode"}', (200, "0")),
        ("account/set-position-mode", '{"posMode": "long_short_mode"}', (410, "50005")),
        ("account/set-position-mode", '{"posMode": "none"}', (200, "51000")),
        ("account/set-position-mode", "[]", (400, "50014")),
        ("trade/order", "", (400, "50000")),
        ("trade/order", "{", (400, "50002")),
        ("trade/order", "[" * 5000, (400, "50002")),
        ("nonsense", "{}", (404, "404")),
    ],
)
def test_a_post_gets_the_envelope(endpoint: str, body: str, expected: tuple[int, str]) -> None:
    def check(call: Caller) -> None:
        reply = call.post(endpoint, body.encode(), call.signed("POST", endpoint, body))
        envelope: dict[str, Any] = json.loads(reply.body)
        assert (reply.status, envelope["code"]) == expected
        assert set(envelope) == {"code", "msg", "data"}

    ask(check)


def test_the_signature_of_a_post_is_over_its_bytes() -> None:
    def check(call: Caller) -> None:
        body = '{"posMode":  "net_mode"}'
        headers = call.signed("POST", "account/set-position-mode", body)
        assert json.loads(call.post("account/set-position-mode", body.encode(), headers).body)["code"] == "0"
        for other in (body.replace("  ", " "), body + " ", ""):
            reply = call.post("account/set-position-mode", other.encode(), headers)
            assert (reply.status, json.loads(reply.body)["code"]) == (401, "50113")
        for method in ("PUT", "DELETE", "HEAD"):
            reply = call.post("trade/order", b"{}", headers, method)
            assert (reply.status, json.loads(reply.body)["code"]) == (405, "50115")

    ask(check)


def test_limits_are_counted_by_method_and_path() -> None:
    async def scenario(exchange: Exchange) -> None:
        call = Caller(exchange)
        codes = [call.asked("account/config")[1]["code"] for _ in range(7)]
        assert codes == ["0"] * 5 + ["50011"] * 2
        assert call.asked("account/trade-fee", instType="SPOT")[1]["code"] == "0"
        await asyncio.sleep(2)
        assert call.asked("account/config")[1]["code"] == "0"

    play(scenario, rules=Rules())


def test_what_is_built_is_named_once() -> None:
    assert ENDPOINTS["POST"] == POSTED
    assert all(each.most > 0 and each.window_s > 0 for built in ENDPOINTS.values() for each in built.values())
