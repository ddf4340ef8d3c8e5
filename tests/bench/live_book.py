"""Measure bytes to delivered events: `python tests/bench/live_book.py`, or `run()` from the other benches.

Books are generated: 400 levels a side, and updates of 20 + 20 changes near the best prices, a quarter of them removals,
so that the best price moves often. Each figure is CPU time, the median of several rounds with all sides in turn.

Trades and tickers are recorded frames end to end, the ids of trades rising from copy to copy. The tracker is fresh in
each pass; conversions of texts to numbers are remembered from the pass before, as in the "warm" figures of
`live_decode`. The tracker's side also counts the stamps that it is given, about 25 ns a frame.
"""

import json
import random
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent))

import msgspec
from live_decode import BookFrame, TickerFrame, TradeFrame, cpu_ns, ours, recorded, show

from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import Subscribed
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker

ROUNDS: Final = 15
DEPTH: Final = 400
CHANGES: Final = 20
_TICK: Final = 0.1
_MID: Final = 787_000  # ticks
_TRADE_ID: Final = re.compile(rb'(?<="tradeId":")[0-9]+')


def book_frames(count: int, seed: int = 1) -> list[bytes]:
    """Return a snapshot of a book and `count` chained updates that never cross it."""
    dice = random.Random(seed)
    sides = [{_MID + sign * step for step in range(1, DEPTH + 1)} for sign in (-1, 1)]
    frames = [_frame("snapshot", [[(tick, 1.0) for tick in sorted(side)] for side in sides], -1, 0)]
    for seq in range(count):
        changes: list[list[tuple[int, float]]] = []
        for sign, side in zip((-1, 1), sides, strict=True):
            named: list[tuple[int, float]] = []
            for step in sorted({1 + int(dice.expovariate(1 / 40)) for _ in range(4 * CHANGES)})[:CHANGES]:
                tick = _MID + sign * step
                if tick in side and dice.random() < 0.25:
                    side.discard(tick)
                    named.append((tick, 0.0))
                elif tick in side or len(side) < DEPTH:
                    side.add(tick)
                    named.append((tick, dice.random() * 2))
            changes.append(named)
        frames.append(_frame("update", changes, 9 * seq, 9 * seq + 9))
    return frames


def _frame(action: str, sides: Sequence[Sequence[tuple[int, float]]], prev: int, seq: int) -> bytes:
    bids, asks = (
        [[f"{tick * _TICK:.1f}", f"{size:.8f}" if size else "0", "0", "3"] for tick, size in side] for side in sides
    )
    row = {"asks": asks, "bids": bids, "ts": str(1_787_612_486_307 + seq), "checksum": 0}
    push = {
        "arg": {"channel": "books", "instId": "BTC-USDT"},
        "action": action,
        "data": [row | {"seqId": seq, "prevSeqId": prev}],
    }
    return json.dumps(push, separators=(",", ":")).encode()


def tiled(frames: Sequence[bytes], copies: int) -> list[bytes]:
    """Return recorded frames end to end; the ids of trades go on rising, since a trade that came before is dropped."""
    found: list[bytes] = []
    for copy in range(copies):
        found += [_TRADE_ID.sub(lambda id_, ahead=copy * 10**6: b"%d" % (int(id_[0]) + ahead), each) for each in frames]
    return found


def track(frames: Sequence[bytes], channels: Sequence[Channel]) -> list[FeedMessage]:
    """Put frames through a fresh tracker; return what the last one delivers."""
    tracker = Tracker()
    for channel in channels:
        tracker.record(Subscribed(1, 0, channel))
    # Later than every stamp: rows from the future are refused.
    frame_of, received_ns, delivered = tracker.frame, 1_800_000_000_000_000_000, list[FeedMessage]()
    for frame in frames:
        received_ns += 1
        delivered = frame_of(0, received_ns, frame)
    return delivered


def bare(floor: Callable[[bytes], object], frames: Sequence[bytes]) -> None:
    """Decode frames into texts."""
    for frame in frames:
        floor(frame)


def compare(what: str, frames: Sequence[bytes], shape: type, channels: Sequence[Channel], target: str) -> None:
    """Print the floor, the decoder and the tracker, and what the tracker costs over the floor."""
    floor: Callable[[bytes], object] = msgspec.json.Decoder(shape).decode
    repeats = max(1, 6000 // len(frames))
    calls: tuple[Callable[[], object], ...] = (
        lambda: bare(floor, frames),
        lambda: ours(frames),
        lambda: track(frames, channels),
    )
    rounds = [[cpu_ns(call, repeats) / len(frames) for call in calls] for _ in range(ROUNDS)]
    floor_ns, decode_ns, track_ns = (statistics.median(times) for times in zip(*rounds, strict=True))
    show(f"{what}, floor", f"{floor_ns / 1000:.2f} us")
    show(f"{what}, bytes to messages", f"{decode_ns / 1000:.2f} us")
    show(f"{what}, bytes to delivered events", f"{track_ns / 1000:.2f} us")
    show(f"{what}, what tracking adds", f"{statistics.median(times[2] - times[1] for times in rounds) / 1000:.2f} us")
    ratio = statistics.median(times[2] / times[0] for times in rounds)
    if shape is BookFrame:
        show(f"{what}, frames/s", f"{1e9 / track_ns:,.0f}", target)
        show(f"{what}, ratio to the floor", f"{ratio:.2f}")
    else:
        show(f"{what}, frames/s", f"{1e9 / track_ns:,.0f}")
        show(f"{what}, ratio to the floor", f"{ratio:.2f}", target)


def run() -> None:
    """Measure books, trades and tickers."""
    books = book_frames(2000)
    assert track(books, [Channel("books", "BTC-USDT")])
    compare("track books of 20 + 20", books, BookFrame, [Channel("books", "BTC-USDT")], ">= 20,000")
    for name, shape in (("trades", TradeFrame), ("tickers", TickerFrame)):
        frames = tiled(recorded(name), 40)
        channels = [Channel(name, instrument) for instrument in ("BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527")]
        compare(f"track recorded {name}", frames, shape, channels, "<= 1.6")


if __name__ == "__main__":
    run()
