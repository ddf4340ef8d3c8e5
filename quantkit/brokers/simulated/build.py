"""The simulated exchange put together from its parts."""

from functools import partial
from typing import Final

from quantkit.brokers.base import Agenda, BrokerFactory, BrokerSetup
from quantkit.brokers.order_trace import OrderTrace
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.book_stream import BookStream
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.closed_bars import CandleBars, TradeBars
from quantkit.brokers.simulated.contingent import ContingentOrders
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.displayed_listing import BookListing, TickerListing
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.expiries import ExpiryWakes
from quantkit.brokers.simulated.liquidations import Liquidations
from quantkit.brokers.simulated.listing import CandleListing, Listing, TradeListing
from quantkit.brokers.simulated.mark_stream import MarkStream
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.price_limits import PriceLimits
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.brokers.simulated.traced_broker import TracedBroker
from quantkit.brokers.simulated.traded import CandleMarket, TradeMarket
from quantkit.brokers.simulated.triggers import WatchedPrices
from quantkit.brokers.simulated.venue_gate import VenueGate
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.instruments import Instrument, decimal_of
from quantkit.latency import DrawnTravel, Travel
from quantkit.margin_account import MarginAccount
from quantkit.options import RunOptions
from quantkit.orders import TriggerType
from quantkit.queue_models import queue_model
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.marks import MarkSource
from quantkit.slippage import BasisPoints, Slippage, slippage_model
from quantkit.venue_rules.okx import applies

_GATED: Final = ("trade", "candle", "candle_open")


def simulated(options: RunOptions, trace: OrderTrace | None = None) -> BrokerFactory:
    """Return a factory of simulated exchanges with these options.

    Args:
        options: How orders fill.
        trace: Follows one order; it changes no fill.
    """
    broker = SimulatedBroker if trace is None else partial(TracedBroker, trace=trace)

    def make(setup: BrokerSetup) -> SimulatedBroker:
        agenda, position, send_clock = Agenda(), setup.position, setup.send_clock
        margins = None if setup.margin is None else MarginAccount(setup.ledger, setup.margin)
        account = Account(setup.ledger, setup.fees, max_leverage=decimal_of(options.max_leverage), margins=margins)
        executions = Executions(
            account,
            position=position,
            observer=setup.observer,
            send_clock=send_clock,
            dirty=setup.dirty,
            agenda=agenda,
        )
        volume = VolumeShares(
            setup.matching, setup.cursors, executions.fills, executions.indices, max_share=options.max_share
        )
        exchange = _Exchange(setup, options, executions)
        for instrument in setup.instruments.values():
            listing = exchange.listing_of(instrument)
            listing.market.venue = _gate_of(instrument, setup, options, account)
            exchange.watch_marks(listing)
            executions.add_listing(listing)
        wakes = ExpiryWakes(position, agenda)
        sender = MessageSender(
            executions.listings, position, send_clock, setup.dirty, agenda, wakes, keeps_decisions=setup.keeps_decisions
        )
        contingent = ContingentOrders.of(executions, account, sender, position)
        # In this order they are told of fills and ends.
        executions.followers = (*contingent,)
        liquidations = None
        if margins is not None:
            liquidations = Liquidations(margins, account.holdings, setup.marks, executions, position, send_clock)
            executions.followers = (*contingent, liquidations)
            executions.margin_watch = liquidations
            agenda.mark_watch = liquidations
        return broker(
            account,
            listings=executions.listings,
            own_sources=exchange.own_sources,
            sender=sender,
            wakes=wakes,
            executions=executions,
            contingent=contingent,
            liquidations=liquidations,
            volume=volume,
            position=position,
            send_clock=send_clock,
            dirty=setup.dirty,
            agenda=agenda,
        )

    return make


def _gate_of(instrument: Instrument, setup: BrokerSetup, options: RunOptions, account: Account) -> VenueGate | None:
    """Return what judges an instrument's orders by the exchange's rules, None where none apply."""
    if not applies(options.venue_rules, instrument):
        return None
    cursor = setup.cursors.get(Stream("price_limit", instrument.id))
    limits = None if cursor is None else PriceLimits(cursor, setup.price_limits.get(instrument.id))
    return VenueGate(account, limits, setup.position, stp_mode=options.stp_mode)


