"""Books of one channel: the chain of sequence numbers, when a book becomes invalid, and when valid again.

A book is visible while the rows delivered so far give the true book. It becomes invisible with exactly one gap, and
visible again with a snapshot: the exchange's own, or one made of the levels kept here if the chain never broke.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from quantkit.clock import span_text
from quantkit.errors import ParseError
from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import BookData
from quantkit.feeds.okx.tracker.alignment import SnapshotAlignment, fetched_book
from quantkit.feeds.okx.tracker.book import DEPTHS, ChecksummedBook, Link, SequencedBook, link
from quantkit.feeds.okx.tracker.channel import ChannelState, Counters, FeedMessage
from quantkit.feeds.okx.tracker.records import Command, FetchBook, FetchInstrument, Resubscribe
from quantkit.instruments import on_step_of

#: Most prices of a book that are remembered as multiples of the price step.
_MOST_PRICES: Final = 100_000
#: Most fetches of a book before the channel is subscribed anew instead.
_MOST_FETCHES: Final = 5


class Phase(StrEnum):
    """State of a book."""

    WAITING = "waiting"  # subscribed, no message yet
    ALIGNING = "aligning"  # updates came without a snapshot; a book is fetched
    TRACKED = "tracked"  # the levels are those of the exchange
    BROKEN = "broken"  # the chain broke; a new subscription was asked for


class BookChannel(ChannelState):
    """A channel whose rows are a book.

    Attributes:
        is_visible: Whether the rows delivered so far give the true book.
    """

    __slots__ = ("_is_relisting", "_last_ns", "_on_step", "_step", "is_visible")

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command)
        self.is_visible = False
        self._step = ""
        #: Prices known to be multiples of the step; None while prices are not checked.
        self._on_step: set[float] | None = None
        #: Whether metadata are being fetched because a price was off the step.
        self._is_relisting = False
        #: The exchange's stamp of the last row applied.
        self._last_ns = 0

    def listed(self, price_step: str) -> None:
        """Check prices against a price step from now on.

        If the fetched step is the known one, or could not be fetched, the exchange means the prices it shows: they are
        not checked until another step comes.
        """
        was_asked, self._is_relisting = self._is_relisting, False
        if price_step and price_step != self._step:
            self._step, self._on_step = price_step, set()
        elif was_asked:
            self._on_step = None
            self._counters.count("books with levels off the step that the exchange lists")
        if was_asked:
            self._relisted()

    def _relisted(self) -> None:
        """Go on after metadata were fetched."""

    def _is_off_step(self, update: BookUpdate) -> bool:
        """Return whether a price is no multiple of the step."""
        known = self._on_step
        if known is None or (known.issuperset(update.bid_prices) and known.issuperset(update.ask_prices)):
            return False
        if len(known) > _MOST_PRICES:
            known.clear()
        is_on = on_step_of(self._step)
        for prices, sizes in ((update.bid_prices, update.bid_qtys), (update.ask_prices, update.ask_qtys)):
            for price, size in zip(prices, sizes, strict=True):
                if is_on(price):
                    known.add(price)
                elif size:  # a level removed at such a price came on a finer step before
                    return True
        return False

    def _relist(self, received_ns: int, exchange_ns: int, out: list[FeedMessage]) -> None:
        """Make the book invalid until metadata are fetched."""
        self._hide(received_ns, "off_step", out, exchange_ns)
        self._counters.count("books with a level off the step")
        self._is_relisting = True
        self._command(FetchInstrument(self.channel))

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering; the consumer's book is invalid without every row."""
        self.is_paused = True
        self._hide(received_ns, "shed", out)

    def _hide(self, received_ns: int, cause: str, out: list[FeedMessage], exchange_ns: int | None = None) -> None:
        """Make the book invisible and add its gap, once."""
        if not self.is_visible:
            return
        self.is_visible = False
        # A loss without a stamp of the exchange's lasts from its newest stamp until now, by our clock.
        stamp_ns = self._last_ns if exchange_ns is None else exchange_ns
        end_ns = max(self._last_ns, received_ns) if exchange_ns is None else exchange_ns
        since_ns = min(self._last_ns, end_ns)
        out.append(Gap(self.channel.inst_id, stamp_ns, received_ns, "book", since_ns, end_ns, cause))


