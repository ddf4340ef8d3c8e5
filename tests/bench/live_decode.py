"""Measure how fast OKX frames become messages: `python tests/bench/live_decode.py`, or `run()` from the other benches.

The floor is one msgspec decoder that turns the whole frame into a typed struct of texts and nothing more: no number, no
time, no event. Floor and decoder are measured in turn in each round, in CPU time, and the median ratio is shown.

A conversion of a text to a number is remembered, so two figures are given. "warm" repeats the same recorded frames, so
that all texts are known. "cold" forgets everything before each pass over the recording: the first sight of every price.
"""

import gzip
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from quantkit.feeds.okx.codec import grammar
from quantkit.feeds.okx.codec.decode import decode

ROUNDS: Final = 15
CAPTURE: Final = Path(__file__).parents[1] / "data" / "okx_ws_20220513T162705Z.log.gz"
CACHES: Final = (
    grammar.PRICES,
    grammar.TRADED_QTYS,
    grammar.OPTIONAL_PRICES,
    grammar.OPTIONAL_QTYS,
    grammar.INSTRUMENT_IDS,
)


class Arg(msgspec.Struct, rename="camel", gc=False):
    """What was subscribed."""

    channel: str
    inst_id: str = ""


class TradeText(msgspec.Struct, rename="camel", gc=False):
    """A trade as text, every field that OKX documents."""

    inst_id: str
    trade_id: str
    px: str
    sz: str
    side: str
    ts: str
    count: str = ""
    source: str = ""
    seq_id: int | None = None


class ShortTickerText(msgspec.Struct, rename="camel", gc=False):
    """A ticker as text, the fields that an event needs."""

    inst_id: str
    last: str
    last_sz: str
    ask_px: str
    ask_sz: str
    bid_px: str
    bid_sz: str
    ts: str


class TickerText(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """A ticker as text, every field that OKX documents."""

    inst_type: str
    inst_id: str
    last: str
    last_sz: str
    ask_px: str
    ask_sz: str
    bid_px: str
    bid_sz: str
    open24h: str
    high24h: str
    low24h: str
    sod_utc0: str
    sod_utc8: str
    vol_ccy24h: str = msgspec.field(name="volCcy24h")
    vol24h: str
    ts: str


class BookText(msgspec.Struct, rename="camel", gc=False):
    """A book message, its levels as texts."""

    asks: list[list[str]]
    bids: list[list[str]]
    ts: str
    checksum: int | None = None
    seq_id: int | None = None
    prev_seq_id: int | None = None


class TradeFrame(msgspec.Struct, gc=False):
    """A push of trades."""

    arg: Arg
    data: list[TradeText]


class ShortTickerFrame(msgspec.Struct, gc=False):
    """A push of tickers."""

    arg: Arg
    data: list[ShortTickerText]


class TickerFrame(msgspec.Struct, gc=False):
    """A push of tickers."""

    arg: Arg
    data: list[TickerText]


class BookFrame(msgspec.Struct, gc=False):
    """A push of a book."""

    arg: Arg
    action: str
    data: list[BookText]


def recorded(channel: str) -> list[bytes]:
    """Return the recorded pushes of a channel."""
    lines = gzip.decompress(CAPTURE.read_bytes()).splitlines()
    frames = [line.partition(b": ")[2] for line in lines if line[:1].isdigit()]
    return [frame for frame in frames if frame.startswith(b'{"arg":{"channel":"%s"' % channel.encode())]


def books(count: int, changes: int = 20, seed: int = 1) -> list[bytes]:
    """Return generated book updates of `changes` changes on either side."""
    dice = random.Random(seed)
    frames: list[bytes] = []
    for seq in range(count):
        sides = [
            [
                [f"{78_700 + sign * tick / 10:.1f}", f"{dice.random() * 2:.8f}", "0", str(dice.randrange(1, 20))]
                for tick in sorted(dice.sample(range(1, 4000), changes))
            ]
            for sign in (1, -1)
        ]
        row = {"asks": sides[0], "bids": sides[1], "ts": str(1_787_612_486_307 + seq * 100), "checksum": 0}
        push = {
            "arg": {"channel": "books", "instId": "BTC-USDT"},
            "action": "update",
            "data": [{**row, "seqId": 80_274_874_887 + 9 * seq, "prevSeqId": 80_274_874_878 + 9 * seq}],
        }
        frames.append(json.dumps(push, separators=(",", ":")).encode())
    return frames


def bare(floor: Callable[[bytes], object], frames: Sequence[bytes]) -> None:
    """Decode frames into texts."""
    for frame in frames:
        floor(frame)


def ours(frames: Sequence[bytes]) -> None:
    """Decode frames as the feed does."""
    for frame in frames:
        decode(frame, received_ns=1)


def cpu_ns(call: Callable[[], None], repeats: int, *, is_cold: bool = False) -> float:
    """Return the CPU time of one call in nanoseconds."""
    spent = 0
    for _ in range(repeats):
        if is_cold:
            for cache in CACHES:
                cache.clear()
        begin = time.process_time_ns()
        call()
        spent += time.process_time_ns() - begin
    return spent / repeats


def compare(what: str, frames: Sequence[bytes], shape: type, *, target: str = "", is_cold: bool = False) -> None:
    """Print floor, decoder and their ratio."""
    floor: Callable[[bytes], object] = msgspec.json.Decoder(shape).decode
    repeats = max(1, 6000 // len(frames))
    floors: list[float] = []
    times: list[float] = []
    for _ in range(ROUNDS):
        floors.append(cpu_ns(partial(bare, floor, frames), repeats) / len(frames))
        times.append(cpu_ns(partial(ours, frames), repeats, is_cold=is_cold) / len(frames))
    ratio = statistics.median(mine / least for mine, least in zip(times, floors, strict=True))
    median_ns = statistics.median(times)
    show(f"{what}, floor", f"{statistics.median(floors) / 1000:.2f} us")
    show(f"{what}, bytes to messages", f"{median_ns / 1000:.2f} us")
    show(f"{what}, frames/s", f"{1e9 / median_ns:,.0f}")
    show(f"{what}, ratio to the floor", f"{ratio:.2f}", target)


def show(what: str, value: str, target: str = "") -> None:
    """Print one line of the report."""
    print(f"{what:<66} {value:>16}  {target}", flush=True)


def run() -> None:
    """Measure trades, tickers and books."""
    compare("decode trades, warm", recorded("trades"), TradeFrame, target="<= 1.6")
    compare("decode trades, cold", recorded("trades"), TradeFrame, is_cold=True)
    compare("decode tickers, warm, floor of all fields", recorded("tickers"), TickerFrame, target="<= 1.6")
    compare("decode tickers, warm, floor of the event's fields", recorded("tickers"), ShortTickerFrame)
    compare("decode tickers, cold, floor of all fields", recorded("tickers"), TickerFrame, is_cold=True)
    compare("decode books of 20 + 20", books(200), BookFrame, target="<= 25 us")


if __name__ == "__main__":
    run()
