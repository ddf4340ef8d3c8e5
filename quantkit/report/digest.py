"""The hash of a result: equal for equal runs, on any machine and with any hash seed or library version."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from types import NoneType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError
from quantkit.instruments import plain
from quantkit.orders import PositionSide


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a hash in their order; fields that records gain later stay out.

    Attributes:
        records: Fields of each kind of record. curve: columns of the equity curve.
        ledger, totals, span: Fields of the outcome.
        has_binary_curve: Whether the columns go in as little-endian bytes of 8 or, for truths, 1; else as text.
    """

    records: dict[str, tuple[str, ...]]
    curve: tuple[str, ...]
    ledger: tuple[str, ...]
    totals: tuple[str, ...]
    span: tuple[str, ...]
    has_binary_curve: bool = False


def named(text: str) -> tuple[str, ...]:
    """Return field names written as words, as long lists of them read best."""
    return tuple(text.split())


_FIRST: Final = Encoding(
    records={
        "orders": named(
            "id instrument side qty price stop_price time_in_force post_only reduce_only tag state filled_qty "
            "average_price reason note sent_ns updated_ns lots filled_lots price_ticks stop_ticks"
        ),
        "order_events": named("order_id at_ns reported_ns state reason"),
        "fills": named(
            "id order_id instrument side price qty value fee fee_currency role filled_ns revealed_ns why tag lots ticks"
        ),
    },
    curve=named("time_ns equity cash exposure drawdown"),
    ledger=named("cash position_qty realised funding fees"),
    totals=named("report_currency starting_equity equity ended"),
    span=named("start_ns end_ns"),
)
#: The encodings of all versions, by name. One that has hashed a result never changes: what is new goes into a new one.
ENCODINGS: Final[dict[str, Encoding]] = {
    "quantkit-result-1": _FIRST,
    # A year of minutes is hashed in a tenth of a second, ten times sooner than as text.
    "quantkit-result-2": msgspec.structs.replace(_FIRST, curve=(*_FIRST.curve, "is_grid"), has_binary_curve=True),
}
#: The encoding of new results.
ENCODING: Final = "quantkit-result-2"
_RECORDS_AT_A_TIME: Final = 4096
#: What JSON writes as `canonical` would.
_WRITTEN_AS_THEY_ARE: Final = frozenset((str, int, bool, NoneType))
_FORMS: Final[dict[type, Callable[[Any], str]]] = {float: repr, Decimal: plain}


def canonical(value: Any) -> Any:
    """Return a value as JSON-ready text and lists: floats by `repr`, decimals as plain text.

    Examples:
        >>> canonical(0.1), canonical(Decimal("1E+2")), canonical({"b": None, "a": (1, True)})
        ('0.1', '100', [['a', [1, True]], ['b', None]])
    """
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return [[key, canonical(value[key])] for key in sorted(value)]
    return [canonical(item) for item in value]


def result_hash(outcome: Outcome, encoding: str = ENCODING) -> str:
    """Return the SHA-256 over orders, order events, fills, equity curve and final ledger.

    Terms and legs of orders go in where a run has any. Notes, assumptions and warnings are words about the run and stay
    out.

    Args:
        outcome: The records of the run.
        encoding: Which of `ENCODINGS`; a saved result has the one that it was saved with.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: The encoding is a newer quantkit's.
    """
    fields = ENCODINGS.get(encoding)
    if fields is None:
        raise DataError(f"a hash has the encoding {encoding!r}, which this quantkit does not know; update it")
    digest = hashlib.sha256()

    def put(name: str, content: bytes | memoryview) -> None:
        # The length keeps two neighbours from being read as one.
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)

    # A change of the encoding can never look like a change of results.
    put("encoding", encoding.encode())
    for name, columns in fields.records.items():
        put(name, b"".join(canonical_lines(getattr(outcome, name), columns))[:-1])
    for name in ("orders", "fills"):
        rare = [[record.id, found] for record in getattr(outcome, name) if (found := rare_fields(record))]
        if rare:  # the hash of a run without any is as it was before there were such
            put(f"rare {name}", msgspec.json.encode(canonical(rare)))
    for name in fields.curve:
        put(name, (_binary if fields.has_binary_curve else _numbers)(getattr(outcome.curve, name)))
    ledger = {name: getattr(outcome, name) for name in fields.ledger}
    totals = [getattr(outcome, name) for name in fields.totals]
    span = [getattr(outcome, name) for name in fields.span]
    put("ledger", msgspec.json.encode(canonical([ledger, totals, span])))
    return digest.hexdigest()


def rare_fields(record: Any) -> dict[str, Any]:
    """Return what few orders and fills have beside the fields of an encoding: terms, and a leg; empty for most."""
    terms, side = getattr(record, "terms", None), getattr(record, "position_side", PositionSide.NET)
    found = {} if terms is None else msgspec.to_builtins(terms)
    return found if side is PositionSide.NET else {**found, "position_side": str(side)}


def canonical_lines(records: Sequence[Any], columns: tuple[str, ...]) -> Iterable[bytes]:
    """Yield the canonical fields of records as JSON, a line each; some at a time, so that few copies are held."""
    encoder, fields, rest = msgspec.json.Encoder(), attrgetter(*columns), iter(records)
    while some := list(map(fields, islice(rest, _RECORDS_AT_A_TIME))):
        yield encoder.encode_lines(list(zip(*map(_canonical_column, zip(*some, strict=True)), strict=True)))


def _canonical_column(values: Sequence[Any]) -> Iterable[Any]:
    """Return `canonical` of each value; a column's values are mostly of one type, which is looked at once."""
    kinds = set(map(type, values))
    if all(kind in _WRITTEN_AS_THEY_ARE or issubclass(kind, StrEnum) for kind in kinds):
        return values
    form = _FORMS.get(kinds.pop()) if len(kinds) == 1 else None
    return map(form or canonical, values)


def _numbers(column: NDArray[Any]) -> bytes:
    """Return an array's values as text, one after the other."""
    return ",".join(map(repr, column.tolist())).encode()


def _binary(column: NDArray[Any]) -> memoryview:
    """Return an array's values as little-endian bytes, without a copy where they are such already."""
    return np.ascontiguousarray(column, column.dtype.newbyteorder("<")).view(np.uint8).data
