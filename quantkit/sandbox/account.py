"""The user's money: rows of account and positions, their first snapshots, and regular full pushes."""

import asyncio
from collections.abc import Collection
from decimal import Decimal
from typing import Final

from quantkit.sandbox import wire
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.market import JsonRow, MarketSource
from quantkit.sandbox.ports import Publisher
from quantkit.sandbox.wire import TopicPush
from quantkit.venue_rules.okx import DOLLARS

#: Fields of a currency that are for account modes, products and debts which nobody has here.
_NO_DETAILS: Final = dict.fromkeys(
    (
        "accAvgPx",
        "autoLendMtAmt",
        "autoLendStatus",
        "borrowFroz",
        "clSpotInUseAmt",
        "colBorrAutoConversion",
        "colRes",
        "crossLiab",
        "frpType",
        "interest",
        "isoLiab",
        "liab",
        "maxLoan",
        "mgnRatio",
        "openAvgPx",
        "smtSyncEq",
        "spotBal",
        "spotInUseAmt",
        "spotUpl",
        "spotUplRatio",
        "totalPnl",
        "totalPnlRatio",
        "twap",
        "uplLiab",
    ),
    "",
)
_ZERO_DETAILS: Final = dict.fromkeys(
    (
        "fixedBal",
        "frozenBal",
        "imr",
        "isoEq",
        "isoUpl",
        "mmr",
        "notionalLever",
        "ordFrozen",
        "rewardBal",
        "spotCopyTradingEq",
        "spotIsoBal",
        "stgyEq",
        "upl",
    ),
    "0",
)
#: Fields of the account that the futures mode leaves empty.
_NO_TOTALS: Final = dict.fromkeys(
    (
        "adjEq",
        "availEq",
        "borrowFroz",
        "delta",
        "deltaLever",
        "deltaNeutralStatus",
        "imr",
        "mgnRatio",
        "mmr",
        "notionalUsd",
        "notionalUsdForBorrow",
        "notionalUsdForFutures",
        "notionalUsdForOption",
        "notionalUsdForSwap",
        "ordFroz",
        "upl",
    ),
    "",
)


class UserAccount:
    """A user's money, positions and open orders, as rows that a test may change.

    The account is in futures mode, which decides the fields that are filled.

    Args:
        balances: Currency to amount, plain text. Default 100,000 USDT and 1 BTC.
        positions: Rows of open positions, OKX's fields.
        orders: Rows of open orders, OKX's fields.
        position_mode: OKX's name of the mode: `net_mode`, or `long_short_mode` with two positions in a contract.
    """

    def __init__(
        self,
        balances: dict[str, str] | None = None,
        positions: list[dict[str, str]] | None = None,
        orders: list[dict[str, str]] | None = None,
        position_mode: str = "net_mode",
    ) -> None:
        self.balances = {"USDT": "100000", "BTC": "1"} if balances is None else balances
        self.positions = positions or []
        self.orders = orders or []
        self.position_mode = position_mode

    async def run(self, exchange: Publisher, market: MarketSource) -> None:
        """Send the full state of account and positions every few seconds; `market` prices the currencies."""
        while True:
            await asyncio.sleep(exchange.rules.account_push_s)
            now_ms = exchange.now_ms()
            for channel in ("account", "positions"):
                for session, subscription in list(exchange.topics.get(Topic(channel), ())):
                    if '"updateInterval":"0"' in subscription.fields.get("extraParams", "").replace(" ", ""):
                        continue
                    for push in self.first(channel, subscription.fields, market, now_ms):
                        session.deliver(subscription, push)

    def first(self, channel: str, fields: dict[str, str], market: MarketSource, now_ms: int) -> list[TopicPush]:
        """Return what a new subscriber of a private channel gets: nothing for orders, fills and warnings."""
        match channel:
            case "account":
                names = [fields["ccy"]] if fields.get("ccy") else ()
                return [_snapshot(self.account_row(market, now_ms, names=names, is_push=True))]
            case "positions":
                kind = fields.get("instType", "ANY")
                rows = [row for row in self.positions if kind in ("ANY", row.get("instType", kind))]
                return [_snapshot(*rows)]
            case "balance_and_position":
                return [TopicPush(wire.rows(self._both(now_ms)))]
            case _:
                return []

    def account_row(
        self, market: MarketSource, now_ms: int, *, names: Collection[str] = (), is_push: bool = False
    ) -> JsonRow:
        """Return the row of `account` and of `account/balance`.

        Args:
            market: Prices of the currencies in dollars. A currency without a price has no `eqUsd` and counts nothing.
            now_ms: UTC ms.
            names: The currencies to tell of; empty for all. The totals are of all in any case.
            is_push: Whether the row is for the channel, which has two fields of its own.
        """
        now = str(now_ms)
        values = {name: self._value(name, market, now_ms) for name in self.balances}
        details = [
            _detail(name, amount, values[name], now, is_push=is_push)
            for name, amount in self.balances.items()
            if not names or name in names
        ]
        total = sum((value[1] for value in values.values() if value is not None), Decimal(0))
        return {"uTime": now, "totalEq": wire.plain(total), "isoEq": "0", **_NO_TOTALS, "details": details}

    def _value(self, name: str, market: MarketSource, now_ms: int) -> tuple[Decimal, Decimal] | None:
        """Return the price of a currency in dollars and what the balance is worth, None where nothing prices it."""
        price = _usd_price(name, market, now_ms)
        return None if price is None else (price, price * Decimal(self.balances[name]))

    def _both(self, now_ms: int) -> JsonRow:
        now = str(now_ms)
        names = ("posId", "tradeId", "instId", "instType", "mgnMode", "posSide", "pos", "ccy", "avgPx")
        return {
            "pTime": now,
            "eventType": "snapshot",
            "balData": [{"ccy": name, "cashBal": amount, "uTime": now} for name, amount in self.balances.items()],
            "posData": [{name: row.get(name, "") for name in names} | {"uTime": now} for row in self.positions],
            "trades": [],
        }


def _detail(name: str, amount: str, value: tuple[Decimal, Decimal] | None, now: str, *, is_push: bool) -> JsonRow:
    price, worth = ("", "") if value is None else (wire.plain(value[0]), wire.plain(value[1]))
    own = {
        "ccy": name,
        "eq": amount,
        "cashBal": amount,
        "availBal": amount,
        "availEq": amount,
        "eqUsd": worth,
        "disEq": worth,
        "uTime": now,
        **({"coinUsdPrice": price, "maxSpotInUseAmt": ""} if is_push else {"maxSpotInUse": ""}),
    }
    return {**own, **_ZERO_DETAILS, **_NO_DETAILS, "collateralEnabled": False, "collateralRestrict": False}


def _usd_price(name: str, market: MarketSource, now_ms: int) -> Decimal | None:
    """Return the price of a currency in dollars, by an index or else by the last trade of a pair."""
    if name in DOLLARS:
        return Decimal(1)
    for pair in (f"{name}-{quote}" for quote in DOLLARS):
        index, ticker = market.row("index-tickers", pair, now_ms), market.ticker(pair, now_ms)
        price = (index or {}).get("idxPx") or (ticker or {}).get("last")
        if price:
            return Decimal(price)
    return None


def _snapshot(*rows: JsonRow) -> TopicPush:
    return TopicPush(',"eventType":"snapshot","curPage":1,"lastPage":true' + wire.rows(*rows))