class _Exchange:
    """Lists instruments.

    Args:
        setup: The run's.
        options: How orders fill.
        listener: Told by the markets.

    Attributes:
        own_sources: Prices of last trades and of indices that value nothing, by their cursor.
    """

    def __init__(self, setup: BrokerSetup, options: RunOptions, listener: Executions) -> None:
        self.own_sources: dict[StreamCursor, MarkSource] = {}
        self._setup = setup
        self._options = options
        self._listener = listener

    def listing_of(self, instrument: Instrument) -> Listing:
        """Make the listing of an instrument."""
        options, setup, name = self._options, self._setup, instrument.id
        own, follows_rows, travel = setup.matching[name], not options.search, Travel(setup.latency_ns[name])
        if options.latency is not None:
            travel = DrawnTravel(options.latency, seed=options.seed, instrument=name)
        has_trades, slippage, max_share = setup.has_trades[name], _slippage(options), options.max_share
        cursor, streams = setup.cursors[own], self._streams(name, own)
        looks_back = slippage is not None and slippage.needs_past
        if own.kind == "candle":
            bars = CandleBars(streams[0]) if looks_back or max_share is not None else None
            candles = CandleMarket(instrument, self._listener, slippage=slippage, past=bars, max_share=max_share)
            return CandleListing(candles, streams, travel=travel, follows_rows=follows_rows)
        last_trades = next((self._last_trades(s.cursor) for s in streams if s.cursor.kind == "trade"), None)
        if own.kind == "trade":
            assert last_trades is not None
            trades = TradeMarket(
                instrument,
                self._listener,
                touch=options.touch,
                slippage=slippage,
                past=TradeBars(streams[0]) if looks_back else None,
                max_share=max_share,
                own_side_prints=options.own_side_prints,
            )
            assert isinstance(streams[0], GatedStream)
            return TradeListing(trades, streams[0], last_trades, travel=travel, follows_rows=follows_rows)
        display = BookDisplay(cursor.book, instrument) if isinstance(cursor, BookCursor) else TickerDisplay(instrument)
        market = DisplayedMarket(
            instrument,
            self._listener,
            display,
            stale_after_ns=options.stale_after_ns,
            has_trades=has_trades,
            excess_slippage_bps=options.excess_slippage_bps if isinstance(display, TickerDisplay) else None,
            queue_model=queue_model(options.queue_model),
            own_side_prints=options.own_side_prints,
        )
        if isinstance(display, TickerDisplay):
            return TickerListing(
                market,
                streams,
                last_trades,
                cursor=cursor,
                display=display,
                travel=travel,
                follows_rows=follows_rows,
            )
        assert isinstance(cursor, BookCursor)
        prints = next((stream for stream in streams if isinstance(stream, GatedStream)), None)
        gaps = setup.cursors.get(Stream("gap", name))
        return BookListing(
            market,
            BookStream(cursor, market, prints, gaps),
            prints,
            last_trades,
            cursor=cursor,
            position=setup.position,
            travel=travel,
            follows_rows=follows_rows,
        )

    def watch_marks(self, listing: Listing) -> None:
        """Let the mark price and the index set off a listing's orders, where they span the run."""
        mark = self._setup.marks.sources[listing.id]
        if isinstance(mark, MarkSource) and mark.cursor.kind == "mark":
            index = self.own_sources[mark.cursor] = MarkSource(mark.cursor, "index", source="index")
            sources = {TriggerType.MARK: mark, TriggerType.INDEX: index}
            listing.market.watched = WatchedPrices(sources, self._setup.position)
            listing.watch_marks(MarkStream(mark.cursor))

    def _streams(self, instrument: str, own: Stream) -> list[MatchingStream]:
        """Return the streams that an instrument is matched on, its own first."""
        has_trades = self._setup.has_trades[instrument]
        cursors = [
            cursor
            for stream, cursor in self._setup.cursors.items()
            if stream.instrument == instrument and _is_matching(stream, own, has_trades=has_trades)
        ]
        cursors.sort(key=lambda cursor: cursor.stream != own)
        return [GatedStream(cursor) if cursor.kind in _GATED else MatchingStream(cursor) for cursor in cursors]

    def _last_trades(self, cursor: StreamCursor) -> MarkSource:
        """Return the price of the last trade: the instrument's mark, where that is it."""
        mark = self._setup.marks.sources[cursor.instrument]
        if isinstance(mark, MarkSource) and mark.cursor is cursor:
            return mark
        source = self.own_sources[cursor] = MarkSource(cursor, "trade")
        return source


def _slippage(options: RunOptions) -> Slippage | None:
    """Return how much worse orders fill that take from trades or candles, None for not at all."""
    if options.slippage is not None:
        return slippage_model(options.slippage)
    return BasisPoints(options.slippage_bps) if options.slippage_bps else None


def _is_matching(stream: Stream, own: Stream, *, has_trades: bool) -> bool:
    if stream == own or stream == own._replace(kind="candle_open"):
        return True
    return own.kind in ("book", "ticker") and stream.kind == "trade" and has_trades
