"""Changes of instruments' metadata during a live run, and the rule for changes that end the run."""

from collections.abc import Iterable, Mapping

from quantkit.clock import iso_of
from quantkit.errors import ConfigError, FeedError
from quantkit.events import InstrumentChange
from quantkit.instruments import CHANGEABLE, Instrument


class Listings:
    """The metadata of a run's instruments, kept up to date.

    Two changes end the rows for good, since the engine cannot continue across them: a step that is no multiple of the
    step at the start, which is its unit of counting, and another value of a contract. `refusal` says so then.

    Args:
        known: As loaded at the start, by id.
    """

    def __init__(self, known: Mapping[str, Instrument]) -> None:
        self._first = dict(known)
        self._now = dict(known)
        self._names: set[str] = set()
        self.refusal: FeedError | None = None

    def follow(self, names: Iterable[str]) -> None:
        """Add instruments of the run; changes of others are no rows."""
        self._names.update(names)

    def follows(self, name: str) -> bool:
        """Whether changes of an instrument are rows."""
        return name in self._names and name in self._now

    def change(self, new: Instrument, received_ns: int) -> InstrumentChange | None:
        """Return the row of what the exchange says of an instrument, None if it says the same or is refused.

        Args:
            new: An instrument of the run.
            received_ns: The stamp of the message.
        """
        differing = self._now[new.id].change_to(new)
        if not differing:
            return None
        fixed = [f"{field} from {old} to {now}" for field, (old, now) in differing.items() if field not in CHANGEABLE]
        first = self._first[new.id]
        try:
            new.on_grid(first.tick, first.lot)
        except ConfigError as error:
            fixed.append(str(error))
        if fixed:
            self.refusal = FeedError(
                f"{new.id}: its metadata changed at {iso_of(received_ns)}, and a run cannot continue across that: "
                f"{'; '.join(fixed)}; start a new run"
            )
            return None
        self._now[new.id] = new
        return InstrumentChange(new.id, received_ns, received_ns, new)
