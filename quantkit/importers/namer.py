"""The instruments of recognised files: named by a column, by the file's name, or by the user."""

from collections.abc import Iterator, Sequence

import numpy as np

from quantkit.errors import ConfigError
from quantkit.importers.formats.record import Format, Named
from quantkit.importers.intake import Intake
from quantkit.importers.names import FIELD
from quantkit.importers.reading import Reading
from quantkit.importers.recognition import Recognised
from quantkit.importers.tables import Chunk, Words
from quantkit.instruments import check_id


class Namer:
    """Names the instruments of files.

    Args:
        intake: Learns what the names tell of the instruments.
        instrument_id: As the user says; None takes what the files say.
    """

    def __init__(self, intake: Intake, instrument_id: str | None) -> None:
        self._intake = intake
        self._given = instrument_id
        self._named: dict[tuple[str, str, str], str] = {}
        self._seen: dict[str, set[str]] = {}
        if instrument_id is not None:
            check_id(instrument_id)

    def of_symbol(self, record: Format, symbol: str, each: Recognised) -> str:
        """Return the id of the instrument that a file's name or first line names.

        Raises:
            ConfigError: Neither it nor the user does.
        """
        if not symbol or (record.instrument is None and record.market is None):
            if self._given is None:
                raise ConfigError(
                    f"{each.file} ({record.title}) does not name its instrument; "
                    "give --instrument, for example BTC-USDT (instrument='...')"
                )
            return self._given
        named = self._name(record, symbol, each.venue, each)
        return self._given or named

    def parts(self, record: Format, chunk: Chunk, each: Recognised) -> Iterator[tuple[str, Chunk]]:
        """Yield a chunk's rows by instrument, those that are wanted."""
        column = chunk.columns.get(FIELD)
        if column is None:
            name = self.of_symbol(record, each.symbol, each)
            if self._wants(name):
                yield name, chunk
            else:
                self._intake.tally.ignore("rows of other instruments", len(chunk))
            return
        if not isinstance(column, Words):
            texts = Reading(chunk).texts(FIELD)
            known = dict.fromkeys(texts)
            places = {text: place for place, text in enumerate(known)}
            column = Words(np.array([places[text] for text in texts], np.int32), list(known))
        venue = self._venue(chunk, each)
        ids = [self._name(record, word, venue, each) for word in column.words]
        if self._given is not None:
            ids = self._chosen(ids, column.words, venue, each)
        if len(ids) == 1 and self._wants(ids[0]):
            yield ids[0], chunk
            return
        is_first = True
        for name in dict.fromkeys(ids):
            wanted = np.array([each_id == name for each_id in ids], np.bool_)
            rows = np.flatnonzero(wanted[column.codes])
            if not name or not self._wants(name):
                self._intake.tally.ignore("rows of other instruments", len(rows))
                continue
            yield name, chunk.take(rows, is_first=is_first)
            is_first = False

    def columns(self, record: Format, tickers: Sequence[str], each: Recognised) -> Iterator[tuple[str, str]]:
        """Yield the id and the name of each instrument whose columns stand beside others', those that are wanted."""
        ids = [self._name(record, ticker, each.venue, each) for ticker in tickers]
        if self._given is not None:
            ids = self._chosen(ids, tickers, each.venue, each)
        for name, ticker in zip(ids, tickers, strict=True):
            if name and self._wants(name):
                yield name, ticker

    @staticmethod
    def _venue(chunk: Chunk, each: Recognised) -> str:
        """Return where a chunk's rows come from, as a column or the file's name says.

        Raises:
            ConfigError: From several venues.
        """
        if "venue" not in chunk.columns:
            return each.venue
        venues = set(Reading(chunk).texts("venue"))
        if len(venues) > 1:
            raise ConfigError(f"{each.file} holds rows of several venues, {', '.join(sorted(venues))}; split them")
        return venues.pop()

    def _chosen(self, ids: Sequence[str], words: Sequence[str], venue: str, each: Recognised) -> list[str]:
        """Return the ids of which the user wants one, empty for the others; a single one bears the user's name."""
        assert self._given is not None
        seen = self._seen.setdefault(each.file.name, set())
        seen |= set(words)
        wanted = self._given.rpartition(":")[2]
        chosen = [
            self._given if self._given == one or wanted == word else "" for one, word in zip(ids, words, strict=True)
        ]
        if any(chosen) or len(seen) == 1:
            return chosen if any(chosen) else [self._given] * len(ids)
        if any(self._given == self._named[each.format.name, venue, word] or wanted == word for word in seen):
            return chosen
        raise ConfigError(
            f"{each.file} holds several instruments, {', '.join(sorted(seen)[:5])} among them, and none is "
            f"{self._given}; leave the instrument out, or choose with --only"
        )

    def _wants(self, name: str) -> bool:
        return self._intake.wants(name)

    def _name(self, record: Format, symbol: str, venue: str, each: Recognised) -> str:
        key = (each.format.name, venue, symbol)
        if key not in self._named:
            named = Named(symbol) if record.instrument is None else record.instrument(symbol)
            if record.market is not None:
                named = record.market(venue, symbol)
            try:
                check_id(named.id)
            except ConfigError as error:
                raise ConfigError(f"{each.file} names an instrument {symbol[:40]!r}: {error}") from None
            self._named[key] = named.id
            name = self._given or named.id
            self._intake.hints.setdefault(name, {}).update(named.fields)
            if named.in_contracts:
                self._intake.in_contracts.add(name)
        return self._named[key]
