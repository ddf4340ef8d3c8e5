"""Every option of a run stands once, in `RunOptions`: calls, flags, saved results and docs have what it says."""

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.latency import Latency
from quantkit.live.journal import config_fields, config_of
from quantkit.margin import MarginTier
from quantkit.options import OPTIONS, Option, RunOptions
from quantkit.report.repeat import options_of

ROOT = Path(__file__).parents[2]
BTC = "BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01")
#: Arguments that say what is run, where it comes from and who watches, not how it is done.
INPUTS = {
    qk.backtest: {
        "strategy",
        "params",
        "data",
        "interval",
        "strict",
        "instruments",
        "block_rows",
        "save",
        "keep",
        "bounds",
        "benchmark",
        "progress",
    },
    qk.paper: {
        "strategy",
        "params",
        "okx",
        "exchange",
        "record",
        "duration",
        "benchmark",
        "on_status",
        "stop",
        "commands",
        "control",
    },
}
#: Each option under its keyword as somebody would give it, never as it is by default, and the field that it becomes.
GIVEN: dict[str, tuple[Any, Any]] = {
    "cash": ({"USDT": 500, "BTC": "0.5"}, {"USDT": Decimal(500), "BTC": Decimal("0.5")}),
    "report_currency": ("USDT", "USDT"),
    "fees": (Fees(maker_bps=1, taker_bps=3), Fees(maker_bps=1, taker_bps=3)),
    "latency_ms": (1.5, 1_500_000),
    "latency": ("uniform:1:9", Latency.uniform(1, 9)),
    "compute": ("300us", Latency("300us", (300_000,))),
    "match_on": ("trade", {"*": "trade"}),
    "start": ("2026-01-01T00:01:00Z", START_NS + NS_PER_MIN),
    "end": ("2026-01-01T00:05:00Z", START_NS + 5 * NS_PER_MIN),
    "seed": (7, 7),
    "max_leverage": ("2.5", Decimal("2.5")),
    "margin": ("isolated", "isolated"),
    "leverage": ({BTC: 3}, {BTC: Decimal(3)}),
    "tiers": (
        {"BTC-USDT": [{"max_qty": "10", "maintenance_rate": "0.004", "max_leverage": "50"}]},
        {"BTC-USDT": [MarginTier(Decimal(10), Decimal("0.004"), Decimal(50))]},
    ),
    "position_mode": ("long_short", "long_short"),
    "stale_after": (timedelta(seconds=3), 3 * NS_PER_S),
    "equity_every": ("5s", 5 * NS_PER_S),
    "touch": (True, True),
    "excess_slippage_bps": (2, 2.0),
    "slippage_bps": (0.5, 0.5),
    "slippage": ("sqrt:0.7", "sqrt:0.7"),
    "max_share": ("0.25", 0.25),
    "queue_model": ("power:2", "power:2"),
    "own_side_prints": (False, False),
    "venue_rules": ("okx", "okx"),
    "stp_mode": ("cancel_both", "cancel_both"),
    "search": (False, False),
    "batch_ms": (2.5, 2_500_000),
}
#: The manifest of a run with these.
MANIFEST: dict[str, Any] = {
    "cash": {"USDT": "500", "BTC": "0.5"},
    "report_currency": "USDT",
    "fees": {BTC: msgspec.to_builtins(Fees(maker_bps=1, taker_bps=3))},
    "latency_ms": {BTC: 1.5},
    "latency": None,  # the one way or the other
    "compute": {"name": "300us", "digest": Latency("300us", (300_000,)).digest},
    "matching": {BTC: "trade"},
    "start_ns": START_NS + NS_PER_MIN,
    "end_ns": START_NS + 5 * NS_PER_MIN,
    "seed": 7,
    "max_leverage": 2.5,
    "margin": "isolated",
    "leverage": {BTC: 3.0},
    "tiers": {
        "families": ["BTC-USDT"],
        "digest": "005770ca21b5fb740bd323d7c84c76f4d16947ca60b43bc59f7a2356e44dc7cf",
        "tables": {"BTC-USDT": [{"max_qty": "10", "maintenance_rate": "0.004", "max_leverage": "50"}]},
    },
    "position_mode": "long_short",
    "stale_after_ms": 3000.0,
    "equity_every_ms": 5000.0,
    "touch": True,
    "excess_slippage_bps": 2.0,
    "slippage_bps": 0.5,
    "slippage": "sqrt:0.7",
    "max_share": 0.25,
    "queue_model": "power:2",
    "own_side_prints": False,
    "venue_rules": "okx",
    "stp_mode": "cancel_both",
}
#: As on a command line; None for a flag without a value.
FLAGS: dict[str, str | None] = {
    "--cash": "USDT=500",
    "--report-currency": "BTC",
    "--fees-maker-bps": "1",
    "--fees-taker-bps": "3",
    "--fees-per-contract": "0.1",
    "--fees-per-share": "0.2",
    "--fees-per-order": "0.3",
    "--fees-min-per-order": "0.4",
    "--latency-ms": "1.5",
    "--latency": "uniform:1:9",
    "--compute": "lognormal:0.3:2",
    "--match-on": "trade",
    "--from": "2026-01-01",
    "--to": "2026-01-02",
    "--seed": "7",
    "--max-leverage": "2.5",
    "--margin": "cross",
    "--leverage": f"{BTC}=3",
    "--tiers": str(ROOT / "tests" / "data" / "tiers.json"),
    "--position-mode": "long_short",
    "--slippage-bps": "0.5",
    "--slippage": "half_spread",
    "--max-share": "0.25",
    "--queue-model": "front",
    "--no-own-side-prints": None,
    "--touch": None,
    "--stale-after": "3s",
    "--excess-slippage-bps": "2",
    "--venue-rules": "okx",
    "--stp-mode": "cancel_taker",
    "--batch-ms": "2.5",
}


