"""Metadata that change while a run goes on: what the exchange says of instruments, as rows for the engine."""

from collections.abc import Iterable, Mapping, Sequence

from quantkit.clock import iso_of
from quantkit.errors import ConfigError, FeedError, ParseError
from quantkit.events import KINDS, InstrumentChange, MarketEvent, Row
from quantkit.feeds.okx.codec.decode import InstrumentData
from quantkit.feeds.okx.codec.listing import instrument_of
from quantkit.instruments import CHANGEABLE, Instrument


def _rows_of(events: Iterable[object]) -> list[MarketEvent]:
    """Return the rows among everything that OKX sends."""
    return [event for event in events if type(event) in KINDS]  # type: ignore[misc]


class Listings:
    """The metadata of a run's instruments, kept up to date.

    What an engine cannot go along with ends the rows for good: steps that are no multiple of those at the start, on
    which it counts, or another worth of a contract. `refusal` says so then.

    Args:
        known: As loaded at the start, by id.
    """

    def __init__(self, known: Mapping[str, Instrument]) -> None:
        self._first = dict(known)
        self._now = dict(known)
        #: The instruments of the run; what is said of others is passed over.
        self.names: set[str] = set()
        self.refusal: FeedError | None = None

    @property
    def is_over(self) -> bool:
        """Whether a change was refused, so that nothing more comes."""
        return self.refusal is not None

    def rows(self, events: Sequence[object]) -> list[Row]:
        """Return the rows among what one frame or record brought, changes of metadata in their place."""
        if self.refusal is not None:
            return []
        rows: list[Row] = list(_rows_of(events))
        if len(rows) == len(events) or not any(type(event) is InstrumentData for event in events):
            return rows
        told: list[Row] = []
        for event in events:
            told += self._change(event) if isinstance(event, InstrumentData) else _rows_of((event,))
        # A change may have been refused just now: nothing of its frame is believed by halves.
        return [] if self.is_over else told

    def _change(self, data: InstrumentData) -> list[Row]:
        """Return the change that a row of metadata is, if it is one."""
        name = data.row.inst_id
        held = self._now.get(name)
        if name not in self.names or held is None:
            return []
        try:
            new = instrument_of(data.row, valid_from_ns=data.received_ns)
        except ParseError:
            return []
        differing = {} if new is None else held.change_to(new)
        if new is None or not differing:
            return []
        fixed = [f"{field} from {old} to {now}" for field, (old, now) in differing.items() if field not in CHANGEABLE]
        try:
            new.on_grid(self._first[name].tick, self._first[name].lot)
        except ConfigError as error:
            fixed.append(str(error))
        if fixed:
            self.refusal = FeedError(
                f"{name}: its metadata changed at {iso_of(data.received_ns)}, which no run can go on across: "
                f"{'; '.join(fixed)}; start a new run"
            )
            return []
        self._now[name] = new
        return [InstrumentChange(name, data.received_ns, data.received_ns, new)]
