"""The margin of a run, decided before it starts: leverage and tiers of each contract."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from quantkit.clock import iso_of
from quantkit.errors import ConfigError
from quantkit.feeds.base import Feed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, decimal_of, plain
from quantkit.margin import MarginTerms, MarginTiers, family_of, leverage_of, terms_of
from quantkit.options import RunOptions
from quantkit.rows.columns import Stream

_USUAL_LEVERAGE: Final = Decimal(1)


class MarginPlan(NamedTuple):
    """The margin of a run.

    Attributes:
        terms: Of each contract.
        told_ns: When its tiers were told, for those whose tiers come from stored rows.
    """

    terms: MarginTerms
    told_ns: Mapping[str, int]


def plan_margin(
    feed: Feed,
    instruments: Mapping[str, Instrument],
    fees: Mapping[str, Fees],
    start_ns: int,
    options: RunOptions,
) -> MarginPlan | None:
    """Return how the contracts of a run are margined, None if they are not.

    Raises:
        ConfigError: Options contradict each other, tiers are missing, or none of them allows the leverage.
    """
    if options.margin == "off":
        for name, value in (("leverage", options.leverage), ("tiers", options.tiers)):
            if value is not None:
                raise ConfigError(f"{name} is for runs with margin; give margin='isolated' or 'cross' as well")
        return None
    if decimal_of(options.max_leverage) != 1:
        raise ConfigError("max_leverage has no say in a run with margin; give leverage")
    named = set(options.leverage) - {"*"} if isinstance(options.leverage, Mapping) else set()
    for name in sorted(named - set(instruments)):
        there = ", ".join(instruments)
        raise ConfigError(f"leverage names {name!r}, which the strategy does not subscribe to; there is {there}")
    contracts, told_ns = {}, {}
    for name, instrument in instruments.items():
        if not instrument.is_spot:
            tiers, at_ns = _tiers(feed, instrument, start_ns, options)
            terms = contracts[name] = terms_of(
                instrument, _leverage(name, options), tiers, fees[name].rate(is_maker=False)
            )
            if max(tiers.rates) + terms.fee_rate >= 1:
                rate, fee = plain(_decimal(max(tiers.rates) * 100)), plain(_decimal(terms.fee_rate * 100))
                raise ConfigError(
                    f"{name}: a tier's maintenance rate of {rate} % and the taker's fee of {fee} % together take the "
                    "whole position; correct the tiers or the fees"
                )
            if at_ns is not None:
                told_ns[name] = at_ns
    return MarginPlan(MarginTerms(options.margin == "cross", contracts), told_ns)


def _leverage(name: str, options: RunOptions) -> Decimal:
    return _USUAL_LEVERAGE if options.leverage is None else leverage_of(options.leverage, name)


def _tiers(feed: Feed, instrument: Instrument, start_ns: int, options: RunOptions) -> tuple[MarginTiers, int | None]:
    """Return the tiers of a contract: those of the file, or else those that are stored, with their moment."""
    family, name = family_of(instrument), instrument.id
    if options.tiers is not None:
        if family not in options.tiers:
            there = ", ".join(options.tiers)
            raise ConfigError(f"{name}: tiers= has no rows of the family {family}; it has {there}")
        return MarginTiers(options.tiers[family], name), None
    rows = feed.position_tiers(name, options.margin, start_ns)
    if not rows:
        # A download has those of OKX's own contracts alone.
        more = (
            f"; a backtest also reads those that `quantkit download {name} --kinds tiers` brings into its data folder"
        )
        raise ConfigError(
            f"{name}: margin needs its position tiers; give tiers=FILE (--tiers) with OKX's columns and rows of "
            f"{family}{more if instrument.exchange == 'okx' else ''}"
        )
    return MarginTiers.of_rows(rows, name), rows[0].received_ns


def describe_margin(plan: MarginPlan, marks: Mapping[str, Stream], start_ns: int) -> list[str]:
    """Return how a run is margined, as sentences for its assumptions.

    Args:
        plan: The margin.
        marks: What values each instrument.
        start_ns: The start of the run.
    """
    terms, told_ns, said = plan.terms, plan.told_ns, []
    mode = "cross" if terms.is_cross else "isolated"
    for name, own in terms.contracts.items():
        source = "a file"
        if name in told_ns:
            source = iso_of(told_ns[name])[:10] + (", told after the start" if told_ns[name] > start_ns else "")
        rate, most = own.tiers.rows[0].maintenance_rate * 100, _decimal(own.largest)
        said.append(
            f"{name}: {mode} margin at {plain(_decimal(own.leverage))}x, maintenance from {plain(rate)} %, at most "
            f"{plain(most)} contracts (tiers of {source}); liquidation judged on {_word(marks[name])}"
        )
    said.append("liquidation is one step at the bankruptcy price: no partial liquidation, no ADL, no insurance fund")
    return said


def _decimal(number: Fraction) -> Decimal:
    return Decimal(number.numerator) / number.denominator


def _word(stream: Stream) -> str:
    words = {
        "mark": "mark prices",
        "ticker": "the mid of best bid and offer",
        "book": "the mid of the book",
        "trade": "last trades",
        "candle": f"closes of {stream.interval} candles, not on what happens within them",
    }
    return words[stream.kind]
