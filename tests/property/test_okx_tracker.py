"""Against a naive exchange: whatever is lost, doubled or handed over, the tracker's consumer never sees a wrong row."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantkit.events import BookUpdate, Candle, Gap, Trade
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import FormingCandle
from quantkit.feeds.okx.tracker.records import (
    BookFetched,
    Command,
    FetchBook,
    FetchCandles,
    Fetched,
    FrameRecord,
    Lost,
    Overflow,
    Record,
    Resubscribe,
    Stalled,
    Subscribed,
    pack,
    pack_frame,
    unpack,
)
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker

NAME = "BTC-USDT"
BOOKS = Channel("books", NAME)
TRADES = Channel("trades", NAME)
BARS = Channel("candle1m", NAME)
MINUTE_MS = 60_000
FIRST_SEQ = 10**12
RESET = 10**6
START_MS = 1_700_000_040_000

SETTINGS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LONG = settings(SETTINGS, max_examples=40)


class Tape:
    """Feeds a tracker and keeps what it was fed, packed as on the tape."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.delivered: list[list[FeedMessage]] = []
        self.commands: list[Command] = []
        self.tracker = Tracker(command=self.commands.append)
        self.now_ns = START_MS * 1_000_000

    def stamp(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def frame(self, connection: int, push: object) -> list[FeedMessage]:
        data = push if isinstance(push, bytes) else msgspec.json.encode(push)
        now_ns = self.stamp()
        self.payloads.append(pack_frame(connection, now_ns, data))
        return self._keep(self.tracker.frame(connection, now_ns, data))

    def record(self, make: Callable[[int], Record]) -> list[FeedMessage]:
        record = make(self.stamp())
        self.payloads.append(pack(record))
        return self._keep(self.tracker.record(record))

    def _keep(self, events: list[FeedMessage]) -> list[FeedMessage]:
        for event in events:
            stamped: Any = event.candle if isinstance(event, FormingCandle) else event
            assert stamped.received_ns == self.now_ns
        self.delivered.append(events)
        return events

    def check_replay(self) -> None:
        """A fresh tracker that is fed the tape delivers the same."""
        tracker = Tracker()
        again = []
        for payload in self.payloads:
            record = unpack(payload)
            if isinstance(record, FrameRecord):
                again.append(tracker.frame(record.connection, record.received_ns, record.data))
            else:
                again.append(tracker.record(record))
        assert again == self.delivered
        assert tracker.close(self.now_ns) == self.tracker.close(self.now_ns)


# Books ------------------------------------------------------------------------------------------------------------


class State(NamedTuple):
    """The exchange's book after one push."""

    prev: int
    seq: int
    ts: int
    bids: dict[float, float]
    asks: dict[float, float]
    changes: tuple[list[list[str]], list[list[str]]]


class Exchange:
    """One book with every state it ever had; sequence numbers are never used twice, also after a reset."""

    def __init__(self) -> None:
        bids, asks = {99.0: 1.0, 98.0: 2.0}, {101.0: 1.0, 102.0: 2.0}
        self.states = [State(-1, FIRST_SEQ, START_MS, bids, asks, ([], []))]
        self.by_seq = {FIRST_SEQ: self.states[0]}
        self._floor = FIRST_SEQ - RESET

    def grow(self, kind: int, levels: Sequence[tuple[int, int]]) -> None:
        last = self.states[-1]
        ts = last.ts + 100
        if kind == 0:  # sign of life
            self.states.append(State(last.seq, last.seq, ts, last.bids, last.asks, ([], [])))
            return
        seq = last.seq + 1 + kind
        if kind == 1:  # maintenance reset
            seq = self._floor
            self._floor -= RESET
        bids, asks = dict(last.bids), dict(last.asks)
        changes: tuple[list[list[str]], list[list[str]]] = ([], [])
        for price, size in levels:
            side, named = (bids, changes[0]) if price < 100 else (asks, changes[1])
            named.append([str(price), str(size), "0", "1"])
            if size:
                side[float(price)] = float(size)
            else:
                side.pop(float(price), None)
        state = State(last.seq, seq, ts, bids, asks, changes)
        self.states.append(state)
        self.by_seq[seq] = state

    def push(self, place: int, *, whole: bool) -> dict[str, Any]:
        state = self.states[place]
        if whole:
            row = {**self.row(state), "prevSeqId": -1}
        else:
            bids, asks = state.changes
            row = {"bids": bids, "asks": asks, "ts": str(state.ts), "prevSeqId": state.prev, "seqId": state.seq}
        action = "snapshot" if whole else "update"
        return {"arg": {"channel": "books", "instId": NAME}, "action": action, "data": [{**row, "checksum": 0}]}

    @staticmethod
    def row(state: State) -> dict[str, Any]:
        def side(levels: dict[float, float]) -> list[list[str]]:
            return [[f"{price:g}", f"{size:g}", "0", "1"] for price, size in levels.items()]

        return {"bids": side(state.bids), "asks": side(state.asks), "ts": str(state.ts), "seqId": state.seq}


class Consumer:
    """Rebuilds the book from what is delivered and compares it with the exchange's at every row."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.is_valid = False
        self.seq = 0
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.gaps: list[Gap] = []

    def take(self, events: Sequence[FeedMessage]) -> None:
        for event in events:
            if isinstance(event, Gap):
                assert self.is_valid, "a gap is told once"
                assert event.channel == "book"
                assert event.from_ns <= event.to_ns
                self.gaps.append(event)
                self.is_valid = False
                continue
            assert isinstance(event, BookUpdate)
            if event.is_snapshot:
                self.is_valid = True
                self.bids, self.asks = {}, {}
            else:
                assert self.is_valid, "nothing is delivered of an invalid book"
                assert event.prev_seq == self.seq
            for side, prices, sizes in (
                (self.bids, event.bid_prices, event.bid_qtys),
                (self.asks, event.ask_prices, event.ask_qtys),
            ):
                for price, size in zip(prices, sizes, strict=True):
                    if size:
                        side[price] = size
                    else:
                        side.pop(price, None)
            self.seq = event.seq
            state = self.exchange.by_seq[event.seq]
            assert (self.bids, self.asks) == (state.bids, state.asks)


class Line:
    """One connection's subscription on the exchange's side: where it stands, and how it began."""

    def __init__(self, place: int, *, begins_whole: bool) -> None:
        self.place = place
        self.is_begun = False
        self.begins_whole = begins_whole
        self.last: dict[str, Any] | None = None


class World:
    """An exchange, its connections, the tracker and the consumer."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.consumer = Consumer(self.exchange)
        self.tape = Tape()
        self.lines: dict[int, Line] = {}
        self.next_number = 0
        self.asked: Counter[int] = Counter()

    def connect(self, *, whole: bool = True) -> None:
        if len(self.lines) < 2:
            number = self.next_number
            self.next_number += 1
            self.subscribe(number, whole=whole)

    def subscribe(self, number: int, *, whole: bool = True) -> None:
        self.asked[number] = 0
        self.lines[number] = Line(len(self.exchange.states) - 1, begins_whole=whole)
        self._record(lambda now_ns: Subscribed(now_ns, number, BOOKS))

    def push(self, number: int) -> bool:
        """Bring a connection its next frame."""
        line = self.lines[number]
        if not line.is_begun:
            line.is_begun = True
            if line.begins_whole:
                self._frame(number, line, self.exchange.push(line.place, whole=True))
                return True
        if line.place + 1 >= len(self.exchange.states):
            return False
        line.place += 1
        self._frame(number, line, self.exchange.push(line.place, whole=False))
        return True

    def drop(self, number: int) -> None:
        line = self.lines[number]
        if line.is_begun and line.place + 1 < len(self.exchange.states):
            line.place += 1

    def double(self, number: int) -> None:
        line = self.lines[number]
        state = self.exchange.states[line.place]
        # A sign of life that comes twice is another sign of life.
        if line.last is not None and state.prev != state.seq:
            self._frame(number, line, line.last)

    def damage(self, number: int) -> None:
        self.drop(number)
        self._take(
            self.tape.frame(number, b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{')
        )

    def lose(self, number: int) -> None:
        del self.lines[number]
        self._record(lambda now_ns: Lost(now_ns, number, "reset"))

    def stall(self, number: int) -> None:
        self.asked[number] -= 1  # the watchdog's is beside those of losses
        self._record(lambda now_ns: Stalled(now_ns, number, BOOKS, 90_000_000_000))

    def shed(self, is_on: bool) -> None:
        self._record(lambda now_ns: Overflow(now_ns, is_on))

    def serve(self, *, lag: int = 0, is_ok: bool = True) -> None:
        """Do what the tracker asked for."""
        commands, self.tape.commands[:] = list(self.tape.commands), []
        for command in commands:
            if isinstance(command, Resubscribe):
                if command.connection in self.lines:
                    self.subscribe(command.connection)
            elif isinstance(command, FetchBook):
                state = self.exchange.states[max(0, len(self.exchange.states) - 1 - lag)]
                reply = msgspec.json.encode({"code": "0", "msg": "", "data": [Exchange.row(state)]})
                self._record(
                    lambda now_ns, reply=reply: BookFetched(
                        now_ns, BOOKS, reply if is_ok else b"", "" if is_ok else "no"
                    )
                )

    def heal(self) -> None:
        """Stop all faults: the consumer has to have the newest book in the end."""
        self.shed(False)
        if not self.lines:
            self.connect()
        for _ in range(10):
            self.serve()
            self.exchange.grow(3, [(97, 5)])
            for number in list(self.lines):
                while self.push(number):
                    pass
        assert self.consumer.is_valid
        assert self.consumer.seq == self.exchange.states[-1].seq
        assert not self.tape.commands
        assert list(self.tape.tracker.invalid_books()) == []

    def _frame(self, number: int, line: Line, push: dict[str, Any]) -> None:
        line.last = push
        self._take(self.tape.frame(number, push))

    def _record(self, make: Callable[[int], Record]) -> None:
        self._take(self.tape.record(make))

    def _take(self, events: list[FeedMessage]) -> None:
        self.consumer.take(events)
        assert self.consumer.is_valid == (list(self.tape.tracker.invalid_books()) == [])
        book = self.tape.tracker.book(BOOKS)
        assert (book is not None) == self.consumer.is_valid
        if book is not None:
            assert (book.bids, book.asks, book.seq_id) == (self.consumer.bids, self.consumer.asks, self.consumer.seq)
        for command in self.tape.commands[-1:]:
            if isinstance(command, Resubscribe):
                waiting = [each for each in self.tape.commands if isinstance(each, Resubscribe)]
                each = Counter(each.connection for each in waiting)
                assert each[command.connection] <= 1 + max(0, -self.asked[command.connection])


def act(world: World, step: tuple[str, int, int, list[tuple[int, int]]]) -> None:
    what, which, kind, levels = step
    numbers = sorted(world.lines)
    number = numbers[which % len(numbers)] if numbers else None
    match what:
        case "grow":
            world.exchange.grow(kind, levels)
        case "connect":
            world.connect(whole=kind != 1)
        case "shed":
            world.shed(kind % 2 == 0)
        case "serve":
            world.serve(lag=kind, is_ok=which != 3)
        case "push" if number is not None:
            for _ in range(kind + 1):
                world.push(number)
        case "drop" if number is not None:
            world.drop(number)
        case "double" if number is not None:
            world.double(number)
        case "damage" if number is not None:
            world.damage(number)
        case "lose" if number is not None:
            world.lose(number)
        case "stall" if number is not None:
            world.stall(number)
        case _:
            pass


#: How often each step comes in long runs.
WEIGHTS = {
    "grow": 10, "push": 14, "serve": 5, "connect": 2, "drop": 0.7, "double": 2, "damage": 0.5, "lose": 0.7,
    "stall": 0.3, "shed": 1.5,
}  # fmt: skip
ALWAYS = ("grow", "push", "serve", "connect")
changes = st.lists(st.tuples(st.sampled_from([95, 96, 97, 98, 99, 101, 102, 103, 104]), st.integers(0, 3)), max_size=4)
steps = st.tuples(
    st.sampled_from(
        ["grow"] * 6 + ["push"] * 8 + ["serve"] * 3 + ["connect"] * 2
        + ["drop", "double", "damage", "lose", "stall", "shed", "shed"]
    ),
    st.integers(0, 3),
    st.integers(0, 4),
    changes,
)  # fmt: skip


@SETTINGS
@given(st.lists(steps, max_size=80))
def test_a_visible_book_is_the_exchanges_book(script: list[tuple[str, int, int, list[tuple[int, int]]]]) -> None:
    """At every row it equals the exchange's at that number, gaps are told once, and faults that end are healed."""
    world = World()
    world.connect()
    for step in script:
        act(world, step)
    world.heal()
    world.tape.check_replay()


@LONG
@given(st.integers(0, 2**32))
def test_a_visible_book_is_the_exchanges_book_in_long_runs(seed: int) -> None:
    """The same over hundreds of steps, where faults meet each other's aftermath."""
    dice = random.Random(seed)
    names = list(WEIGHTS)
    # Each run has some of the faults, so that rare meetings are not drowned by the common ones.
    weights = [WEIGHTS[name] * (name in ALWAYS or dice.random() < 0.6) for name in names]
    world = World()
    world.connect()
    for name in dice.choices(names, weights, k=250):
        levels = [(dice.choice([95, 96, 97, 98, 99, 101, 102, 103]), dice.randint(0, 3)) for _ in range(3)]
        act(world, (name, dice.randint(0, 3), dice.randint(0, 4), levels))
    world.heal()
    world.tape.check_replay()


@SETTINGS
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=30))
def test_every_loss_on_one_connection_is_one_gap_and_one_resubscription(script: list[tuple[int, bool]]) -> None:
    """However many more updates come before the snapshot."""
    world = World()
    world.connect()
    world.push(0)
    losses = 0
    for more, is_lost in script:
        world.exchange.grow(3, [(97, 1)])
        if is_lost:
            losses += 1
            world.drop(0)
            for _ in range(more):
                world.exchange.grow(2, [(98, 1)])
                world.push(0)
            assert [type(command) for command in world.tape.commands] == [Resubscribe]
            world.serve()
        while world.push(0):
            pass
        assert world.consumer.is_valid
        assert world.consumer.seq == world.exchange.states[-1].seq
    assert [gap.cause for gap in world.consumer.gaps] == ["sequence"] * losses


# Trades -----------------------------------------------------------------------------------------------------------


def trade_push(trade_id: int, count: int) -> dict[str, Any]:
    row = {"instId": NAME, "tradeId": str(trade_id), "px": "1", "sz": "1", "side": "buy"}
    row |= {"ts": str(START_MS + trade_id), "count": str(count)}
    return {"arg": {"channel": "trades", "instId": NAME}, "data": [row]}


class TradeWorld:
    """Trades with gapless ids on up to two connections, each a place in the same sequence."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.pushes: list[tuple[int, int]] = []
        trade_id = 0
        for count in counts:
            trade_id += count
            self.pushes.append((trade_id, count))
        self.tape = Tape()
        self.places: dict[int, int] = {}
        self.begun: dict[int, int] = {}
        self.next_number = 0
        self.front = 0
        self.seen: list[FeedMessage] = []

    def connect(self) -> None:
        if len(self.places) < 2:
            # The first push of a subscription is the most recent trade, which was perhaps seen before.
            self.places[self.next_number] = self.begun[self.next_number] = max(0, self.front - 1)
            number = self.next_number
            self.next_number += 1
            self.seen += self.tape.record(lambda now_ns: Subscribed(now_ns, number, TRADES))

    def push(self, number: int) -> None:
        place = self.places[number]
        if place < len(self.pushes):
            self.seen += self.tape.frame(number, trade_push(*self.pushes[place]))
            self.places[number] = place + 1
            self.front = max(self.front, place + 1)

    def act(self, what: str, which: int) -> None:
        numbers = sorted(self.places)
        if what == "connect":
            self.connect()
        elif what == "shed":
            self.seen += self.tape.record(lambda now_ns: Overflow(now_ns, which == 0))
        elif numbers:
            number = numbers[which % len(numbers)]
            if what == "push":
                self.push(number)
            elif what == "double" and self.places[number]:
                self.seen += self.tape.frame(number, trade_push(*self.pushes[self.places[number] - 1]))
            elif what == "drop":
                self.places[number] += 1
                self.front = max(self.front, self.places[number])
            elif what == "lose":
                del self.places[number]
                self.seen += self.tape.record(lambda now_ns: Lost(now_ns, number, "reset"))


@SETTINGS
@given(
    st.lists(st.integers(1, 3), min_size=40, max_size=40),
    st.lists(
        st.tuples(
            st.sampled_from(["push"] * 8 + ["double", "drop", "lose", "connect", "connect", "shed"]), st.integers(0, 1)
        ),
        max_size=80,
    ),
)
def test_trades_come_once_in_order_and_what_is_missing_lies_in_a_gap(
    counts: list[int], script: list[tuple[str, int]]
) -> None:
    """Ids rise strictly; between two delivered trades an id is missing if and only if a gap says so, or an outage."""
    world = TradeWorld(counts)
    world.connect()
    for what, which in script:
        world.act(what, which)
    world.tape.check_replay()
    count_of = dict(world.pushes)
    last = None
    gap: Gap | None = None
    for event in world.seen:
        if isinstance(event, Gap):
            assert gap is None
            assert event.channel == "trade"
            gap = event
            continue
        assert isinstance(event, Trade)
        if last is not None:
            assert event.trade_id > last.trade_id
            first_id = event.trade_id - count_of[event.trade_id] + 1
            is_missing = first_id > last.trade_id + 1
            text = f"trades {last.trade_id + 1} to {first_id - 1} are missing"
            assert is_missing == (gap is not None and text in gap.cause)
            if gap is not None:
                assert (gap.from_ns, gap.to_ns) == (last.exchange_ns, event.exchange_ns)
                assert is_missing or gap.cause.startswith(("disconnected", "shed"))
        else:
            assert gap is None
        last, gap = event, None


@LONG
@given(st.integers(0, 2**32))
def test_handovers_of_trades_lose_and_double_nothing_in_long_runs(seed: int) -> None:
    """One connection after the other is replaced by the next while rows interleave as they like."""
    dice = random.Random(seed)
    world = TradeWorld([dice.randint(1, 3) for _ in range(400)])
    world.connect()
    world.push(0)
    while world.front < len(world.pushes):
        number = dice.choice(sorted(world.places))
        for _ in range(dice.randint(1, 4)):
            world.push(number)
        if len(world.places) == 1:
            if dice.random() < 0.2:
                world.connect()
        elif dice.random() < 0.1:
            old, new = sorted(world.places)
            # The new one has brought something, and the old one ends no earlier than the new one began.
            first = world.begun[new]
            while world.places[old] < first or world.places[new] == first:
                world.push(old if world.places[old] < first else new)
            world.act("lose", 0)
    delivered = [event.trade_id for event in world.seen if isinstance(event, Trade)]
    assert not [event for event in world.seen if isinstance(event, Gap)]
    assert delivered == [trade_id for trade_id, _ in world.pushes[: len(delivered)]]
    assert len(delivered) >= max(world.places.values())
    world.tape.check_replay()


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3)), max_size=60))
def test_a_handover_of_trades_loses_and_doubles_nothing(script: list[tuple[int, int]]) -> None:
    """Both connections bring every trade, in whatever interleaving; the old one ends when both stand level."""
    world = TradeWorld([1, 2, 3] * 20)
    world.connect()
    for _ in range(5):
        world.push(0)
    world.connect()
    for number, pushes in script:
        for _ in range(pushes):
            world.push(number)
    while len(set(world.places.values())) > 1:
        world.push(min(world.places, key=lambda each: world.places[each]))
    world.act("lose", 0)
    for _ in range(3):
        world.push(1)
    delivered = [event.trade_id for event in world.seen if isinstance(event, Trade)]
    assert not [event for event in world.seen if isinstance(event, Gap)]
    assert delivered == [trade_id for trade_id, _ in world.pushes[: world.places[1]]]


# Candles ----------------------------------------------------------------------------------------------------------


def bar(place: int, confirm: str) -> list[str]:
    return [str(START_MS + place * MINUTE_MS), "10", "12", "9", "11", str(place), "0", "0", confirm]


@SETTINGS
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bar"] * 6 + ["drop", "drop", "double", "lose", "answer", "shed"]), st.integers(0, 2)
        ),
        max_size=60,
    )
)
def test_bars_come_once_and_in_order_and_only_what_rest_lacks_is_a_gap(script: list[tuple[str, int]]) -> None:
    """Between two delivered bars nothing is missing that no gap tells, and no gap holds a delivered bar."""
    tape = Tape()
    lacking: set[int] = set()
    place = number = 0
    tape.record(lambda now_ns: Subscribed(now_ns, 0, BARS))
    arg = {"channel": "candle1m", "instId": NAME}

    def answer(which: int) -> None:
        for command in tape.commands:
            assert isinstance(command, FetchCandles)
            first, last = (
                (ns // 1_000_000 - START_MS) // MINUTE_MS for ns in (command.first_open_ns, command.last_open_ns)
            )
            assert first <= last < place + 1
            rows = [bar(each, "1") for each in range(first, last + 1)]
            if which == 1:
                lacking.update(range(first, last + 1))
                rows = []
            tape.record(lambda now_ns, rows=rows: Fetched(now_ns, BARS, rows[::-1], "no" if not rows else ""))
        tape.commands.clear()

    for what, which in script:
        if what in ("bar", "drop"):
            tape.frame(number, {"arg": arg, "data": [bar(place, "0")]})
            if what == "bar":
                tape.frame(number, {"arg": arg, "data": [bar(place, "1")]})
            place += 1
        elif what == "double" and place:
            tape.frame(number, {"arg": arg, "data": [bar(place - 1, "1")]})
        elif what == "lose":
            tape.record(lambda now_ns, gone=number: Lost(now_ns, gone, "reset"))
            number += 1
            place += which
            tape.record(lambda now_ns, new=number: Subscribed(now_ns, new, BARS))
        elif what == "answer":
            answer(which)
        elif what == "shed":
            tape.record(lambda now_ns, is_on=which == 0: Overflow(now_ns, is_on))
    tape.record(lambda now_ns: Overflow(now_ns, False))
    for _ in range(2):
        tape.frame(number, {"arg": arg, "data": [bar(place, "1")]})
        place += 1
        while tape.commands:
            answer(0)
    tape.check_replay()
    told: list[tuple[int, int]] = []
    for events in tape.delivered:
        rows: list[tuple[int, int]] = []
        for event in events:
            if isinstance(event, Candle):
                rows.append((event.open_ns, event.close_ns))
            elif isinstance(event, Gap):
                assert event.channel == "candle 1m"
                rows.append((event.from_ns, event.to_ns))
                gone = range(event.from_ns // 1_000_000, event.to_ns // 1_000_000, MINUTE_MS)
                assert {(ms - START_MS) // MINUTE_MS for ms in gone} <= lacking
        told += sorted(rows)
    assert told
    assert all(before[1] == after[0] for before, after in pairwise(told))
    assert told[-1][1] == (START_MS + place * MINUTE_MS) * 1_000_000


# Anything ---------------------------------------------------------------------------------------------------------


@SETTINGS
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(
                st.binary(max_size=60),
                st.builds(
                    lambda channel, row: msgspec.json.encode(
                        {"arg": {"channel": channel, "instId": NAME}, "action": "update", "data": [row]}
                    ),
                    st.sampled_from(["books", "trades", "candle1m", "tickers", "books5"]),
                    st.one_of(
                        st.fixed_dictionaries(
                            {"asks": st.just([]), "bids": st.just([["1", "1"]]), "ts": st.just("1")},
                            optional={"seqId": st.integers(-1, 3), "prevSeqId": st.integers(-1, 3)},
                        ),
                        st.just(trade_push(3, 1)["data"][0]),
                        st.just(bar(0, "1")),
                    ),
                ),
            ),
        ),
        max_size=20,
    )
)
def test_no_bytes_raise_and_unwanted_channels_leave_no_trace(frames: list[tuple[int, bytes]]) -> None:
    """Neither on a connection that is asked for them nor on one that is not."""
    tape = Tape()
    for connection, data in frames:
        assert tape.frame(connection, data) == []
    for channel in (BOOKS, TRADES, BARS, Channel("tickers", NAME), Channel("books5", NAME)):
        tape.record(lambda now_ns, channel=channel: Subscribed(now_ns, 1, channel))
    for connection, data in frames:
        events = tape.frame(connection, data)
        assert connection == 1 or events == []
    tape.check_replay()
