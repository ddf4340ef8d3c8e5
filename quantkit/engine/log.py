"""The engine log of a live run: what the engine took in, in the order it took it, and what came of it.

Together with the tape of frames it is the whole run: engine time moves by what is logged here alone, so whoever gives
an engine the same intake has to get the same decisions, fills and ledger.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from quantkit.brokers.base import Decision, Report
from quantkit.engine.plan import EngineConfig
from quantkit.errors import ConfigError, DataError
from quantkit.events import Candle
from quantkit.instruments import Fees, Instrument
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeReader, TapeWriter

VERSION: Final = 2


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """How the run was set up.

    Attributes:
        opened_ns: When the feed was opened.
        strategy: Module and class. source: The class's file and strategy_digest: its SHA-256, None without one.
        modules: SHA-256 of each module beside it, by path below the folder in which the strategy's imports begin.
        parameters: By name, JSON-ready.
        config: The engine's configuration, its span included; see `config_of`.
        instruments: Metadata of those the run may ask for, as `Instrument.to_dict` gives them.
        versions: Of Python, quantkit and what computes.
    """

    version: int
    opened_ns: int
    strategy: str
    source: str | None
    strategy_digest: str | None
    parameters: dict[str, Any]
    config: dict[str, Any]
    instruments: list[dict[str, Any]]
    versions: dict[str, str]
    modules: dict[str, str] = {}


class Warmed(msgspec.Struct, frozen=True, tag="warmup"):
    """The candles that a warm-up got, none where there were none."""

    instrument: str
    interval: str
    count: int
    candles: list[Candle]


class Took(msgspec.Struct, frozen=True, tag="take"):
    """One batch: so many deliveries from the tape, the last stamped `last_ns`, then time up to `until_ns`."""

    deliveries: int
    last_ns: int
    until_ns: int


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """One message: what it is about, and when its hook sent it, by the engine's time and by our clock."""

    instrument: str
    number: int  # counted from 1
    at_ns: int
    sent_ns: int


class Stepped(msgspec.Struct, frozen=True, tag="offset"):
    """From a moment on, our clock is so far ahead of the exchange's."""

    from_ns: int
    offset_ns: int


class Did(msgspec.Struct, frozen=True, tag="did"):
    """What the batch before led to: messages sent, and news of orders with their fills."""

    decisions: list[Decision]
    reports: list[Report]


class Drained(msgspec.Struct, frozen=True, tag="end"):
    """The feed has ended: what comes after is the end of the run itself."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """How the run ended, and what its result comes to; `error` is what stopped it, where something did."""

    ended: str
    end_ns: int
    result_hash: str
    orders: int
    fills: int
    equity: Decimal
    cash: dict[str, Decimal]
    positions: dict[str, Decimal]
    error: str = ""


Entry: TypeAlias = Started | Warmed | Took | Sent | Stepped | Did | Drained | Stopped

_decoder: Final = msgspec.json.Decoder(Entry)


class Journal(Protocol):
    """Who is told of a run as it happens."""

    def did(self, decisions: list[Decision], reports: list[Report]) -> None:
        """Take what one batch led to; not called where it led to nothing."""
        ...


class EngineLog:
    """Writes a run's engine log; every entry is safe from a kill of the process once its call returns."""

    def __init__(self, folder: Path) -> None:
        self._tape = TapeWriter(folder)
        #: Whether the engine has taken something in: before, there is no run to repeat.
        self.has_begun = False

    def write(self, entry: Entry) -> None:
        """Add an entry."""
        self._tape.append(msgspec.json.encode(entry))

    def did(self, decisions: list[Decision], reports: list[Report]) -> None:
        """Add what a batch led to."""
        self.write(Did(decisions, reports))

    def took(self, deliveries: int, last_ns: int, until_ns: int) -> None:
        """Add a batch."""
        self.has_begun = True
        self.write(Took(deliveries, last_ns, until_ns))

    def sent(self, instrument: str, number: int, at_ns: int, sent_ns: int) -> None:
        """Add when a message left."""
        self.write(Sent(instrument, number, at_ns, sent_ns))

    def stepped(self, from_ns: int, offset_ns: int) -> None:
        """Add a step of the clock offset."""
        self.write(Stepped(from_ns, offset_ns))

    def warmed(self, stream: Stream, count: int, candles: Sequence[Candle]) -> None:
        """Add what a warm-up got."""
        self.write(Warmed(stream.instrument, stream.interval, count, list(candles)))

    def drained(self) -> None:
        """Note that the feed has ended."""
        self.write(Drained())

    def close(self) -> None:
        """Make it durable and let go of the file."""
        self._tape.close()


def read_log(folder: Path) -> Iterator[Entry]:
    """Yield a log's entries; one that a kill cut short is left out.

    Raises:
        DataError: The log is missing, damaged, or of a newer version.
    """
    for number, payload in enumerate(TapeReader(folder)):
        try:
            entry = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"{folder}: entry {number} of the engine log is not understood: {error}") from error
        if isinstance(entry, Started) and entry.version > VERSION:
            raise DataError(
                f"{folder}: the engine log has version {entry.version}; this quantkit reads up to {VERSION}"
            )
        yield entry


def parameter_fields(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a strategy's parameters as JSON-ready values that building it takes back without loss.

    JSON has no infinity; text is converted as it is from a command line.

    Examples:
        >>> parameter_fields({"limit": float("inf"), "qty": 0.1})
        {'limit': 'inf', 'qty': 0.1}
    """
    return {
        name: str(value) if isinstance(value, float) and not isfinite(value) else value
        for name, value in parameters.items()
    }


def config_fields(config: EngineConfig) -> dict[str, Any]:
    """Return an engine configuration as JSON-ready values that `config_of` takes back without loss."""
    fields: dict[str, Any] = msgspec.to_builtins(config)
    fields["cash"] = {currency: str(amount) for currency, amount in config.cash.items()}
    fields["max_leverage"] = str(config.max_leverage)
    if isinstance(config.fees, Fees):
        fields["fees"] = {"*": msgspec.to_builtins(config.fees)}
    return fields


def config_of(fields: dict[str, Any]) -> EngineConfig:
    """Return the engine configuration that `config_fields` took apart.

    Raises:
        DataError: It has other fields than this quantkit's.
    """
    with _understood("configuration"):
        given = dict(fields)
        given["cash"] = {currency: Decimal(amount) for currency, amount in fields["cash"].items()}
        given["max_leverage"] = Decimal(fields["max_leverage"])
        fees = given.pop("fees")
        converted: Fees | dict[str, Fees] | None = None
        if fees is not None:
            is_one = set(fees) == {"*"}
            converted = msgspec.convert(fees["*"], Fees) if is_one else msgspec.convert(fees, dict[str, Fees])
        return EngineConfig(**given, fees=converted)


def instruments_of(started: Started) -> dict[str, Instrument]:
    """Return the metadata that a run had, by id.

    Raises:
        DataError: They have other fields than this quantkit's.
    """
    with _understood("list of instruments"):
        return {fields["id"]: Instrument.from_dict(fields) for fields in started.instruments}


def span_of(started: Started) -> tuple[int, int]:
    """Return when a run began and when it was to end.

    Raises:
        DataError: The log has no such moments.
    """
    with _understood("configuration"):
        return msgspec.convert((started.config["start_ns"], started.config["end_ns"]), tuple[int, int])


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Turn what strange fields lead to into a DataError."""
    try:
        yield
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DataError(
            f"the engine log's {what} is not understood ({type(error).__name__}: {error}); was it written by a newer "
            "version of quantkit?"
        ) from error
