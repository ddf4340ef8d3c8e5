"""The short ways of a tracker change nothing but the time: whatever comes, the long way alone gives the same."""

import gzip
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.events import Ticker, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import Lost, Overflow, Record, Subscribed, Unsubscribed
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker

DATA = Path(__file__).parents[1] / "data"
CAPTURES = sorted(DATA.glob("okx_ws_*.log.gz"))
RECEIVED = re.compile(rb"([0-9]+)\.([0-9]+): (.*)", re.DOTALL).fullmatch
ARGUMENT = re.compile(rb'\{"arg":\{"channel":"(trades|tickers|books|books-l2-tbt)","instId":"([^"]+)"').match
TRADE_ID = re.compile(rb'(?<="tradeId":")[0-9]+')
#: Later than all that was recorded.
NOW_NS = 1_660_000_000_000_000_000
DAY_NS = 86_400_000_000_000
#: What numbers, ids and their surroundings are exchanged for: most of it is refused.
PIECES = (
    b'""', b'"0"', b'"-0"', b'"-1"', b'"007"', b'"0.50"', b'"5."', b'".5"', b'"1e5"', b'"nan"', b'"inf"', b'" 1"',
    b'"1_0"', b'"+1"', b'"\\u0031"', b'"\xd9\xa1"', b'"\xff"', b'"' + b"9" * 24 + b'"', b'"' + b"9" * 25 + b'"',
    b'"0.' + b"0" * 23 + b'1"', b'"0.' + b"0" * 24 + b'1"', b"5", b"5.5", b"05", b"1e5", b"null", b"true", b"[]",
    b"{}", b'"buy"', b'"sell"', b'"hold"', b'"A:B"', b'"BTC-USDT"', b'"UNI-USD-SWAP"', b'"1"', b'"2"',
    b'"1652459224818"', b'"1652459224818.0"', b'"165245922481"', b'"16524592248180"', b'"999999999999999999"',
    b'"1000000000000000000"', b'"9223372036854775808"', b'"3800000000000"',
)  # fmt: skip
VALUE = re.compile(rb'(?<=:)(?:"[^"]*"|[0-9]+)')
FIELD = re.compile(rb'"[a-zA-Z0-9]+":(?:"[^"]*"|[0-9]+)')


