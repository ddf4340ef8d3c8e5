"""The knowledge of a live feed beforehand: its instruments and streams at the opening, and nothing of the future."""

from collections.abc import Iterable, Mapping, Sequence

from quantkit.events import PositionTier
from quantkit.feeds.live_source import BESIDE, OPEN_END_NS, LiveSource
from quantkit.feeds.resample import sources_of
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage


class LiveCatalog:
    """The answers of a live feed before its rows; its recording gives the same ones.

    Args:
        exchange: Where the rows come from.
    """

    def __init__(self, exchange: type[LiveSource]) -> None:
        self._exchange = exchange
        self._instruments: dict[str, Instrument] = {}
        self._coverage: dict[Stream, Coverage] = {}

    def _set_opening(self, instruments: Iterable[Instrument], opened_ns: int) -> None:
        """Keep the metadata as loaded, and the streams that the exchange sends of them from the opening on."""
        self._instruments = {instrument.id: instrument for instrument in instruments}
        held = Coverage(opened_ns, OPEN_END_NS, 0)
        self._coverage = {
            stream: held
            for instrument in self._instruments.values()
            for stream in (
                *self._exchange.streams_of(instrument),
                *(Stream(kind, instrument.id) for kind in BESIDE),
            )
        }

    def instruments(self, at_ns: int | None = None) -> Mapping[str, Instrument]:
        """Return the metadata of every traded instrument, as loaded at the opening of the feed."""
        return self._instruments

    def changes(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Instrument]:
        """Return nothing: changes are not known beforehand."""
        return ()

    def position_tiers(self, instrument: str, margin_mode: str, at_ns: int) -> Sequence[PositionTier]:
        """Return nothing: a live run is given its tiers."""
        return ()

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return every stream that the exchange sends of the instruments, from the opening on."""
        return self._coverage

    def source(self, stream: Stream, start_ns: int | None = None, end_ns: int | None = None) -> Stream:
        """Return the stream itself: every interval that there is comes as it is from the exchange.

        Raises:
            DataError: The exchange has no such stream.
        """
        return sources_of(stream, self._coverage)[0]

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return False: losses are not known beforehand."""
        return False

    def book_before(self, stream: Stream, start_ns: int) -> list[Block]:
        """Return nothing: a live book begins with its snapshot."""
        return []
