"""The end of a run: open orders are cancelled, and everything that happened is gathered."""

from collections import Counter
from decimal import Decimal
from typing import Final

from quantkit.brokers.base import Broker, BrokerNotes
from quantkit.clock import iso_of
from quantkit.engine.idle_options import idle_options
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import OrderEvent, Outcome
from quantkit.engine.parts import RunParts
from quantkit.engine.plan import describe, idle_fees
from quantkit.instruments import EXACT, plain
from quantkit.orders import OrderState
from quantkit.portfolio import Portfolio, shown

_REMEDIES: Final = {
    "insufficient_cash": ": it does not pay for them with fees (market orders: at 5 % above the last price, "
    "on candles at the open)",
    "insufficient_position": ": spot can only sell what is there",
    "reduce_only_no_position": (
        ": there was no position to reduce when they arrived; give the opening order stop_loss= or take_profit=, "
        "or send them from on_fill"
    ),
    "leverage_tier": ": no position tier allows that size with this leverage; trade less, or give a lower leverage",
}
#: Why an order that was accepted ends without all that the market offered, for lack of money.
_CUTS: Final = ("insufficient_cash", "insufficient_margin")


def finish(parts: RunParts, ended: str, end_ns: int) -> Outcome:
    """Cancel what is open and return everything that happened.

    Args:
        parts: The run's; no hook is called any more.
        ended, end_ns: How and when it ended.
    """
    # What the broker still hears of its orders may change the account.
    for report in parts.broker.finish(end_ns, "end_of_data" if ended == "completed" else ended):
        parts.orders.apply(report)
    parts.equity.close_curve(end_ns)
    parts.delivery.write_log()
    notes = parts.broker.notes()
    parts.warnings += _warnings(parts, notes, ended, end_ns)
    ledger, prepared, broker = parts.ledger, parts.prepared, parts.broker
    equity = ledger.equity_exact()
    held = [position.instrument.id for position in ledger.positions.values()]
    return Outcome(
        orders=list(parts.orders.orders.values()),
        order_events=[
            OrderEvent(report.order_id, report.at_ns, report.due_ns, report.state, report.reason)
            for report in broker.reports
        ],
        fills=list(broker.fills),
        excursions=parts.equity.excursions(),
        curve=parts.equity.curve(),
        cash=ledger.cash,
        equity=Decimal(0) if equity is None else shown(equity),
        starting_equity=parts.equity.starting_equity,
        report_currency=ledger.report_currency,
        position_qty={i: p.qty for i, p in ledger.positions.items()},
        position_mark={name: parts.marks.last(name) for name in dict.fromkeys([*held, *ledger.converters.values()])},
        realised=ledger.totals("realised"),
        funding=ledger.totals("funding"),
        fees=ledger.totals("fees"),
        start_ns=parts.plan.start_ns,
        end_ns=end_ns,
        ended=ended,
        assumptions=[
            *describe(parts.plan, prepared.options, prepared.feed, ledger.currencies),
            *parts.send_clock.said(),
            *notes.assumptions,
        ],
        warnings=parts.warnings,
        rows=parts.rows,
        offset_ns=parts.send_clock.offset_at(end_ns),
        daily_marks=parts.daily_marks.until(end_ns),
        funding_payments=list(parts.bookings.payments),
        unprotected=list(notes.unprotected),
    )


def _warnings(parts: RunParts, notes: BrokerNotes, ended: str, end_ns: int) -> list[str]:
    """Return what the reader of the result has to know, as far as only the end tells it."""
    found = [
        *parts.commands.notes(),
        *parts.gaps.notes(end_ns),
        *notes.rows,
        *idle_fees(parts.plan),
        *idle_options(parts.plan, parts.prepared.options),
        *_refusals(parts.orders, parts.broker),
        *parts.settlements.notes(parts.broker.fills),
        *_remainders(parts.ledger),
        *notes.fills,
        *parts.books.notes(),
    ]
    if ended == "bankrupt":
        currency = parts.equity.solvency.ruined
        what = f"equity in {currency}, which backs the contracts," if currency else "equity"
        found.append(f"{what} fell to zero at {iso_of(end_ns)}: the run ended there")
    return found


def _refusals(orders: OrderManager, broker: Broker) -> list[str]:
    """Return a sentence for every reason for which orders were rejected, or cut to what the account can carry."""
    sent = orders.orders.values()
    rejected = Counter((o.instrument, o.reason) for o in sent if o.state is OrderState.REJECTED)
    cut = Counter((o.instrument, o.reason) for o in sent if o.state is OrderState.CANCELLED and o.reason in _CUTS)
    totals = Counter(order.instrument for order in sent)
    return [
        f"{instrument}: {count} of {totals[instrument]} orders were {done}, {reason}"
        f"{_REMEDIES.get(reason, '')}{broker.remedy(instrument) if reason == 'insufficient_margin' else ''}"
        for done, counts in (("rejected", rejected), ("cut short", cut))
        for (instrument, reason), count in counts.items()
    ]


def _remainders(ledger: Portfolio) -> list[str]:
    """Return a sentence for every holding of coins of which a part cannot be sold, and of contracts likewise."""
    said = []
    for name, position in ledger.positions.items():
        instrument = position.instrument
        rest: Decimal = EXACT.subtract(position.qty, instrument.tradable_qty(position.qty))
        if instrument.is_spot and rest > 0:
            said.append(
                f"{name}: {plain(rest)} {instrument.base} is left over that cannot be sold "
                f"(size step {plain(instrument.qty_step)}, smallest order {plain(instrument.min_qty)}); "
                "it counts as no position"
            )
        elif rest and not instrument.is_spot:
            # Lots have become larger since it was bought.
            said.append(
                f"{name}: {plain(rest)} contracts are left over that cannot be traded (size step "
                f"{plain(instrument.qty_step)}); they count as no position, and the equity still moves with them"
            )
    return said
