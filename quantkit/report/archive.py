"""A result on disk: Parquet tables of the exact records, a manifest beside them, written whole or not at all.

The manifest has the SHA-256 of every table, and begins with that of its own bytes behind it. Manifests of version 1
begin without one, so that a change in them may go unnoticed. `FORMATS` names the fields of each version: a record that
gains a field with a default reads the results of before.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from quantkit.brokers.unprotected import Unprotected
from quantkit.engine.outcome import DailyMark, EquityCurve, Excursion, FundingPayment, OrderEvent, Outcome
from quantkit.errors import ConfigError, DataError
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order, OrderTerms
from quantkit.portable import check_new, unportable
from quantkit.quality.quoted import UNKNOWN_QUALITY, DataQuality
from quantkit.report import price_tables
from quantkit.report.benchmark import Benchmark, Kept
from quantkit.report.bounds import FillBound
from quantkit.report.digest import ENCODINGS, named, result_hash
from quantkit.report.frames import utc_index
from quantkit.report.prices import Prices, PriceSource
from quantkit.storage.root import sync_folder
from quantkit.storage.segments import try_lock

if TYPE_CHECKING:
    import pandas as pd


class Saved(NamedTuple):
    """What a saved result is made of again.

    Attributes:
        outcome: The records.
        config: The run's configuration, JSON-ready.
        instruments: By id, as at the start.
        changes: Metadata that came into force later, in order of time.
        sources: The strategy's code, by path.
        prices: Where the price paths are read.
        benchmark: What was given to hold the run against.
        other_variants: The Sharpe ratios of other variants that were known.
        versions: What saved it.
        hash, hash_encoding: The digest, which the records were compared with, and how it was counted.
        data_quality: What the last check said of the data.
        bounds: What the run came to with other models of its queues.
    """

    outcome: Outcome
    config: dict[str, Any]
    instruments: dict[str, Instrument]
    changes: list[Instrument]
    sources: dict[str, bytes]
    prices: PriceSource
    benchmark: Benchmark | None
    other_variants: list[float | None]
    versions: dict[str, str]
    hash: str
    hash_encoding: str
    data_quality: DataQuality
    bounds: list[FillBound]


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a saved result: of each table of records, of the curve, and of the ledger."""

    records: dict[str, tuple[str, ...]]
    curve: tuple[str, ...]
    ledger: tuple[str, ...]


_FIRST: Final = Layout(
    records={**ENCODINGS["quantkit-result-1"].records, "excursions": named("instrument fill_id low high")},
    curve=named("equity cash exposure drawdown"),
    ledger=named(
        "cash equity starting_equity report_currency position_qty position_mark realised funding fees start_ns end_ns "
        "ended rows"
    ),
)
_SECOND: Final = msgspec.structs.replace(_FIRST, curve=(*_FIRST.curve, "is_grid"), ledger=(*_FIRST.ledger, "offset_ns"))
_THIRD: Final = msgspec.structs.replace(
    _SECOND,
    records={
        **_SECOND.records,
        "daily_marks": named("instrument at_ns price"),
        "funding_payments": named("instrument funding_ns rate price amount currency"),
    },
)
#: The layouts of all versions; one that was released never changes. A new field of a record goes into the next one.
FORMATS: Final[dict[int, Layout]] = {
    1: _FIRST,
    2: _SECOND,
    3: _THIRD,
    4: msgspec.structs.replace(
        _THIRD,
        records={
            **_THIRD.records,
            "orders": (*_THIRD.records["orders"], "terms", "position_side"),
            "fills": (*_THIRD.records["fills"], "position_side"),
            "funding_payments": (*_THIRD.records["funding_payments"], "position_side"),
            "unprotected": named("order_id instrument qty from_ns to_ns"),
        },
    ),
}
FORMAT: Final = "quantkit-result"
FORMAT_VERSION: Final = max(FORMATS)
MANIFEST: Final = "manifest.json"
#: The folder of the strategy's file and of the modules beside it, as in that of a live run.
SOURCES: Final = "strategy"
#: Added to a result's name while it is written.
PARTIAL: Final = ".partial"
#: The warning of a result whose manifest has no digest of itself.
UNGUARDED: Final = (
    "unguarded: an older quantkit saved this result without a digest of its manifest, so a change there since then may "
    "go unnoticed; run it again, or save it again, to guard it"
)
_LOCK: Final = ".lock"
_GUARDED: Final = re.compile(rb'\{\n  "manifest_sha256": "([0-9a-f]{64})",(.*)', re.DOTALL)
#: The records a result is rebuilt from. Everything else in the folder is there for other tools.
_RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "orders": Order,
    "order_events": OrderEvent,
    "fills": Fill,
    "excursions": Excursion,
    "daily_marks": DailyMark,
    "funding_payments": FundingPayment,
    "unprotected": Unprotected,
}
_WORDS: Final = ("assumptions", "warnings")


