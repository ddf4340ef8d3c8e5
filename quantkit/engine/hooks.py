"""The engine's own hooks, in front of the strategy's: candles, funding, gaps, changed metadata and book rows."""

from collections.abc import Callable
from typing import Any

from quantkit.brokers.base import Broker, DirtySet
from quantkit.engine.bookings import Bookings
from quantkit.engine.books import Books
from quantkit.engine.context import RunContext
from quantkit.engine.delivery import ReportDelivery
from quantkit.engine.known_instruments import KnownInstruments
from quantkit.engine.plan import Plan
from quantkit.events import EVENT_KINDS, Candle, Funding, Gap, InstrumentChange
from quantkit.instruments import Instrument
from quantkit.orderbook import Book
from quantkit.portfolio import Portfolio
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.position import RunPosition
from quantkit.strategy import Strategy, overrides


class Hooks:
    """Finds the functions that take a stream's rows one by one.

    Args:
        strategy, context: Whose hooks run, and what it acts through.
        plan: The run's.
        subscriptions: Streams that the strategy asked for.
        broker: The run's.
        reported: The ledger as it has been reported to the strategy.
        bookings, books, delivery, instruments, position: The run's.
        dirty: Gets the instruments that funding is charged on.

    Attributes:
        changes: Metadata that came into force in the course of the run, in order of time.
    """

    def __init__(
        self,
        strategy: Strategy,
        context: RunContext,
        plan: Plan,
        subscriptions: dict[Stream, int],
        broker: Broker,
        reported: Portfolio,
        bookings: Bookings,
        books: Books,
        delivery: ReportDelivery,
        instruments: KnownInstruments,
        position: RunPosition,
        dirty: DirtySet,
    ) -> None:
        self.changes: list[Instrument] = []
        self._strategy = strategy
        self._context = context
        self._plan = plan
        self._subscriptions = subscriptions
        self._broker = broker
        self._reported = reported
        self._bookings = bookings
        self._books = books
        self._delivery = delivery
        self._instruments = instruments
        self._position = position
        self._dirty = dirty
        self._hooks: dict[str, Callable[[Any], None]] = {
            kind.name: getattr(strategy, kind.hook) for kind in EVENT_KINDS.values() if kind.hook is not None
        }
        self._of_stream: dict[Stream, Callable[[Any], None] | None] = {}

    def of(self, cursor: StreamCursor) -> Callable[[Any], None] | None:
        """Return the function that takes a stream's rows one by one, None without one."""
        stream = cursor.stream
        if stream in self._of_stream:
            return self._of_stream[stream]
        hook = self._of_stream[stream] = self._find(cursor)
        return hook

    def _find(self, cursor: StreamCursor) -> Callable[[Any], None] | None:
        is_subscribed = cursor.stream in self._subscriptions
        match cursor.kind:
            case "candle":
                return self._candle_hook(cursor.stream) if is_subscribed else None
            case "book":
                wants = is_subscribed and overrides(self._strategy, "on_book")
                return self._book_hook(cursor) if wants and isinstance(cursor, BookCursor) else None
            case "funding":
                return self.on_funding
            case "gap":
                return self.on_gap
            case "instrument":
                return self.on_instrument
            case kind:
                name = EVENT_KINDS[kind].hook
                if name is None or not is_subscribed or not overrides(self._strategy, name):
                    return None
                return self._hooks[kind]

    def on_candle(self, candle: Candle) -> None:
        """Take a candle of the warm-up."""
        self._candle_hook(Stream("candle", candle.instrument, candle.interval))(candle)

    def on_gap(self, gap: Gap) -> None:
        """Count a gap and hand it on."""
        self._books.take_gap(gap)
        self._strategy.on_gap(gap)

    def on_funding(self, funding: Funding) -> None:
        """Charge a settled rate, and hand it on unless it ruins the account."""
        if funding.is_settled:
            if self._bookings.charge(funding, self._broker, self._position):
                self._dirty.add(funding.instrument)
            if self._bookings.is_ruinous():
                return  # the run ends with this row
        if Stream("funding", funding.instrument) in self._subscriptions:
            self._strategy.on_funding(funding)

    def on_instrument(self, change: InstrumentChange) -> None:
        """Use an instrument's new steps and minimum from this row on."""
        grid, now_ns = self._plan.instruments[change.instrument], self._position.now_ns
        instrument = change.info.on_grid(grid.tick, grid.lot)
        self._position.is_after_candles = True  # what had arrived by now may fill here
        self._instruments.update({instrument.id: instrument})
        self._reported.change_instrument(instrument)
        self._broker.change_instrument(instrument, change.exchange_ns)
        self.changes.append(instrument)
        self._delivery.deliver(now_ns)

    def _candle_hook(self, stream: Stream) -> Callable[[Candle], None]:
        """Return a hook that keeps a candle for `history` and hands it on."""
        keep, on_candle = self._context.kept_candles(stream).append, self._strategy.on_candle

        def on_candle_row(candle: Candle) -> None:
            keep(candle)
            on_candle(candle)

        on_candle_row.__name__ = "on_candle"
        return on_candle_row

    def _book_hook(self, cursor: BookCursor) -> Callable[[Any], None]:
        """Return a hook that applies one row and shows the book to the strategy."""
        on_book, book, position = self._strategy.on_book, cursor.book, self._position

        def on_book_row(row: int) -> None:
            cursor.advance(row + 1)
            if book.is_valid:
                now_ns = position.now_ns
                book.check_not_crossed(now_ns)
                on_book(Book(book, exchange_ns=cursor.stamps_at(row)[0], received_ns=now_ns))

        on_book_row.__name__ = "on_book"
        return on_book_row