class WholeBookChannel(BookChannel):
    """A channel that sends the whole book each time: `books5`."""

    __slots__ = ("_seq_id",)

    def __init__(self, channel: Channel, counters: Counters, command: Callable[[Command], None]) -> None:
        super().__init__(channel, counters, command)
        self._seq_id: int | None = None

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Deliver a book, unless it is crossed."""
        data: BookData = message
        update = data.update
        if not self._is_ours(connection, received_ns):
            return
        if self.successor is not None and connection == self.successor:
            if self._seq_id is None or data.seq_id is None or data.seq_id <= self._seq_id:
                self._counters.count("repeated rows of a handover")
                return
            self.owner, self.successor = connection, self.owner
        self._last_ns, self._seq_id = update.exchange_ns, data.seq_id
        if self.is_paused:
            self._counters.count("rows shed")
        elif self._is_relisting:
            self._counters.count("book updates while waiting for metadata")
        elif self._is_off_step(update):
            self._relist(received_ns, update.exchange_ns, out)
        elif update.bid_prices and update.ask_prices and max(update.bid_prices) >= min(update.ask_prices):
            self._hide(received_ns, "crossed", out, update.exchange_ns)
            self._counters.count("crossed books")
        else:
            self.is_visible = True
            out.append(update)

    def malformed(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Make the book invalid until the next one."""
        if connection == self.owner:
            self._hide(received_ns, "malformed", out)

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        self._hide(received_ns, cause, out)


