"""Raw OKX captures for replay: frames with their times, and instruments of recorded REST replies."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from quantkit.errors import ConfigError
from quantkit.importers.files import DAMAGE, opened
from quantkit.sandbox.channels import Topic, key_of

_RECEIVED: Final = re.compile(rb"([0-9]{9,11}(?:\.[0-9]{1,9})?): (\{.*)", re.DOTALL).fullmatch
_REST: Final = re.compile(rb"https?://\S*/instruments\?\S* -> [0-9.]+: (\{.*)", re.DOTALL).fullmatch
_WRAPPED: Final = re.compile(
    rb'\{"t":\s*"?([0-9]{9,11}(?:\.[0-9]+)?)"?,\s*"dir":\s*"in",\s*"frame":\s*(.*)\}', re.DOTALL
)
_STAMP: Final = re.compile(rb'"ts":\s*"([0-9]{13})"').search
#: The answer to a subscription: a channel that then stayed silent is known by it alone.
_ACK: Final = re.compile(rb'\{(?:"id":"\w*",)?"event":"subscribe","arg":(\{[^{}]*\}).*').fullmatch
_ARG: Final = re.compile(rb'\{"arg":\s*(\{[^{}]*\})(,.*)', re.DOTALL).fullmatch


class RecordedFrame(NamedTuple):
    """One recorded push.

    Attributes:
        at_s: When it was received; for a frame without a receipt stamp, when the exchange stamped it. Epoch seconds.
        topic: Channel and instrument.
        tail: Its text from the end of the `arg` on.
        stamp_ms: When the exchange stamped it, UTC ms; 0 where it does not say.
    """

    at_s: float
    topic: Topic
    tail: str
    stamp_ms: int


class Contents(NamedTuple):
    """What captures hold.

    Attributes:
        topics: Every channel and instrument of theirs that pushed something.
        silent: Those that were subscribed and pushed nothing.
        instruments: Rows of recorded `public/instruments` replies, by id; the last one of each.
        files: Those with frames, in the order of their first one.
    """

    topics: frozenset[Topic]
    silent: frozenset[Topic]
    instruments: dict[str, dict[str, Any]]
    files: tuple[Path, ...]


def contents(paths: Sequence[Path]) -> Contents:
    """Look through captures.

    Raises:
        ConfigError: One cannot be read, or none holds a frame.
    """
    topics: set[Topic] = set()
    acknowledged: set[Topic] = set()
    instruments: dict[str, dict[str, Any]] = {}
    begins: list[tuple[float, Path]] = []
    for path in paths:
        first_s: float | None = None
        for line in _lines(path):
            frame = _frame(line)
            if frame is not None:
                topics.add(frame.topic)
                first_s = frame.at_s if first_s is None else first_s
                continue
            ack = _ACK(_body(line)[1])
            if ack is not None:
                acknowledged |= {topic for topic in (_topic(ack[1]),) if topic is not None}
                continue
            reply = _REST(line)
            if reply is not None:
                instruments |= _instruments(reply[1])
        if first_s is not None:
            begins.append((first_s, path))
    if not topics:
        names = ", ".join(map(str, paths)) or "no file"
        raise ConfigError(f"{names}: no recorded frame in there; name captures of OKX's sockets")
    silent = frozenset(acknowledged - topics)
    return Contents(frozenset(topics), silent, instruments, tuple(path for _, path in sorted(begins)))


def frames(files: Sequence[Path]) -> Iterator[RecordedFrame]:
    """Yield the frames of captures, file after file, in the order in which they were received."""
    for path in files:
        for line in _lines(path):
            frame = _frame(line)
            if frame is not None:
                yield frame


def _lines(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise ConfigError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; name captures to replay")
    with opened(path) as (stream, _):
        try:
            for line in stream:
                yield line.strip()
        except DAMAGE:
            raise ConfigError(f"{path} is damaged or ends early; it cannot be replayed") from None


def _frame(line: bytes) -> RecordedFrame | None:
    """Return the push of a line, None for acks, requests and everything else."""
    received, body = _body(line)
    parts = _ARG(body)
    if parts is None or b'"data"' not in parts[2]:
        return None
    topic = _topic(parts[1])
    try:
        tail = parts[2].decode()
    except UnicodeDecodeError:
        return None
    if topic is None:
        return None
    stamp = _STAMP(body)
    stamp_ms = 0 if stamp is None else int(stamp[1])
    return RecordedFrame(float(received) if received else stamp_ms / 1000, topic, tail, stamp_ms)


def _body(line: bytes) -> tuple[bytes, bytes]:
    """Return when a line's frame was received, empty where the line does not say, and the frame."""
    received = _RECEIVED(line) or _WRAPPED.fullmatch(line)
    return (b"", line) if received is None else (received[1], received[2])


def _topic(arg: bytes) -> Topic | None:
    """Return the topic of a recorded arg, None where it is none."""
    try:
        fields = msgspec.json.decode(arg, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Topic(fields.get("channel", ""), key_of(fields))


def _instruments(body: bytes) -> dict[str, dict[str, Any]]:
    try:
        rows = msgspec.json.decode(body)["data"]
        return {row["instId"]: row for row in rows}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return {}
