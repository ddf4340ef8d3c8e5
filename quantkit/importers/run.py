"""One import: every file told apart and handed to the reader of its format."""

from collections.abc import Mapping, Sequence
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers import dbn
from quantkit.importers.archives import ForeignFile, Unpacker
from quantkit.importers.arrays import fields_of, is_array
from quantkit.importers.binance import import_binance
from quantkit.importers.candles import import_candles
from quantkit.importers.content import check_content, foreign, head_of, is_arrow_table
from quantkit.importers.dbn import is_dbn
from quantkit.importers.formats.record import Format
from quantkit.importers.formatted import import_formatted
from quantkit.importers.intake import Intake
from quantkit.importers.json_lists import is_list, write_table
from quantkit.importers.okx import import_okx
from quantkit.importers.recognition import Recognised, beginning, of_array, of_schema, recognise, sample_of
from quantkit.importers.record_tables import Said
from quantkit.importers.report import Progress
from quantkit.importers.rows import import_rows

_CAPTURES: Final = ("okx/ws-raw", "binance/ws-raw")
_WORDS: Final = ("candles", "trades", "tickers", "marks", "funding")


class ImportRun:
    """Tells files apart and reads them into an intake.

    Args:
        unpacker: Keeps what has to lie on disk.
        intake: Takes the rows.
        said: By the user.
        formats: Those of the venues and of the user, by name.
        progress: Called while files are read.
    """

    def __init__(
        self,
        unpacker: Unpacker,
        intake: Intake,
        said: Said,
        formats: Mapping[str, Format],
        progress: Progress | None,
    ) -> None:
        self._unpacker = unpacker
        self._intake = intake
        self._said = said
        self._formats = formats
        self._progress = progress
        self._found: list[Recognised] = []

    def names(self) -> str:
        """Return the names of the formats that were found."""
        return ", ".join(dict.fromkeys(each.format.name for each in self._found))

    def take(self, files: Sequence[ForeignFile], format_name: str | None) -> None:
        """Read the files.

        Args:
            files: Unpacked.
            format_name: What they are; None finds out.

        Raises:
            ConfigError: A file is of no known format, or its format needs an answer of the user.
        """
        if format_name in _CAPTURES or format_name in _WORDS:
            assert format_name is not None
            self._read(format_name, files)
            return
        self._found = self._recognised(files, format_name)
        for each in self._found:
            self._intake.tally.recognised[each.file.name] = f"{each.format.name}, {each.format.title}, by {each.by}"
        for word in (*_WORDS, *_CAPTURES):
            members = [each.file for each in self._found if each.format.name == word]
            if members:
                self._read(word, members)
        plain = frozenset((*_WORDS, *_CAPTURES))
        import_formatted(
            [each for each in self._found if each.format.name not in plain], self._intake, self._said, self._progress
        )

    def _recognised(self, files: Sequence[ForeignFile], wanted: str | None) -> list[Recognised]:
        found: list[Recognised] = []
        unknown: list[tuple[ForeignFile, ConfigError]] = []
        for file in files:
            try:
                each = self._recognise(file, wanted)
            except ConfigError as error:
                unknown.append((file, error))
                continue
            if each is not None:
                found.append(each)
        for file, why in unknown:
            # Archives hold reports and licences beside their data.
            companions = [each for each in found if each.file.name.partition("!")[0] == file.name.partition("!")[0]]
            if not companions or not _is_text(file.leaf):
                raise why
            self._intake.tally.ignore(f"files beside the data in archives, such as {file.leaf}")
        return found

    def _recognise(self, file: ForeignFile, wanted: str | None) -> Recognised | None:
        """Return what a file is; one without rows is counted, and None.

        Raises:
            ConfigError: It is of no known format.
        """
        found = recognise_file(file, self._formats, self._unpacker, wanted=wanted)
        if found is None:
            self._intake.tally.files.append(file.name)
            if beginning(file)[1]:
                self._intake.tally.rows_read += 1
                self._intake.tally.skip(file.name, 1, "", "the compressed file is damaged or ends early")
            else:
                self._intake.tally.ignore("files without rows")
        return found

    def _read(self, word: str, files: Sequence[ForeignFile]) -> None:
        """Read tables or captures of a plain word."""
        said, intake = self._said, self._intake
        check_content(files, is_table=word in _WORDS)
        if word == "okx/ws-raw":
            import_okx(files, intake, progress=self._progress)
        elif word == "binance/ws-raw":
            options = intake.options
            given = options.instrument
            import_binance(
                files,
                intake,
                instrument_id=said.instrument_id,
                kind=options.kind if given is None else given.kind,
                is_inverse=bool(options.is_inverse) if given is None else given.is_inverse,
                progress=self._progress,
            )
        elif word == "candles":
            import_candles(
                files,
                intake,
                instrument_id=said.instrument_id,
                interval=said.interval,
                zone=said.zone,
                time_format=said.time_format,
                columns=said.columns,
                adjusts=said.adjusts,
                progress=self._progress,
            )
        else:
            import_rows(
                word,
                files,
                intake,
                instrument_id=said.instrument_id,
                zone=said.zone,
                time_format=said.time_format,
                columns=said.columns,
                progress=self._progress,
            )


def recognise_file(
    file: ForeignFile, formats: Mapping[str, Format], unpacker: Unpacker, *, wanted: str | None = None
) -> Recognised | None:
    """Return what a file is, None if it has no rows; what is no table is written as one where that can be done.

    Raises:
        ConfigError: It is of no known format, or has to be told by the user.
    """
    head = head_of(file)
    if is_list(head) or is_dbn(head):
        write = write_table if is_list(head) else dbn.write_table
        file = write(file, unpacker.new_path())
        head = head_of(file)
    if is_array(head):
        return of_array(file, fields_of(file), formats.values(), wanted=wanted)
    what = foreign(head)
    if what is not None:
        raise ConfigError(f"{file} is {what[0]}; {what[1]}")
    if is_arrow_table(head):
        return of_schema(file, formats.values(), wanted=wanted)
    sample = sample_of(file)
    return None if sample is None else recognise(file, sample, formats.values(), wanted=wanted)


def _is_text(leaf: str) -> bool:
    return leaf.lower().rpartition(".")[2] in ("txt", "md", "pdf", "html", "htm", "json", "readme", "license")
