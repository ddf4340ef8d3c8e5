"""The price path of a paper run: its recording, which the saved result refers to, and a backtest over it agree."""

from pathlib import Path

import numpy as np

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.report.result import Result
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
TRADES = """
from quantkit import Strategy

class Trades(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.every("300ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        self.target("BTC-USDT-SWAP", self.ticks % 2)
"""


def test_a_paper_run_has_its_path_live_saved_and_repeated(tmp_path: Path) -> None:
    """Nothing is copied: the result refers to the recording beside it, which shows the book around a fill too."""
    (file := tmp_path / "trades.py").write_text(TRADES)
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="3s")
    assert live.prices.instruments == [SWAP]
    rows = live.prices.rows(SWAP)
    assert len(rows) > 3
    assert live.outcome.start_ns <= rows.time_ns[0] <= rows.time_ns[-1] <= live.outcome.end_ns
    (folder,) = (tmp_path / "runs").iterdir()
    assert not list((folder / "result").glob("prices-*"))
    folder.rename(tmp_path / "moved")
    loaded = Result.load(tmp_path / "moved" / "result")
    again = qk.backtest(str(file), data=tmp_path / "moved" / "data")
    fills = [fill.filled_ns + live.outcome.offset_ns for fill in live.outcome.fills]
    assert len(fills) > 3
    for other in (loaded, again):
        same = other.prices.rows(SWAP)
        assert (same.kind, same.time_ns.tolist(), same.close.tolist()) == (
            rows.kind,
            rows.time_ns.tolist(),
            rows.close.tolist(),
        )
        books = other.prices.books_at(SWAP, fills, levels=5)
        for book, fill in zip(books, live.outcome.fills, strict=True):
            assert book is not None
            assert len(book.bids) == len(book.asks) == 5
            # What took from the book did so within what it showed.
            assert book.bids[-1, 0] <= fill.price <= book.asks[-1, 0]
    assert np.isfinite(rows.close).all()


def test_what_was_not_recorded_has_no_path(tmp_path: Path) -> None:
    (file := tmp_path / "trades.py").write_text(TRADES)
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=None, duration="2s")
    assert live.prices.reason(SWAP) == "the run recorded nothing; give paper(..., record='runs')"
    assert live.prices.book_at(SWAP, live.outcome.end_ns) is None
