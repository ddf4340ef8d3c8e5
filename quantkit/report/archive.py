"""A result on disk: Parquet tables of the exact records, a manifest beside them, written whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from quantkit.engine.outcome import EquityCurve, Excursion, OrderEvent, Outcome
from quantkit.errors import ConfigError, DataError
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order
from quantkit.portable import check_new
from quantkit.report.digest import result_hash
from quantkit.report.frames import curve_frame

if TYPE_CHECKING:
    import pandas as pd

FORMAT: Final = "quantkit-result"
FORMAT_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
#: The records a result is rebuilt from. Everything else in the folder is there for other tools.
_RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "orders": Order,
    "order_events": OrderEvent,
    "fills": Fill,
    "excursions": Excursion,
}
_WORDS: Final = ("assumptions", "warnings")
_LEDGER: Final = tuple(name for name in Outcome.__struct_fields__ if name not in (*_RECORDS, *_WORDS, "curve"))


def save(
    folder: str | Path, outcome: Outcome, manifest: Mapping[str, Any], extra: Mapping[str, "pd.DataFrame"]
) -> Path:
    """Write a result into a new folder.

    Args:
        folder: Must not exist, or be empty.
        outcome: The records.
        manifest: JSON-ready; the ledger and a digest of each file are added.
        extra: Further tables by name, for other tools.

    Returns:
        The folder.

    Raises:
        ConfigError: The folder holds something already, cannot be written, or has a name that not every machine takes.
    """
    target = Path(folder)
    check_new(target)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} exists already and is not empty; choose a new folder for the result")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            _write(part, outcome, manifest, extra)
            # mkdtemp keeps others out; a result is as readable as any other new folder.
            part.chmod(0o777 & ~_umask())
            if target.exists():
                target.rmdir()
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise ConfigError(f"the result cannot be saved to {target}: {error.strerror or error}") from error
    return target


def load(folder: str | Path) -> tuple[Outcome, dict[str, Any], dict[str, Instrument]]:
    """Read what `save` wrote.

    Returns:
        The records, the manifest, and the instruments by id.

    Raises:
        DataError: The folder holds no result, a newer one, or one whose records no longer give its hash.
    """
    source = Path(folder)
    manifest = _read_manifest(source)
    try:
        types = {field.name: field.type for field in msgspec.structs.fields(Outcome)}
        fields: dict[str, Any] = {name: _read_records(source / f"{name}.parquet", _RECORDS[name]) for name in _RECORDS}
        fields |= {name: msgspec.convert(manifest["ledger"][name], types[name]) for name in _LEDGER}
        fields |= {name: msgspec.convert(manifest[name], types[name]) for name in _WORDS}
        outcome = Outcome(**fields, curve=_read_curve(source / "equity.parquet"))
        instruments = {entry["id"]: Instrument.from_dict(entry) for entry in manifest["instruments"]}
        is_whole = result_hash(outcome) == manifest["hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise DataError(
            f"{source}: the saved result is damaged ({_one_line(error)}); run the backtest again"
        ) from error
    if not is_whole:
        raise DataError(f"{source}: the tables do not give the hash in {MANIFEST}; a file was changed after saving")
    return outcome, manifest, instruments


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _write(folder: Path, outcome: Outcome, manifest: Mapping[str, Any], extra: Mapping[str, "pd.DataFrame"]) -> None:
    """Write every file and make it durable, the manifest last."""
    tables = {name: _records_frame(getattr(outcome, name), kind) for name, kind in _RECORDS.items()}
    tables["equity"] = curve_frame(outcome.curve)
    files: dict[str, dict[str, Any]] = {}
    for name, frame in {**tables, **extra}.items():
        path = folder / f"{name}.parquet"
        frame.to_parquet(path, compression="zstd")
        files[path.name] = {"rows": len(frame), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        _make_durable(path)
    ledger = msgspec.to_builtins({name: getattr(outcome, name) for name in _LEDGER})
    words = {name: getattr(outcome, name) for name in _WORDS}
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, **words, "ledger": ledger, "files": files}
    path = folder / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    _make_durable(path)


def _make_durable(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{folder} holds no saved result: {MANIFEST} is missing") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({_one_line(error)})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not the manifest of a quantkit result")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise DataError(f"{path} has format version {version}; this quantkit reads up to {FORMAT_VERSION}, update it")
    return manifest


def _records_frame(items: Sequence[Any], kind: type[msgspec.Struct]) -> "pd.DataFrame":
    """Return records field by field without loss: decimals as text, missing integers as such, stamps as integers.

    A decimal `x` gets a float twin for other tools: `x_exact` is the text, `x` the number.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        values = [getattr(item, field.name) for item in items]
        if field.type is Decimal:
            columns[field.name] = np.array([float(value) for value in values], np.float64)
            columns[f"{field.name}_exact"] = pd.array([str(value) for value in values], dtype="str")
        elif field.type in _DTYPES:
            dtype: Any = _DTYPES[field.type]
            columns[field.name] = pd.Series(values, dtype=dtype)
        else:
            columns[field.name] = pd.array([str(value) for value in values], dtype="str")
    return pd.DataFrame(columns)


_DTYPES: Final[dict[Any, str]] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    int | None: "Int64",
    float | None: "Float64",
}


def _read_records(path: Path, kind: type[msgspec.Struct]) -> list[Any]:
    """Return the records of a table that `_records_frame` made."""
    import pandas as pd

    frame = pd.read_parquet(path)
    columns: dict[str, list[Any]] = {}
    for field in msgspec.structs.fields(kind):
        name = f"{field.name}_exact" if field.type is Decimal else field.name
        column = frame[name]
        columns[field.name] = [None if value is pd.NA else value for value in column.tolist()]
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return msgspec.convert(rows, list[kind])  # type: ignore[valid-type]


def _read_curve(path: Path) -> EquityCurve:
    import pandas as pd

    frame = pd.read_parquet(path)
    time_ns = pd.DatetimeIndex(frame.index).as_unit("ns").asi8
    columns = {name: frame[name].to_numpy(np.float64) for name in EquityCurve.__struct_fields__[1:]}
    return EquityCurve(time_ns=np.asarray(time_ns, np.int64), **columns)
