"""The cards of a page that are text and tables: headline, assumptions, calendar, hours, drawdowns, all numbers."""

import math
from datetime import timedelta
from fractions import Fraction
from typing import Final

import msgspec

from quantkit.clock import NS_PER_DAY
from quantkit.instruments import Instrument, Side, plain
from quantkit.quality.findings import CLEAN, FAULTY
from quantkit.report.bootstrap import LEAST_DAYS
from quantkit.report.execution import NAMED
from quantkit.report.page.markup import Content, Markup, lines, tag, text
from quantkit.report.page.subject import Subject
from quantkit.report.stats import GROUPS, STATS, Value
from quantkit.report.text import duration, money, strategy_of, written

MINUS: Final = "\u2212"
NOT_AVAILABLE: Final = "n/a"


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number with thousands marked and a real minus; what rounds to zero has none.

    Examples:
        >>> number(1234.5), number(-0.001), number(None)
        ('1,234.50', '0.00', 'n/a')
    """
    return signed(value, decimals).lstrip("+")


def signed(value: float | None, decimals: int = 2, unit: str = "") -> str:
    """Return a number with its sign; what rounds to zero has none.

    Examples:
        >>> signed(3.456, unit=" %"), signed(-0.001), signed(None)
        ('+3.46 %', '0.00', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    shown = f"{value:+,.{decimals}f}"
    return (shown if shown.strip("+-0.,") else shown[1:]).replace("-", MINUS) + unit


def minus(shown: str) -> str:
    """Return a written number with a real minus in place of a hyphen."""
    return shown.replace("-", MINUS)


def tone(value: float | None) -> str | None:
    """Return the class that colours a number; the sign says it without colour."""
    if not value:
        return None
    return "gain" if value > 0 else "loss"


#: Of verdicts on data; the word says it without colour.
_DATA_TONES: Final = {CLEAN: "gain", FAULTY: "loss"}

# Headline ----------------------------------------------------------------------------------------------------------


def what(subject: Subject) -> Markup:
    """Return the line below the strategy's name: instruments, span, money."""
    outcome, numbers = subject.outcome, subject.numbers
    traded = list(dict.fromkeys(fill.instrument for fill in outcome.fills)) or list(subject.instruments)
    names = ", ".join(traded[:3]) + (f" and {len(traded) - 3} more" if len(traded) > 3 else "")
    start, end = (written_time(numbers[key]) for key in ("start", "end"))
    equities = (money(float(amount), subject.money_decimals) for amount in (outcome.starting_equity, outcome.equity))
    length = numbers["duration"]
    assert isinstance(length, timedelta)
    amounts = minus(" \u2192 ".join(equities))
    ended = "" if outcome.ended == "completed" else f", ended as {outcome.ended}"
    return text(
        (
            tag("bdi", names),
            f", {start} to {end} UTC ({duration(length)}), {amounts} ",
            tag("bdi", outcome.report_currency),
            ended,
        )
    )


def written_time(value: Value) -> str:
    """Return a moment in UTC to the minute."""
    return written(GROUPS["Run"][0], value)


def parameters(subject: Subject) -> Markup:
    """Return the strategy's parameters as they would be given; the only instrument stands above them already."""
    _, given = strategy_of(subject.config)
    only = list(subject.instruments) if len(subject.instruments) == 1 else []
    return text([tag("span", f"{name}={value}") for name, value in given.items() if value not in only])


def headline(subject: Subject) -> Markup:
    """Return the six numbers that come first, each with what it needs beside it to be judged."""
    numbers = subject.numbers
    change, sharpe = _float(numbers["return_pct"]), _float(numbers["sharpe_ratio"])
    depth, factor = _float(numbers["max_drawdown"]), _float(numbers["profit_factor"])
    fees, won, exposed = (_float(numbers[key]) for key in ("fees_paid", "win_rate_pct", "exposure_time_pct"))
    longest = numbers["max_drawdown_duration"]
    under = f"longest {duration(longest)}" if isinstance(longest, timedelta) else "never below a peak"
    fills = "1 fill" if numbers["fills"] == 1 else f"{numbers['fills']:,} fills"
    trips = f"{number(won, 0)} % won, {fills}" if won is not None else fills
    return text(
        [
            _headed("Return", signed(change, unit=" %"), tone(change), *_return_notes(subject)),
            _headed("Sharpe ratio", *_sharpe(subject, sharpe)),
            _headed("Max. drawdown", signed(None if depth is None else 100 * depth, unit=" %"), None, under),
            _headed("Round trips", f"{numbers['trades']:,}", None, trips),
            _headed("Profit factor", number(factor), None, f"in market {number(exposed, 0)} % of time"),
            _headed(
                f"Fees, {subject.outcome.report_currency}",
                NOT_AVAILABLE if fees is None else minus(money(fees, min(2, subject.money_decimals))),
                None,
                _fee_note(subject),
            ),
        ]
    )


def _headed(label: str, value: str, colour: str | None, *notes: str) -> Markup:
    small = [tag("small", note) for note in notes if note]
    return tag("div", tag("dt", label), tag("dd", value, small, class_=colour), class_="kpi")


def _return_notes(subject: Subject) -> list[str]:
    """Return what buy and hold gave, and the interval of the return."""
    benchmark = subject.benchmark
    held = None if benchmark is None else benchmark.return_pct
    traded = [fill.instrument for fill in subject.outcome.fills[:1]]
    own = benchmark is None or benchmark.name in (traded or subject.instruments)
    name = "buy and hold" if own else f"holding {benchmark.name}" if benchmark is not None else ""
    notes = [f"{name}: no price at start and end" if held is None else f"{name} {signed(held, unit=' %')}"]
    interval = (subject.intervals or {}).get("return_pct")
    if interval is not None:
        notes.append(f"90 % interval {signed(interval[0], 1)} to {signed(interval[1], 1, ' %')}")
    return notes


def _is_short(subject: Subject) -> bool:
    """Return whether a Sharpe ratio would be a number without meaning: of a few days."""
    return subject.outcome.end_ns - subject.outcome.start_ns < LEAST_DAYS * NS_PER_DAY


def _sharpe(subject: Subject, sharpe: float | None) -> tuple[str, None, str]:
    """Return the ratio, no colour, and its interval."""
    if _is_short(subject):
        return NOT_AVAILABLE, None, f"needs {LEAST_DAYS} days"
    interval = (subject.intervals or {}).get("sharpe_ratio")
    if interval is None:
        return signed(sharpe), None, "no interval: the daily returns are all alike"
    return signed(sharpe), None, f"90 % interval {signed(interval[0], 1)} to {signed(interval[1], 1)}"


def _fee_note(subject: Subject) -> str:
    """Return the fees of closed round trips as a share of what they won before fees."""
    closed = subject.trips.closed
    if not closed or len({trip.currency for trip in closed}) > 1:
        return ""
    gross, fees = sum(trip.pnl + trip.fees for trip in closed), sum(trip.fees for trip in closed)
    # Beyond ten times the profit a share says less than the profit itself.
    if 0 < fees <= 10 * gross:
        return f"{number(float(100 * fees / gross), 0)} % of gross profit"
    return f"gross profit {signed(float(gross))}"


def _float(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


# Words -------------------------------------------------------------------------------------------------------------


def warnings(subject: Subject) -> Markup:
    """Return one bar for each warning; why a statistic is missing stands beside the statistics."""
    said = [*subject.outcome.warnings, *subject.data_quality.faults]
    return text([tag("p", tag("b", "Warning"), " ", tag("bdi", each), class_="warn", role="note") for each in said])


def data_quality(subject: Subject) -> Markup:
    """Return what the last check of the data folder said of each stream that the run read."""
    streams = subject.data_quality.streams
    if not streams:
        reason = subject.data_quality.reason or "the run read no data folder that quantkit data check looks into"
        return tag("li", f"not checked: {reason}")
    shown = [tag("li", tag("bdi", str(each)), class_=_DATA_TONES.get(each.verdict)) for each in streams]
    return text(shown)


def assumptions(subject: Subject) -> Markup:
    """Return a sentence each; the name of the only instrument is left out of them."""
    only = next(iter(subject.instruments)) if len(subject.instruments) == 1 else None
    said = [each.removeprefix(f"{only}: ") for each in subject.assumptions]
    return text([tag("li", tag("bdi", each)) for each in said])


# Tables ------------------------------------------------------------------------------------------------------------


def all_numbers(subject: Subject) -> Markup:
    """Return every statistic by group; what it means is its title."""
    numbers, decimals = dict(subject.numbers), subject.money_decimals
    if _is_short(subject):
        numbers["sharpe_ratio"] = None  # as in the headline
    groups = []
    for name, stats in GROUPS.items():
        rows = [
            tag(
                "tr",
                tag("th", stat.label, scope="row"),
                tag("td", minus_of(written(stat, numbers[stat.key], decimals), numbers[stat.key])),
                title=stat.meaning,
            )
            for stat in stats
            if stat.key in numbers
        ]
        groups.append(tag("div", tag("h3", name), tag("table", tag("tbody", rows))))
    return text([*groups, _execution_numbers(subject)])


def _execution_numbers(subject: Subject) -> Markup:
    """Return the figures of orders and fills; none of a run that has none."""
    figures = subject.execution.figures
    rows = [
        tag(
            "tr",
            tag("th", each.label, scope="row"),
            tag("td", number(_float(figures[each.key]))),
            title=each.meaning,
        )
        for each in NAMED
        if figures[each.key] is not None
    ]
    return tag("div", tag("h3", "Execution"), tag("table", tag("tbody", rows))) if rows else Markup("")


def missing(subject: Subject) -> Markup:
    """Return why statistics are missing: a sentence for each reason."""
    rows = [
        tag("li", tag("b", ", ".join(STATS[key].label for key in each.keys)), " ", tag("bdi", each.why))
        for each in subject.missing
    ]
    return tag("ul", rows, class_="missing") if rows else Markup("")


def minus_of(shown: str, value: Value) -> str:
    """Return a written statistic with a real minus if it is a number; a missing one as such."""
    if value is None:
        return NOT_AVAILABLE
    return minus(shown) if isinstance(value, int | float) else shown


def manifest(subject: Subject) -> Markup:
    """Return the identity of the run as indented JSON."""
    known = {key: value for key, value in subject.manifest.items() if key not in ("assumptions", "warnings")}
    return tag("pre", lines(msgspec.json.format(msgspec.json.encode(known), indent=2).decode()))


def costs(subject: Subject) -> Markup:
    """Return what trading cost over the whole run, in words: fees, funding, turnover."""
    numbers, decimals = subject.numbers, subject.money_decimals
    fees, funding, turnover = (_float(numbers[key]) for key in ("fees_paid", "funding_received", "turnover"))
    said = []
    if fees is not None:
        said.append(f"fees paid {minus(money(fees, decimals))}")
    if funding is not None:
        said.append(f"funding received {minus(money(funding, decimals))}" if funding else "no funding")
    if turnover is not None:
        said.append(f"turnover {number(turnover, 1)} times the mean equity")
    if not said:
        return Markup()
    words = ", ".join(said)
    return tag("p", f"Whole run: {words}.", class_="cap")


def open_positions(subject: Subject) -> Markup:
    """Return a sentence for each position that the end of the run found open."""
    said = []
    for trip in subject.trips.open:
        instrument = subject.instruments[trip.instrument]
        kind = "long" if trip.side is Side.BUY else "short"
        at = (
            "without a mark"
            if trip.mark_price is None
            else f"at the last mark of {_price(trip.mark_price, instrument)}"
        )
        worth = "" if trip.unrealised is None else f": {signed(float(trip.unrealised))} {trip.currency} before fees"
        entry = _price(trip.entry_price, instrument)
        said.append(f"Open at the end: {trip.instrument}, {kind} {plain(trip.qty)} from {entry}, {at}{worth}.")
    return text([tag("p", tag("bdi", each), class_="cap") for each in said])


def _price(price: float, instrument: Instrument) -> str:
    return number(price, decimals_of(Fraction(instrument.price_step)))


def decimals_of(step: Fraction) -> int:
    """Return the decimals in which multiples of a step are written, 8 at most.

    Examples:
        >>> decimals_of(Fraction(1, 20)), decimals_of(Fraction(5))
        (2, 0)
    """
    return next((places for places in range(8) if (step * 10**places).denominator == 1), 8)


def none(why: str) -> Markup:
    """Return the one sentence of a card that has nothing to show."""
    return tag("p", why, class_="none")


def titled(heading: str, caption: str, content: Content) -> Markup:
    """Return a card's head and its content."""
    return text((tag("h2", heading), tag("p", caption, class_="cap") if caption else "", content))
