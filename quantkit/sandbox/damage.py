"""Damage to a frame's text: lost, doubled, cut, crossed, or with unknown content."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from quantkit.sandbox import faults
from quantkit.sandbox.wire import text_of


def damaged(text: str, struck: Sequence[faults.Fault]) -> Iterator[tuple[str, str]]:
    """Yield what is sent in place of a frame: (what it is, its text; empty where nothing is sent).

    Args:
        text: The frame as it should have been.
        struck: The faults that met it, at least one.

    Examples:
        >>> list(damaged('{"a":1}', [faults.Duplicate()]))
        [('sent', '{"a":1}'), ('duplicate', '{"a":1}')]
        >>> list(damaged('{"a":1}', [faults.LostPush()]))
        [('gap', '')]
    """
    if any(isinstance(fault, faults.Stall) for fault in struck):
        yield "stall", ""
        return
    if any(isinstance(fault, faults.LostPush) for fault in struck):
        yield "gap", ""
        return
    what = "sent"
    for fault in struck:
        if isinstance(fault, faults.UnknownContent) and fault.what == "channel":
            yield "unknown", '{"arg":{"channel":"surprise","instId":"NO-SUCH"},"data":[{"surprise":"1"}]}'
        elif isinstance(fault, faults.UnknownContent) and fault.what == "event":
            yield "unknown", '{"event":"surprise","code":"0","msg":"nothing to see","connId":"00000000"}'
        elif isinstance(fault, faults.UnknownContent):
            what, text = "unknown", _with_fields(text)
        elif isinstance(fault, faults.Crossed):
            what, text = "crossed", _crossed(text)
        elif isinstance(fault, faults.Malformed):
            what, text = "malformed", _malformed(text, fault.form)
    yield what, text
    if any(isinstance(fault, faults.Duplicate) for fault in struck):
        yield "duplicate", text


def _with_fields(text: str) -> str:
    frame: dict[str, Any] = msgspec.json.decode(text)
    frame["surprise"] = {"of": ["any", "shape", 1, None]}
    for row in frame.get("data", ()):
        if isinstance(row, dict):
            row["surprise"] = "1"
    return text_of(frame)


def _crossed(text: str) -> str:
    """Return a book update with a bid so high that no ask can be above it, or an ask below every bid.

    Another level of that side goes, so that the side is no longer than it was.
    """
    frame: dict[str, Any] = msgspec.json.decode(text)
    for row in frame["data"]:
        prices = [float(level[0]) for level in (*row["asks"], *row["bids"])] or [1.0]
        side = "asks" if any(level[1] != "0" for level in row["asks"]) else "bids"
        price = f"{min(prices) / 2:.8f}" if side == "asks" else str(int(max(prices) * 2) + 1)
        changed = next((level for level in row[side] if level[1] != "0"), None)
        others = [level for level in row[side] if level is not changed]
        gone = [] if changed is None else [[changed[0], "0", "0", "0"]]
        row[side] = [[price, "1", "0", "1"], *gone, *others]
    return text_of(frame)


def _malformed(text: str, form: str) -> str:
    if form == "cut":
        return text[: max(1, len(text) // 2)]
    frame: dict[str, Any] = msgspec.json.decode(text)
    if form == "type":
        frame["data"] = {"0": "an object where a list belongs"}
        return text_of(frame)
    frame["data"] = [_without_numbers(row) for row in frame["data"]]
    return text_of(frame)


def _without_numbers(value: Any) -> Any:
    """Return a row with every text that is a number replaced by NaN."""
    if isinstance(value, dict):
        return {name: _without_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_numbers(part) for part in value]
    if isinstance(value, str) and value.replace(".", "", 1).replace("-", "", 1).isdigit():
        return "NaN"
    return value
