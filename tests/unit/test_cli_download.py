"""`quantkit download`: what it prints and how it refuses; what it fetches is tested in `collect/`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import NS_PER_DAY, iso_of, wall_ns
from quantkit.report.tables import stream_rows
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

KEYS = ("OKX_API_KEY", "OKX_API_SECRET", "OKX_API_PASSPHRASE")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["download", *arguments])


@pytest.fixture(scope="module")
def exchange() -> Any:
    with SandboxServer(GeneratedMarket(orders_per_s=0)) as server:
        yield server


def test_it_tells_what_came_and_where_the_exchange_has_nothing(exchange: SandboxServer, tmp_path: Path) -> None:
    day_ns = wall_ns() // NS_PER_DAY * NS_PER_DAY
    exchange.inject(faults.Rest(endpoint="history-candles", status=500, code="50026"))
    span = ("--from", iso_of(day_ns - 95 * NS_PER_DAY), "--to", iso_of(day_ns - 85 * NS_PER_DAY))
    folder = str(tmp_path / "data")
    asked = ("BTC-USDT", "BTC-USDT-SWAP", "--kinds", "candles-1h,tiers", *span, "--url", exchange.url, "--data", folder)
    first = run(*asked)
    assert first.exit_code == 0, first.output
    lines = first.output.splitlines()
    assert lines[0].startswith(f"{lines[0].split()[0]} rows in 3 streams to {folder}, ")
    told = [" ".join(line.split()) for line in lines]
    assert "BTC-USDT-SWAP tiers now 16" in told
    assert [line for line in told if line.startswith("hole ")]
    assert "BTC-USDT has no tiers" in told
    assert "1 time: market/history-candles repeated after 50026" in told
    again = run(*asked, "--json")
    report = json.loads(again.output)
    candles = [stream for stream in report["streams"] if stream["kind"] == "candles-1h"]
    assert [(stream["rows"], stream["held_rows"] > 0) for stream in candles] == [(0, True), (0, True)]
    updated = run("--update", "--to", span[3], "--url", exchange.url, "--data", folder)
    assert updated.exit_code == 0, updated.output
    assert updated.output.startswith("0 rows in 2 streams")


def test_what_failed_is_named_beside_what_came_and_the_exit_code_says_so(
    exchange: SandboxServer, tmp_path: Path
) -> None:
    """And a book whose file is not out yet is no failure."""
    day_ns = wall_ns() // NS_PER_DAY * NS_PER_DAY
    span = ("--from", iso_of(day_ns - NS_PER_DAY), "--to", iso_of(day_ns))
    asked = ("BTC-USDT", "NO-SUCH", "--kinds", "candles-1h,books", *span, "--url", exchange.url)
    result = run(*asked, "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    told = [" ".join(line.split()) for line in result.output.splitlines()]
    (failed,) = [line for line in told if line.startswith("failed ")]
    assert failed.startswith("failed OKX public/instruments NO-SUCH: ")
    assert [line.split()[-1] for line in told if line.startswith("BTC-USDT candles-1h")] == ["24"]
    assert [row.origin for row in stream_rows(qk.Catalog(tmp_path / "data"))] == ["downloaded"]
    assert [line for line in told if line.endswith("on no file is out yet; --update brings it later")]
    again = run(*asked, "--data", str(tmp_path / "data"), "--json")
    assert (again.exit_code, len(json.loads(again.output)["failures"])) == (1, 1)


def test_the_call_works_where_a_loop_runs_already(exchange: SandboxServer, tmp_path: Path) -> None:
    """As in a notebook."""

    async def cell() -> qk.Catalog:
        okx = qk.OkxConfig(url=exchange.url)
        report = qk.download("BTC-USDT", ["price-limit"], data=tmp_path, okx=okx)
        assert report.rows == 1
        return qk.Catalog(tmp_path)

    assert "price_limit" in {stream.kind for stream in asyncio.run(cell()).coverage()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no instrument is named; for example BTC-USDT-SWAP"),
        (("BTC-USDT",), "no kind of data is named; use candles-1m, trades"),
        (("BTC-USDT", "--kinds", "bars"), "kind 'bars' is not known"),
        (("BTC-USDT", "--kinds", "candles-1m"), "BTC-USDT candles-1m has a history; say from when"),
        (("BTC-USDT", "--kinds", "funding", "--from", "2026-01-01"), "only swap instruments have it"),
        (("BTC-USDT", "--kinds", "trades", "--from", "soon"), "time 'soon' is not understood"),
        (("--update",), "nothing was downloaded into this folder yet"),
        (("BTC-USDT", "--kinds", "fee-rates"), "no OKX credentials: set OKX_API_KEY"),
        (("BTC-USDT", "--kinds", "fee-rates", "--credentials", "none.toml"), "none.toml"),
    ],
)
def test_what_it_cannot_do_it_says_in_a_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    result = run(*arguments, "--data", str(tmp_path / "data"))
    assert (result.exit_code, len(result.output.splitlines())) == (2, 1)
    assert message in result.output
    assert not (tmp_path / "data").exists()


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("quantkit.collect.download.download", interrupted)
    result = run("BTC-USDT", "--kinds", "trades")
    assert result.exit_code == 130
    assert "the same command goes on from there" in result.output
