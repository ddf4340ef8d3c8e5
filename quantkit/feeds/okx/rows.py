"""The messages of the tracker as rows for the engine, changes of metadata in their place."""

from collections.abc import Iterable, Mapping, Sequence

from quantkit.errors import FeedError, ParseError
from quantkit.events import KINDS, InstrumentChange, MarketEvent, Row
from quantkit.feeds.okx.codec.decode import InstrumentData
from quantkit.feeds.okx.codec.listing import instrument_of
from quantkit.feeds.relisting import Listings
from quantkit.instruments import Instrument


class MessageRows:
    """Picks the rows of a run among the messages of OKX; after a refused change of metadata there are none.

    Args:
        known: The instruments as loaded at the start, by id.
    """

    def __init__(self, known: Mapping[str, Instrument]) -> None:
        self._listings = Listings(known)

    @property
    def refusal(self) -> FeedError | None:
        """The change that ended the rows, None if there was none."""
        return self._listings.refusal

    def follow(self, names: Iterable[str]) -> None:
        """Add instruments of the run, whose changes of metadata are rows."""
        self._listings.follow(names)

    def rows(self, messages: Sequence[object]) -> list[Row]:
        """Return the rows among the messages of one frame or record."""
        if self._is_over():
            return []
        rows: list[Row] = list(_events_of(messages))
        if len(rows) == len(messages) or not any(type(message) is InstrumentData for message in messages):
            return rows
        rows = []
        for message in messages:
            rows += self._change(message) if isinstance(message, InstrumentData) else _events_of((message,))
        # A change may have been refused just now: nothing of its frame is believed by halves.
        return [] if self._is_over() else rows

    def _is_over(self) -> bool:
        return self._listings.refusal is not None

    def _change(self, data: InstrumentData) -> list[InstrumentChange]:
        if not self._listings.follows(data.row.inst_id):
            return []
        try:
            new = instrument_of(data.row, valid_from_ns=data.received_ns)
        except ParseError:
            return []
        change = None if new is None else self._listings.change(new, data.received_ns)
        return [] if change is None else [change]


def _events_of(messages: Iterable[object]) -> list[MarketEvent]:
    """Return the market events among messages."""
    return [message for message in messages if type(message) in KINDS]  # type: ignore[misc]
