"""A recorded market: its frames sent again to subscribers, unchanged and in their time."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from quantkit.errors import ConfigError
from quantkit.sandbox import capture, wire
from quantkit.sandbox.capture import RecordedFrame
from quantkit.sandbox.channels import CHAINED, Topic
from quantkit.sandbox.market import JsonRow
from quantkit.sandbox.ports import Publisher
from quantkit.sandbox.wire import TopicPush

_KEPT_TRADES: Final = 500
_TBT: Final = "books-l2-tbt"
#: As fast as possible: connections are given time to drain after so many frames.
_BATCH: Final = 64


class _RawBook:
    """A recorded book as it stands: levels as they were sent, by price."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, list[str]]] = {"asks": {}, "bids": {}}
        self.last: dict[str, Any] = {}

    def take(self, row: dict[str, Any], *, is_snapshot: bool) -> None:
        self.last = {name: value for name, value in row.items() if name not in ("asks", "bids")}
        for name, levels in self.sides.items():
            if is_snapshot:
                levels.clear()
            for level in row[name]:
                if float(level[1]) == 0.0:
                    levels.pop(float(level[0]), None)
                else:
                    levels[float(level[0])] = level

    def row(self, depth: int | None = None) -> dict[str, Any]:
        """Return the whole book as a snapshot's row, best level first, with the last message's other fields."""
        asks, bids = self.sides["asks"], self.sides["bids"]
        row: dict[str, Any] = {
            "asks": [asks[price] for price in sorted(asks)[:depth]],
            "bids": [bids[price] for price in sorted(bids, reverse=True)[:depth]],
            **self.last,
        }
        if "prevSeqId" in row:
            row["prevSeqId"] = -1
        return row


class _MarketTime:
    """The time of a recording as it is played back: the newest stamp that was sent, and what has passed since.

    Args:
        speed: How many times faster than recorded it passes; 0: only with the stamps.
    """

    def __init__(self, speed: float) -> None:
        self._stamp_ms = 0
        self._at_s = 0.0  # the loop's time of that stamp
        self._speed = speed

    def restart(self) -> None:
        """Forget the stamps before, since the recording begins anew."""
        self._stamp_ms, self._at_s = 0, 0.0

    def move(self, stamp_ms: int, at_s: float) -> None:
        """Take note of a frame that is sent; time does not go back where it is stamped before another one."""
        if stamp_ms > self.at_ms(at_s):
            self._stamp_ms, self._at_s = stamp_ms, at_s

    def at_ms(self, at_s: float) -> int:
        """Return the market's time at a time of the loop, 0 before the first stamp."""
        return self._stamp_ms and self._stamp_ms + round((at_s - self._at_s) * self._speed * 1000)


