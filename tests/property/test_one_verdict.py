"""One validation: a backtest, rows that drip as live ones do, and the sandbox refuse orders by the same code."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.dripping import DrippingFeed

import quantkit as qk
from quantkit.clock import NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, MarketEvent, PriceLimit
from quantkit.feeds.okx.codec.listing import instrument_of
from quantkit.feeds.okx.codec.wire import InstrumentRow
from quantkit.feeds.replay import MemoryFeed
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.precheck import precheck
from quantkit.sandbox.request import Refused, RestRequest
from quantkit.venue_rules.okx import STP_MODES, TEXTS

START_NS = time_ns_of("2026-01-01")
ROWS: dict[str, dict[str, Any]] = {
    "BTC-USDT-SWAP": {
        "instType": "SWAP",
        "ctType": "linear",
        "ctVal": "1",
        "settleCcy": "USDT",
        "minSz": "3",
        "maxLmtSz": "40",
        "maxMktSz": "30",
        "maxLmtAmt": "3500",
        "maxMktAmt": "2500",
    },
    "BTC-USD-SWAP": {"instType": "SWAP", "ctType": "inverse", "ctVal": "10", "settleCcy": "BTC", "maxLmtAmt": "300"},
    "BTC-USDT": {"instType": "SPOT", "ctVal": "", "minSz": "3", "maxLmtSz": "40", "maxMktSz": "1500"},
    "BTC-EUR": {"instType": "SPOT", "ctVal": "", "maxLmtAmt": "1", "maxMktSz": "1"},
}
for _name, _row in ROWS.items():
    base, quote = _name.split("-")[:2]
    _row |= {"instId": _name, "tickSz": "1", "lotSz": "1", "state": "live", "baseCcy": base, "quoteCcy": quote}
    if _row["instType"] == "SWAP":
        _row |= {"baseCcy": "", "quoteCcy": "", "uly": f"{base}-{quote}", "ctMult": "1"}
INSTRUMENTS = {name: instrument_of(msgspec.convert(row, InstrumentRow)) for name, row in ROWS.items()}


class OneOrder(NamedTuple):
    """An order, and what it meets."""

    instrument: str
    side: str
    kind: str
    size: int
    price: int
    is_reducing: bool
    position: int
    highest: int
    lowest: int
    stp_mode: str
    leg: str = ""  # of the long/short mode; the position has its sign


@generators.composite
def orders(draw: generators.DrawFn) -> OneOrder:
    """Draw an order near every bound."""
    name = draw(generators.sampled_from(sorted(ROWS)))
    is_swap = name.endswith("SWAP")
    leg = draw(generators.sampled_from(("", "long", "short"))) if is_swap else ""
    sizes = {"long": (0, 4, 8), "short": (0, -4, -8)}.get(leg, (-8, -4, 0, 0, 4, 8) if is_swap else (0,))
    return OneOrder(
        instrument=name,
        side=draw(generators.sampled_from(("buy", "sell"))),
        kind=draw(generators.sampled_from(("market", "limit", "post_only", "ioc", "fok"))),
        size=draw(generators.sampled_from((1, 2, 3, 4, 5, 8, 14, 15, 16, 25, 30, 31, 35, 40, 41))),
        price=draw(generators.integers(94, 106)),
        is_reducing=is_swap and not leg and draw(generators.booleans()),
        position=draw(generators.sampled_from(sizes)),
        highest=draw(generators.integers(101, 105)),
        lowest=draw(generators.integers(95, 99)),
        stp_mode=draw(generators.sampled_from(STP_MODES)),
        leg=leg,
    )


class Sends(qk.Strategy):
    """Takes a position, then sends the order."""

    def on_start(self) -> None:
        self.subscribe_book(self.order.instrument)  # type: ignore[has-type]  # set by who made it
        self.seen = 0

    def on_book(self, book: qk.Book) -> None:
        self.seen += 1
        order = self.order
        own = {"position_side": order.leg} if order.leg else {}
        if self.seen == 1 and order.position:
            call = self.buy if order.position > 0 else self.sell
            call(order.instrument, abs(order.position), **own)
        if self.seen == 3:
            call = self.buy if order.side == "buy" else self.sell
            self.sent = call(
                order.instrument,
                order.size,
                price=None if order.kind == "market" else float(order.price),
                post_only=order.kind == "post_only",
                time_in_force=order.kind.upper() if order.kind in ("ioc", "fok") else "GTC",
                reduce_only=order.is_reducing,
                **own,
            )


def rows_for(order: OneOrder) -> list[MarketEvent]:
    """Return a book that stands, bids 99 and asks 101, and the price limit told before it."""
    found: list[MarketEvent] = [
        PriceLimit(order.instrument, START_NS, START_NS, float(order.highest), float(order.lowest), True)
    ]
    for number in range(6):
        at_ns = START_NS + (number + 1) * NS_PER_S
        found.append(BookUpdate(order.instrument, at_ns, at_ns, (99.0,), (500.0,), (101.0,), (500.0,), True))
    return found


def code_in_a_run(order: OneOrder, feed: MemoryFeed, rules: str = "auto") -> str:
    """Return the code by which a run refuses the order, empty where its rules have nothing against it."""
    strategy = Sends()
    strategy.order = order
    cash = {"USDT": 1e7, "EUR": 1e7, "BTC": 1e5}
    marks = {"cash": {name: cash[name] for name in cash if name in order.instrument}}
    mode = "long_short" if order.leg else "net"
    qk.backtest(
        strategy,
        data=feed,
        fees=qk.Fees(),
        stp_mode=order.stp_mode,
        venue_rules=rules,
        max_leverage=9,
        position_mode=mode,
        **marks,
    )
    code, _, text = strategy.sent.reason.partition(": ")
    assert not text or text == TEXTS[code]
    return code if text else ""


def code_in_the_sandbox(order: OneOrder) -> str:
    """Return the code of `trade/order-precheck`."""
    position, other = order.position, {"long": "short", "short": "long"}
    rows = [{"instId": order.instrument, "pos": str(abs(position) if order.leg else position), "posSide": order.leg}]
    if order.leg:
        rows.append({"instId": order.instrument, "pos": "7", "posSide": other[order.leg]})
    account = UserAccount(positions=rows, position_mode="long_short_mode" if order.leg else "net_mode")
    row = ROWS[order.instrument]
    limits = {"buyLmt": str(order.highest), "sellLmt": str(order.lowest), "enabled": True}
    market = SimpleNamespace(
        instruments=lambda: [row],
        ticker=lambda name, now_ms: {"askPx": "101", "bidPx": "99", "last": "100"},
        row=lambda channel, name, now_ms: limits,
    )
    params = {
        "instId": order.instrument,
        "tdMode": "cross",
        "side": order.side,
        "ordType": order.kind,
        "sz": str(order.size),
        "px": str(order.price),
        "reduceOnly": str(order.is_reducing).lower(),
        "tgtCcy": "base_ccy",
        "stpMode": order.stp_mode,
        "posSide": order.leg,
    }
    exchange: Any = SimpleNamespace(account=account)
    try:
        precheck(RestRequest(params, market, 0, exchange, None))
    except Refused as refused:
        return refused.code
    return ""


@settings(deadline=None, max_examples=60)
@given(order=orders(), seed=generators.integers(0, 99))
def test_replay_paper_and_sandbox_give_one_verdict(order: OneOrder, seed: int) -> None:
    """Trap 53, over orders near every bound."""
    rows, listed = rows_for(order), [INSTRUMENTS[order.instrument]]
    replayed = code_in_a_run(order, MemoryFeed(rows, listed))
    dripped = code_in_a_run(order, DrippingFeed(rows, listed, seed=seed, end_ns=rows[-1].received_ns))
    assert replayed == dripped == code_in_the_sandbox(order)
    assert code_in_a_run(order, MemoryFeed(rows, listed), "off") == ""


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("", {}),
        ("51006", {"price": 106}),
        ("51020", {"size": 2}),
        ("51203", {"size": 41}),
        ("51185", {"size": 36}),
        ("51202", {"kind": "market", "size": 31}),
        ("51201", {"kind": "market", "size": 25}),
        ("51169", {"is_reducing": True}),
        ("51170", {"is_reducing": True, "position": 4}),
        ("51148", {"is_reducing": True, "position": -4}),
        ("51169", {"leg": "short"}),
        ("51112", {"leg": "short", "position": -4}),
        ("", {"leg": "short", "position": -8}),
        ("", {"leg": "long", "position": 4}),
        ("51112", {"side": "sell", "leg": "long", "position": 4}),
        ("54036", {"kind": "fok", "stp_mode": "cancel_both"}),
    ],
)
def test_each_code_comes_from_all_three(code: str, changes: dict[str, Any]) -> None:
    """So that the draw above cannot pass by drawing nothing."""
    order = OneOrder("BTC-USDT-SWAP", "buy", "limit", 5, 100, False, 0, 105, 95, "cancel_maker")._replace(**changes)
    rows, listed = rows_for(order), [INSTRUMENTS[order.instrument]]
    assert code_in_a_run(order, MemoryFeed(rows, listed)) == code_in_the_sandbox(order) == code
