"""How well a run's orders did: fill ratio, time in queue, quote uptime, markouts, inventory; docs/explain.md says how.

Everything comes from orders, their events, fills, and the price path that a saved result keeps as well.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from quantkit.clock import NS_PER_S
from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError
from quantkit.instruments import Instrument, Side
from quantkit.orders import AMENDED, Fill, Order, OrderState, OrderType
from quantkit.report.frames import utc_index
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.prices import Prices
from quantkit.report.stats import Rates

if TYPE_CHECKING:
    import pandas as pd

#: Seconds after a fill at which the reference price is looked at.
HORIZONS_S: Final = (1, 5, 30, 60)
#: The horizon of the headline's adverse selection.
ADVERSE_S: Final = 5
ROLES: Final = ("maker", "taker")
#: Bars of the inventory's histogram at most.
_BARS: Final = 41

ExecutionFigure: TypeAlias = float | int | None


class NamedFigure(NamedTuple):
    """One figure: its key, its name on screen, and what it means."""

    key: str
    label: str
    meaning: str


#: What pages list, in this order; a name ends with its unit.
NAMED: Final = (
    NamedFigure("fill_ratio_pct", "Fill Ratio [%]", "filled size over whole size of each accepted order, the mean"),
    NamedFigure("limit_fill_ratio_pct", "Fill Ratio, Limits [%]", "the same of limit orders alone"),
    NamedFigure("filled_orders_pct", "Orders With a Fill [%]", "of the accepted ones"),
    NamedFigure("maker_share_pct", "Maker Share [%]", "of the traded notional"),
    NamedFigure(
        "queue_median_s",
        "In Queue, Median [s]",
        "from the acceptance or last change of a limit to its first maker fill",
    ),
    NamedFigure("queue_p90_s", "In Queue, 90th perc. [s]", "likewise"),
    NamedFigure("quoted_pct", "Quote Uptime [%]", "share of time with a bid and an offer at the exchange"),
    NamedFigure("spread_captured_bps", "Spread Captured [bps]", "maker fills against the reference price before them"),
    NamedFigure(
        "markout_1s_bps",
        "Markout 1 s [bps]",
        "maker fills against the reference price a second later, above zero: for us",
    ),
    NamedFigure("markout_5s_bps", "Markout 5 s [bps]", "likewise, 5 seconds"),
    NamedFigure("markout_30s_bps", "Markout 30 s [bps]", "likewise, 30 seconds"),
    NamedFigure("markout_60s_bps", "Markout 60 s [bps]", "likewise, 60 seconds"),
    NamedFigure(
        "adverse_5s_bps", "Adverse Selection 5 s [bps]", "spread captured less markout after 5 seconds: against us"
    ),
    NamedFigure("taker_spread_bps", "Spread, Taker [bps]", "taker fills against the reference price before them"),
    NamedFigure(
        "taker_markout_60s_bps", "Markout 60 s, Taker [bps]", "taker fills against the reference price a minute later"
    ),
)


class Markout(NamedTuple):
    """What the reference price did after the fills of one role, over those for which it is known.

    Attributes:
        role: `maker` or `taker`.
        horizon_s: Seconds after the fill.
        fills: How many are known.
        notional: Of those, in the report currency.
        money: What they gained against the fill price, in the report currency.
        bps: The same over the notional.
        spread_bps, adverse_bps: Spread captured, and what the price went against us since; None without a price from
            before the fills.
    """

    role: str
    horizon_s: float
    fills: int
    notional: float
    money: float
    bps: float | None
    spread_bps: float | None
    adverse_bps: float | None


class QuoteUptime(NamedTuple):
    """Shares of the run's time in which limit orders stood at the exchange, 0 to 1."""

    instrument: str
    bid: float
    ask: float
    both: float


class Inventory(NamedTuple):
    """The share of the run's time at each size of one position.

    Attributes:
        instrument: The id, with the side of a leg behind it.
        width: Of a bar, in the instrument's unit.
        qtys: The middle of each bar, rising.
        shares: Fractions that add up to 1.
    """

    instrument: str
    width: float
    qtys: FloatArray
    shares: FloatArray


class FillPrices(NamedTuple):
    """Amounts of each fill in the report currency, shape (n,) or (n, horizons); NaN where not known."""

    notional: FloatArray
    reference: FloatArray
    spread: FloatArray
    later: FloatArray
    markout: FloatArray


