"""What private channels say unless a test says otherwise: first snapshots, and the regular full pushes."""

import asyncio
from typing import TYPE_CHECKING, Any

from quantkit.sandbox import wire
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.wire import Push

if TYPE_CHECKING:
    from quantkit.sandbox.exchange import Exchange


class Account:
    """A user's money and positions, as rows that a test may change.

    Args:
        balances: Currency to amount, plain text. Default 100,000 USDT and 1 BTC.
        positions: Rows of open positions, OKX's fields.
    """

    def __init__(self, balances: dict[str, str] | None = None, positions: list[dict[str, str]] | None = None) -> None:
        self.balances = {"USDT": "100000", "BTC": "1"} if balances is None else balances
        self.positions = positions or []

    async def run(self, exchange: "Exchange") -> None:
        """Send the full state of account and positions every few seconds."""
        while True:
            await asyncio.sleep(exchange.rules.account_push_s)
            now_ms = exchange.now_ms()
            for channel in ("account", "positions"):
                for session, subscription in list(exchange.topics.get(Topic(channel), ())):
                    if '"updateInterval":"0"' in subscription.fields.get("extraParams", "").replace(" ", ""):
                        continue
                    for push in self.first(channel, subscription.fields, now_ms):
                        session.deliver(subscription, push)

    def first(self, channel: str, fields: dict[str, str], now_ms: int) -> list[Push]:
        """Return what a new subscriber of a private channel gets: nothing for orders and fills."""
        match channel:
            case "account":
                row = self.account_row(now_ms, ccy=fields.get("ccy", ""))
                return [_snapshot(row)]
            case "positions":
                kind = fields.get("instType", "ANY")
                rows = [row for row in self.positions if kind in ("ANY", row.get("instType", kind))]
                return [_snapshot(*rows)]
            case "balance_and_position":
                return [Push(wire.rows(self._both(now_ms)))]
            case _:
                return []

    def account_row(self, now_ms: int, *, ccy: str = "") -> dict[str, Any]:
        """Return the row of `account`, for one currency or all."""
        now = str(now_ms)
        details = [
            {
                "ccy": name,
                "eq": amount,
                "cashBal": amount,
                "availBal": amount,
                "availEq": amount,
                "frozenBal": "0",
                "ordFrozen": "0",
                "liab": "",
                "upl": "0",
                "uTime": now,
            }
            for name, amount in self.balances.items()
            if ccy in ("", name)
        ]
        return {
            "uTime": now,
            "totalEq": self.balances.get("USDT", "0"),
            "adjEq": "",
            "isoEq": "0",
            "availEq": "",
            "imr": "",
            "mmr": "",
            "mgnRatio": "",
            "notionalUsd": "",
            "upl": "",
            "details": details,
        }

    def _both(self, now_ms: int) -> dict[str, Any]:
        now = str(now_ms)
        names = ("posId", "tradeId", "instId", "instType", "mgnMode", "posSide", "pos", "ccy", "avgPx")
        return {
            "pTime": now,
            "eventType": "snapshot",
            "balData": [{"ccy": name, "cashBal": amount, "uTime": now} for name, amount in self.balances.items()],
            "posData": [{name: row.get(name, "") for name in names} | {"uTime": now} for row in self.positions],
            "trades": [],
        }


def _snapshot(*rows: dict[str, Any]) -> Push:
    return Push(',"eventType":"snapshot","curPage":1,"lastPage":true' + wire.rows(*rows))
