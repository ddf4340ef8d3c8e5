"""One generated instrument: its orders, its history, and what each channel pushes of it and when."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from quantkit.sandbox import bars, wire
from quantkit.sandbox.channels import CHAINED, Topic, bar_of
from quantkit.sandbox.flow import Match, OrderFlow
from quantkit.sandbox.funding import FundingRates
from quantkit.sandbox.history import GRID_MS, Bar, GeneratedHistory
from quantkit.sandbox.images import CADENCES_MS, DEPTHS, BookImage, short_book
from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.marks import MarkHistory
from quantkit.sandbox.paths import PricePath, noise, seed_of
from quantkit.sandbox.wire import TopicPush

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 86_400_000
#: Pushed on a change at most so often, and without one after so long.
_ON_CHANGE_MS: Final = {
    "tickers": (100, 0),
    "mark-price": (200, 10_000),
    "index-tickers": (100, 60_000),
    "price-limit": (200, 0),
}
#: Of so many trades of a swap one is a liquidation.
_LIQUIDATION_EVERY: Final = 40
#: Pushed regularly.
_REGULAR_MS: Final = {"funding-rate": 60_000, "open-interest": 3_000}
_CANDLE_MS: Final = 1_000
_WARM_UP_MS: Final = 30_000
_SHORT: Final = {"books5": 5, "bbo-tbt": 1}
#: In which order channels of one instrument are pushed.
ORDER: Final = ("trades", "trades-all", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt", "books", "books5")


class InstrumentSimulator:
    """One instrument of a generated market.

    Args:
        listing: The instrument.
        seed: Of the market.
        orders_per_s: How many orders and cancellations come each second.
        start_ms: When the market opens for others, UTC ms; orders flow a little earlier.
        keep_alive_s: After how long a book without change sends an empty update.
        kept: How many trades are remembered.
    """

    def __init__(
        self,
        listing: ListedInstrument,
        *,
        seed: int,
        orders_per_s: float,
        start_ms: int,
        keep_alive_s: float,
        kept: int,
    ) -> None:
        self.listing = listing
        self.id = listing.id
        path = PricePath(seed, listing.asset, price=listing.price)
        begin_ms = start_ms - _WARM_UP_MS
        self.history = GeneratedHistory(listing, path, seed=seed, start_ms=begin_ms, kept=kept)
        self.flow = OrderFlow(
            listing,
            path,
            np.random.default_rng(seed_of(seed, listing.id, "orders")),
            orders_per_s=orders_per_s,
            start_ms=begin_ms,
            first_trade_id=begin_ms // GRID_MS,
        )
        self._marks = MarkHistory(listing, path, start_ms=begin_ms)
        self._seed = seed_of(seed, listing.id, "rows")
        self.funding = FundingRates(listing, self._seed)
        self._keep_alive_ms = keep_alive_s * 1000
        self._images = {channel: BookImage(self.flow, depth) for channel, depth in DEPTHS.items()}
        self._due_ms: dict[str, int] = {}
        self._pushed_ms: dict[str, int] = {}
        self._shown: dict[str, str] = {}
        self._day_stats: tuple[int, Bar | None, str, str] = (-1, None, "", "")
        self._closed: dict[str, int] = {}
        self.advance(start_ms)

    # Time -----------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> list[Match]:
        """Let orders come until now, and return what traded."""
        matches = self.flow.advance(now_ms)
        for match in matches:
            self.history.add(match)
        return matches

    def tick(self, now_ms: int, channels: list[str], publish: Callable[[Topic, TopicPush], None]) -> None:
        """Let time pass and push what is due.

        Args:
            now_ms: UTC ms.
            channels: Those that somebody holds, in the order of `ORDER`.
            publish: Takes each push.
        """
        matches = self.advance(now_ms)
        for channel in channels:
            topic = Topic(channel, self.id)
            if channel == "trades":
                for match in matches:
                    publish(topic, self._trade(match))
                continue
            if channel == "trades-all":
                for match in matches:
                    for push in self._singles(match):
                        publish(topic, push)
                continue
            if channel == "liquidation-orders":
                for match in matches:
                    if match.trade_id % _LIQUIDATION_EVERY == 0:
                        publish(topic, TopicPush(wire.rows(self._liquidation(match))))
                continue
            if bar_of(channel):
                for push in self._candle_pushes(channel, now_ms):
                    publish(topic, push)
                continue
            if now_ms < self._due_ms.get(channel, 0):
                continue
            due = self._due(channel, now_ms)
            if due is not None:
                publish(topic, due)

    def _due(self, channel: str, now_ms: int) -> TopicPush | None:
        if channel in CADENCES_MS:
            cadence_ms = CADENCES_MS[channel]
            self._due_ms[channel] = now_ms - now_ms % cadence_ms + cadence_ms
            if channel in CHAINED:
                return self._images[channel].update(now_ms, self._keep_alive_ms)
            push = short_book(self.flow, _SHORT[channel], now_ms)
            return push if self._is_new(channel, push.tail.partition('"ts"')[0]) else None
        if channel in _REGULAR_MS:
            self._due_ms[channel] = now_ms + _REGULAR_MS[channel]
            return self._one_row(channel, now_ms)
        every_ms, at_least_ms = _ON_CHANGE_MS[channel]
        self._due_ms[channel] = now_ms + every_ms
        row = self.row(channel, now_ms)
        shown = wire.text_of({name: value for name, value in row.items() if name != "ts"})
        is_old = at_least_ms and now_ms - self._pushed_ms.get(channel, 0) >= at_least_ms
        if not self._is_new(channel, shown) and not is_old:
            return None
        self._pushed_ms[channel] = now_ms
        return TopicPush(wire.rows(row))

    def _is_new(self, channel: str, shown: str) -> bool:
        if self._shown.get(channel) == shown:
            return False
        self._shown[channel] = shown
        return True

    # What subscribers get -------------------------------------------------------------------------------------

    def first(self, channel: str, now_ms: int, *, is_held: bool) -> list[TopicPush]:
        """Return what a new subscriber gets; held: others follow the channel, whose image must not move."""
        self.history.fill_to(now_ms)
        if channel in CHAINED:
            image = self._images[channel]
            if not is_held:
                image.renew(now_ms)
            return [image.snapshot(now_ms)]
        if channel in _SHORT:
            return [short_book(self.flow, _SHORT[channel], now_ms)]
        if channel == "trades":
            return [self._trade(self.history.last)]
        if channel == "trades-all":
            return self._singles(self.history.last)[-1:]
        bar = bar_of(channel)
        if bar:
            self._closed.setdefault(channel, bars.open_ms(bar, now_ms))
            if not is_held:
                self._closed[channel] = bars.open_ms(bar, now_ms)
            return [TopicPush(wire.rows(*self.candles(channel, now_ms + 1, 1, now_ms)))]
        if not is_held:
            self._due_ms[channel] = now_ms + _REGULAR_MS.get(channel, 0)
            self._pushed_ms[channel] = now_ms
        return [self._one_row(channel, now_ms)]

    def book(self, depth: int, now_ms: int, *, is_held: bool) -> dict[str, Any]:
        """Return the row of `market/books`, from the image that `books` shows."""
        image = self._images["books"]
        if not is_held:
            image.renew(now_ms)
        return image.rest_row(depth, now_ms)

    def full_book(self, depth: int, now_ms: int) -> dict[str, Any]:
        """Return the book as it is now, up to a depth."""
        image = BookImage(self.flow, depth)
        image.renew(now_ms)
        return image.rest_row(depth, now_ms)

    def candles(self, channel: str, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return rows of a channel of candles, newest first: of trades, or of the price that mark and index show."""
        history = self.history if channel.startswith("candle") else self._marks
        return history.candles(bar_of(channel), until_ms, count, now_ms)

    def _one_row(self, channel: str, now_ms: int) -> TopicPush:
        return TopicPush(wire.rows(self.row(channel, now_ms)))

    def _trade(self, match: Match) -> TopicPush:
        listing = self.listing
        side = "buy" if match.is_buy else "sell"
        tail = (
            f',"data":[{{"instId":"{self.id}","tradeId":"{match.trade_id}","px":"{listing.price_text(match.ticks)}",'
            f'"sz":"{listing.qty_text(match.lots)}","side":"{side}","ts":"{match.at_ms}",'
            f'"count":"{len(match.parts)}","source":"0","seqId":{match.seq_id}}}]}}'
        )
        return TopicPush(tail, match.trade_id)

    def _singles(self, match: Match) -> list[TopicPush]:
        first_id = match.trade_id - len(match.parts) + 1
        return [
            TopicPush(wire.rows(self.match_row(first_id + place, match, lots) | {"source": "0"}), first_id + place)
            for place, lots in enumerate(match.parts)
        ]

    def match_row(self, trade_id: int, match: Match, lots: int) -> dict[str, Any]:
        """Return one match as REST and `trades-all` give it."""
        return {
            "instId": self.id,
            "side": "buy" if match.is_buy else "sell",
            "sz": self.listing.qty_text(lots),
            "px": self.listing.price_text(match.ticks),
            "tradeId": str(trade_id),
            "ts": str(match.at_ms),
        }

    def _liquidation(self, match: Match) -> dict[str, Any]:
        """Return a trade as the end of somebody's position: who had to buy was short."""
        family = self.listing.index
        details = {
            "bkLoss": "0",
            "bkPx": self.listing.price_text(match.ticks),
            "ccy": "",
            "posSide": "short" if match.is_buy else "long",
            "side": "buy" if match.is_buy else "sell",
            "sz": self.listing.qty_text(match.lots),
            "ts": str(match.at_ms),
        }
        own = {"instFamily": family, "instId": self.id, "instType": self.listing.kind, "uly": family}
        return {"details": [details], **own}

    def _candle_pushes(self, channel: str, now_ms: int) -> list[TopicPush]:
        bar = bar_of(channel)
        opened_ms = bars.open_ms(bar, now_ms)
        waiting_ms = self._closed.get(channel, opened_ms)
        if waiting_ms < opened_ms:
            # The bars that closed since the last push, each once with confirm "1".
            count = 0
            while waiting_ms < opened_ms and count < 100:
                waiting_ms = bars.next_open_ms(bar, waiting_ms)
                count += 1
            self._closed[channel] = opened_ms
            self._due_ms[channel] = now_ms + _CANDLE_MS
            closed = self.candles(channel, opened_ms, count, now_ms)
            return [TopicPush(wire.rows(row)) for row in reversed(closed)]
        if now_ms < self._due_ms.get(channel, 0):
            return []
        self._due_ms[channel] = now_ms + _CANDLE_MS
        row = self.candles(channel, now_ms + 1, 1, now_ms)[0]
        return [TopicPush(wire.rows(row))] if self._is_new(channel, wire.text_of(row)) else []

    # Rows -----------------------------------------------------------------------------------------------------

    def row(self, channel: str, now_ms: int) -> dict[str, Any]:
        """Return the row that a channel of single rows pushes now."""
        match channel:
            case "tickers":
                return self.ticker(now_ms)
            case "mark-price":
                return {
                    "instType": self._kind_with_margin,
                    "instId": self.id,
                    "markPx": self.listing.price_text(self.flow.fair(now_ms)),
                    "ts": str(now_ms),
                }
            case "open-interest":
                return self._open_interest(now_ms)
            case "funding-rate":
                return self.funding.row(now_ms)
            case "price-limit":
                return self._price_limit(now_ms)
            case _:
                return self._index(now_ms)

    def ticker(self, now_ms: int) -> dict[str, Any]:
        """Return the row of `tickers`."""
        listing, flow, last = self.listing, self.flow, self.history.last
        day, midnight, midnight8 = self._stats(now_ms)
        volume, coins, _ = self.history.volumes(day)
        bid, ask = flow.bids.prices[-1], flow.asks.prices[0]
        return {
            "instType": listing.kind,
            "instId": self.id,
            "last": listing.price_text(last.ticks),
            "lastSz": listing.qty_text(last.lots),
            "askPx": listing.price_text(ask),
            "askSz": listing.qty_text(flow.asks.levels[ask][0]),
            "bidPx": listing.price_text(bid),
            "bidSz": listing.qty_text(flow.bids.levels[bid][0]),
            "open24h": listing.price_text(day.open),
            "high24h": listing.price_text(day.high),
            "low24h": listing.price_text(day.low),
            "volCcy24h": coins,
            "vol24h": volume,
            "ts": str(now_ms),
            "sodUtc0": midnight,
            "sodUtc8": midnight8,
        }

    def _stats(self, now_ms: int) -> tuple[Bar, str, str]:
        """Return the last 24 hours as a bar, and the prices at both midnights."""
        history, minute = self.history, now_ms // _MINUTE_MS
        if self._day_stats[0] != minute:
            start_ms = minute * _MINUTE_MS
            texts = []
            for bar in ("1Dutc", "1D"):
                opened = history.bar(bars.open_ms(bar, now_ms), bars.open_ms(bar, now_ms) + _MINUTE_MS, now_ms)
                texts.append(self.listing.price_text(opened.open) if opened else "")
            self._day_stats = (minute, history.bar(start_ms - _DAY_MS, start_ms, now_ms), texts[0], texts[1])
        _, past, midnight, midnight8 = self._day_stats
        present = history.bar(minute * _MINUTE_MS, now_ms + 1, now_ms)
        assert past is not None, "a day of history lies before every start"
        assert present is not None, "the present minute is filled"
        whole = Bar(
            past.open,
            max(past.high, present.high),
            min(past.low, present.low),
            present.close,
            past.lots + present.lots,
            past.turnover + present.turnover,
        )
        return whole, midnight, midnight8

    def _open_interest(self, now_ms: int) -> dict[str, Any]:
        wave = 1.0 + 0.1 * float(noise(self._seed, np.array([now_ms // 30_000], np.int64))[0])
        contracts = round(100_000 * wave)
        value = float(self.listing.contract_value or 1)
        price = self.flow.fair(now_ms) / 10**self.listing.price_decimals
        coins = contracts * value / price if self.listing.is_inverse else contracts * value
        return {
            "instType": self.listing.kind,
            "instId": self.id,
            "oi": str(contracts),
            "oiCcy": f"{coins:.8f}",
            "oiUsd": f"{coins * price:.4f}",
            "ts": str(now_ms),
        }

    def _price_limit(self, now_ms: int) -> dict[str, Any]:
        """Return the highest price to buy and the lowest to sell at: so far from the index, without a premium."""
        listing, fair = self.listing, self.flow.fair(now_ms)
        away = fair * listing.limit_bps // 10_000
        return {
            "instType": self._kind_with_margin,
            "instId": self.id,
            "buyLmt": listing.price_text(fair + away),
            "sellLmt": listing.price_text(fair - away),
            "ts": str(now_ms),
            "enabled": True,
        }

    @property
    def _kind_with_margin(self) -> str:
        return "MARGIN" if self.listing.kind == "SPOT" else self.listing.kind

    def _index(self, now_ms: int) -> dict[str, Any]:
        day, midnight, midnight8 = self._stats(now_ms)
        listing = self.listing
        return {
            "instId": listing.index,
            "idxPx": listing.price_text(self.flow.fair(now_ms)),
            "high24h": listing.price_text(day.high),
            "sodUtc0": midnight,
            "open24h": listing.price_text(day.open),
            "low24h": listing.price_text(day.low),
            "sodUtc8": midnight8,
            "ts": str(now_ms),
        }
