"""Frames of private channels become exact typed messages, whatever an account mode leaves out."""

import json
from decimal import Decimal
from typing import Any

import pytest

from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import (
    AccountData,
    AccountFill,
    AccountUpdate,
    BalanceAndPosition,
    BalanceAndPositionData,
    BalanceUpdate,
    CashBalance,
    FillsData,
    FrameError,
    OrdersData,
    OrderUpdate,
    PositionChange,
    PositionsData,
    PositionUpdate,
    TradeReference,
    decode,
)

TS = "1597026383085"
TS_NS = 1597026383085_000_000


def private(channel: str, rows: Any, *, arg: dict[str, str] | None = None, **rest: Any) -> bytes:
    """Return a push of a private channel, the argument echoed with a user id as OKX does."""
    return json.dumps(
        {"arg": {"channel": channel, "uid": "77982378738415879", **(arg or {})}, "data": rows, **rest}
    ).encode()


def only(frame: bytes) -> Any:
    """Return the one message of a frame."""
    (message,) = decode(frame, received_ns=7)
    return message


def test_account_with_pages_and_blanks() -> None:
    row = {
        "totalEq": "41624.32",
        "adjEq": "",
        "uTime": TS,
        "brandNew": {"a": [1]},
        "details": [{"ccy": "BTC", "cashBal": "1.00000000000000000001", "availBal": "", "upl": "-0.5", "uTime": TS}],
    }
    frame = private("account", [row], arg={"ccy": "BTC"}, eventType="snapshot", curPage=1, lastPage=False)
    balance = BalanceUpdate(
        currency="BTC", cash=Decimal("1.00000000000000000001"), unrealised_pnl=Decimal("-0.5"), updated_ns=TS_NS
    )
    assert only(frame) == AccountData(
        channel=Channel("account", ccy="BTC"),
        received_ns=7,
        accounts=(AccountUpdate(total_equity=Decimal("41624.32"), updated_ns=TS_NS, balances=(balance,)),),
        event_type="snapshot",
        page=1,
        is_last_page=False,
    )


def test_fresh_account_has_nothing_but_blanks() -> None:
    message = only(private("account", [{"totalEq": "0", "adjEq": "", "details": [], "uTime": TS}]))
    assert message.accounts == (AccountUpdate(total_equity=Decimal(0), updated_ns=TS_NS),)
    assert (message.event_type, message.page, message.is_last_page) == ("", None, None)


def test_positions_signed_and_none_at_all() -> None:
    row = {
        "instId": "BTC-USDT-SWAP", "instType": "SWAP", "posId": "1", "posSide": "net", "mgnMode": "cross",
        "pos": "-2.5", "avgPx": "3320.10", "tradeId": "2", "lever": "10", "adl": "1", "uTime": TS,
        "liqPx": "", "upl": "0",
    }  # fmt: skip
    frame = private("positions", [row], arg={"instType": "ANY"}, eventType="event_update")
    position = PositionUpdate(
        instrument="BTC-USDT-SWAP",
        kind="SWAP",
        position_id="1",
        side="net",
        margin_mode="cross",
        qty=Decimal("-2.5"),
        average_price=Decimal("3320.10"),
        trade_id=2,
        leverage=Decimal(10),
        adl="1",
        unrealised_pnl=Decimal(0),
        updated_ns=TS_NS,
    )
    channel = Channel("positions", inst_type="ANY")
    assert only(frame) == PositionsData(
        channel=channel, received_ns=7, positions=(position,), event_type="event_update"
    )
    # A snapshot without rows says that there are no positions, which is not the same as saying nothing.
    empty = only(private("positions", [], arg={"instType": "ANY"}, eventType="snapshot", curPage=1, lastPage=True))
    assert empty == PositionsData(
        channel=channel, received_ns=7, positions=(), event_type="snapshot", page=1, is_last_page=True
    )


def test_balance_and_position() -> None:
    row = {
        "pTime": TS,
        "eventType": "something_new",
        "balData": [{"ccy": "BTC", "cashBal": "1", "uTime": TS}],
        "posData": [{"posId": "1", "tradeId": "", "instId": "A-B-SWAP", "pos": "10", "avgPx": "3320", "uTIme": TS}],
        "trades": [{"instId": "A-B-SWAP", "tradeId": "-5"}],
    }
    expected = BalanceAndPosition(
        pushed_ns=TS_NS,
        cause="something_new",
        balances=(CashBalance(currency="BTC", cash=Decimal(1), updated_ns=TS_NS),),
        positions=(
            PositionChange(instrument="A-B-SWAP", position_id="1", qty=Decimal(10), average_price=Decimal(3320)),
        ),
        trades=(TradeReference(instrument="A-B-SWAP", trade_id=-5),),
    )
    assert only(private("balance_and_position", [row])) == BalanceAndPositionData(
        channel=Channel("balance_and_position"), received_ns=7, changes=(expected,)
    )


