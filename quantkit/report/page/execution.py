"""How well orders did, as cards: markouts, shares and time in queue, inventory."""

import numpy as np

from quantkit.instruments import plain
from quantkit.orders import instrument_of
from quantkit.report.execution import HORIZONS_S, ROLES, Execution, Inventory
from quantkit.report.page import charts
from quantkit.report.page.cards import NOT_AVAILABLE, minus, none, number, signed, titled
from quantkit.report.page.markup import Content, Markup, tag, text
from quantkit.report.page.subject import Subject
from quantkit.report.text import counted, money

#: What a reference price is, by the kind of rows that value the run.
_REFERENCES = {"book": "mid of the book", "ticker": "mid of best bid and offer", "trade": "last trade",
               "mark": "mark price", "candle": "close of the candle"}  # fmt: skip
#: With fewer points a line is none.
_LEAST_POINTS = 2


def figures(subject: Subject) -> dict[str, charts.FigureJson]:
    """Return the documents of the charts that have something to show."""
    execution, found = subject.execution, {}
    lines = _lines(execution)
    if any(sum(each is not None for each in line) >= _LEAST_POINTS for line in lines.values()):
        found["markouts"] = charts.markouts(lines)
    waits = execution.queue_times_s
    if len(waits):
        found["queue"] = charts.queue_times(waits)
    held = _most_traded(execution)
    if held is not None:
        found["inventory"] = charts.inventory(
            held.qtys, 100 * held.shares, held.width, is_tall={"markouts", "queue"} <= found.keys()
        )
    return found


def section(subject: Subject, drawn: dict[str, charts.FigureJson]) -> Markup:
    """Return the cards; nothing of a run whose orders the exchange never had.

    Args:
        subject: The run.
        drawn: What `figures` returned.
    """
    if not subject.execution.of_orders["accepted"]:
        return Markup("")
    cards = (_markouts(subject, drawn), _queue(subject, drawn), _inventory(subject, drawn))
    return tag("div", [tag("section", each, class_="card") for each in cards], class_="three", id="execution")


def _markouts(subject: Subject, drawn: dict[str, charts.FigureJson]) -> Markup:
    execution = subject.execution
    if not subject.outcome.fills:
        return titled("Markouts", "", none("No order was filled."))
    if execution.missing:
        return titled("Markouts", "", none(f"{execution.missing[0]}."))
    kinds = dict.fromkeys(subject.prices.streams[fill.instrument].kind for fill in subject.outcome.fills)
    price = " or ".join(_REFERENCES[kind] for kind in kinds)
    caption: list[Content] = [f"How far the {price} was on our side of the fill, bps by size, fees aside: "]
    shown = [role for role in ROLES if any(row.fills for row in execution.markout_rows if row.role == role)]
    keys = {"maker": ("key accent", "maker"), "taker": ("key dash bench", "taker")}
    for role in shown:
        kind, word = keys[role]
        caption += [tag("span", tag("i", "", class_=kind), word, class_="line"), " "]
    if "maker" in shown and execution.figures["spread_captured_bps"] is not None:
        dots = tag("i", "", class_="key dots accent")
        caption.append(tag("span", dots, "spread captured; down from there is adverse selection", class_="line wrap"))
    chart = tag("div", "", id="figure_markouts", class_="figure") if "markouts" in drawn else ""
    content = (tag("p", caption, class_="cap"), chart, _markout_table(subject, shown))
    return text((tag("h2", "Markouts"), *content))


def _markout_table(subject: Subject, roles: list[str]) -> Markup:
    """Return the numbers behind the lines."""
    execution, figures = subject.execution, subject.execution.figures
    if not roles:
        return none("No price came after a fill within the run.")
    rows_of = {role: [row for row in execution.markout_rows if row.role == role] for role in roles}
    known = [n for n in range(len(HORIZONS_S)) if any(rows[n].fills for rows in rows_of.values())]
    firsts = {"maker": figures["spread_captured_bps"], "taker": figures["taker_spread_bps"]}
    has_first = any(firsts[role] is not None for role in roles)
    heads = [tag("th", ""), *([tag("th", "fill", scope="col")] if has_first else [])]
    heads += [tag("th", f"{HORIZONS_S[n]} s", scope="col") for n in known]
    blank = [""] if has_first else []
    lines = []
    for role, rows in rows_of.items():
        own = [rows[n] for n in known]
        first = [_bps(firsts[role])] if has_first else []
        lines.append(_row(f"{role.capitalize()}, bps", [*first, *(_bps(row.bps) for row in own)]))
        if any(row.adverse_bps is not None for row in own):
            lines.append(_row("against us since", [*blank, *(_bps(row.adverse_bps) for row in own)], is_part=True))
        amounts = [minus(money(row.money, subject.money_decimals)) if row.fills else NOT_AVAILABLE for row in own]
        lines.append(_row(f"in {subject.outcome.report_currency}", [*blank, *amounts], is_part=True))
        lines.append(_row("fills", [*blank, *(f"{row.fills:,}" for row in own)], is_part=True))
    return tag("table", tag("thead", tag("tr", heads)), tag("tbody", lines), class_="markouts")


