"""The instrument of a table's rows."""

from typing import Final

import numpy as np

from quantkit.errors import ConfigError
from quantkit.importers.reading import Reading
from quantkit.importers.report import Tally
from quantkit.instruments import check_id

FIELD: Final = "instrument"


class Names:
    """The one instrument of a table import: named by the user, else by the table.

    Args:
        instrument_id: As the user says; None takes the table's own.
        tally: Counts the rows of other instruments.
    """

    def __init__(self, instrument_id: str | None, tally: Tally) -> None:
        self._id = instrument_id
        self._tally = tally
        self._own: str | None = None
        if instrument_id is not None:
            check_id(instrument_id)

    @property
    def instrument(self) -> str:
        """The id; known after the first rows.

        Raises:
            ConfigError: Nobody said it.
        """
        if self._id is None:
            raise ConfigError(
                "the files do not name their instrument; "
                "give --instrument, for example binance:BTC-USDT-SWAP (instrument='...')"
            )
        return self._id

    def select(self, reading: Reading) -> None:
        """Leave out the rows of other instruments, where the table has several.

        Raises:
            ConfigError: Neither the table nor the user names an instrument, or the table lacks the user's
                instrument.
        """
        if FIELD not in reading.chunk.columns:
            _ = self.instrument
            return
        texts = reading.texts(FIELD)
        if self._own is None:
            wanted = "" if self._id is None else self._id.rpartition(":")[2]
            self._own = next((text for text in texts if text == wanted), texts[0])
            if self._id is None:
                check_id(self._own)
                self._id = self._own
        others = np.array([text != self._own for text in texts], np.bool_)
        if not others.any():
            return
        if self._own != self.instrument.rpartition(":")[2]:
            other = texts[int(others.argmax())]
            raise ConfigError(
                f"{reading.chunk.file} holds several instruments, {self._own} and {other} among them; "
                "give the one to import as it is spelled there"
            )
        reading.leave_out(others, self._tally, "rows of other instruments")
