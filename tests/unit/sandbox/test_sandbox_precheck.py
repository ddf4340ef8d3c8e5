"""Whether the sandbox would take an order: the endpoint, its fields, and what it judges them by."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from sandbox_callers import Caller, ask

from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.precheck import precheck
from quantkit.sandbox.request import Refused, RestRequest
from quantkit.venue_rules.okx import TEXTS

SWAP, SPOT = "BTC-USDT-SWAP", "BTC-USDT"
ACCOUNT = UserAccount(
    positions=[
        {"instType": "SWAP", "instId": SWAP, "pos": "3"},
        {"instType": "SWAP", "instId": "ETH-USDT-SWAP", "pos": ""},
    ],
    orders=[{"instId": "SOL-USDT-SWAP", "clOrdId": "mine"}, *[{"instId": "ETH-USDT-SWAP"}] * 500],
)

LEGS = (("3", "long"), ("2", "short"))


def answered(call: Caller, **fields: Any) -> tuple[str, str, list[Any]]:
    """Return code, text and rows for an order: a buy of one contract, or what is said of it."""
    order = {"instId": SWAP, "tdMode": "cross", "side": "buy", "ordType": "limit", "sz": "1", **fields}
    body = json.dumps({name: value for name, value in order.items() if value is not None})
    endpoint = "trade/order-precheck"
    reply = json.loads(call.post(endpoint, body.encode(), call.signed("POST", endpoint, body)).body)
    return reply["code"], reply["msg"], reply["data"]


def codes(call: Caller, *orders: dict[str, Any]) -> list[str]:
    return [answered(call, **order)[0] for order in orders]


def at(call: Caller, share: float, name: str = SWAP) -> str:
    """Return a price a share above the last one, on the tick."""
    last = float(call.data("market/ticker", instId=name)[0]["last"])
    return f"{round(last * (1 + share), 1)}"


def test_an_order_that_may_be_gets_the_fields_of_a_margin_account() -> None:
    def check(call: Caller) -> None:
        code, _, (row,) = answered(call, px=at(call, -0.2))
        assert (code, len(row), set(row.values())) == ("0", 19, {""})

    ask(check, account=ACCOUNT)


def test_the_text_is_that_of_the_rules() -> None:
    def check(call: Caller) -> None:
        code, text, rows = answered(call, px=at(call, 0.02))
        assert (code, text, rows) == ("51006", TEXTS["51006"], [])

    ask(check, account=ACCOUNT)


def test_what_is_refused() -> None:
    def check(call: Caller) -> None:
        low, high = at(call, -0.2), at(call, 0.02)
        assert codes(
            call,
            {"px": low, "sz": "0.005"},
            {"px": low, "sz": "1.005"},
            {"px": low + "5"},
            {"px": low, "sz": "100000001"},
            {"px": low, "sz": "30000"},
            {"ordType": "market", "sz": "30001"},
            {"side": "sell", "px": low},
            {"side": "sell", "px": high},
            {"side": "sell", "px": high, "sz": "4", "reduceOnly": True},
            {"side": "sell", "px": high, "sz": "3", "reduceOnly": "true"},
            {"px": low, "reduceOnly": "true"},
            {"px": "1", "reduceOnly": "true", "instId": "ETH-USDT-SWAP"},
            {"px": low, "clOrdId": "mine"},
            {"ordType": "fok", "px": low, "stpMode": "cancel_both"},
            {"ordType": "ioc", "px": low, "stpMode": "cancel_both"},
            {"ordType": "post_only", "px": low, "clOrdId": "other"},
        ) == [
            *("51020", "51121", "51150", "51203", "51185", "51202", "51006", "0"),
            *("51148", "0", "51170", "51169", "51016", "54036", "0", "0"),
        ]

    ask(check, account=ACCOUNT)


def test_in_the_long_short_mode_an_order_is_judged_by_its_leg() -> None:
    """What closes a leg only reduces it, whatever the order says; the rows of legs have no sign."""
    rows = [{"instType": "SWAP", "instId": SWAP, "pos": size, "posSide": side} for size, side in LEGS]

    def check(call: Caller) -> None:
        low, high = at(call, -0.2), at(call, 0.02)
        bought, sold = {"px": low}, {"px": high, "side": "sell"}
        assert codes(
            call,
            {**sold, "sz": "3", "posSide": "long"},
            {**sold, "sz": "4", "posSide": "long", "reduceOnly": "false"},
            {**bought, "sz": "2", "posSide": "short"},
            {**bought, "sz": "3", "posSide": "short"},
            {**sold, "sz": "9", "posSide": "short", "reduceOnly": "true"},
            {**bought, "sz": "9", "posSide": "long"},
            {**sold, "instId": "ETH-USDT-SWAP", "px": at(call, 0.004, "ETH-USDT-SWAP"), "posSide": "long"},
            sold,
            {**sold, "posSide": "net"},
            {"instId": SPOT, "tdMode": "cash", "px": at(call, -0.2, SPOT)},
        ) == ["0", "51112", "0", "51112", "0", "0", "51169", "50014", "51000", "0"]
        assert call.data("account/config")[0]["posMode"] == "long_short_mode"

    ask(check, account=UserAccount(positions=rows, position_mode="long_short_mode"))


def test_a_net_account_has_no_legs() -> None:
    def check(call: Caller) -> None:
        low = at(call, -0.2)
        assert codes(call, {"px": low, "posSide": "net"}, {"px": low, "posSide": "long"}) == ["0", "51000"]

    ask(check, account=ACCOUNT)


def test_open_orders_are_counted() -> None:
    def check(call: Caller) -> None:
        price = at(call, -0.2, "ETH-USDT-SWAP")
        order = {"instId": "ETH-USDT-SWAP", "px": f"{float(price):.2f}"}
        assert codes(call, order, {"px": at(call, -0.2)}) == ["51174", "0"]
        call.exchange.account.orders += [{"instId": "SOL-USDT-SWAP"}] * 3_499
        assert codes(call, {"px": at(call, -0.2)}) == ["51025"]

    ask(check, account=UserAccount(orders=[*ACCOUNT.orders]))


def test_a_purchase_on_spot_is_an_amount_unless_the_order_says_otherwise() -> None:
    def check(call: Caller) -> None:
        order = {"instId": SPOT, "tdMode": "cash", "ordType": "market"}
        assert codes(
            call,
            {**order, "sz": "0.1"},
            {**order, "sz": "10"},
            {**order, "sz": "1000001000"},
            {**order, "sz": "0.1", "tgtCcy": "base_ccy"},
            {**order, "sz": "10000", "tgtCcy": "base_ccy"},
            {**order, "side": "sell", "sz": "0.1"},
            {**order, "side": "sell", "sz": "0.1", "tgtCcy": "quote_ccy"},
            {**order, "sz": "10", "tgtCcy": "coins"},
        ) == ["51020", "0", "51201", "0", "51201", "0", "51020", "51000"]

    ask(check)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"instId": "NO-SUCH"}, "51001"),
        ({"instId": None}, "50014"),
        ({"tdMode": None}, "50014"),
        ({"tdMode": "margin"}, "51000"),
        ({"side": "long"}, "51000"),
        ({"ordType": "stop"}, "51000"),
        ({"px": None}, "50014"),
        ({"px": "0"}, "51000"),
        ({"px": "much"}, "51000"),
        ({"px": "1e-30"}, "51000"),
        ({"sz": None}, "50014"),
        ({"sz": "-1"}, "51000"),
        ({"sz": "1e-25"}, "51000"),
        ({"clOrdId": "not this one"}, "51000"),
        ({"stpMode": "cancel_nobody"}, "51000"),
    ],
)
def test_malformed_orders(fields: dict[str, Any], code: str) -> None:
    ask(lambda call: refused(call, fields, code))


def refused(call: Caller, fields: dict[str, Any], code: str) -> None:
    assert answered(call, **{"px": "1", **fields})[0] == code


@pytest.mark.parametrize(
    ("kind", "ticker", "limit", "fields", "code"),
    [
        ("SPOT", None, None, {"ordType": "market"}, "51000"),  # nobody knows how many coins an amount buys
        ("SPOT", None, None, {"ordType": "market", "tgtCcy": "base_ccy"}, ""),
        ("SPOT", None, None, {"px": "900"}, ""),
        ("SPOT", None, {"buyLmt": "5", "sellLmt": "4", "enabled": False}, {"px": "900"}, ""),
        ("SPOT", None, {"buyLmt": "", "sellLmt": "", "enabled": True}, {"px": "900"}, ""),
        ("SPOT", None, {"buyLmt": "5", "sellLmt": "", "enabled": True}, {"px": "900"}, "51006"),
        ("OPTION", None, None, {"px": "900"}, "51000"),
    ],
)
def test_markets_that_know_less(kind: str, ticker: Any, limit: Any, fields: dict[str, str], code: str) -> None:
    row = {"instId": "BTC-USDT", "instType": kind, "tickSz": "1", "lotSz": "1"}
    market: Any = SimpleNamespace(
        instruments=lambda: [row], ticker=lambda name, now_ms: ticker, row=lambda channel, name, now_ms: limit
    )
    exchange: Any = SimpleNamespace(account=UserAccount())
    params = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "sz": "5", **fields}
    assert verdict(RestRequest(params, market, 0, exchange, None)) == code


def verdict(request: RestRequest) -> str:
    """Return the code of a refusal, empty for none."""
    try:
        precheck(request)
    except Refused as refused:
        return refused.code
    return ""