def captured(file: Path) -> list[tuple[int, bytes]]:
    """Return the frames of a capture with their stamps."""
    found = [RECEIVED(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    return [(int(each[1]) * 10**9 + int(each[2].ljust(9, b"0")), each[3]) for each in found if each is not None]


def recorded() -> list[bytes]:
    """Return recorded trades and tickers, the trades also as they are sent today."""
    frames = [frame for file in CAPTURES for _, frame in captured(file)]
    kept = [frame for frame in frames if (head := ARGUMENT(frame)) and head[1] in (b"trades", b"tickers")]
    today = [
        frame.replace(b'"}]}', b'","count":"1","source":"0","seqId":80274874887}]}')
        for frame in kept
        if b'"trades"' in frame
    ]
    return kept + today


REAL = recorded()
CHANNELS = sorted(
    {(head[1].decode(), head[2].decode()) for frame in REAL if (head := ARGUMENT(frame)) is not None},
)


class Pair:
    """A tracker and one that goes the long way only, fed the same; both have to say the same at any time."""

    def __init__(self) -> None:
        self.asked: list[list[Any]] = [[], []]
        self.short, self.long = (
            Tracker(command=asked.append, control=lambda number, message, asked=asked: asked.append((number, message)))
            for asked in self.asked
        )
        assert len(self.long._fast_paths) == 2
        self.long._fast_paths.clear()
        self.now_ns = NOW_NS

    def both(self, ask: Callable[[Tracker], list[FeedMessage]]) -> list[FeedMessage]:
        said, law = ask(self.short), ask(self.long)
        # Types and the signs of zeros too.
        assert repr(said) == repr(law)
        assert said == law
        assert self.short.counters == self.long.counters
        assert self.asked[0] == self.asked[1]
        return said

    def frame(self, data: bytes, connection: int = 0) -> list[FeedMessage]:
        self.now_ns += 1
        return self.both(lambda tracker: tracker.frame(connection, self.now_ns, data))

    def record(self, make: type[Any], *fields: Any) -> list[FeedMessage]:
        self.now_ns += 1
        record: Record = make(self.now_ns, *fields)
        return self.both(lambda tracker: tracker.record(record))

    def want_all(self, connection: int = 0) -> None:
        for name, instrument in CHANNELS:
            self.record(Subscribed, connection, Channel(name, instrument))

    def close(self) -> None:
        for connection in range(3):
            for name, instrument in CHANNELS:
                channel = Channel(name, instrument)
                heard = [tracker.heard_ns(connection, channel) for tracker in (self.short, self.long)]
                assert heard[0] == heard[1]
        # Gaps tell which row was the last one noted.
        for connection in range(3):
            self.record(Lost, connection, "the end")
        self.both(lambda tracker: list(tracker.close(self.now_ns)))


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.name)
def test_captures_give_the_same_events_either_way(file: Path) -> None:
    """Event for event; and most trades and tickers go the short way, or it would not be worth having."""
    pair = Pair()
    frames = captured(file)
    wanted = {head.groups() for _, frame in frames if (head := ARGUMENT(frame)) is not None}
    for name, instrument in wanted:
        pair.record(Subscribed, 0, Channel(name.decode(), instrument.decode()))
    taken: Counter[str] = Counter()
    for head, way in list(pair.short._fast_paths.items()):

        def counted(connection: int, received_ns: int, data: bytes, way: Any = way) -> Ticker | Trade | None:
            event: Ticker | Trade | None = way(connection, received_ns, data)
            taken[type(event).__name__] += 1
            return event

        pair.short._fast_paths[head] = counted
    delivered = 0
    for received_ns, frame in frames:
        pair.now_ns = max(received_ns, pair.now_ns if delivered else 0)
        delivered += len(pair.frame(frame))
    pair.close()
    assert delivered > 100
    # The first row of a channel and what came before go the long way; one capture has many instruments of few rows.
    assert taken["Trade"] + taken["Ticker"] > taken["NoneType"]


WHOLE = (
    REAL[-1],
    next(frame for frame in REAL if re.search(rb'"tickers".*"askPx":"[0-9].*"bidPx":"[0-9].*"165', frame)),
)


@pytest.mark.parametrize("frame", WHOLE, ids=["trade", "ticker"])
def test_every_value_exchanged_for_every_piece(frame: bytes) -> None:
    """One value at a time, so that nothing else can be the reason why a frame is refused."""
    before = TRADE_ID.sub(lambda found: b"%d" % (int(found[0]) - 1), frame)
    for found in VALUE.finditer(frame):
        for piece in PIECES:
            pair = Pair()
            pair.want_all()
            assert pair.frame(before)
            pair.frame(frame[: found.start()] + piece + frame[found.end() :])
            pair.frame(TRADE_ID.sub(lambda found: b"%d" % (int(found[0]) + 1), frame))
            pair.close()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REAL), st.data())
def test_any_change_of_a_real_frame(frame: bytes, data: st.DataObject) -> None:
    """Values exchanged, fields doubled, left out or moved, and bytes replaced, in a frame that follows a real one."""
    pair = Pair()
    pair.want_all()
    pair.frame(frame)
    changed = TRADE_ID.sub(lambda found: b"%d" % (int(found[0]) + data.draw(st.integers(-1, 3))), frame)
    for _ in range(data.draw(st.integers(0, 3))):
        changed = data.draw(st.sampled_from((exchanged, doubled, cut, replaced)))(changed, data)
    if data.draw(st.booleans()):
        pair.now_ns = data.draw(st.sampled_from((1, NOW_NS - 10**18, NOW_NS - 9 * 10**17)))
    pair.frame(changed)
    # Had one of them noted what it did not deliver, the next row would show.
    pair.frame(TRADE_ID.sub(lambda found: b"%d" % (int(found[0]) + 2), frame))
    pair.close()


def exchanged(frame: bytes, data: st.DataObject) -> bytes:
    """Put another value in the place of one."""
    found = data.draw(st.sampled_from(list(VALUE.finditer(frame)) or [None]))
    return (
        frame if found is None else frame[: found.start()] + data.draw(st.sampled_from(PIECES)) + frame[found.end() :]
    )


def doubled(frame: bytes, data: st.DataObject) -> bytes:
    """Put a field in front of some field again, with its own value or another."""
    fields = list(FIELD.finditer(frame))
    if not fields:
        return frame
    found, place = data.draw(st.sampled_from(fields)), data.draw(st.sampled_from(fields))
    again = exchanged(found[0], data) if data.draw(st.booleans()) else found[0]
    return frame[: place.start()] + again + b"," + frame[place.start() :]


