"""What shows itself in a notebook: data folders, books and orders, as escaped text in small tables."""

from pathlib import Path

import pytest

import quantkit as qk
from quantkit.cards import card, ladder
from quantkit.orders import OrderTerms

DATA = Path(__file__).parents[2] / "data"
BTC = "binance:BTC-USDT-SWAP"
HOSTILE = "<script>alert(1)</script>"


class Keeper(qk.Strategy):
    """Keep a book and two orders."""

    def on_start(self) -> None:
        self.subscribe_book(BTC)
        self.at("2024-08-08T23:57:00Z")

    def on_timer(self, name: str) -> None:
        self.live = self.book(BTC)
        assert self.live is not None
        self.kept = self.live.copy()
        self.live_page = self.live._repr_html_()
        self.bid = self.buy(BTC, 0.05, price=61_000.04, post_only=True, tag=HOSTILE)
        self.taken = self.sell(BTC, 0.01)


@pytest.fixture(scope="module")
def keeper() -> Keeper:
    strategy = Keeper()
    qk.backtest(strategy, data=DATA, start="2024-08-08T23:56:50Z", end="2024-08-08T23:57:30Z")
    return strategy


def test_a_book_shows_its_best_levels_with_one_count_of_decimals(keeper: Keeper) -> None:
    """The view inside its hook and the copy are the same; the exact spread stands below."""
    page = keeper.kept._repr_html_()
    assert page == keeper.live_page
    bids, asks = keeper.kept.depth(8)
    for price in [*bids[:, 0], *asks[:, 0]]:
        assert f">{price:.1f}<" in page
    assert f"{bids[8 - 1, 0]:.1f}" in page
    assert ">spread 0.1<" in page
    assert BTC in page


def test_a_stale_book_says_so_and_shows_no_level(keeper: Keeper) -> None:
    """A notebook that shows an old view does not raise."""
    assert keeper.live is not None
    page = keeper.live._repr_html_()
    assert "stale: book.copy() keeps levels" in page
    assert "<td" not in page


def test_a_book_of_one_side_has_no_spread() -> None:
    """Levels stand in their columns, whatever is missing beside them."""
    page = ladder("Book", "now", bids=[("1.0", "2", 1.0)], asks=[])
    assert page.count("<td") == 4
    assert "spread" not in page


def test_an_order_shows_what_it_has(keeper: Keeper) -> None:
    """A market order has no limit; text of the user's is text."""
    page = keeper.bid._repr_html_()
    assert ">61000<" in page
    assert "GTC, post-only" in page
    assert "cancelled (end_of_data)" in page
    assert keeper.bid.note in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    taken = keeper.taken._repr_html_()
    assert "limit" not in taken
    assert ">0.01 of 0.01<" in taken
    assert "average price" in taken


@pytest.mark.parametrize(
    ("terms", "title", "shown"),
    [
        (
            OrderTerms(
                take_profit_price=70_000.5, take_profit_ticks=1, trigger_type=qk.TriggerType.MARK, oco_group="exit"
            ),
            "take-profit order",
            ["take profit", "70000.5", "set off by the mark price", "group", "exit"],
        ),
        (
            OrderTerms(trailing_offset=12.5, trailing_ticks=1, activation_price=61_000.0, parent_id="bt7"),
            "trailing-stop order",
            ["trails by", "12.5", "active from", "61000", "protects", "bt7"],
        ),
        (
            OrderTerms(trailing_offset_bps=25.0, expire_ns=1_767_225_600_000_000_000),
            "trailing-stop order",
            ["trails by bps", "25", "until 2026-01-01"],
        ),
    ],
)
def test_an_order_shows_its_terms(terms: OrderTerms, title: str, shown: list[str]) -> None:
    """What few orders have stands there by name."""
    page = qk.Order(id="bt1", instrument=BTC, side=qk.Side.SELL, qty=1.0, lots=1, terms=terms)._repr_html_()
    assert [text for text in [title, *shown] if text not in page] == []


def test_a_catalog_shows_its_streams() -> None:
    """Each with its span and rows, and the sum in its name."""
    catalog = qk.Catalog(DATA)
    assert repr(catalog) == f"<Catalog {DATA}, 18 streams, 244,114 rows>"
    page = catalog._repr_html_()
    assert page.count("<tr>") == 1 + 18
    for cell in (BTC, "candle 1m", "2025-05-04 15:33", "43,199", "244,114 rows"):
        assert cell in page
    assert "more" not in page


def test_a_large_catalog_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the command that lists the rest."""
    monkeypatch.setattr("quantkit.storage.catalog._SHOWN_STREAMS", 5)
    page = qk.Catalog(DATA)._repr_html_()
    assert page.count("<tr>") == 1 + 5
    assert "and 13 more: quantkit data ls" in page


def test_every_text_of_a_card_is_escaped() -> None:
    """Title, note, headings, cells and what stands below."""
    page = card(HOSTILE, HOSTILE, headings=[HOSTILE], rows=[[HOSTILE]], more=HOSTILE)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5
