"""The engine log of a live run: its inputs in their order, and its outputs.

With the tape of frames it is the whole run. Engine time moves by the logged inputs alone: the same inputs give the same
decisions, fills and ledger. The tags of the entries are those of version 0.1, so that its logs still load.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.brokers.asynchronous.inputs import OrderInput
from quantkit.brokers.base import Decision, Report
from quantkit.engine.commands import RunCommand
from quantkit.errors import ConfigError, DataError
from quantkit.events import Candle
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.latency import Latency
from quantkit.margin import MarginTier
from quantkit.options import RunOptions
from quantkit.rows.columns import Stream
from quantkit.storage.tape import TapeReader, TapeWriter

#: Version 3 has news of orders, version 4 commands from outside.
VERSION: Final = 4
#: The broker of paper runs, in the log of a run.
SIMULATED: Final = "simulated"


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """How the run was set up.

    Attributes:
        exchange: The name of the exchange, OKX in logs of before there were others.
        broker: The name of the gateway that orders went through; `SIMULATED` without one.
        opened_ns: When the feed was opened.
        strategy: Module and class.
        source: The class's file, None without one.
        strategy_digest: The file's SHA-256, None without one.
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
    exchange: str = "okx"
    broker: str = SIMULATED


class WarmupLoaded(msgspec.Struct, frozen=True, tag="warmup"):
    """The candles of a warm-up, empty where the exchange had none."""

    instrument: str
    interval: str
    count: int
    candles: list[Candle]


class InputBatch(msgspec.Struct, frozen=True, tag="take"):
    """One batch: its count of deliveries on the tape, the stamp of the last, and the end of its time."""

    deliveries: int
    last_ns: int
    until_ns: int


class BrokerNews(msgspec.Struct, frozen=True, tag="news"):
    """News of orders, taken at the beginning of the batch before; `until_ns` is its end, None at the end of the run."""

    until_ns: int | None
    news: list[OrderInput]


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """One message: its subject, and its time of sending by the engine's time and by our clock."""

    instrument: str
    number: int  # counted from 1
    at_ns: int
    sent_ns: int


class Stepped(msgspec.Struct, frozen=True, tag="offset"):
    """From a moment on, our clock is so far ahead of the exchange's."""

    from_ns: int
    offset_ns: int


class Output(msgspec.Struct, frozen=True, tag="did"):
    """The outcome of the batch before: messages sent, and reports of orders with their fills."""

    decisions: list[Decision]
    reports: list[Report]


class FeedEnded(msgspec.Struct, frozen=True, tag="end"):
    """The feed has ended. Later entries belong to the end of the run itself."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """The end of the run and its final figures.

    Attributes:
        error: The exception that stopped it, if any.
        hash_encoding: Which of `quantkit.report.digest.ENCODINGS` the hash has.
        asked: The instruments whose metadata the strategy has asked for, subscribed or not.
    """

    ended: str
    end_ns: int
    result_hash: str
    orders: int
    fills: int
    equity: Decimal
    cash: dict[str, Decimal]
    positions: dict[str, Decimal]
    error: str = ""
    hash_encoding: str = "quantkit-result-1"  # the only one before logs named it
    asked: list[str] = []


Entry: TypeAlias = (
    Started | WarmupLoaded | InputBatch | BrokerNews | RunCommand | Sent | Stepped | Output | FeedEnded | Stopped
)

_decoder: Final = msgspec.json.Decoder(Entry)


class EngineLog:
    """Writes a run's engine log: its `InputLog`, its `OrderInputLog`, its `CommandLog` and its `RunLog`.

    Every entry is safe from a kill of the process once its call returns.
    """

    def __init__(self, folder: Path) -> None:
        self._tape = TapeWriter(folder)
        #: Whether the engine has taken something in: before, there is no run to repeat.
        self.has_begun = False

    @property
    def written_bytes(self) -> int:
        """Its length so far."""
        return self._tape.written_bytes

    def write(self, entry: Entry) -> None:
        """Add an entry."""
        self._tape.append(msgspec.json.encode(entry))

    def output(self, decisions: list[Decision], reports: list[Report]) -> None:
        """Add the outcome of a batch."""
        self.write(Output(decisions, reports))

    def input_batch(self, deliveries: int, last_ns: int, until_ns: int) -> None:
        """Add a batch."""
        self.has_begun = True
        self.write(InputBatch(deliveries, last_ns, until_ns))

    def broker_news(self, news: Sequence[OrderInput], until_ns: int | None) -> None:
        """Add news of orders."""
        self.write(BrokerNews(until_ns, list(news)))

    def command(self, command: RunCommand) -> None:
        """Add a command from outside."""
        self.write(command)

    def sent(self, instrument: str, number: int, at_ns: int, sent_ns: int) -> None:
        """Add the departure of a message."""
        self.write(Sent(instrument, number, at_ns, sent_ns))

    def stepped(self, from_ns: int, offset_ns: int) -> None:
        """Add a step of the clock offset."""
        self.write(Stepped(from_ns, offset_ns))

    def warmup_loaded(self, stream: Stream, count: int, candles: Sequence[Candle]) -> None:
        """Add the candles of a warm-up."""
        self.write(WarmupLoaded(stream.instrument, stream.interval, count, list(candles)))

    def feed_ended(self) -> None:
        """Add the end of the feed."""
        self.write(FeedEnded())

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


def config_fields(config: RunOptions) -> dict[str, Any]:
    """Return an engine configuration as JSON-ready values that `config_of` takes back without loss."""
    fields: dict[str, Any] = msgspec.to_builtins(config)
    fields["cash"] = {currency: str(amount) for currency, amount in config.cash.items()}
    fields["max_leverage"] = str(config.max_leverage)
    if isinstance(config.fees, Fees):
        fields["fees"] = {"*": msgspec.to_builtins(config.fees)}
    return fields


def config_of(fields: dict[str, Any]) -> RunOptions:
    """Return the engine configuration that `config_fields` took apart.

    Raises:
        DataError: It has other fields than this quantkit's.
    """
    with _understood("configuration"):
        # A log from before there were order rules is of a run without them.
        given = {"venue_rules": "off", **fields}
        given["cash"] = {currency: Decimal(amount) for currency, amount in fields["cash"].items()}
        given["max_leverage"] = Decimal(fields["max_leverage"])
        for name in ("latency", "compute"):
            if given.get(name) is not None:
                given[name] = msgspec.convert(given[name], Latency)
        for name, type_ in (("leverage", Decimal | dict[str, Decimal]), ("tiers", dict[str, list[MarginTier]])):
            if given.get(name) is not None:
                given[name] = msgspec.convert(given[name], type_)
        fees = given.pop("fees")
        converted: Fees | dict[str, Fees] | None = None
        if fees is not None:
            is_one = set(fees) == {"*"}
            converted = msgspec.convert(fees["*"], Fees) if is_one else msgspec.convert(fees, dict[str, Fees])
        return RunOptions(**given, fees=converted)


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
