"""The metadata of instruments that a run knows: as at its start, and changed as the exchange changes them."""

from collections.abc import Mapping

from quantkit.errors import ConfigError, DataError
from quantkit.feeds.base import Feed
from quantkit.instruments import Instrument, closest_id, names_of


class KnownInstruments:
    """The metadata of a run's instruments as they are at present.

    Args:
        feed: Their source.
        at_ns: Moment of the metadata: `on_start` sees no later minimum or step.
        is_live: Whether the feed is.

    Attributes:
        has_begun: Whether the run has begun: an unknown id is then a slip in a hook, and no lack of data.
        asked: The instruments that the strategy has asked for.
    """

    def __init__(self, feed: Feed, at_ns: int, *, is_live: bool) -> None:
        self._feed = feed
        self._is_live = is_live
        self._begun = feed.instruments(at_ns)
        self._changed: dict[str, Instrument] = {}
        self.has_begun = False
        self.asked: set[str] = set()

    def begin(self) -> None:
        """Note that the run has begun."""
        self.has_begun = True

    def update(self, instruments: Mapping[str, Instrument]) -> None:
        """Use other metadata from now on."""
        self._changed.update(instruments)

    def find(self, instrument: str) -> Instrument:
        """Return an instrument as it is at present; before the run's start is known, as it is today.

        Raises:
            DataError, ConfigError: The id is unknown; the message lists the known ones.
        """
        found = self._changed.get(instrument) or self._begun.get(instrument)
        if found is None:
            there = sorted({*self._begun, *(stream.instrument for stream in self._feed.coverage())})
            close = closest_id(instrument, there)
            hint = "there" if close is None else f"did you mean {close}? There"
            what = f"the live feed has no {instrument}" if self._is_live else f"no data: {instrument} is not there"
            raise (ConfigError if self.has_begun else DataError)(f"{what}; {hint} is {names_of(there)}")
        self.asked.add(instrument)
        return found