class RecordedMarket:
    """Captures of OKX's sockets, replayed.

    Frames are sent as recorded, old ones without sequence numbers and with their checksum. Whoever subscribes a book
    late gets a snapshot of it first. Time begins when somebody first subscribes, unless told otherwise.

    Args:
        paths: Captures, and recordings of `public/instruments` replies.
        speed: How many times faster than recorded; 0 as fast as the readers can.
        is_waiting: Whether time begins only at `release`.
        is_repeating: Whether it starts again after the end.

    Raises:
        ConfigError: A file cannot be read, or none holds a frame.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        speed: float = 1.0,
        is_waiting: bool = False,
        is_repeating: bool = False,
    ) -> None:
        if not speed >= 0:
            raise ConfigError(f"a speed of {speed} is below zero; use 1 for real time, 0 for as fast as possible")
        self.contents = capture.contents([Path(path) for path in paths])
        #: What was recorded, silent channels included.
        self._known = self.contents.topics | self.contents.silent
        #: Instruments of which there are books-l2-tbt, but no books: their frames serve both.
        self._only_tbt = {
            topic.key
            for topic in self.contents.topics
            if topic.channel == _TBT and Topic("books", topic.key) not in self.contents.topics
        }
        self.open_channels = frozenset(topic.channel for topic in self._known)
        #: Set when every frame has been sent.
        self.has_ended = False
        self.frames_sent = 0
        self._speed = speed
        self._is_waiting = is_waiting
        self._is_repeating = is_repeating
        self._released = asyncio.Event()
        self._time = _MarketTime(speed)
        self._first_ms: int | None = None  # the first stamp, once it has been looked for; 0 where there is none
        self._books: dict[Topic, _RawBook] = {}
        self._last: dict[Topic, TopicPush] = {}
        self._trades: dict[str, deque[JsonRow]] = {}
        self._rows = {
            topic.key: self.contents.instruments[topic.key]
            for topic in sorted(self._known)
            if topic.key in self.contents.instruments
        }

    # Running --------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Let time begin; call it on the exchange's thread."""
        self._released.set()

    async def run(self, exchange: Publisher) -> None:
        """Send every frame at its time."""
        while True:
            await self._released.wait()
            await self._play(exchange)
            if not self._is_repeating:
                self.has_ended = True
                return

    async def _play(self, exchange: Publisher) -> None:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        first_s: float | None = None
        self._time.restart()
        for number, frame in enumerate(capture.frames(self.contents.files)):
            first_s = frame.at_s if first_s is None else first_s
            if self._speed:
                due_s = start_s + (frame.at_s - first_s) / self._speed
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
            elif number % _BATCH == 0:
                await exchange.drained()
                await asyncio.sleep(0)
            self._send(exchange, frame)

    def _send(self, exchange: Publisher, frame: RecordedFrame) -> None:
        topic, push = frame.topic, TopicPush(frame.tail)
        if topic.channel in CHAINED or topic.channel == "trades":
            # The text from the comma on becomes an object with a brace in that comma's place.
            whole = msgspec.json.decode("{" + frame.tail[1:])
            row = whole["data"][0]
            if topic.channel == "trades":
                self._trades.setdefault(topic.key, deque(maxlen=_KEPT_TRADES)).extend(whole["data"])
            else:
                is_snapshot = whole.get("action") == "snapshot"
                self._books.setdefault(topic, _RawBook()).take(row, is_snapshot=is_snapshot)
                push = TopicPush(frame.tail, row.get("seqId"), row.get("prevSeqId", -1 if is_snapshot else 0))
        self._last[topic] = push
        self._time.move(frame.stamp_ms, asyncio.get_running_loop().time())
        self.frames_sent += 1
        exchange.publish(topic, push)
        if topic.channel == _TBT and topic.key in self._only_tbt:
            exchange.publish(Topic("books", topic.key), push)

    # What the exchange asks -----------------------------------------------------------------------------------

    def time_ms(self, now_ms: int) -> int:
        """Return the time of the recording: it stands at the first frame's stamp until that is sent, then passes."""
        if self._first_ms is None:
            self._first_ms = next(filter(None, (frame.stamp_ms for frame in capture.frames(self.contents.files))), 0)
        if not self._first_ms:
            return now_ms  # nothing in there is stamped
        return self._time.at_ms(asyncio.get_running_loop().time()) or self._first_ms

    def has(self, topic: Topic) -> bool:
        """Return whether a topic was recorded, or can be served from one that was."""
        if topic.channel == "books" and topic.key in self._only_tbt:
            return True
        return topic in self._known or topic.channel in ("instruments", "status")

    def first(self, topic: Topic, now_ms: int) -> list[TopicPush]:
        """Return a book's snapshot or the last push, once there has been one."""
        if not self._is_waiting:
            self._released.set()
        if topic.channel == "books" and topic.key in self._only_tbt:
            topic = Topic(_TBT, topic.key)
        book = self._books.get(topic)
        if book is not None:
            row = book.row()
            return [TopicPush(f',"action":"snapshot"{wire.rows(row)}', row.get("seqId"), -1)]
        last = self._last.get(topic)
        return [] if last is None else [last]

    def resetter(self, instrument: str) -> Callable[[], None]:
        """Refuse: recorded numbers stay.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{instrument or 'a recorded market'}: recorded sequence numbers cannot be reset")

    def instruments(self) -> list[JsonRow]:
        """Return the recorded metadata of the recorded instruments."""
        return list(self._rows.values())

    def ticker(self, instrument: str, now_ms: int) -> JsonRow | None:
        """Return the last ticker."""
        return self.row("tickers", instrument, now_ms)

    def book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return the book as it stands."""
        for topic, book in self._books.items():
            if topic.key == instrument:
                row = book.row(depth)
                row.pop("checksum", None)
                row.pop("prevSeqId", None)
                return row
        return None

    def full_book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return the book as it stands; captures hold no deeper one."""
        return self.book(instrument, depth, now_ms)

    def trades(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return the trades sent so far, newest first."""
        return list(self._trades.get(instrument, ()))[::-1]

    def older_trades(self, instrument: str, trade_id: int | None, at_ms: int | None, count: int) -> list[JsonRow]:
        """Return trades sent so far before an id or a time, newest first."""
        rows = [
            row
            for row in self.trades(instrument, 0)
            if (trade_id is None or int(row["tradeId"]) < trade_id) and (at_ms is None or int(row["ts"]) < at_ms)
        ]
        return rows[:count]

    def candles(self, topic: Topic, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return nothing: captures of sockets hold no history."""
        return []

    def fundings(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return nothing: captures of sockets hold no history."""
        return []

    def row(self, channel: str, key: str, now_ms: int) -> JsonRow | None:
        """Return the last row of a channel."""
        last = self._last.get(Topic(channel, key))
        if last is None:
            return None
        row: JsonRow = msgspec.json.decode("{" + last.tail[1:])["data"][0]
        return row

    def past_book(self, instrument: str, begin_ms: int, end_ms: int) -> Sequence[JsonRow]:
        """Return nothing: captures of sockets hold no files."""
        return []

    def tiers(self, row: JsonRow) -> list[JsonRow]:
        """Return nothing: captures of sockets hold no tiers."""
        return []

    def status(self) -> list[JsonRow]:
        """Return nothing: no maintenance."""
        return []