ORDER = {
    "instId": "BTC-USDT", "instType": "SPOT", "ordId": "452197707845865472", "clOrdId": "a1", "side": "buy",
    "sz": "0.001", "px": "31527.1", "ordType": "post_only", "state": "live", "accFillSz": "0", "avgPx": "0",
    "fillPx": "",
    "fillSz": "0", "tradeId": "", "fillTime": "", "fee": "-0.02522168", "feeCcy": "USDT", "reduceOnly": "false",
    "execType": "",
    "cTime": TS, "uTime": TS, "code": "0", "msg": "", "cancelSource": "", "lever": "",
}  # fmt: skip


def test_order_at_rest() -> None:
    message = only(private("orders", [ORDER], arg={"instType": "ANY"}))
    assert isinstance(message, OrdersData)
    assert message.channel == Channel("orders", inst_type="ANY")
    (order,) = message.orders
    assert order == OrderUpdate(
        instrument="BTC-USDT",
        order_id="452197707845865472",
        client_order_id="a1",
        kind="SPOT",
        side="buy",
        order_type="post_only",
        state="live",
        price=Decimal("31527.1"),
        qty=Decimal("0.001"),
        filled_qty=Decimal(0),
        average_price=Decimal(0),
        fee=Decimal("-0.02522168"),
        fee_currency="USDT",
        fill_qty=Decimal(0),
        code="0",
        is_reduce_only=False,
        created_ns=TS_NS,
        updated_ns=TS_NS,
    )
    assert not order.is_final


@pytest.mark.parametrize(
    ("state", "is_final"),
    [
        ("live", False),
        ("partially_filled", False),
        ("filled", True),
        ("canceled", True),
        ("mmp_canceled", True),
        ("new", False),
    ],
)
def test_states_stay_text(state: str, is_final: bool) -> None:
    (order,) = only(private("orders", [{**ORDER, "state": state}])).orders
    assert (order.state, order.is_final) == (state, is_final)


@pytest.mark.parametrize(("sent", "read"), [("true", True), ("false", False), ("", None), (True, True), (None, None)])
def test_reduce_only_is_text_or_boolean(sent: Any, read: bool | None) -> None:
    (order,) = only(private("orders", [{**ORDER, "reduceOnly": sent}])).orders
    assert order.is_reduce_only is read


def test_fills() -> None:
    row = {"instId": "A-B", "fillSz": "1.5", "fillPx": "2", "side": "sell", "ts": TS, "ordId": "9", "clOrdId": "0",
           "tradeId": "12", "execType": "M", "count": "3"}  # fmt: skip
    assert only(private("fills", [row])) == FillsData(
        channel=Channel("fills"),
        received_ns=7,
        fills=(
            AccountFill(
                instrument="A-B",
                order_id="9",
                client_order_id="0",
                side="sell",
                price=Decimal(2),
                qty=Decimal("1.5"),
                trade_id=12,
                role="M",
                count=3,
                exchange_ns=TS_NS,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"px": "1e3"}, "px"),
        ({"px": "nan"}, "px"),
        ({"px": 5}, "px"),
        ({"sz": " 1"}, "sz"),
        ({"sz": {}}, "sz"),
        ({"uTime": "1597026383"}, "uTime"),
        ({"instId": "../x"}, "instId"),
        ({"instId": ""}, "instId"),
        ({"ordId": ""}, "ordId"),
        ({"ordId": None}, "ordId"),
        ({"ordId": 5}, "ordId"),
        ({"tradeId": "1.5"}, "tradeId"),
        ({"reduceOnly": "yes"}, "reduceOnly"),
    ],
    ids=str,
)
def test_malformed_fields_are_named(change: dict[str, Any], key: str) -> None:
    with pytest.raises(FrameError, match=rf"^OKX orders: {key}") as caught:
        decode(private("orders", [{**ORDER, **change}]), received_ns=7)
    assert caught.value.channel == "orders"


@pytest.mark.parametrize("key", ["instId", "ordId"])
def test_an_order_without_its_name_is_malformed(key: str) -> None:
    with pytest.raises(FrameError, match=f"{key} is missing"):
        decode(private("orders", [{name: text for name, text in ORDER.items() if name != key}]), received_ns=7)


@pytest.mark.parametrize(
    "frame",
    [
        private("account", [5]),
        private("account", {}),
        private("account", [{"details": {}}]),
        private("account", [{"details": [[]]}]),
        private("account", [{"details": [{"ccy": ""}]}]),
        private("account", [], curPage="1"),
        private("positions", [{}]),
        private("fills", [{"instId": "A-B"}]),
        private("balance_and_position", [{"trades": None}]),
        b'{"arg":{"channel":"orders"}}',
    ],
    ids=lambda frame: frame[:80].decode(),
)
def test_other_forms_are_malformed(frame: bytes) -> None:
    with pytest.raises(FrameError):
        decode(frame, received_ns=7)
