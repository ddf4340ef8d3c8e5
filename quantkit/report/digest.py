"""The hash of a result: equal for equal runs, whatever machine, hash seed or library version made them."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec
from numpy.typing import NDArray

from quantkit.engine.outcome import Outcome
from quantkit.instruments import plain

#: Named in every hash, so that a change of the encoding can never look like a change of results.
ENCODING: Final = "quantkit-result-1"
_LEDGER: Final = ("cash", "position_qty", "realised", "funding", "fees")


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
    if isinstance(value, msgspec.Struct):
        return [canonical(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, Mapping):
        return [[key, canonical(value[key])] for key in sorted(value)]
    return [canonical(item) for item in value]


def result_hash(outcome: Outcome) -> str:
    """Return the SHA-256 over orders, order events, fills, equity curve and final ledger.

    Notes, assumptions and warnings are words about the run and stay out.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()

    def put(name: str, content: bytes) -> None:
        # The length keeps two neighbours from being read as one.
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)

    put("encoding", ENCODING.encode())
    for name in ("orders", "order_events", "fills"):
        put(name, b"\n".join(msgspec.json.encode(canonical(item)) for item in getattr(outcome, name)))
    for name, column in {"time_ns": outcome.curve.time_ns, **outcome.curve.numbers}.items():
        put(name, _numbers(column))
    ledger = {name: getattr(outcome, name) for name in _LEDGER}
    totals = [outcome.report_currency, outcome.starting_equity, outcome.equity, outcome.ended]
    span = [outcome.start_ns, outcome.end_ns]
    put("ledger", msgspec.json.encode(canonical([ledger, totals, span])))
    return digest.hexdigest()


def _numbers(column: NDArray[Any]) -> bytes:
    """Return an array's values as text, one after the other."""
    return ",".join(map(repr, column.tolist())).encode()
