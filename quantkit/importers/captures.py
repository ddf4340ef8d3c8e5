"""Common rules of raw captures: the order of their files, and strictly rising receipt stamps."""

from collections.abc import Callable, Sequence
from typing import Final

from quantkit.clock import NS_PER_MS, NS_PER_S, is_plausible, iso_of, latest_epoch_ns
from quantkit.errors import DataError, ParseError
from quantkit.importers.archives import ForeignFile
from quantkit.importers.report import Tally

#: A receipt clock may be set back this far without a word.
_JITTER_NS: Final = NS_PER_MS


class ReceiptClock:
    """The receipt stamps of one recorder, made strictly rising: `max(stamp, last + 1)`.

    Files that overlap in time, one for each instrument for example, are separate runs: each rises by itself.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._latest_ns = latest_epoch_ns()
        self._runs: list[list[int]] = []  # each run's last stamp as recorded and as used
        self._run: list[int] = [0, 0]
        self._run_of: dict[str, tuple[int, str]] = {}
        self._number = -1
        self._file = ""

    @property
    def run(self) -> int:
        """The number of the present file's run."""
        return self._number

    def begin(self, file: str, first_ns: int) -> None:
        """Start a file, which goes on with the first run that ends before it."""
        self._file = file
        for number, run in enumerate(self._runs):
            if run[0] <= first_ns:
                self._number, self._run = number, run
                return
        self._number, self._run = len(self._runs), [0, 0]
        self._runs.append(self._run)

    def stamp(self, recorded_ns: int) -> int:
        """Return the stamp of the next row.

        Raises:
            ParseError: No recorder's clock showed that.
        """
        self.check(recorded_ns, "receipt")
        run = self._run
        if recorded_ns < run[0] - _JITTER_NS:
            self._tally.warn(
                f"{self._file}: the receipt clock went back by {(run[0] - recorded_ns) / NS_PER_S:.3f} s; "
                "the rows keep their order and rise by 1 ns until it catches up"
            )
        run[0] = max(run[0], recorded_ns)
        run[1] = max(recorded_ns, run[1] + 1)
        return run[1]

    def check(self, stamp_ns: int, whose: str) -> None:
        """Refuse a stamp that no clock showed.

        Raises:
            ParseError: It is not between 1990 and a year from now.
        """
        if not is_plausible(stamp_ns, self._latest_ns):
            raise ParseError(f"the {whose} stamp reads as {iso_of(stamp_ns)}, not between 1990 and a year from now")

    def claim(self, instrument_id: str) -> None:
        """Check that an instrument comes in one run of files.

        Raises:
            DataError: Two files that overlap in time hold the same instrument.
        """
        number, file = self._run_of.setdefault(instrument_id, (self._number, self._file))
        if number != self._number:
            raise DataError(
                f"{file} and {self._file} overlap in time and both hold {instrument_id}; import them one at a time"
            )


def in_capture_order(
    files: Sequence[ForeignFile], first_ns: Callable[[ForeignFile], int | None]
) -> list[tuple[ForeignFile, int]]:
    """Return capture files with the stamp of their first row, in the order of these; files without one come first."""
    found = [(file, first_ns(file) or 0) for file in files]
    return sorted(found, key=lambda each: each[1])