class DepthChannel(BookChannel):
    """A book kept by a snapshot and updates that are chained by sequence numbers.

    The numbers are the same on every connection, so that during a handover an update is applied from the connection
    that brings it first. Each connection's own chain is followed as well: it tells a copy from a loss.
    """

    __slots__ = ("_alignment", "_chains", "_has_crossed", "_resyncing", "_steady", "book", "phase")

    def __init__(
        self, channel: Channel, counters: Counters, command: Callable[[Command], None], *, proves_checksums: bool
    ) -> None:
        super().__init__(channel, counters, command)
        self.phase = Phase.WAITING
        self.book = (ChecksummedBook if proves_checksums else SequencedBook)(DEPTHS[channel.name])
        #: The connection whose updates are applied if only they follow; None while the book is invalid or handed over.
        self._steady: int | None = None
        #: The last sequence number of each connection whose chain is whole.
        self._chains: dict[int, int | None] = {}
        #: The connections that were asked to subscribe anew and have not done so yet.
        self._resyncing: set[int] = set()
        self._alignment = SnapshotAlignment()
        #: Whether the channel was subscribed anew for a crossed book. In an auction the exchange's own book is crossed.
        self._has_crossed = False

    def heard_ns(self, connection: int) -> int:
        """Return when a connection last brought a frame, UTC ns; 0 while its chain is broken or lacks a snapshot."""
        return self._heard.get(connection, 0) if connection in self._chains else 0

    # Frames ---------------------------------------------------------------------------------------------------

    def take(self, connection: int, received_ns: int, message: Any, out: list[FeedMessage]) -> None:
        """Apply a message that follows, and deliver it; otherwise add the gap that it reveals."""
        data: BookData = message
        book = self.book
        if (
            connection == self._steady
            and data.prev_seq_id is not None
            and data.prev_seq_id == book.seq_id
            and data.seq_id is not None
            and not data.update.is_snapshot
        ):
            unknown = book.apply(data)
            if unknown:
                self._counters.count("removed levels that were not there", unknown)
            if fault := book.fault():
                self._refuse(fault, data, out)
                return
            if self._on_step is not None and self._is_off_step(data.update):
                self._give_up_step(data, out)
                return
            self._chains[connection] = data.seq_id
            self._heard[connection] = received_ns
            self._last_ns = data.update.exchange_ns
            out.append(data.update)
            return
        if not self._is_ours(connection, received_ns):
            return
        if data.update.is_snapshot:
            self._snapshot(connection, data, out)
        elif self.phase is Phase.TRACKED:
            self._update(connection, data, out)
        elif self.phase is Phase.BROKEN or connection != self.owner or data.seq_id is None or data.prev_seq_id is None:
            self._counters.count("book updates while waiting for a snapshot")
        else:
            self._wait(data, out)

    def _snapshot(self, connection: int, data: BookData, out: list[FeedMessage]) -> None:
        seq_id, last = data.seq_id, self.book.seq_id
        is_behind = seq_id is not None and last is not None and seq_id <= last
        if self.phase is Phase.TRACKED and is_behind and self._is_carried_beside(connection):
            # This connection is behind the other one.
            self._chains[connection] = seq_id
            self._counters.count("repeated rows of a handover")
            return
        self._chains[connection] = seq_id
        if self.is_visible and seq_id is not None and seq_id == last:
            self._counters.count("repeated book frames")
            return
        self._apply(data, out)

    def _update(self, connection: int, data: BookData, out: list[FeedMessage]) -> None:
        book, seq_id, prev_seq_id = self.book, data.seq_id, data.prev_seq_id
        if book.seq_id is None or seq_id is None or prev_seq_id is None:
            # Recordings from before OKX sent numbers: only the owner's messages are known to be in order.
            if connection != self.owner:
                self._counters.count("repeated rows of a handover")
            elif link(data, book.seq_id) is Link.NEXT:
                self._chains[connection] = seq_id
                self._apply(data, out)
            else:
                self._break(connection, data, "sequence", out)
            return
        chain = self._chains.get(connection)
        is_follower = connection != self.owner
        if prev_seq_id == book.seq_id and not (seq_id == prev_seq_id and is_follower):
            self._chains[connection] = seq_id
            self._apply(data, out)
        elif seq_id == book.seq_id and (prev_seq_id <= seq_id or prev_seq_id == book.prev_seq_id):
            # The frame applied last, repeated, or the other connection's copy of it.
            self._chains[connection] = seq_id
            self._counters.count("repeated book frames")
        elif data.update.exchange_ns <= book.exchange_ns and (
            prev_seq_id == chain or (chain is None and self._is_carried_beside(connection))
        ):
            # This connection is behind the other one.
            if chain is not None:
                self._chains[connection] = seq_id
            self._counters.count("repeated rows of a handover")
        else:
            self._break(connection, data, "sequence", out)

    def _apply(self, data: BookData, out: list[FeedMessage]) -> None:
        """Apply a message whose place in the chain is known."""
        book, update = self.book, data.update
        was_crossed = book.is_crossed and self.phase is Phase.TRACKED
        unknown = book.apply(data)
        if unknown:
            self._counters.count("removed levels that were not there", unknown)
        fault = book.fault()
        # In an auction the exchange's own book is crossed: once a new snapshot is crossed too, that is what it shows.
        if fault and not (fault == "crossed" and (was_crossed or (update.is_snapshot and self._has_crossed))):
            self._refuse(fault, data, out)
            return
        if self._is_off_step(update):
            self._give_up_step(data, out)
            return
        self.phase = Phase.TRACKED
        self._last_ns = update.exchange_ns
        if book.is_crossed:
            # The exchange's own book is crossed, as in an auction: follow it invisibly until it is not.
            self._hide(update.received_ns, "crossed", out, update.exchange_ns)
            self._counters.count("crossed books")
        elif self.is_paused:
            self._counters.count("rows shed")
        elif self.is_visible or update.is_snapshot:
            self._show(update, out)
        else:
            self._show(book.snapshot(update.instrument, update.received_ns), out)
        self._steady = self.owner if self.is_visible and self.successor is None else None

    def _show(self, update: BookUpdate, out: list[FeedMessage]) -> None:
        self.is_visible = True
        self._has_crossed = False
        out.append(update)

    def pause(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Stop delivering; the chain is still followed."""
        super().pause(received_ns, out)
        self._steady = None

    def resume(self, received_ns: int, out: list[FeedMessage]) -> None:
        """Deliver again, first the whole book: its chain was followed all the time."""
        self.is_paused = False
        if self.phase is Phase.TRACKED and not self.book.is_crossed:
            self._show(self.book.snapshot(self.channel.inst_id, received_ns), out)

    # Breaking -------------------------------------------------------------------------------------------------

    def _give_up_step(self, data: BookData, out: list[FeedMessage]) -> None:
        """Give up a book with a price off the step; a snapshot is asked for after the metadata are fetched."""
        self._chains.clear()
        self._forget_levels(Phase.BROKEN)
        self._relist(data.update.received_ns, data.update.exchange_ns, out)

    def _relisted(self) -> None:
        if self.owner is not None:
            self._resync(self.owner, "off_step")

    def _refuse(self, cause: str, data: BookData, out: list[FeedMessage]) -> None:
        """Give up a book whose levels are wrong although its chain is whole."""
        self._has_crossed = cause == "crossed"
        self._chains.clear()
        self._broken(cause, data.update.received_ns, out, data.update.exchange_ns)

    def _break(self, connection: int, data: BookData, cause: str, out: list[FeedMessage]) -> None:
        """Take a break of a connection's chain; another connection with a whole chain carries the book on."""
        self._chains.pop(connection, None)
        if self._chains:
            self._counters.count("chains that broke beside a whole one")
            return
        self._broken(cause, data.update.received_ns, out, data.update.exchange_ns)

    def _broken(self, cause: str, received_ns: int, out: list[FeedMessage], exchange_ns: int | None = None) -> None:
        """Make the book invalid and subscribe it anew, once; updates are ignored until its snapshot."""
        # On the owner: a successor's updates follow the new snapshot, and if the owner ends before, it begins anew.
        self._hide(received_ns, cause, out, exchange_ns)
        self._counters.count(f"books that broke: {cause}")
        self._forget_levels(Phase.BROKEN)
        self._resync(self._owner(), cause)

    def _resync(self, connection: int, cause: str) -> None:
        if connection not in self._resyncing:
            self._resyncing.add(connection)
            self._command(Resubscribe(connection, self.channel, cause))

    def _forget_levels(self, phase: Phase) -> None:
        self.phase = phase
        self.book = type(self.book)(self.book.depth)
        self._alignment = SnapshotAlignment()
        self._steady = None

    def malformed(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        """Take a frame that could not be decoded: the book may lack its levels."""
        if connection not in (self.owner, self.successor) or self.phase is Phase.BROKEN:
            return
        self._chains.pop(connection, None)
        if not self._chains:
            self._broken("malformed", received_ns, out)

    def stalled(self, connection: int, received_ns: int, quiet_ns: int, out: list[FeedMessage]) -> None:
        """Take a silence of the channel; it is subscribed anew."""
        if connection not in (self.owner, self.successor):
            return
        self._chains.pop(connection, None)
        self._resyncing.discard(connection)  # an earlier new subscription did not help
        cause = f"stalled for {span_text(quiet_ns)}"
        if not self._chains:
            self._broken(cause, received_ns, out)
        self._resync(connection, cause)

    # Connections ----------------------------------------------------------------------------------------------

    def _is_carried_beside(self, connection: int) -> bool:
        """Return whether another connection's chain ends where the book stands."""
        return any(other != connection and seq == self.book.seq_id for other, seq in self._chains.items())

    def _restarted(self, connection: int) -> None:
        self._chains.pop(connection, None)
        self._resyncing.discard(connection)
        self._steady = None
        if self.phase is not Phase.TRACKED and connection == self.owner:
            self._forget_levels(Phase.WAITING)

    def _left(self, connection: int, received_ns: int, out: list[FeedMessage]) -> None:
        self._chains.pop(connection, None)
        self._resyncing.discard(connection)
        self._steady = None
        if self.phase is Phase.TRACKED and not self._chains:
            # The owner's own chain was broken, and the connection that carried the book has ended.
            self._broken("sequence", received_ns, out)

    def _fail(self, received_ns: int, cause: str, out: list[FeedMessage]) -> None:
        self._hide(received_ns, cause, out)
        self._forget_levels(Phase.WAITING)

    # A subscription that began without a snapshot -------------------------------------------------------------

    def _wait(self, data: BookData, out: list[FeedMessage]) -> None:
        """Keep an update until a fetched book comes that it follows."""
        joined = self._alignment.add(data)
        if joined is not None:
            self._join(joined, data.update.received_ns, out)
        elif self._alignment.is_full:
            self._broken("no snapshot", data.update.received_ns, out)
        elif self.phase is Phase.WAITING:
            self.phase = Phase.ALIGNING
            self._fetch()

    def fetched(self, body: bytes, error: str, received_ns: int, out: list[FeedMessage]) -> None:
        """Take a fetched book, or the error of the fetch."""
        if self.phase is not Phase.ALIGNING:
            self._counters.count("fetched books that nobody needs any more")
            return
        try:
            base = None if error else fetched_book(self.channel, body, received_ns)
        except ParseError:
            self._counters.count("malformed fetched books")
            base = None
        if base is None:
            self._broken("no snapshot", received_ns, out)
            return
        joined = self._alignment.join(base)
        if joined is not None:
            self._join(joined, received_ns, out)

    def _join(self, joined: list[BookData], received_ns: int, out: list[FeedMessage]) -> None:
        """Begin with a fetched book; without one that reaches the updates, fetch again."""
        owner = self._owner()
        if not joined:
            if self._alignment.fetches >= _MOST_FETCHES:
                self._broken("no snapshot", received_ns, out)
            else:
                self._fetch()
            return
        for data in joined:
            update = msgspec.structs.replace(data.update, received_ns=received_ns)
            self._chains[owner] = data.seq_id
            self._apply(msgspec.structs.replace(data, update=update), out)
            if self.phase is Phase.BROKEN:
                return

    def _fetch(self) -> None:
        self._alignment.fetches += 1
        self._command(FetchBook(self.channel))

    def _owner(self) -> int:
        assert self.owner is not None
        return self.owner
