"""A first strategy and a small data folder, written where nothing is yet."""

import keyword
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from quantkit.clock import interval_ns, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.loading import STRATEGY_FOLDER
from quantkit.portable import unportable
from quantkit.rows.columns import Block
from quantkit.sandbox.history import GeneratedHistory
from quantkit.sandbox.listing import default_listings
from quantkit.sandbox.paths import PricePath
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.writer import Writer

DATA_FOLDER: Final = "data"
#: The prefix says at every place that nobody traded at these prices.
GENERATED: Final = "generated:BTC-USDT"
_INTERVAL: Final = "15m"
_CANDLES: Final = 60 * 24 * 4
_END: Final = "2026-01-01"
_SEED: Final = 1

_TEMPLATE: Final = '''"""{title}."""

from quantkit import Candle, Strategy
from quantkit.indicators import Sma


class {name}(Strategy):
    """Hold `fraction` of the equity while the fast average is above the slow one, else nothing."""

    instrument: str = "{instrument}"
    interval: str = "{interval}"
    fast: int = 12
    slow: int = 48
    fraction: float = 0.9

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval, warmup=self.slow)
        self.fast_ma, self.slow_ma = Sma(self.fast), Sma(self.slow)

    def on_candle(self, candle: Candle) -> None:
        fast, slow = self.fast_ma.update(candle.close), self.slow_ma.update(candle.close)
        if self.is_warming_up or not self.slow_ma.is_ready:
            return
        held = self.position(self.instrument)
        if fast > slow and held == 0:
            coins = self.fraction * self.equity / candle.close
            self.buy(self.instrument, self.instrument_info(self.instrument).qty_for(base=coins, price=candle.close))
        elif fast < slow and held > 0:
            self.close(self.instrument)
'''


class StarterFiles(msgspec.Struct, frozen=True):
    """The written files: the strategy, and the data folder unless there was one."""

    strategy: Path
    data: Path | None
    instrument: str


def start(name: str, folder: str | Path = ".") -> StarterFiles:
    """Write a first strategy, and generated candles where there is no data folder yet.

    Args:
        name: Of the strategy: `my_strategy` becomes the class MyStrategy in strategies/my_strategy.py.
        folder: Where; the present folder unless told otherwise.

    Raises:
        ConfigError: The name is no Python name or no portable file name, or the strategy's file is there already.
        DataError: The folder cannot be written, or holds data without any candles.
    """
    if keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is a Python keyword and no name for a strategy; write for example my_{name}")
    if not name.isidentifier():
        raise ConfigError(f"{name!r} is no name for a strategy; use letters, digits and _, for example my_strategy")
    # The folder of a strategy is searched first for what it imports: pandas.py there would be everyone's pandas.
    if name in sys.stdlib_module_names or find_spec(name) is not None:
        raise ConfigError(f"{name!r} is the name of a Python module, which imports would find no more; use my_{name}")
    reason = unportable(f"{name}.py")
    if reason is not None:
        raise ConfigError(f"{name!r} is no name for a strategy's file: it {reason}; choose another name")
    place = Path(folder)
    file = place / STRATEGY_FOLDER / f"{name}.py"
    if file.exists():
        raise ConfigError(f"{file} is there already; choose another name")
    data = place / DATA_FOLDER
    is_new = not (data / MANIFEST).exists()
    instrument, interval = (GENERATED, "1h") if is_new else _first_candles(data)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if is_new:
            _write_data(data)
        title = name.replace("_", " ").strip().capitalize() or name
        class_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or name
        text = _TEMPLATE.format(title=title, name=class_name, instrument=instrument, interval=interval)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{place} cannot be written: {error.strerror or error}") from error
    return StarterFiles(strategy=file, data=data if is_new else None, instrument=instrument)


def _first_candles(data: Path) -> tuple[str, str]:
    """Return the instrument that has candles, and their interval or an hour where they are finer."""
    streams = [stream for stream in Catalog(data).coverage() if stream.kind == "candle"]
    if not streams:
        raise DataError(f"{data} holds no candles to start from; name another folder: quantkit new NAME --to DIR")
    first = min(streams, key=lambda stream: (stream.instrument, interval_ns(stream.interval)))
    is_fine = interval_ns("1h") % interval_ns(first.interval) == 0
    return first.instrument, "1h" if is_fine else first.interval


def _write_data(data: Path) -> None:
    """Generate sixty days of candles, the same ones each time."""
    listing = default_listings(1)[0]
    length_ns, end_ns = interval_ns(_INTERVAL), time_ns_of(_END)
    end_ms = end_ns // 1_000_000
    path = PricePath(_SEED, listing.asset, price=listing.price)
    history = GeneratedHistory(listing, path, seed=_SEED, start_ms=end_ms, kept=1)
    candles = []
    for row in reversed(history.candles(_INTERVAL, end_ms, _CANDLES, end_ms)):
        open_ns = int(row[0]) * 1_000_000
        prices = [float(text) for text in row[1:6]]
        candles.append(
            Candle(
                instrument=GENERATED,
                exchange_ns=open_ns + length_ns,
                received_ns=open_ns + length_ns,
                open_ns=open_ns,
                close_ns=open_ns + length_ns,
                open=prices[0],
                high=prices[1],
                low=prices[2],
                close=prices[3],
                volume=prices[4],
                interval=_INTERVAL,
            )
        )
    instrument = Instrument(
        GENERATED,
        price_step=listing.price_text(1),
        qty_step=listing.qty_text(1),
        min_qty=listing.qty_text(listing.min_lots),
    )
    with Writer(data, source=f"generated by quantkit new, seed {_SEED}") as writer:
        writer.write_instrument(instrument)
        writer.write(Block.from_events(candles))