def cut(frame: bytes, data: st.DataObject) -> bytes:
    """Leave a field out, or put the row there twice."""
    fields = list(re.finditer(FIELD.pattern + rb",", frame))
    if data.draw(st.booleans()) or not fields:
        head, bracket, rows = frame.partition(b"[")
        return head + bracket + rows.removesuffix(b"]}") + b"," + rows
    found = data.draw(st.sampled_from(fields))
    return frame[: found.start()] + frame[found.end() :]


def replaced(frame: bytes, data: st.DataObject) -> bytes:
    """Put other bytes in the place of some."""
    place = data.draw(st.integers(0, len(frame)))
    put = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from(PIECES), st.sampled_from([b"-", b".", b"0", b"e"]))
    )
    return frame[:place] + put + frame[place + data.draw(st.integers(0, 3)) :]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CHANNELS), st.randoms(use_true_random=False))
def test_any_life_of_a_lane(channel: tuple[str, str], dice: Any) -> None:
    """Connections come, hand over and go, subscriptions end, the consumer is full; ids jump, repeat and start anew."""
    pair = Pair()
    wanted = Channel(*channel)
    frames = [frame for frame in REAL if frame.startswith(b'{"arg":{"channel":"%b","instId":"%b"' % of(wanted))]
    pair.record(Subscribed, 0, wanted)
    number = 5000
    for _ in range(dice.randrange(5, 80)):
        chance = dice.random()
        connection = dice.randrange(3)
        if chance < 0.06:
            pair.record(Subscribed, connection, wanted)
        elif chance < 0.11:
            pair.record(Lost, connection, "reset")
        elif chance < 0.14:
            pair.record(Unsubscribed, connection, wanted)
        elif chance < 0.17:
            pair.record(Overflow, dice.random() < 0.4)
        else:
            number += dice.choice((1, 1, 1, 1, 1, 2, 5, 0, -1, -3, -2000))
            frame = TRADE_ID.sub(b"%d" % number if dice.random() < 0.95 else b"", dice.choice(frames))
            if dice.random() < 0.05:
                frame = frame.replace(b'"ts":"165', b'"ts":"365')
            pair.frame(frame, 0 if dice.random() < 0.6 else connection)
    pair.close()


def of(channel: Channel) -> tuple[bytes, bytes]:
    """Return a channel's name and instrument as they stand in its frames."""
    return channel.name.encode(), channel.inst_id.encode()


def test_rows_kept_for_their_turn_get_it_either_way() -> None:
    """A successor that is gone leaves rows ahead of the owner's, who is alone again and steady."""
    pair = Pair()
    wanted = Channel("trades", "BTC-USDT")
    frame = next(frame for frame in REAL if b'"count"' in frame and b'"BTC-USDT"' in frame)

    def ids(number: int, connection: int) -> list[int]:
        said = pair.frame(TRADE_ID.sub(b"%d" % number, frame), connection)
        return [event.trade_id for event in said if isinstance(event, Trade)]

    pair.record(Subscribed, 0, wanted)
    assert ids(1, 0) == [1]
    pair.record(Subscribed, 1, wanted)
    assert ids(5, 1) == []
    pair.record(Lost, 1, "reset")
    assert [ids(number, 0) for number in (2, 3, 4, 5, 6)] == [[2], [3], [4, 5], [], [6]]


@pytest.mark.parametrize("channel", CHANNELS, ids=" ".join)
def test_a_channel_given_up_brings_nothing_either_way(channel: tuple[str, str]) -> None:
    """Until it is asked for again."""
    pair = Pair()
    wanted = Channel(*channel)
    frame = next(frame for frame in REAL if frame.startswith(b'{"arg":{"channel":"%b","instId":"%b"' % of(wanted)))
    frames = [TRADE_ID.sub(b"%d" % number, frame) for number in range(1, 7)]
    pair.record(Subscribed, 0, wanted)
    assert [len(pair.frame(each)) for each in frames[:2]] == [1, 1]
    pair.record(Unsubscribed, 0, wanted)
    assert [len(pair.frame(each)) for each in frames[2:4]] == [0, 0]
    pair.record(Subscribed, 0, wanted)
    assert [len(pair.frame(each)) for each in frames[4:]] == [1, 1]
