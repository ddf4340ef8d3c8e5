"""Putting the pieces together: a strategy, data and a configuration become a result."""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from quantkit.clock import duration_ns, time_ns_of
from quantkit.config import run_config
from quantkit.engine.core import Engine
from quantkit.engine.setup import EngineConfig, Plan
from quantkit.errors import ConfigError
from quantkit.feeds.base import Feed
from quantkit.feeds.replay import ReplayFeed, frame_feed
from quantkit.instruments import Fees, Instrument, decimal_of
from quantkit.report.result import Result
from quantkit.storage.catalog import Catalog
from quantkit.strategy import Strategy

if TYPE_CHECKING:
    import pandas as pd

Amount: TypeAlias = float | int | str | Decimal
Moment: TypeAlias = str | int | date

#: Where a bare strategy name is looked for.
STRATEGY_FOLDER = "strategies"


def backtest(
    strategy: Strategy | type[Strategy] | str,
    *,
    data: "str | Path | Catalog | Feed | Mapping[str, pd.DataFrame]" = "data",
    start: Moment | None = None,
    end: Moment | None = None,
    params: Mapping[str, Any] | None = None,
    cash: Mapping[str, Amount] | None = None,
    report_currency: str | None = None,
    fees: Fees | Mapping[str, Fees] | None = None,
    latency_ms: float | None = None,
    match_on: str | Mapping[str, str] | None = None,
    instruments: Iterable[Instrument] = (),
    max_leverage: Amount = 1,
    seed: int = 0,
    stale_after: str | timedelta = "10s",
    equity_every: str | timedelta = "1m",
    touch: bool = False,
    excess_slippage_bps: float = 1.0,
    block_rows: int | None = None,
    search: bool = True,
    progress: Callable[[int, int, int], None] | None = None,
) -> Result:
    """Replay recorded data through a strategy and return the result.

    Args:
        strategy: A built strategy, its class, or text: a file, a name in `strategies/`, or `module:Class`.
        data: A data folder or URI, or OHLCV frames by instrument id on a DatetimeIndex of bar open times.
        start, end: Span, UTC; default what the subscribed data have in common, after the warm-up.
        params: Parameters, when `strategy` is a class or text; text values are converted.
        cash: Starting balances by currency; the first is what the report counts in unless `report_currency` says so.
            Default 10,000 of the first instrument's settlement currency.
        fees: For all instruments or by id; default OKX's presets by kind.
        latency_ms: One way; default 20, and 0, and only 0, for instruments matched on candles.
        match_on: `book`, `ticker`, `trade` or `candle`, for all or by id; default the finest that spans the run.
        instruments: Metadata that wins over the data folder's; needed with frames.
        max_leverage: Bound on the notional of contracts over the equity.
        seed: Of `strategy.rng`.
        stale_after: A displayed book or ticker older than this fills nothing.
        equity_every: Grid of the equity curve.
        touch: Whether, on trades, an opposite-aggressor trade at the limit fills at most its size.
        excess_slippage_bps: On tickers, how much worse the size beyond the displayed one fills.
        block_rows, search: How the replay walks; they never change a result.
        progress: Called with (now_ns, start_ns, end_ns) from time to time.

    Raises:
        ConfigError: The call is wrong: a parameter, an option, a strategy that cannot be loaded.
        DataError: Data are missing or bad.
        StrategyError: A hook raised; the original is its cause.
    """
    _check_types(cash=cash, fees=fees, instruments=instruments)
    built = _built(strategy, params)
    given = list(instruments)
    feed = _feed(data, given, block_rows)
    config = EngineConfig(
        cash={currency: decimal_of(amount) for currency, amount in (cash or {}).items()},
        report_currency=report_currency,
        fees=fees if fees is None or isinstance(fees, Fees) else dict(fees),
        latency_ns=None if latency_ms is None else _latency_ns(latency_ms),
        match_on={"*": match_on} if isinstance(match_on, str) else dict(match_on or {}),
        start_ns=None if start is None else time_ns_of(start),
        end_ns=None if end is None else time_ns_of(end),
        seed=_seed(seed),
        max_leverage=_leverage(max_leverage),
        stale_after_ns=duration_ns(stale_after),
        equity_every_ns=duration_ns(equity_every),
        touch=touch,
        excess_slippage_bps=_slippage(excess_slippage_bps),
        search=search,
    )
    engine = Engine(feed, built, config, progress=progress)
    outcome = engine.run()
    name, digest = _source_of(built)
    described = run_config(
        strategy=name,
        strategy_digest=digest,
        parameters=built.parameters,
        data=str(feed.catalog.root) if isinstance(feed, ReplayFeed) and hasattr(feed, "catalog") else "memory",
        data_files=_data_files(feed, engine.plan),
        plan=engine.plan,
        config=config,
    )
    return Result(outcome, described, engine.plan.instruments)


