"""Drives a tracker by hand in tests: frames and records with rising stamps, and rows as OKX writes them."""

import json
from typing import Any

from quantkit.events import Gap
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import Command, Lost, Overflow, Record, Stalled, Subscribed, Unsubscribed
from quantkit.feeds.okx.tracker.tracker import ControlMessage, FeedMessage, Tracker

NAME = "BTC-USDT"
#: The exchange's clock at the beginning; ours is ahead by 50 ms at first.
TS = 1_700_000_000_000
TS_NS = TS * 1_000_000


class Driver:
    """A tracker, what it asked for, and a clock that moves by 1 ms with everything put in."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.control: list[tuple[int, ControlMessage]] = []
        self.tracker = Tracker(
            command=self.commands.append, control=lambda number, message: self.control.append((number, message))
        )
        self.now_ns = TS_NS + 50_000_000

    def stamp(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def record(self, record: type[Any], *fields: Any) -> list[FeedMessage]:
        made: Record = record(self.stamp(), *fields)
        return self.tracker.record(made)

    def want(self, channel: Channel, connection: int = 0) -> list[FeedMessage]:
        return self.record(Subscribed, connection, channel)

    def unwant(self, channel: Channel, connection: int = 0) -> list[FeedMessage]:
        return self.record(Unsubscribed, connection, channel)

    def lose(self, connection: int = 0, cause: str = "reset") -> list[FeedMessage]:
        return self.record(Lost, connection, cause)

    def stall(self, channel: Channel, connection: int = 0) -> list[FeedMessage]:
        return self.record(Stalled, connection, channel, 90_000_000_000)

    def shed(self, is_on: bool) -> list[FeedMessage]:
        return self.record(Overflow, is_on)

    def raw(self, data: bytes, connection: int = 0) -> list[FeedMessage]:
        return self.tracker.frame(connection, self.stamp(), data)

    def push(self, channel: Channel, *rows: Any, connection: int = 0, **rest: Any) -> list[FeedMessage]:
        return self.raw(json.dumps({"arg": channel.arg(), **rest, "data": rows}).encode(), connection)

    def snapshot(self, channel: Channel, seq: int | None, *levels: Any, ts: int = 0, connection: int = 0) -> Any:
        """Push a snapshot of bid 99 x 1 and ask 101 x 1, or of other `bids, asks`."""
        bids, asks = levels or ([["99", "1"]], [["101", "1"]])
        row = {"bids": bids, "asks": asks, "ts": str(TS + ts)}
        if seq is not None:
            row |= {"seqId": seq, "prevSeqId": -1, "checksum": 0}
        return self.push(channel, row, connection=connection, action="snapshot")

    def update(
        self,
        channel: Channel,
        prev: int | None,
        seq: int | None,
        bids: Any = (),
        asks: Any = (),
        *,
        ts: int = 0,
        connection: int = 0,
        checksum: int = 0,
    ) -> Any:
        """Push an update of a book; a number that is None is not sent."""
        row: dict[str, Any] = {"bids": bids, "asks": asks, "ts": str(TS + ts), "checksum": checksum}
        if seq is not None:
            row["seqId"] = seq
        if prev is not None:
            row["prevSeqId"] = prev
        return self.push(channel, row, connection=connection, action="update")


def ticker(ts: int, bid: str = "99", ask: str = "101", name: str = NAME) -> dict[str, str]:
    """Return a row of `tickers`."""
    return {
        "instId": name, "last": "100", "lastSz": "1", "askPx": ask, "askSz": "1", "bidPx": bid, "bidSz": "1",
        "ts": str(TS + ts),
    }  # fmt: skip


def trade(trade_id: int | str, ts: int, count: int | None = 1, name: str = NAME) -> dict[str, str]:
    """Return a row of `trades`."""
    row = {"instId": name, "tradeId": str(trade_id), "px": "100", "sz": "1", "side": "buy", "ts": str(TS + ts)}
    return row if count is None else row | {"count": str(count)}


def kinds(events: list[FeedMessage]) -> list[str]:
    """Return the types of what was delivered."""
    return [type(event).__name__ for event in events]


def gaps(events: list[FeedMessage]) -> list[tuple[str, str]]:
    """Return channel and cause of the gaps among what was delivered."""
    return [(event.channel, event.cause) for event in events if isinstance(event, Gap)]
