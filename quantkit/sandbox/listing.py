"""Instruments of a generated market: their steps, and their rows in OKX's form."""

from typing import Any, Final

import msgspec

from quantkit.clock import NS_PER_MS, time_ns_of


class ListedInstrument(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument of a generated market; prices are whole ticks and sizes whole lots inside.

    Attributes:
        id: OKX's.
        kind: SPOT, SWAP or FUTURES.
        asset: Whose price path it follows.
        price: What its price swings around.
        price_decimals: Ticks are 10 ** -price_decimals.
        qty_decimals: Lots are 10 ** -qty_decimals.
        min_lots: Smallest order.
        lots: Typical size of an order.
        code: instIdCode.
        contract_value: Of a contract: coins of a linear one, USD of an inverse one.
        is_inverse: Whether profit is paid in the coin.
    """

    id: str
    kind: str
    asset: str
    price: float
    price_decimals: int
    qty_decimals: int
    min_lots: int
    lots: int
    code: int
    contract_value: str = ""
    is_inverse: bool = False

    @property
    def index(self) -> str:
        """The index behind it, which is also the family of a contract."""
        return "-".join(self.id.split("-")[:2])

    @property
    def expires_ms(self) -> int | None:
        """When a future is settled, at 8:00 UTC of the day in its id; None of what never is."""
        if self.kind != "FUTURES":
            return None
        day = self.id.rpartition("-")[2]
        return time_ns_of(f"20{day[:2]}-{day[2:4]}-{day[4:]}T08:00:00Z") // NS_PER_MS

    @property
    def limit_bps(self) -> int:
        """How far from the index orders may be priced; half of what they may be at most."""
        return 50 if self.asset == "BTC" else 100

    def price_text(self, ticks: int) -> str:
        """Return a price as OKX writes it.

        Examples:
            >>> default_listings(1)[0].price_text(999995)
            '99999.5'
        """
        return decimal_text(ticks, self.price_decimals)

    def qty_text(self, lots: int) -> str:
        """Return a size as OKX writes it."""
        return decimal_text(lots, self.qty_decimals)

    def row(self, listed_ms: int = 1_611_916_828_000) -> dict[str, Any]:
        """Return the row of `public/instruments`.

        Args:
            listed_ms: When its trading began, UTC ms.
        """
        base, quote = self.index.split("-")[:2]
        is_spot = self.kind == "SPOT"
        return {
            "alias": "",
            "auctionEndTime": "",
            "baseCcy": base if is_spot else "",
            "category": "1",
            "contTdSwTime": "",
            "ctMult": "" if is_spot else "1",
            "ctType": "" if is_spot else "inverse" if self.is_inverse else "linear",
            "ctVal": self.contract_value,
            "ctValCcy": "" if is_spot else "USD" if self.is_inverse else base,
            "expTime": "" if self.expires_ms is None else str(self.expires_ms),
            "floatPxLmtPct": decimal_text(self.limit_bps, 4),
            "futureSettlement": False,
            "groupId": "1" if is_spot else "4",
            "initPxLmtPct": decimal_text(4 * self.limit_bps, 4),
            "instCategory": "1",
            "instFamily": "" if is_spot else self.index,
            "instId": self.id,
            "instIdCode": self.code,
            "instType": self.kind,
            "lever": "10" if is_spot else "100",
            "listTime": str(listed_ms),
            "lotSz": self.qty_text(1),
            "maxIcebergSz": "100000000.0000000000000000",
            "maxLmtAmt": "20000000",
            "maxLmtSz": "100000000",
            "maxMktAmt": "1000000" if is_spot else "",
            "maxMktSz": "1000000" if is_spot else "30000",
            "maxPxLmtPct": decimal_text(2 * self.limit_bps, 4),
            "maxStopSz": "30000",
            "maxTriggerSz": "100000000.0000000000000000",
            "maxTwapSz": "100000000.0000000000000000",
            "minSz": self.qty_text(self.min_lots),
            "openType": "call_auction",
            "optType": "",
            "preMktSwTime": "",
            "quoteCcy": quote if is_spot else "",
            "ruleType": "normal",
            "settleCcy": "" if is_spot else base if self.is_inverse else quote,
            "state": "live",
            "stk": "",
            "tickSz": self.price_text(1),
            "tradeQuoteCcyList": [quote] if is_spot else [],
            "uly": "" if is_spot else self.index,
            "upcChg": [],
        }


#: Tiers of a swap: largest size of the first in contracts, maintenance and initial margin of each in basis points.
_TIER_CONTRACTS: Final = {"BTC": 1000, "ETH": 5000}
_TIERS_BPS: Final = ((40, 100), (50, 150), (100, 200), (150, 250), (200, 300), (250, 350), (300, 400), (350, 450))


def tiers(listing: ListedInstrument) -> list[dict[str, Any]]:
    """Return the rows of `public/position-tiers` of an instrument: the first as OKX has it, those behind made up.

    Examples:
        >>> [(row["maxSz"], row["maxLever"]) for row in tiers(default_listings()[3])][:3]
        [('1000', '100'), ('2000', '66.66'), ('3000', '50')]
    """
    family = "" if listing.kind == "SPOT" else listing.index
    # A margin pair has one tier, in coins.
    steps = ((300, 1000),) if listing.kind == "SPOT" else _TIERS_BPS
    size = 50 if listing.kind == "SPOT" else _TIER_CONTRACTS.get(listing.asset, 2000)
    return [
        {
            "baseMaxLoan": "50" if listing.kind == "SPOT" else "",
            "imr": decimal_text(initial, 4),
            "instFamily": family,
            "instId": listing.id if listing.kind == "SPOT" else "",
            "maxLever": decimal_text(1_000_000 // initial, 2),
            "maxSz": str(size * number),
            "minSz": str(size * (number - 1)),
            "mmr": decimal_text(maintenance, 4),
            "optMgnFactor": "0",
            "quoteMaxLoan": "500000" if listing.kind == "SPOT" else "",
            "tier": str(number),
            "uly": family,
        }
        for number, (maintenance, initial) in enumerate(steps, 1)
    ]


def decimal_text(number: int, decimals: int) -> str:
    """Return `number` times 10 ** -decimals as plain text without trailing zeros.

    Examples:
        >>> decimal_text(1230, 2), decimal_text(5, 8), decimal_text(700, 2), decimal_text(0, 3)
        ('12.3', '0.00000005', '7', '0')
    """
    if not decimals:
        return str(number)
    digits = str(number).rjust(decimals + 1, "0")
    fraction = digits[-decimals:].rstrip("0")
    return f"{digits[:-decimals]}.{fraction}" if fraction else digits[:-decimals]


def _spot(base: str, price: float, price_decimals: int, qty_decimals: int, lots: int, code: int) -> ListedInstrument:
    return ListedInstrument(
        id=f"{base}-USDT",
        kind="SPOT",
        asset=base,
        price=price,
        price_decimals=price_decimals,
        qty_decimals=qty_decimals,
        min_lots=max(1, lots // 1000),
        lots=lots,
        code=code,
    )


_DEFAULT: Final = (
    _spot("BTC", 100_000.0, 1, 8, 5_000_000, 1),
    _spot("ETH", 3_600.0, 2, 6, 800_000, 2),
    _spot("SOL", 180.0, 2, 6, 12_000_000, 3),
    ListedInstrument(
        id="BTC-USDT-SWAP", kind="SWAP", asset="BTC", price=100_000.0, price_decimals=1, qty_decimals=2, min_lots=1,
        lots=800, code=10459, contract_value="0.01",
    ),
    ListedInstrument(
        id="ETH-USDT-SWAP", kind="SWAP", asset="ETH", price=3_600.0, price_decimals=2, qty_decimals=2, min_lots=1,
        lots=1500, code=10461, contract_value="0.1",
    ),
    ListedInstrument(
        id="BTC-USD-SWAP", kind="SWAP", asset="BTC", price=100_000.0, price_decimals=1, qty_decimals=0, min_lots=1,
        lots=60, code=10458, contract_value="100", is_inverse=True,
    ),
)  # fmt: skip


def default_listings(count: int = len(_DEFAULT)) -> list[ListedInstrument]:
    """Return BTC, ETH and SOL spot, three swaps, and as many made-up coins after them as asked for.

    Examples:
        >>> [each.id for each in default_listings(8)][3:]
        ['BTC-USDT-SWAP', 'ETH-USDT-SWAP', 'BTC-USD-SWAP', 'COIN001-USDT', 'COIN002-USDT']
    """
    made_up = [
        _spot(f"COIN{number:03d}", 0.5 * 1.37 ** (number % 20), 4, 4, 2_000_000, 1000 + number)
        for number in range(1, count - len(_DEFAULT) + 1)
    ]
    return [*_DEFAULT, *made_up][:count]