def _latency_ns(latency_ms: float) -> int:
    if not 0 <= latency_ms < 3_600_000:
        raise ConfigError(f"latency is {latency_ms} ms; give zero or more milliseconds")
    return round(latency_ms * 1e6)


def _seed(seed: int) -> int:
    if seed < 0:
        raise ConfigError(f"seed is {seed!r}; give zero or more")
    return seed


def _slippage(slippage_bps: float) -> float:
    if not 0 <= slippage_bps < 10_000:
        raise ConfigError(f"excess_slippage_bps is {slippage_bps}; give basis points from 0 to below 10000")
    return slippage_bps


def _leverage(leverage: Amount) -> Decimal:
    value = decimal_of(leverage)
    if value <= 0:
        raise ConfigError(f"max_leverage is {leverage}; it must be above zero")
    return value


def _feed(data: Any, instruments: list[Instrument], block_rows: int | None) -> Feed:
    """Make a feed of whatever the user has."""
    rows = {} if block_rows is None else {"block_rows": block_rows}
    if isinstance(data, str | Path | Catalog):
        return ReplayFeed(data, instruments=instruments, **rows)
    if isinstance(data, Mapping):
        if not data:
            raise ConfigError("data holds no frames; give {instrument id: OHLCV frame}")
        return frame_feed(data, instruments, **rows)
    if hasattr(data, "batches"):
        feed: Feed = data
        return feed
    raise ConfigError(f"data is a {type(data).__name__}; give a folder or {{instrument id: OHLCV frame}}")


def _data_files(feed: Feed, plan: Plan) -> dict[str, str]:
    """Return path and digest of every stored file that the run's streams could read."""
    catalog = getattr(feed, "catalog", None)
    if catalog is None:
        return {}
    found = {}
    for stream in plan.streams:
        for entry in catalog.files(stream, plan.start_ns, plan.end_ns):
            found[entry.path] = entry.sha256
    return dict(sorted(found.items()))


# Strategies -------------------------------------------------------------------------------------------------------


def _check_types(*, cash: Any, fees: Any, instruments: Any) -> None:
    """Refuse the wrong calls that are easily made.

    Raises:
        ConfigError: It names the argument and shows how it is written.
    """
    if cash is not None and not isinstance(cash, Mapping):
        raise ConfigError(f"cash is {cash!r}; give balances by currency, for example cash={{'USDT': 10_000}}")
    if fees is not None and not isinstance(fees, Fees | Mapping):
        raise ConfigError(f"fees is {fees!r}; give for example fees=Fees(maker_bps=2, taker_bps=5)")
    if isinstance(instruments, Instrument) or not isinstance(instruments, Iterable):
        raise ConfigError("instruments is no list; give for example instruments=[Instrument('GOOG', quote='USD', ...)]")


def _built(strategy: Strategy | type[Strategy] | str, params: Mapping[str, Any] | None) -> Strategy:
    if isinstance(strategy, Strategy):
        if params:
            raise ConfigError("params go with a strategy class; this one is built already")
        return strategy
    kind: Any = load_strategy(strategy) if isinstance(strategy, str) else strategy
    if not (isinstance(kind, type) and issubclass(kind, Strategy)):
        raise ConfigError(f"{kind!r} is no Strategy; pass a subclass of quantkit.Strategy")
    try:
        built: Strategy = kind(**dict(params or {}))
    except TypeError as error:
        raise ConfigError(
            f"{kind.__name__} cannot be built: {error}; parameters are annotated class attributes, not arguments of "
            "an __init__ of its own"
        ) from error
    return built