def _row(name: str, cells: list[str], *, is_part: bool = False) -> Markup:
    head = tag("th", tag("bdi", name), scope="row")
    return tag("tr", head, [tag("td", cell) for cell in cells], class_="part" if is_part else None)


def _bps(value: float | int | None) -> str:
    return NOT_AVAILABLE if value is None else signed(float(value))


def _queue(subject: Subject, drawn: dict[str, charts.FigureJson]) -> Markup:
    execution = subject.execution
    figures = execution.of_orders
    if figures["limit_fill_ratio_pct"] is None:
        words = "No limit order reached the exchange."
        maker = figures["maker_share_pct"]
        return titled("Limit orders", "", none(words if maker in (None, 0.0) else f"{words} Triggered ones rested."))
    shares = [
        ("Filled, of their size", figures["limit_fill_ratio_pct"]),
        ("Traded as maker", figures["maker_share_pct"]),
        *(
            (name, 100 * sum(getattr(each, part) for each in execution.quote_uptimes) / len(execution.quote_uptimes))
            for name, part in (
                ("Bid there, of the time", "bid"),
                ("Offer there", "ask"),
                ("Both: quote uptime", "both"),
            )
        ),
    ]
    bars = [_share(name, share) for name, share in shares if share is not None]
    waits = execution.queue_times_s
    if not len(waits):
        words = tag("p", "None of them filled while it rested.", class_="cap")
        return titled("Limit orders", "", (tag("dl", bars, class_="shares"), words))
    median, late = (figures[key] or 0.0 for key in ("queue_median_s", "queue_p90_s"))
    said = (
        f"Time in queue of {counted(len(waits), 'order')} to the first maker fill, seconds: "
        f"half within {_seconds(median)}, 90 % within {_seconds(late)}"
    )
    chart = tag("div", "", id="figure_queue", class_="figure")
    return titled("Limit orders", "", (tag("dl", bars, class_="shares"), tag("p", said, class_="cap"), chart))


def _share(name: str, share: float) -> Markup:
    bar = tag("dd", tag("i", "", style=f"width:{min(max(share, 0.0), 100.0):.1f}%"), class_="track")
    return text((tag("dt", name), bar, tag("dd", f"{number(share, 0)} %")))


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"


def _inventory(subject: Subject, drawn: dict[str, charts.FigureJson]) -> Markup:
    held = _most_traded(subject.execution)
    if held is None:
        return titled("Inventory", "", none("No order was filled."))
    several = len(subject.execution.inventories) > 1
    flat = float(held.shares[np.flatnonzero(held.qtys == 0.0)].sum())
    mean = float((held.qtys * held.shares).sum())
    instrument = subject.instruments[instrument_of(held.instrument)]
    step = f", bars of {plain(held.width)}" if held.width != float(instrument.qty_step) else ""
    parts: list[Content] = ["Share of the time in per cent at each position"]
    parts += [" of ", tag("bdi", held.instrument), ", the one most traded"] if several else []
    parts.append(f"{step}; flat {number(100 * flat, 0)} %, mean {minus(plain(float(f'{mean:.3g}')))}")
    return text(
        (tag("h2", "Inventory"), tag("p", parts, class_="cap"), tag("div", "", id="figure_inventory", class_="figure"))
    )


def _most_traded(execution: Execution) -> Inventory | None:
    held = execution.inventories
    fills = [each for each in held if each.shares.sum() > 0]
    return max(fills, key=lambda each: execution.fill_counts[each.instrument]) if fills else None


def _lines(execution: Execution) -> dict[str, list[float | None]]:
    """Return bps at the fill and at each horizon, by role."""
    figures = execution.figures
    firsts = {"maker": figures["spread_captured_bps"], "taker": figures["taker_spread_bps"]}
    return {role: [firsts[role], *(row.bps for row in execution.markout_rows if row.role == role)] for role in ROLES}