class Execution:
    """How well a run's orders did.

    Args:
        outcome: The run's records.
        instruments: Every instrument of the run, by id.
        prices: The price path of each; read when a figure needs it.
    """

    def __init__(self, outcome: Outcome, instruments: Mapping[str, Instrument], prices: Prices) -> None:
        self._outcome = outcome
        self._instruments = instruments
        self._prices = prices
        self._fills = outcome.fills
        self._is_maker = np.array([fill.role == "maker" for fill in outcome.fills], np.bool_)
        # Orders and fills have the exchange's stamps.
        self._start_ns = outcome.start_ns - outcome.offset_ns
        self._end_ns = outcome.end_ns - outcome.offset_ns
        self._lives = lives_of(outcome, self._end_ns)

    def __repr__(self) -> str:
        words = [f"{len(self._fills):,} fills of {len(self._outcome.orders):,} orders"]
        for key, text in (("maker_share_pct", "{:.0f} % maker"), ("quoted_pct", "quoted {:.0f} % of the time")):
            value = self.of_orders[key]
            if value:
                words.append(text.format(value))
        return f"<Execution {', '.join(words)}>"

    # Numbers --------------------------------------------------------------------------------------------------

    @cached_property
    def figures(self) -> dict[str, ExecutionFigure]:
        """Every figure by name; None where there is none. The price path is read for it."""
        return {**self.of_orders, **self.of_prices}

    @cached_property
    def of_orders(self) -> dict[str, ExecutionFigure]:
        """The figures of orders and fills alone, for which no prices are read."""
        accepted = [order for order in self._outcome.orders if order.id in self._lives]
        limits = [order for order in accepted if order.type is OrderType.LIMIT]
        waits = self.queue_times_s
        quoted = [each.both for each in self.quote_uptimes]
        return {
            "orders": len(self._outcome.orders),
            "accepted": len(accepted),
            "fill_ratio_pct": _mean_pct([order.filled_lots / order.lots for order in accepted if order.lots]),
            "limit_fill_ratio_pct": _mean_pct([order.filled_lots / order.lots for order in limits if order.lots]),
            "filled_orders_pct": _mean_pct([float(order.filled_lots > 0) for order in accepted]),
            "fills": len(self._fills),
            "maker_share_pct": self._maker_share_pct(),
            "queue_median_s": float(np.quantile(waits, 0.5)) if len(waits) else None,
            "queue_p90_s": float(np.quantile(waits, 0.9)) if len(waits) else None,
            "quoted_pct": _mean_pct(quoted),
        }

    @cached_property
    def of_prices(self) -> dict[str, ExecutionFigure]:
        """The figures that hold fills against the price path."""
        known = self._amounts
        found: dict[str, ExecutionFigure] = {}
        for name, is_ours in (("spread_captured_bps", self._is_maker), ("taker_spread_bps", ~self._is_maker)):
            found[name] = _bps(known.spread, known.notional, is_ours & np.isfinite(known.spread))
        table = {(each.role, each.horizon_s): each for each in self.markout_rows}
        for role, prefix in zip(ROLES, ("", "taker_"), strict=True):
            for horizon in HORIZONS_S:
                found[f"{prefix}markout_{horizon}s_bps"] = table[role, horizon].bps
        found[f"adverse_{ADVERSE_S}s_bps"] = table["maker", ADVERSE_S].adverse_bps
        return found

    @cached_property
    def missing(self) -> list[str]:
        """Why figures are missing, a sentence each."""
        said = [why for why in (self._why_no_prices(name) for name in self._traded) if why]
        currencies = [self._instruments[name].settle_currency for name in self._traded]
        return said + self._rates.missing(currencies)

    def _maker_share_pct(self) -> float | None:
        notional = self._notionals
        total = float(notional.sum())
        return 100 * float(notional[self._is_maker].sum()) / total if total > 0 else None

    # Tables ---------------------------------------------------------------------------------------------------

    @cached_property
    def fills(self) -> "pd.DataFrame":
        """Each fill by the moment when the run learned of it: reference prices, and what it gained against them."""
        import pandas as pd

        known, fills = self._amounts, self._fills
        columns: dict[str, Any] = {
            "id": [fill.id for fill in fills],
            "order_id": [fill.order_id for fill in fills],
            "instrument": [fill.instrument for fill in fills],
            "side": [str(fill.side) for fill in fills],
            "role": [fill.role for fill in fills],
            "price": [fill.price for fill in fills],
            "qty": [fill.qty for fill in fills],
            "notional": known.notional,
            "reference": known.reference,
            "spread_captured": known.spread,
            "spread_captured_bps": _ratio_bps(known.spread, known.notional),
        }
        for place, horizon in enumerate(HORIZONS_S):
            columns[f"reference_{horizon}s"] = known.later[:, place]
            columns[f"markout_{horizon}s"] = known.markout[:, place]
            columns[f"markout_{horizon}s_bps"] = _ratio_bps(known.markout[:, place], known.notional)
        return pd.DataFrame(columns, index=utc_index([fill.revealed_ns for fill in fills]))

    @cached_property
    def markout_rows(self) -> list[Markout]:
        """The rows of `markouts`."""
        known, rows = self._amounts, []
        for role, is_ours in zip(ROLES, (self._is_maker, ~self._is_maker), strict=True):
            for place, horizon in enumerate(HORIZONS_S):
                markout = known.markout[:, place]
                is_known = is_ours & np.isfinite(markout)
                is_both = is_known & np.isfinite(known.spread)
                # The three of a row are those of the same fills.
                has_spread = bool(is_both.any()) and int(is_both.sum()) == int(is_known.sum())
                spread = _bps(known.spread, known.notional, is_both) if has_spread else None
                bps = _bps(markout, known.notional, is_known)
                rows.append(
                    Markout(
                        role,
                        horizon,
                        int(is_known.sum()),
                        float(known.notional[is_known].sum()),
                        float(markout[is_known].sum()),
                        bps,
                        spread,
                        None if spread is None or bps is None else spread - bps,
                    )
                )
        return rows

    @cached_property
    def markouts(self) -> "pd.DataFrame":
        """Markouts by role and horizon in seconds, weighted by size; NaN where nothing is known."""
        import pandas as pd

        frame = pd.DataFrame(self.markout_rows, columns=list(Markout._fields))
        floats = dict.fromkeys(("horizon_s", "bps", "spread_bps", "adverse_bps"), "float64")
        return frame.astype(floats).set_index(["role", "horizon_s"])

    @cached_property
    def quotes(self) -> "pd.DataFrame":
        """Shares of time with a bid, an ask, and both at the exchange, by instrument."""
        import pandas as pd

        return pd.DataFrame(self.quote_uptimes, columns=list(QuoteUptime._fields)).set_index("instrument")

    @cached_property
    def inventory(self) -> "pd.DataFrame":
        """Shares of time by instrument and position."""
        import pandas as pd

        held = self.inventories
        return pd.DataFrame(
            {
                "instrument": [each.instrument for each in held for _ in each.qtys],
                "qty": np.concatenate([np.empty(0), *(each.qtys for each in held)]),
                "share": np.concatenate([np.empty(0), *(each.shares for each in held)]),
            }
        ).set_index(["instrument", "qty"])

    # Orders ---------------------------------------------------------------------------------------------------

    @cached_property
    def queue_times_s(self) -> FloatArray:
        """Seconds from the acceptance or last change of a limit order to its first maker fill, in order of sending."""
        first: dict[str, int] = {}
        for fill in self._fills:
            if fill.role == "maker":
                first.setdefault(fill.order_id, fill.filled_ns)
        joined: dict[str, int] = {}
        for event in self._outcome.order_events:
            filled_ns = first.get(event.order_id)
            if filled_ns is not None and event.at_ns <= filled_ns and _begins(event.state, event.reason):
                joined[event.order_id] = event.at_ns
        waits = [
            first[order.id] - joined[order.id]
            for order in self._outcome.orders
            if order.id in joined and order.type is OrderType.LIMIT
        ]
        return np.array(waits, np.float64) / NS_PER_S

    @cached_property
    def quote_uptimes(self) -> list[QuoteUptime]:
        """The rows of `quotes`: instruments with limit orders that the exchange accepted."""
        spans: dict[str, list[tuple[Order, tuple[int, int]]]] = {}
        for order in self._outcome.orders:
            if order.id in self._lives and order.type is OrderType.LIMIT:
                spans.setdefault(order.instrument, []).append((order, self._lives[order.id]))
        return [self._uptime(name, lives) for name, lives in spans.items()]

    def _uptime(self, name: str, lives: Sequence[tuple[Order, tuple[int, int]]]) -> QuoteUptime:
        length = self._end_ns - self._start_ns
        if length <= 0:
            return QuoteUptime(name, 0.0, 0.0, 0.0)
        moments = np.array([span for _, span in lives], np.int64).clip(self._start_ns, self._end_ns)
        is_bid = np.array([order.side is Side.BUY for order, _ in lives], np.int64)
        # One more order from its first moment on, one less from its last.
        at_ns = np.concatenate((moments[:, 0], moments[:, 1]))
        order = np.argsort(at_ns, kind="stable")
        lasts = np.diff(at_ns[order], append=self._end_ns)
        bids = np.cumsum(np.concatenate((is_bid, -is_bid))[order]) > 0
        asks = np.cumsum(np.concatenate((1 - is_bid, is_bid - 1))[order]) > 0
        return QuoteUptime(name, *(float(lasts[is_up].sum() / length) for is_up in (bids, asks, bids & asks)))

    # Fills ----------------------------------------------------------------------------------------------------

    @cached_property
    def inventories(self) -> list[Inventory]:
        """The histograms of `inventory`, positions in the order of their first fills."""
        by_leg: dict[str, list[Fill]] = {}
        for fill in self._fills:
            by_leg.setdefault(fill.leg, []).append(fill)
        return [self._held(leg, fills) for leg, fills in by_leg.items()]

    def _held(self, leg: str, fills: Sequence[Fill]) -> Inventory:
        instrument = self._instruments[fills[0].instrument]
        at_ns = np.array([fill.filled_ns for fill in fills], np.int64).clip(self._start_ns, self._end_ns)
        order = np.argsort(at_ns, kind="stable")
        lots = np.append(0, np.cumsum(np.array([fill.signed_lots for fill in fills], np.int64)[order]))
        lasts = np.diff(np.concatenate(([self._start_ns], at_ns[order], [self._end_ns]))).astype(np.float64)
        width = _bar_lots(lots)
        # The nearest multiple; between two of them the one above.
        places = (2 * lots + width) // (2 * width)
        low = int(places.min())
        shares: FloatArray = np.bincount(places - low, weights=lasts).astype(np.float64)
        total = float(lasts.sum())
        qtys = np.array([instrument.qty(width * (low + place)) for place in range(len(shares))], np.float64)
        return Inventory(leg, instrument.qty(width), qtys, shares / total if total > 0 else shares)

    @cached_property
    def fill_counts(self) -> dict[str, int]:
        """How many fills each position has: an instrument's net one, or one of its legs."""
        return dict(Counter(fill.leg for fill in self._fills))

    @cached_property
    def _traded(self) -> list[str]:
        return list(dict.fromkeys(fill.instrument for fill in self._fills))

    @cached_property
    def _rates(self) -> Rates:
        return Rates(self._outcome, self._instruments)

    @cached_property
    def _rate_of(self) -> dict[str, float]:
        """What a unit of each traded instrument's settlement currency is worth; NaN where nobody knows."""
        found = {}
        for name in self._traded:
            rate = self._rates.of(self._instruments[name].settle_currency)
            found[name] = float("nan") if rate is None else float(rate)
        return found

    @cached_property
    def _notionals(self) -> FloatArray:
        return np.array([float(abs(fill.value)) * self._rate_of[fill.instrument] for fill in self._fills], np.float64)

    def _why_no_prices(self, name: str) -> str:
        why = self._prices.reason(name)
        return f"{name} has no price path to hold its fills against: {why}" if why else ""

    @cached_property
    def _amounts(self) -> FillPrices:
        """Amounts of every fill against the price path."""
        count = len(self._fills)
        reference, later = np.full(count, np.nan), np.full((count, len(HORIZONS_S)), np.nan)
        spread, markout = np.full(count, np.nan), np.full((count, len(HORIZONS_S)), np.nan)
        places: dict[str, list[int]] = {}
        for place, fill in enumerate(self._fills):
            places.setdefault(fill.instrument, []).append(place)
        for name, own in places.items():
            if self._why_no_prices(name):
                continue
            instrument, fills = self._instruments[name], [self._fills[place] for place in own]
            before, after = self._references(name, np.array([fill.revealed_ns for fill in fills], np.int64))
            reference[own], later[own] = before, after
            price = np.array([fill.price for fill in fills], np.float64)
            signs = np.array([float(fill.side.sign) for fill in fills], np.float64)
            size = signs * np.array([fill.qty for fill in fills], np.float64) * float(instrument.unit)
            size *= self._rate_of[name]
            spread[own] = size * _difference(instrument, price, before)
            markout[own] = size[:, None] * _difference(instrument, price[:, None], after)
        return FillPrices(self._notionals, reference, spread, later, markout)

    def _references(self, name: str, at_ns: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the reference price before each moment, shape (n,), and after each horizon, shape (n, horizons)."""
        stream = self._prices.streams[name]
        interval_ns = 0
        moments = np.stack([at_ns + horizon * NS_PER_S for horizon in HORIZONS_S], axis=1)
        is_known = moments <= self._outcome.end_ns
        wanted = np.concatenate((at_ns - 1, moments.ravel()))
        order = np.argsort(wanted, kind="stable")
        rising, found = wanted[order], np.full(len(wanted), np.nan)
        try:
            for rows in self._prices.chunks(name, end_ns=int(rising[-1])):
                if not len(rows):
                    continue
                interval_ns = rows.interval_ns
                first = int(rising.searchsorted(rows.time_ns[0]))
                found[first:] = rows.close[rows.time_ns.searchsorted(rising[first:], "right") - 1]
        except DataError:  # damage inside a file, of which `reason` tells from then on
            found[:] = np.nan
        prices = np.empty(len(wanted))
        prices[order] = found
        before, after = prices[: len(at_ns)], prices[len(at_ns) :].reshape(moments.shape)
        if stream.kind == "candle":
            before = np.full(len(at_ns), np.nan)
            is_known &= np.array(HORIZONS_S) * NS_PER_S >= interval_ns
        return before, np.where(is_known, after, np.nan)


def lives_of(outcome: Outcome, end_ns: int) -> dict[str, tuple[int, int]]:
    """Return from when to when each accepted order was at the exchange, by its stamps and in order of acceptance.

    Args:
        outcome: The run's records.
        end_ns: When the run ended, by the exchange's clock.
    """
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    for event in outcome.order_events:
        if event.state is OrderState.ACCEPTED:
            begun.setdefault(event.order_id, event.at_ns)
        elif event.state.is_final:
            ended[event.order_id] = event.at_ns
    return {name: (at_ns, max(at_ns, ended.get(name, end_ns))) for name, at_ns in begun.items()}


def _begins(state: OrderState, reason: str) -> bool:
    """Return whether an event puts an order where it waits: its acceptance, or a change of it."""
    return reason == AMENDED or (state is OrderState.ACCEPTED and not reason)


def _mean_pct(shares: Iterable[float]) -> float | None:
    found = list(shares)
    return 100 * sum(found) / len(found) if found else None


def _bps(money: FloatArray, notional: FloatArray, rows: Any) -> float | None:
    total = float(notional[rows].sum())
    return 10_000 * float(money[rows].sum()) / total if total > 0 else None


def _ratio_bps(money: FloatArray, notional: FloatArray) -> FloatArray:
    found = np.full(len(money), np.nan)
    np.divide(10_000 * money, notional, out=found, where=notional > 0)
    return found


def _difference(instrument: Instrument, price: FloatArray, later: FloatArray) -> FloatArray:
    """Return what one unit gains from a price to a later one, in the settlement currency."""
    return 1 / price - 1 / later if instrument.is_inverse else later - price


def _bar_lots(lots: IntArray) -> int:
    """Return how many size steps a bar of the inventory spans.

    Examples:
        >>> _bar_lots(np.array([0, 50, 0, 50])), _bar_lots(np.arange(100)), _bar_lots(np.array([0]))
        (50, 5, 1)
    """
    unit = gcd(*lots.tolist()) or 1
    extent = int(np.ptp(lots)) // unit
    times = 1
    # 1, 2, 5, 10, 20, 50, ...
    while extent // times >= _BARS:
        times = times * 5 // 2 if str(times).startswith("2") else times * 2
    return unit * times