def load_strategy(text: str) -> type[Strategy]:
    """Return the Strategy class that a text names.

    Args:
        text: A Python file, the name of one in `./strategies`, or `module:Class` (or `file.py:Class`).

    Raises:
        ConfigError: It is not there, does not import, or holds no Strategy or several.
    """
    path, _, class_name = text.rpartition(":") if _names_class(text) else (text, "", "")
    if not path.strip():
        raise ConfigError("the strategy has no name; give a file, a name in strategies, or module:Class")
    file = _find_file(path)
    module = _import_file(file) if file is not None else _import_module(path)
    where = str(file) if file is not None else path
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value is not Strategy
        and value.__module__ == module.__name__
    }
    if class_name:
        value = getattr(module, class_name, None)
        if not (isinstance(value, type) and issubclass(value, Strategy)):
            raise ConfigError(f"{where} has no Strategy {class_name!r}{_hint(class_name, list(found))}")
        return value
    if not found:
        raise ConfigError(f"{where} holds no subclass of quantkit.Strategy; write one, or name another file")
    if len(found) > 1:
        names = ", ".join(found)
        raise ConfigError(f"{where} holds several strategies ({names}); say which: {text}:{next(iter(found))}")
    return next(iter(found.values()))


def _names_class(text: str) -> bool:
    # A drive letter's colon stands second; a class name is an identifier after the last one.
    head, colon, tail = text.rpartition(":")
    return bool(colon) and len(head) > 1 and tail.isidentifier()


def _find_file(path: str) -> Path | None:
    """Return the file that a text means, None where it can only be a module."""
    file = Path(path)
    if file.suffix == ".py" or "/" in path or "\\" in path:
        if not file.is_file():
            raise ConfigError(f"strategy file {path} is not there; give a path to a Python file")
        return file
    named = Path(STRATEGY_FOLDER) / f"{path}.py"
    if named.is_file():
        return named
    if "." not in path and not _is_module(path):
        there = sorted(f.stem for f in Path(STRATEGY_FOLDER).glob("*.py")) if Path(STRATEGY_FOLDER).is_dir() else []
        raise ConfigError(
            f"strategy {path!r} is neither in ./{STRATEGY_FOLDER} nor a file or a module{_hint(path, there)}"
        )
    return None


def _is_module(name: str) -> bool:
    with _importing_from(Path()):
        try:
            return importlib.util.find_spec(name) is not None
        except ValueError:  # a module that runs as a script has no spec
            return False


def _hint(name: str, there: list[str]) -> str:
    close = difflib.get_close_matches(name, there, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there is {', '.join(there) or 'none'}"


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let modules that lie in a folder be imported, as Python does for the script it runs."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)


def _import_file(file: Path) -> ModuleType:
    name = file.stem
    if not name.isidentifier():
        raise ConfigError(f"strategy file {file}: {name!r} is no Python name; rename the file")
    spec = importlib.util.spec_from_file_location(f"quantkit_strategy_{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Pickling and dataclasses look a class's module up by name; a second load of the file replaces the first.
    sys.modules[spec.name] = module
    try:
        with _importing_from(file.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        raise _import_error(str(file), error) from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        with _importing_from(Path()):
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(f"module {name}", error) from error


def _import_error(where: str, error: BaseException) -> ConfigError:
    if isinstance(error, ConfigError):
        return ConfigError(f"{where}: {error}")
    what, place = str(error), ""
    if isinstance(error, SyntaxError) and error.filename:
        what, place = error.msg, f" ({Path(error.filename).name} line {error.lineno})"
    else:
        # The innermost lines of a failed import are Python's own; the user's last one says where to look.
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith("<") and Path(frame.filename).parent.name not in ("quantkit", "importlib"):
                place = f" ({Path(frame.filename).name} line {frame.lineno})"
    return ConfigError(f"{where} does not import: {type(error).__name__}: {what}{place}")


def _source_of(strategy: Strategy) -> tuple[str, str | None]:
    """Return a strategy's module and class, and the digest of the file it stands in."""
    kind = type(strategy)
    name = f"{kind.__module__.removeprefix('quantkit_strategy_')}:{kind.__qualname__}"
    try:
        file = inspect.getsourcefile(kind)
        return name, hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    except (TypeError, OSError):  # a class typed into a notebook or a shell has no file
        return name, None
