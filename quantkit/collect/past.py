"""One span of an exchange's history: every row of it, and where there are none."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from quantkit.clock import NS_PER_DAY
from quantkit.collect.kinds import DownloadKind
from quantkit.collect.spans import TimeSpan, joined, missing, without
from quantkit.events import MarketEvent, Trade
from quantkit.feeds.okx.rest.rest import OkxRest

#: Funding settles at least every eight hours; a day without any is a hole.
_FUNDING_HOLE_NS: Final = NS_PER_DAY


class HistoryPart(NamedTuple):
    """A part of a stream's history that is asked for and stored at once.

    Attributes:
        kind: What is asked for.
        instrument: As the exchange is asked: of an index the index's id.
        span: Of candles on the scale of `open_ns`, else of `received_ns`.
        may_be_filed: Whether the exchange's daily files may hold it.
    """

    kind: DownloadKind
    instrument: str
    span: TimeSpan
    may_be_filed: bool = False


class Found(NamedTuple):
    """What the exchange has of a piece.

    Attributes:
        rows: All of them, in order.
        holes: Where it has nothing and should.
    """

    rows: Sequence[MarketEvent]
    holes: list[TimeSpan]


async def pages_of(rest: OkxRest, piece: HistoryPart) -> AsyncIterator[list[MarketEvent]]:
    """Yield the rows of a piece page by page, newest page first; the pages of trades may hold others around it.

    Raises:
        ParseError: A page cannot be understood as a whole.
        OkxError: A request failed.
    """
    kind, instrument, (from_ns, to_ns), _ = piece
    pages: AsyncGenerator[Sequence[MarketEvent], None]
    match kind.word:
        case "candles":
            last_close_ns = to_ns - 1 + kind.length_ns
            pages = rest.candle_pages(instrument, kind.interval, start_ns=from_ns, end_ns=last_close_ns)
        case "marks" | "index":
            # A mark is known at its bar's close, so the bars open one interval before the span.
            source = "mark" if kind.word == "marks" else "index"
            start_ns = from_ns - kind.length_ns
            pages = rest.mark_pages(instrument, kind.interval, source=source, start_ns=start_ns, end_ns=to_ns - 1)
        case "funding":
            pages = rest.funding_pages(instrument, start_ns=from_ns, end_ns=to_ns - 1)
        case _:
            pages = rest.trade_pages(instrument, end_ns=to_ns)
    async with aclosing(pages) as each:
        async for page in each:
            yield list(page)
            if kind.word == "trades" and max(row.exchange_ns for row in page) < from_ns:
                return


def found_in(piece: HistoryPart, pages: Sequence[Sequence[MarketEvent]]) -> Found:
    """Return the rows of a piece among its pages, in order, and its holes."""
    kind, _, (from_ns, to_ns), _ = piece
    rows = [row for page in pages for row in page]
    if kind.word == "candles":
        rows.sort(key=lambda row: row.received_ns)
        opens = [row.received_ns - kind.length_ns for row in rows]
        return Found(rows, missing(piece.span, opens, kind.length_ns, phase_ns=kind.phase_ns))
    if kind.word == "trades":
        reaches_back = any(row.received_ns < from_ns for row in rows)
        rows = [row for row in rows if from_ns <= row.received_ns < to_ns]
        rows.sort(key=_by_time_and_id)
        # Where the list ends before the span begins, nobody knows what was traded there.
        first_ns = rows[0].received_ns if rows else to_ns
        is_hole = not rows or not reaches_back
        return Found(rows, [(from_ns, first_ns)] if is_hole and first_ns > from_ns else [])
    rows = [row for row in rows if from_ns <= row.received_ns < to_ns]
    rows.sort(key=lambda row: row.received_ns)
    stamps = [row.received_ns for row in rows]
    if kind.length_ns:
        return Found(rows, missing(piece.span, stamps, kind.length_ns, phase_ns=kind.phase_ns))
    bare = without(piece.span, joined((stamp, stamp + 1) for stamp in stamps))
    return Found(rows, [each for each in bare if each[1] - each[0] > _FUNDING_HOLE_NS])


def _by_time_and_id(row: MarketEvent) -> tuple[int, int]:
    return row.received_ns, row.trade_id if type(row) is Trade else 0