class Idle(qk.Strategy):
    """Does nothing."""

    def on_start(self) -> None:
        self.subscribe_trades(BTC)


def of(option: Option) -> dict[str, inspect.Parameter]:
    """Return the parameter of an option in each of the calls that take it."""
    calls = {call.__name__: inspect.signature(call).parameters for call in INPUTS}
    return {name: there[option.keyword] for name, there in calls.items() if option.keyword in there}


def test_the_record_has_every_option_once() -> None:
    """No two fields share a keyword, a flag or a name in a result."""
    assert list(OPTIONS) == list(RunOptions.__struct_fields__)
    names = [option.keyword for option in OPTIONS.values()]
    flags = [flag for option in OPTIONS.values() for flag in option.flags]
    manifest = [option.manifest_key for option in OPTIONS.values() if option.manifest_key is not None]
    for each in (names, flags, manifest):
        assert len(each) == len(set(each))
    assert set(GIVEN) == set(names)
    assert set(FLAGS) == set(flags)
    assert set(MANIFEST) == set(manifest)
    for field in OPTIONS:
        assert re.search(rf"^ +(\w+, )*{field}[,:]", RunOptions.__doc__ or "", re.MULTILINE), (
            f"{field} is not explained"
        )


@pytest.mark.parametrize("field", OPTIONS)
def test_an_option_is_a_keyword_of_the_calls(field: str) -> None:
    """Of `backtest`, of `paper` or of both, as it is marked: by name only, of one type, with the record's default."""
    option = OPTIONS[field]
    there = of(option)
    assert set(there) == set(option.calls)
    assert {parameter.kind for parameter in there.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert len({str(parameter.annotation) for parameter in there.values()}) == 1
    for parameter in there.values():
        assert option.read(parameter.default, option.keyword) == getattr(RunOptions(), field)


@pytest.mark.parametrize("call", INPUTS)
def test_a_call_takes_options_and_inputs_only(call: Callable[..., qk.Result]) -> None:
    """What decides how a run is done stands in the record."""
    names = set(inspect.signature(call).parameters)
    assert names - {option.keyword for option in OPTIONS.values()} <= INPUTS[call]


@pytest.mark.parametrize("keyword", GIVEN)
def test_an_option_is_read(keyword: str) -> None:
    """Into its field, and no other field changes."""
    given, value = GIVEN[keyword]
    field = next(name for name, option in OPTIONS.items() if option.keyword == keyword)
    read = RunOptions.read({keyword: given, "strategy": "is no option"})
    assert msgspec.structs.asdict(read) == {**msgspec.structs.asdict(RunOptions()), field: value}
    assert getattr(RunOptions(), field) != value


@pytest.mark.parametrize(("command", "call"), [("backtest", "backtest"), ("live", "paper")])
def test_an_option_is_a_flag(command: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the commands of its calls, and what is given there reaches the call."""
    calls: list[dict[str, Any]] = []

    def taken(_: str, **options: Any) -> qk.Result:
        calls.append(options)
        raise qk.ConfigError("seen enough")

    monkeypatch.setattr(f"quantkit.api.{call}", taken)
    marked = {flag: field for field, option in OPTIONS.items() for flag in option.flags if call in option.calls}
    words = [word for flag in marked for word in (flag, FLAGS[flag]) if word is not None]
    mode = ["--paper"] if command == "live" else []
    done = CliRunner().invoke(main, [command, "idle", *mode, *words])
    assert "seen enough" in done.stderr
    read = RunOptions.read(calls[0])
    for field in marked.values():
        assert getattr(read, field) != getattr(RunOptions(), field), field
    assert read.fees == Fees(
        maker_bps=1, taker_bps=3, per_contract=0.1, per_share=0.2, per_order=0.3, min_per_order=0.4
    )


@pytest.mark.parametrize(("command", "call"), [("backtest", "backtest"), ("live", "paper")])
def test_a_flag_that_is_no_option_is_an_input(command: str, call: str) -> None:
    """A flag that decides how a run is done has its option."""
    flags = {
        flag
        for parameter in main.commands[command].params
        if isinstance(parameter, click.Option)
        for flag in parameter.opts
        if flag.startswith("--")
    }
    marked = {flag for option in OPTIONS.values() for flag in option.flags if call in option.calls}
    assert marked <= flags
    inputs = {
        "backtest": {"--data", "--save", "--runs", "--no-keep", "--report", "--open", "--benchmark", "--bounds"},
        "live": {
            *("--paper", "--for", "--record", "--no-record", "--demo", "--region", "--url", "--ca-file", "--plain"),
            *("--control", "--serve", "--benchmark"),
        },
    }
    assert flags - marked <= {"--param", "--brief", "--json", "--quiet", *inputs[command]}


def runs_of_all_options() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the options of runs that have each of `GIVEN` between them, and the `config` of each."""
    stamps = [START_NS + n * NS_PER_S for n in range(360)]
    rows = [Trade(BTC, at, at, 100.0, 1.0, Side.BUY, n) for n, at in enumerate(stamps)]
    feed = MemoryFeed(rows, [Instrument(BTC, kind="swap", price_step="0.1", qty_step="0.01")])
    given = {option.keyword: GIVEN[option.keyword][0] for option in OPTIONS.values() if "backtest" in option.calls}
    given["cash"] = {"USDT": 500}
    # What excludes each other; max_leverage has margin in its place.
    first = {
        name: given[name] for name in given if name not in ("latency", "slippage", "max_leverage", "position_mode")
    }
    without = ("latency_ms", "slippage_bps", "margin", "leverage", "tiers")
    second = {name: given[name] for name in given if name not in without}
    return [(options, qk.backtest(Idle(), data=feed, **options).config) for options in (first, second)]


def test_the_manifest_has_the_options() -> None:
    """Each under its own name, as the run used it, and nothing that decides nothing."""
    (_, config), (_, drawn) = runs_of_all_options()
    manifest = {**MANIFEST, "cash": {"USDT": "500"}, "slippage": None, "max_leverage": 1.0, "position_mode": "net"}
    assert {name: config[name] for name in manifest} == manifest
    assert set(config) - set(manifest) == {"strategy", "strategy_digest", "parameters", "data", "data_files", "marks"}
    latency = GIVEN["latency"][1]
    assert drawn["position_mode"] == GIVEN["position_mode"][0]
    assert drawn["slippage"] == GIVEN["slippage"][0]
    assert drawn["latency"] == {"name": latency.name, "digest": latency.digest}
    assert drawn["latency_ms"] == {BTC: 5.004}


def test_a_manifest_gives_the_options_back() -> None:
    """Each as it was given, or as the run used it by instrument, so that the run can be repeated."""
    seen = set()
    for options, config in runs_of_all_options():
        again = options_of(msgspec.json.decode(msgspec.json.encode(config)))
        by_name = {"fees": {BTC: options["fees"]}, "match_on": {BTC: options["match_on"]}}
        wanted = msgspec.structs.asdict(RunOptions.read({**options, **by_name}))
        for field, option in OPTIONS.items():
            if option.manifest_key is not None:
                assert getattr(again, field) == wanted[field], field
                seen |= {field} if wanted[field] != getattr(RunOptions(), field) else set()
    assert seen == {field for field, option in OPTIONS.items() if option.manifest_key is not None}


def test_a_log_takes_the_options_apart_without_loss() -> None:
    """So that `verify` runs by what the run was done by; a log of before an option existed has its default."""
    options = RunOptions.read({keyword: given for keyword, (given, _) in GIVEN.items()})
    fields = msgspec.json.decode(msgspec.json.encode(config_fields(options)))
    assert set(fields) == set(OPTIONS)
    assert config_of(fields) == options
    del fields["slippage_bps"]
    assert config_of(fields) == msgspec.structs.replace(options, slippage_bps=0.0)
    del fields["venue_rules"]  # but nobody judged orders then
    assert config_of(fields) == msgspec.structs.replace(options, slippage_bps=0.0, venue_rules="off")


def test_the_page_of_options_has_each_with_its_flags() -> None:
    """A line in `docs/options.md`."""
    rows = [line.split("|")[1:3] for line in (ROOT / "docs" / "options.md").read_text().splitlines() if "|" in line]
    page = {
        name: set(re.findall(r"--[a-z-]+", flags)) for names, flags in rows for name in re.findall(r"`(\w+)`", names)
    }
    for option in OPTIONS.values():
        assert set(option.flags) <= page[option.keyword], option.keyword
