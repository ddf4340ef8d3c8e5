"""The protocol of a market: its topics, first snapshots, pushes, and rows for REST."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from quantkit.sandbox.channels import Topic
from quantkit.sandbox.ports import Offer, Publisher
from quantkit.sandbox.wire import TopicPush

JsonRow: TypeAlias = dict[str, Any]


class MarketSource(Offer, Protocol):
    """A source of market data; the exchange asks, and the market's task pushes."""

    def time_ms(self, now_ms: int) -> int:
        """Return the time by which its rows are stamped, UTC ms, when the exchange's own clock shows `now_ms`."""
        ...

    def first(self, topic: Topic, now_ms: int) -> list[TopicPush]:
        """Return what a new subscriber of a topic gets at once; a book's snapshot links to the next update."""
        ...

    async def run(self, exchange: Publisher) -> None:
        """Push until cancelled, by `exchange.publish`."""
        ...

    def resetter(self, instrument: str) -> Callable[[], None]:
        """Return what lets a book's sequence numbers start again from a low one; empty for all books.

        Raises:
            ConfigError: There is no such instrument, or its numbers cannot be changed.
        """
        ...

    def instruments(self) -> list[JsonRow]:
        """Return the rows of `public/instruments`, of every type."""
        ...

    def ticker(self, instrument: str, now_ms: int) -> JsonRow | None:
        """Return the row of `market/ticker`; None for an unknown instrument."""
        ...

    def book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return the row of `market/books`, whose seqId is one that pushes have or will link to."""
        ...

    def full_book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return a book of any depth, in the form of `market/books`; None where there is none."""
        ...

    def trades(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return the matches at hand, newest first, one row each."""
        ...

    def older_trades(self, instrument: str, trade_id: int | None, at_ms: int | None, count: int) -> list[JsonRow]:
        """Return up to `count` matches with an id below `trade_id`, or before `at_ms`, newest first."""
        ...

    def candles(self, topic: Topic, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return up to `count` rows of a channel of candles, of bars that opened before `until_ms`, newest first.

        The bar that is open now is one of them.
        """
        ...

    def fundings(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return the rows of `public/funding-rate-history`, newest first."""
        ...

    def row(self, channel: str, key: str, now_ms: int) -> JsonRow | None:
        """Return what mark-price, index-tickers, open-interest, funding-rate or price-limit would push now."""
        ...

    def past_book(self, instrument: str, begin_ms: int, end_ms: int) -> Iterable[JsonRow]:
        """Return a book's snapshots and updates of a span in the past, in the form of OKX's files of books."""
        ...

    def tiers(self, row: JsonRow) -> list[JsonRow]:
        """Return the rows of `public/position-tiers` of an instrument, given by its row; none where none are known."""
        ...

    def status(self) -> list[JsonRow]:
        """Return the rows of `system/status`, newest first."""
        ...
