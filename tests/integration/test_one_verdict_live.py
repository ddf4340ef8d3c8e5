"""One table of orders, judged by a paper run and by the local exchange over sockets: the same verdict by one code."""

import base64
import hashlib
import hmac
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from quantkit.api import paper
from quantkit.clock import iso_of
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.verify import verify
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.server import SandboxServer
from quantkit.venue_rules.okx import TEXTS

SWAP = "BTC-USDT-SWAP"


class Line(NamedTuple):
    """An order of the table: its price is a share of the best bid, None at the market; and the code, empty if taken."""

    code: str
    side: str
    qty: float
    share: float | None = 0.9
    kind: str = "limit"
    is_reducing: bool = False


#: While flat, then with two contracts.
FLAT = [
    Line("", "buy", 1),
    Line("", "buy", 1, kind="post_only"),
    Line("", "sell", 1, 1.2),
    Line("51020", "buy", 0.001),
    Line("51203", "buy", 100_000_001),
    Line("51185", "buy", 90_000),
    Line("51202", "buy", 30_001, None, "market"),
    Line("51169", "sell", 1, 1.2, is_reducing=True),
    Line("54036", "buy", 1, kind="fok"),
]
LONG = [
    Line("51170", "buy", 1, is_reducing=True),
    Line("51148", "sell", 3, 1.2, is_reducing=True),
    Line("", "sell", 2, 1.2, is_reducing=True),
]
STRATEGY = f"""
from quantkit import Strategy

FLAT, LONG = {[tuple(line) for line in FLAT]!r}, {[tuple(line) for line in LONG]!r}

class Table(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("{SWAP}")
        self.every("200ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        book = self.book("{SWAP}")
        if book is None or book.best_bid is None:
            return
        self.ticks += 1
        if self.ticks == 1:
            self.send("flat", FLAT, book.best_bid)
        if self.ticks == 2:
            self.buy("{SWAP}", 2.0, tag="position")
        if self.position("{SWAP}") == 2.0 and self.ticks > 2:
            self.send("long", LONG, book.best_bid)
            self.stop()

    def send(self, name, lines, bid):
        for number, (code, side, qty, share, kind, is_reducing) in enumerate(lines):
            call = self.buy if side == "buy" else self.sell
            call(
                "{SWAP}",
                qty,
                price=None if share is None else bid * share,
                post_only=kind == "post_only",
                time_in_force="FOK" if kind == "fok" else "GTC",
                reduce_only=is_reducing,
                tag=f"{{name}} {{number}}",
            )

    def stop(self):
        self.ticks = -1_000
"""


def asked(sandbox: SandboxServer, line: Line, bid: float) -> str:
    """Return the code of `trade/order-precheck`, empty for success."""
    order = {
        "instId": SWAP,
        "tdMode": "cross",
        "side": line.side,
        "ordType": line.kind,
        "sz": f"{line.qty:g}" if line.qty < 1e6 else f"{line.qty:.0f}",
        "reduceOnly": line.is_reducing,
        "stpMode": "cancel_both",
        **({} if line.share is None else {"px": f"{round(bid * line.share, 1)}"}),
    }
    body, path = json.dumps(order), "/api/v5/trade/order-precheck"
    now = json.load(urllib.request.urlopen(sandbox.url + "/api/v5/public/time", timeout=10))["data"][0]["ts"]
    stamp = iso_of(int(now) * 10**6)
    mac = hmac.new(b"sandbox-secret", f"{stamp}POST{path}{body}".encode(), hashlib.sha256).digest()
    headers = {
        "OK-ACCESS-KEY": "sandbox-key",
        "OK-ACCESS-SIGN": base64.b64encode(mac).decode(),
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-PASSPHRASE": "sandbox-pass",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(sandbox.url + path, data=body.encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        answer: dict[str, Any] = json.load(reply)
    if answer["code"] == "0":
        return ""
    assert answer["msg"] == TEXTS[answer["code"]]
    return str(answer["code"])


def test_paper_and_sandbox_judge_one_table_alike(tmp_path: Path) -> None:
    """The paper run repeats from its log too; what it says is code and text."""
    (file := tmp_path / "table.py").write_text(STRATEGY)
    account = UserAccount()
    with SandboxServer(GeneratedMarket(3), account=account, rules=Rules(limits_rest=False)) as sandbox:
        run = paper(
            str(file),
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
            duration="4s",
            cash={"USDT": 1e9},
            stp_mode="cancel_both",
        )
        ticker = json.load(urllib.request.urlopen(f"{sandbox.url}/api/v5/market/ticker?instId={SWAP}", timeout=10))
        bid = float(ticker["data"][0]["bidPx"])
        verdicts = {f"flat {number}": asked(sandbox, line, bid) for number, line in enumerate(FLAT)}
        account.positions.append({"instType": "SWAP", "instId": SWAP, "pos": "2"})
        verdicts |= {f"long {number}": asked(sandbox, line, bid) for number, line in enumerate(LONG)}
    expected = {f"flat {number}": line.code for number, line in enumerate(FLAT)}
    expected |= {f"long {number}": line.code for number, line in enumerate(LONG)}
    assert verdicts == expected
    said = {order.tag: order.reason for order in run.outcome.orders if order.tag != "position"}
    assert {tag: reason for tag, reason in said.items() if expected[tag]} == {
        tag: f"{code}: {TEXTS[code]}" for tag, code in expected.items() if code
    }
    assert not any(":" in reason for tag, reason in said.items() if not expected[tag])
    assert said.keys() == expected.keys()
    (folder,) = (tmp_path / "runs").iterdir()
    assert verify(folder).is_identical