def save(
    folder: str | Path,
    outcome: Outcome,
    manifest: Mapping[str, Any],
    extra: Mapping[str, "pd.DataFrame"],
    sources: Mapping[str, bytes],
    prices: Prices,
) -> Path:
    """Write a result into a new folder.

    Args:
        folder: Must not exist, or be empty.
        outcome: The records.
        manifest: JSON-ready; the ledger and a digest of each file are added.
        extra: Further tables by name, for other tools.
        sources: The strategy's code by path; a file with a name that not every machine takes is left out.
        prices: The price paths; those of traded instruments are written.

    A save that is killed leaves the whole result, or a folder `NAME.partial`, which the next save clears away.

    Returns:
        The folder.

    Raises:
        ConfigError: The folder holds something already, cannot be written, has a name that not every machine takes, or
            is being saved to by another process.
    """
    from pyarrow import ArrowException

    target = Path(folder)
    refuse_taken(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _partial(target) as part:
            saved = price_tables.write(part, target, prices, outcome)
            for table in saved.tables:
                _make_durable(part / table.file)
            _write(part, outcome, {**manifest, "prices": msgspec.to_builtins(saved)}, extra, sources)
        if target.exists():
            target.rmdir()
        part.rename(target)
        sync_folder(target.parent)
    except (OSError, ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _one_line(error)
        raise ConfigError(f"the result cannot be saved to {target}: {reason}") from error
    return target


def refuse_taken(target: Path) -> None:
    """Refuse a folder that cannot take a result, before the run and not after an hour of it.

    Raises:
        ConfigError: It is there and not empty, not every machine takes its name, or the folder beside it that a save
            needs holds what no save wrote.
    """
    part = target.with_name(target.name + PARTIAL)
    try:
        check_new(target)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} exists already and is not empty; choose a new folder for the result")
        left = [path.name for path in part.iterdir() if path.name != _LOCK] if part.is_dir() else []
        is_ours = (part / _LOCK).is_file() and all(
            name in (MANIFEST, SOURCES) or name.endswith(".parquet") for name in left
        )
    except OSError as error:
        raise ConfigError(f"the result cannot be saved to {target}: {error.strerror or error}") from error
    if left and not is_ours:
        raise ConfigError(f"{part} holds files that no save wrote; move them, or choose another folder for the result")


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Give an empty folder beside the target, which nobody else writes to; it goes where an exception ends the block.

    Raises:
        ConfigError: Another process has it.
    """
    part = target.with_name(target.name + PARTIAL)
    part.mkdir(exist_ok=True)
    descriptor = os.open(part / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not try_lock(descriptor):
            raise ConfigError(f"{target} is being saved to by another process; choose another folder for the result")
        try:
            for path in part.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
            yield part
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)
    (part / _LOCK).unlink()


def load(folder: str | Path) -> Saved:
    """Read what `save` wrote.

    Raises:
        DataError: The folder holds no result, a newer one, one of which a file was changed since it was saved, or
            one whose records no longer give its hash.
    """
    from pyarrow import ArrowException

    source = Path(folder)
    manifest, is_guarded = _read_manifest(source)
    layout = FORMATS[manifest["format_version"]]
    try:
        tables = _read_tables(source, manifest["files"], layout.records)
        types = {field.name: field.type for field in msgspec.structs.fields(Outcome)}
        fields: dict[str, Any] = {
            name: _records(tables[f"{name}.parquet"], _RECORDS[name], columns)
            for name, columns in layout.records.items()
        }
        kept = _kept(layout.ledger, manifest["ledger"], Outcome)
        fields |= {name: msgspec.convert(manifest["ledger"][name], types[name]) for name in kept}
        fields |= {name: msgspec.convert(manifest[name], types[name]) for name in _WORDS}
        outcome = Outcome(**fields, curve=_curve(tables["equity.parquet"], layout.curve))
        instruments: dict[str, Instrument] = {}
        # One entry for each instrument comes first, as at the start; what changed later after them.
        entries = [Instrument.from_dict(fields) for fields in manifest["instruments"]]
        for entry in entries:
            instruments.setdefault(entry.id, entry)
        is_whole = result_hash(outcome, manifest["hash_encoding"]) == manifest["hash"]
        saved = Saved(
            outcome,
            msgspec.convert(manifest["config"], dict[str, Any]),
            instruments,
            entries[len(instruments) :],
            read_sources(source / SOURCES, manifest.get("sources", {})),
            price_tables.read(source, manifest, instruments, outcome),
            msgspec.convert(manifest["benchmark"], Kept).along(outcome) if "benchmark" in manifest else None,
            msgspec.convert(manifest.get("other_variants", []), list[float | None]),
            msgspec.convert(manifest["versions"], dict[str, Any]),
            manifest["hash"],
            manifest["hash_encoding"],
            msgspec.convert(manifest["data_quality"], DataQuality) if "data_quality" in manifest else UNKNOWN_QUALITY,
            msgspec.convert(manifest.get("bounds", []), list[FillBound]),
        )
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ConfigError, ArrowException) as error:
        raise DataError(
            f"{source}: the saved result is damaged ({_one_line(error)}); run the backtest again"
        ) from error
    if not is_whole:
        raise DataError(f"{source}: the tables do not give the hash in {MANIFEST}; a file was changed after saving")
    if not is_guarded:
        outcome.warnings.append(UNGUARDED)
    return saved


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a saved result says, without a look at its tables.

    Raises:
        DataError: There is none, it was changed, or a newer quantkit wrote it.
    """
    return _read_manifest(folder)[0]


def read_sources(folder: Path, digests: Mapping[str, str]) -> dict[str, bytes]:
    """Return files of code by their path below a folder, once each has its digest.

    Raises:
        DataError: A file is missing or was changed.
    """
    found = {}
    for place, sha256 in digests.items():
        path = folder / place
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts or not path.is_file():
            raise DataError(f"{path} is missing though {MANIFEST} lists it; restore it, or run the backtest again")
        found[place] = path.read_bytes()
        if hashlib.sha256(found[place]).hexdigest() != sha256:
            raise _changed(path)
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _write(
    folder: Path,
    outcome: Outcome,
    manifest: Mapping[str, Any],
    extra: Mapping[str, "pd.DataFrame"],
    sources: Mapping[str, bytes],
) -> None:
    """Write every file and make it durable, the manifest last."""
    layout = FORMATS[FORMAT_VERSION]
    tables = {
        name: _records_frame(getattr(outcome, name), _RECORDS[name], columns)
        for name, columns in layout.records.items()
    }
    tables["equity"] = _curve_frame(outcome.curve, layout.curve)
    files: dict[str, dict[str, Any]] = {}
    for name, frame in {**tables, **extra}.items():
        path = folder / f"{name}.parquet"
        frame.to_parquet(path, compression="zstd")
        files[path.name] = {"rows": len(frame), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        _make_durable(path)
    ledger = msgspec.to_builtins({name: getattr(outcome, name) for name in layout.ledger})
    # What is written here has a digest, whatever the result was loaded from.
    words = {name: [word for word in getattr(outcome, name) if word != UNGUARDED] for name in _WORDS}
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, **words, "ledger": ledger, "files": files}
    whole["sources"] = _write_sources(folder / SOURCES, sources)
    path = folder / MANIFEST
    covered = msgspec.json.format(msgspec.json.encode(whole), indent=2).removeprefix(b"{") + b"\n"
    path.write_bytes(b'{\n  "manifest_sha256": "%b",%b' % (hashlib.sha256(covered).hexdigest().encode(), covered))
    _make_durable(path)
    sync_folder(folder)


def _write_sources(folder: Path, sources: Mapping[str, bytes]) -> dict[str, str]:
    """Write files of code, and return their digests by path."""
    # A strategy whose file has such a name has run, and its result is worth keeping all the same.
    kept = {place: code for place, code in sources.items() if not any(map(unportable, PurePosixPath(place).parts))}
    for place, code in kept.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(code)
        _make_durable(path)
        sync_folder(path.parent)
    return {place: hashlib.sha256(code).hexdigest() for place, code in kept.items()}


def _make_durable(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> tuple[dict[str, Any], bool]:
    """Return what the manifest says, and whether its own digest was compared."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        guarded = _GUARDED.fullmatch(content)
        if guarded is not None and hashlib.sha256(guarded[2]).hexdigest().encode() != guarded[1]:
            raise _changed(path)
        manifest = msgspec.json.decode(content)
    except FileNotFoundError:
        part = folder.with_name(folder.name + PARTIAL)
        left = f"; {part} is left from a save that was killed, run it again" if part.is_dir() else ""
        raise DataError(f"{folder} holds no saved result: {MANIFEST} is missing{left}") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({_one_line(error)})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not the manifest of a quantkit result")
    version = manifest.get("format_version")
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise DataError(f"{path} has format version {version}; this quantkit reads up to {FORMAT_VERSION}, update it")
    if guarded is None and (version > 1 or "manifest_sha256" in manifest):
        raise _changed(path)
    encoding = manifest.get("hash_encoding")
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        raise DataError(f"{path}: its hash has the encoding {encoding!r}, which this quantkit does not know; update it")
    return manifest, guarded is not None


def _changed(path: Path) -> DataError:
    return DataError(f"{path} was changed after the result was saved; restore it, or run the backtest again")


def _read_tables(
    folder: Path, files: Mapping[str, Mapping[str, Any]], records: Iterable[str]
) -> dict[str, "pd.DataFrame"]:
    """Return the tables that a result is rebuilt from, once every file's digest agrees.

    Raises:
        DataError: A file is missing or was changed.
    """
    import pandas as pd

    wanted = [f"{name}.parquet" for name in (*records, "equity")]
    tables = {}
    for name in dict.fromkeys([*wanted, *files]):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise DataError(f"{path} is missing though {MANIFEST} lists it; restore it, or run the backtest again")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != files[name]["sha256"]:
            raise _changed(path)
        if name in wanted:
            tables[name] = pd.read_parquet(BytesIO(content))
    return tables


def _records_frame(items: Sequence[Any], kind: type[msgspec.Struct], names: Sequence[str]) -> "pd.DataFrame":
    """Return records field by field without loss: decimals as text, missing integers as such, stamps as integers.

    A decimal `x` gets a float twin for other tools: `x_exact` is the text, `x` the number. A record within a record is
    JSON text, empty where there is none.
    """
    import pandas as pd

    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    columns: dict[str, Any] = {}
    for name in names:
        values = [getattr(item, name) for item in items]
        if types[name] is Decimal:
            columns[name] = np.array([float(value) for value in values], np.float64)
            columns[f"{name}_exact"] = pd.array([str(value) for value in values], dtype="str")
        elif types[name] in _DTYPES:
            dtype: Any = _DTYPES[types[name]]
            columns[name] = pd.Series(values, dtype=dtype)
        elif types[name] in _NESTED:
            texts = ["" if value is None else msgspec.json.encode(value).decode() for value in values]
            columns[name] = pd.array(texts, dtype="str")
        else:
            columns[name] = pd.array([str(value) for value in values], dtype="str")
    return pd.DataFrame(columns)


_DTYPES: Final[dict[Any, str]] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    int | None: "Int64",
    float | None: "Float64",
}
#: Records within a field, which other tables do not have.
_NESTED: Final[dict[Any, type[msgspec.Struct]]] = {OrderTerms | None: OrderTerms}


def _records(frame: "pd.DataFrame", kind: type[msgspec.Struct], names: Sequence[str]) -> list[Any]:
    """Return the records of a table that `_records_frame` made."""
    import pandas as pd

    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    columns: dict[str, list[Any]] = {}
    for name in _kept(names, frame, kind):
        column = frame[f"{name}_exact" if types[name] is Decimal else name]
        values = column.tolist()
        if types[name] in _NESTED:
            nested = msgspec.json.Decoder(_NESTED[types[name]])
            columns[name] = [nested.decode(value) if value else None for value in values]
        else:
            columns[name] = [None if value is pd.NA else value for value in values]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]


def _curve_frame(curve: EquityCurve, names: Sequence[str]) -> "pd.DataFrame":
    """Return every row of the curve; a column that is not known has no rows and is left out."""
    import pandas as pd

    columns = {name: getattr(curve, name) for name in names if len(getattr(curve, name)) == len(curve.time_ns)}
    return pd.DataFrame(columns, index=utc_index(curve.time_ns))


def _curve(frame: "pd.DataFrame", names: Sequence[str]) -> EquityCurve:
    import pandas as pd

    time_ns = pd.DatetimeIndex(frame.index).as_unit("ns").asi8
    columns = {name: frame[name].to_numpy() for name in _kept(names, frame, EquityCurve)}
    return EquityCurve(time_ns=np.asarray(time_ns, np.int64), **columns)


def _kept(names: Sequence[str], kept: Container[str], kind: type[msgspec.Struct]) -> list[str]:
    """Return which fields to read: what was not kept and has a default, gets that."""
    needed = {field.name for field in msgspec.structs.fields(kind) if field.required}
    return [name for name in names if name in kept or name in needed]
