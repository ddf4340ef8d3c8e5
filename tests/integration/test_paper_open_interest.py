"""Open interest in a paper run: from the socket to the hook, the recording, the repetition and a backtest."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.api import paper
from quantkit.cli import main
from quantkit.events import OpenInterest
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.replay import ReplayFeed
from quantkit.live.rebuild import rebuild
from quantkit.live.verify import verify
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Stream
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.recorded import RecordedMarket
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
DATA = Path(__file__).parents[1] / "data"
#: Trades each time it is told how much is open, so that a row that is missing or moved changes the result.
FOLLOWS = """
from quantkit import OpenInterest, Strategy

class Follows(Strategy):
    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_trades(self.instrument)
        self.subscribe_open_interest(self.instrument)
        self.told = 0

    def on_open_interest(self, open_interest: OpenInterest) -> None:
        self.told += 1
        self.target(self.instrument, self.told % 2)
"""


def recorded(folder: Path) -> RecordedMarket:
    """Five seconds of trades, marks, rates and open interest, in frames as they were in May 2022."""
    first_ms = 1_652_459_300_000
    lines = []
    for number in range(50):
        at_ms = first_ms + 100 * number
        rows = {"trades": {"px": "30000.1", "sz": "5", "side": "buy", "tradeId": str(1 + number)}}
        if number % 10 == 0:
            rows["open-interest"] = {"oi": str(1_000_000 + number), "oiCcy": "", "instType": "SWAP"}
            rows["mark-price"] = {"markPx": "30000", "instType": "SWAP"}
            rows["funding-rate"] = {"fundingRate": "0.0001", "fundingTime": "1652486400000", "instType": "SWAP"}
        for channel, row in rows.items():
            arg, stamped = {"channel": channel, "instId": SWAP}, {"instId": SWAP, "ts": str(at_ms), **row}
            lines.append(f"{at_ms / 1000 + 0.005:.3f}: {json.dumps({'arg': arg, 'data': [stamped]})}\n")
    (file := folder / "capture.log").write_text("".join(lines))
    return RecordedMarket([file, DATA / "okx_rest_instruments_20220513.log.gz"])


def rows_of(folder: Path) -> list[OpenInterest]:
    """Return what was recorded of open interest."""
    feed = ReplayFeed(folder)
    feed.subscribe([Subscription(Stream("open_interest", SWAP), 0, 2**62)])
    events = [event for batch in feed.batches() for block in batch.blocks for event in block.events()]
    return [event for event in events if isinstance(event, OpenInterest)]


@pytest.mark.parametrize("source", ["generated", "recorded"])
def test_open_interest_is_traded_on_recorded_and_repeated(source: str, tmp_path: Path) -> None:
    """One hash: live, from the tape, and as a backtest of the recorded rows."""
    (file := tmp_path / "follows.py").write_text(FOLLOWS)
    market = GeneratedMarket(3) if source == "generated" else recorded(tmp_path)
    options = {"match_on": "trade", "cash": {"USDT": 100_000}}
    with SandboxServer(market) as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="4s", **options)
    assert len(live.fills) > 0
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).is_identical
    rows = rows_of(run / "data")
    assert len(rows) > 1
    assert all(row.qty > 0 and row.instrument == SWAP for row in rows)
    assert {row.coins is None for row in rows} == {source == "recorded"}
    again = qk.backtest(
        str(file), data=run / "data", start=live.config["start_ns"], end=live.config["end_ns"], **options
    )
    assert again.hash == live.hash
    rebuild(run)
    assert rows_of(run / "data") == rows
    shown = CliRunner().invoke(main, ["data", "ls", str(run / "data"), "--json"])
    assert shown.exit_code == 0
    listed = {(row["kind"], row["instrument"]): row["rows"] for row in json.loads(shown.output)}
    assert listed["open_interest", SWAP] == len(rows)
    checked = CliRunner().invoke(main, ["data", "check", str(run / "data")])
    assert checked.exit_code == 0, checked.output
