"""The engine log of a recorded run, followed entry by entry while the run is repeated."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from quantkit.brokers.asynchronous.inputs import OrderInput
from quantkit.brokers.base import Decision, Report
from quantkit.brokers.send_clock import CallClock
from quantkit.clock import iso_of
from quantkit.engine.commands import RunCommand
from quantkit.errors import DataError
from quantkit.events import Candle
from quantkit.live.journal import (
    BrokerNews,
    Entry,
    FeedEnded,
    InputBatch,
    Output,
    Sent,
    Started,
    Stepped,
    Stopped,
    WarmupLoaded,
)
from quantkit.rows.columns import Stream


class Difference(msgspec.Struct, frozen=True):
    """The first place at which the recorded and the repeated run part."""

    where: str
    recorded: str
    replayed: str


class DifferenceError(Exception):
    """Ends the repeated run at its first difference."""

    def __init__(self, where: str, recorded: str, replayed: str) -> None:
        super().__init__(where)
        self.difference = Difference(where, recorded, replayed)


class CutShortError(Exception):
    """The recording ends here, as it does after a kill."""


class LogReplayer:
    """Feeds the recorded inputs to the repeated run, and compares its outputs with the recorded ones.

    Args:
        entries: Of the engine log, in their order.

    Attributes:
        started: The first of them.
        send_clock: Lets messages leave as in the recorded run.
        news: Gives the broker the recorded news of its orders.
        commands: Gives the engine the recorded commands.
        decisions, orders, fills: Counts of what was compared so far.
    """

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        first = next(entries, None)
        if not isinstance(first, Started):
            raise DataError("the engine log does not begin with the start of a run; it cannot be repeated")
        self.started = first
        self.send_clock = _RecordedSends(self)
        self.news = _RecordedNews(self)
        self.commands = _RecordedCommands(self)
        self.decisions = self.orders = self.fills = 0
        self._unsent: Sent | None = None
        self._next: Entry | None = None
        self._advance()

    def _advance(self) -> None:
        self._next = next(self._entries, None)
        while isinstance(self._next, Stepped):
            # It holds from a moment of its own on, so it may be known before.
            self.send_clock.step(self._next.from_ns, self._next.offset_ns)
            self._next = next(self._entries, None)

    def sent_ns(self) -> int | None:
        """Return the departure of the next message; None where the recorded run sent none, which `output` compares."""
        entry = self._next
        if not isinstance(entry, Sent):
            return None
        self._advance()
        return entry.sent_ns

    def broker_news(self, until_ns: int | None) -> Sequence[OrderInput]:
        """Return the news that the recorded run took here, none where it took none."""
        entry = self._next
        if not isinstance(entry, BrokerNews) or entry.until_ns != until_ns:
            return ()
        self._advance()
        return entry.news

    def command(self, now_ns: int) -> RunCommand | None:
        """Return the command that the recorded run took here; None where it took none."""
        entry = self._next
        if not isinstance(entry, RunCommand) or entry.taken_ns != now_ns:
            return None
        self._advance()
        return entry

    def _past_sent(self) -> Entry | None:
        """Return the next entry, past messages that the repeated run has not sent."""
        while isinstance(self._next, Sent):
            self._unsent = self._next
            self._advance()
        if self._unsent is not None and not isinstance(self._next, Output | None):
            self._check_sent()
        return self._next

    def _check_sent(self) -> None:
        if self._unsent is not None:
            where = f"message {self._unsent.number} at {iso_of(self._unsent.at_ns)}"
            raise DifferenceError(where, f"sent, about {self._unsent.instrument}", "not sent")

    @staticmethod
    def _check_inputs(entry: Entry) -> None:
        """Refuse an entry that the repeated run should have taken by now."""
        if isinstance(entry, RunCommand):
            raise DifferenceError(f"commands at {iso_of(entry.taken_ns)}", str(entry), "not taken")
        if isinstance(entry, BrokerNews) and entry.news:
            first = entry.news[0]
            told = f"{type(first).__name__.lower()} of order {first.order_id}"
            raise DifferenceError(f"news of orders at {iso_of(first.received_ns)}", told, "not taken")

    def warmup(self, stream: Stream, count: int) -> Sequence[Candle]:
        """Return the candles of the recorded warm-up."""
        entry = self._next
        if entry is None:
            raise CutShortError
        asked = f"warm-up of {count} candles of {stream}"
        if not isinstance(entry, WarmupLoaded):
            raise DifferenceError("warm-up", "none", asked)
        recorded = f"warm-up of {entry.count} candles of {entry.instrument} candle {entry.interval}"
        if recorded != asked:
            raise DifferenceError("warm-up", recorded, asked)
        self._advance()
        return entry.candles

    def batches(self) -> Iterator[InputBatch]:
        """Yield the recorded batches."""
        while True:
            entry = self._past_sent()
            if entry is None:
                raise CutShortError
            if isinstance(entry, Output):
                raise DifferenceError(self._place(entry), describe(entry.decisions, entry.reports), "nothing")
            self._check_inputs(entry)
            if not isinstance(entry, InputBatch):
                if isinstance(entry, FeedEnded):
                    self._advance()
                return
            self._advance()
            yield entry

    def output(self, decisions: list[Decision], reports: list[Report]) -> None:
        """Compare the outcome of a batch with the recorded one."""
        entry = self._past_sent()
        if entry is None:
            raise CutShortError
        self._check_inputs(entry)
        if not isinstance(entry, Output):
            raise DifferenceError(_place_of(decisions, reports), "nothing", describe(decisions, reports))
        for number, (recorded, replayed) in enumerate(zip(entry.decisions, decisions, strict=False)):
            if recorded != replayed:
                where = f"decision {self.decisions + number + 1} at {iso_of(recorded.sent_ns)}"
                raise DifferenceError(where, _fields(recorded, replayed), _fields(replayed, recorded))
        for number, (recorded_report, report) in enumerate(zip(entry.reports, reports, strict=False)):
            if recorded_report != report:
                moment = iso_of(recorded_report.at_ns)
                where = f"order event {recorded_report.number + 1} at {moment} (the batch's {number + 1}.)"
                raise DifferenceError(where, _fields(recorded_report, report), _fields(report, recorded_report))
        if (len(entry.decisions), len(entry.reports)) != (len(decisions), len(reports)):
            recorded_text, replayed_text = describe(entry.decisions, entry.reports), describe(decisions, reports)
            raise DifferenceError(self._place(entry), recorded_text, replayed_text)
        self._check_sent()
        self.decisions += len(decisions)
        self.orders += sum(decision.kind == "submit" for decision in decisions)
        self.fills += sum(report.fill is not None for report in reports)
        self._advance()

    @property
    def goes_on(self) -> bool:
        """Whether the recorded run took more in than was followed so far."""
        return isinstance(self._past_sent(), InputBatch | WarmupLoaded | RunCommand)

    def has_failed(self) -> bool:
        """Return whether the recorded run ended with an error; reads to its end."""
        last = self._next
        for last in self._entries:  # noqa: B007 - the last one is what matters
            pass
        return isinstance(last, Stopped) and bool(last.error)

    def stopped(self) -> Stopped:
        """Return how the recorded run ended."""
        entry = self._past_sent()
        if entry is None:
            raise CutShortError
        if isinstance(entry, Output):
            raise DifferenceError(self._place(entry), describe(entry.decisions, entry.reports), "nothing")
        if not isinstance(entry, Stopped):
            raise DifferenceError("the end of the run", "went on", "ended")
        return entry

    @staticmethod
    def _place(entry: Output) -> str:
        return _place_of(entry.decisions, entry.reports)


class _RecordedSends(CallClock):
    """Lets messages leave when those of the recorded run left."""

    def __init__(self, log: LogReplayer) -> None:
        super().__init__()
        self._log = log

    def moment_ns(self, now_ns: int) -> int:
        """Return when the recorded message left; without one, that of engine time."""
        sent_ns = self._log.sent_ns()
        return now_ns if sent_ns is None else sent_ns


class _RecordedNews:
    """Gives the news of the recorded run, at the places where that took it."""

    def __init__(self, log: LogReplayer) -> None:
        self._log = log

    def take(self, until_ns: int) -> Sequence[OrderInput]:
        """Return what the recorded run took by the end of this batch."""
        return self._log.broker_news(until_ns)

    def take_rest(self) -> Sequence[OrderInput]:
        """Return what the recorded run still took at its end."""
        return self._log.broker_news(None)


class _RecordedCommands:
    """Gives the commands of the recorded run, at the places where that took them."""

    def __init__(self, log: LogReplayer) -> None:
        self._log = log

    def take(self, now_ns: int) -> RunCommand | None:
        """Return what the recorded run took at the end of this batch."""
        return self._log.command(now_ns)


def _place_of(decisions: Sequence[Decision], reports: Sequence[Report]) -> str:
    done_ns = decisions[0].sent_ns if decisions else reports[0].at_ns  # our clock's, else the exchange's
    return f"what was done at {iso_of(done_ns)}"


def describe(decisions: Sequence[Decision], reports: Sequence[Report]) -> str:
    """Return a batch's outcome in a line."""
    said = [f"{d.kind} {d.order_id} {d.side} {d.instrument}" for d in decisions]
    said += [f"{r.order_id} {r.state.value}{' ' + r.reason if r.reason else ''}" for r in reports]
    return "; ".join(said) or "nothing"


def _fields(record: Any, other: Any) -> str:
    """Return the fields in which a record differs from another one, and what it is about."""
    names = record.__struct_fields__
    parts = [f"{name}={getattr(record, name)}" for name in names if getattr(record, name) != getattr(other, name)]
    return f"{record.order_id}: {', '.join(parts)}"
