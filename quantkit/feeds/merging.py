"""The rows of several receivers of the same channels as one: what any of them has received is there, once.

Trades are told apart by their ids, updates of books by their sequence numbers, bars by their opening, and the rest by
the exchange's stamp and their content. A loss is a gap only if every receiver has it.
"""

from bisect import insort
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import msgspec

from quantkit.clock import INTERVALS, NS_PER_MS
from quantkit.events import KINDS, RANKS, BookUpdate, Candle, Gap, InstrumentChange, Row, Trade

#: So long a row waits for the receivers that may yet bring the ones before it.
HOLD_NS: Final = 500 * NS_PER_MS
#: How many rows of a stream are remembered, to tell copies.
_REMEMBERED: Final = 8_192
_NEVER: Final = 2**63

_SeriesRow: TypeAlias = Any  # any row of the market but a book's update or a gap
_SeriesKey: TypeAlias = tuple[str, str, str]


class RowMerger:
    """Takes the rows of each receiver and returns those that are new; all of one call share its stamp.

    Args:
        receivers: How many there are.
        hold_ns: How long a row waits for those before it.

    Examples:
        >>> from quantkit.events import Mark
        >>> merger = RowMerger(2)
        >>> first, second = Mark("A-B", 1, 5, 9.0), Mark("A-B", 1, 6, 9.0)
        >>> merger.take(0, [first])
        [Mark(instrument='A-B', exchange_ns=1, received_ns=5, price=9.0, source='mark')]
        >>> merger.take(1, [second])
        []
    """

    def __init__(self, receivers: int, *, hold_ns: int = HOLD_NS) -> None:
        self._receivers = receivers
        self._hold_ns = hold_ns
        self._series: dict[_SeriesKey, _Series] = {}
        self._books: dict[str, _Book] = {}
        #: The changes of each instrument's metadata, and how many of them each receiver has told.
        self._changes: dict[str, list[dict[str, Any]]] = {}
        self._seen: dict[str, list[int]] = {}

    def take(self, receiver: int, rows: Sequence[Row]) -> list[Row]:
        """Take the rows of one stamp from one receiver, and return what is new now, in the total order."""
        now_ns = rows[0].received_ns
        out: list[Row] = []
        for row in rows:
            if isinstance(row, BookUpdate):
                out += self._book(row.instrument).take(receiver, row, now_ns)
            elif isinstance(row, InstrumentChange):
                out += self._change(receiver, row)
            elif not isinstance(row, Gap):
                interval = row.interval if isinstance(row, Candle) else ""
                out += self._of(row.instrument, KINDS[type(row)], interval).take(receiver, row, now_ns)
            elif row.channel == "book":
                out += self._book(row.instrument).lose(receiver, row)
            else:
                kind, _, interval = row.channel.partition(" ")
                out += self._of(row.instrument, kind, interval).lose(receiver, row)
        merged: list[_Series | _Book] = [*self._series.values(), *self._books.values()]
        for each in merged:
            if each.oldest_ns + self._hold_ns <= now_ns:
                out += each.give_up(now_ns)
        return sorted((_stamped(row, now_ns) for row in out), key=_order)

    def _of(self, instrument: str, kind: str, interval: str) -> "_Series":
        key = (instrument, kind, interval)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series(" ".join(filter(None, (kind, interval))), self._receivers)
        return series

    def _book(self, instrument: str) -> "_Book":
        return self._books.setdefault(instrument, _Book(self._receivers))

    def _change(self, receiver: int, change: InstrumentChange) -> list[Row]:
        told = {name: value for name, value in change.info.to_dict().items() if name != "valid_from_ns"}
        told_before = self._changes.setdefault(change.instrument, [])
        seen = self._seen.setdefault(change.instrument, [0] * self._receivers)
        if told in told_before[seen[receiver] :]:
            seen[receiver] += told_before[seen[receiver] :].index(told) + 1
            return []
        told_before.append(told)
        seen[receiver] = len(told_before)
        return [change]


class _Received:
    """What one receiver has brought of a series.

    Attributes:
        at: The highest key.
        lost: Keys between which it lost something, both excluded, and why.
        cause: Why it has lost something since its last row; None while it has not.
        is_behind: Whether nobody waits for it.
    """

    def __init__(self) -> None:
        self.at = -_NEVER
        self.lost: list[tuple[int, int, str]] = []
        self.cause: str | None = None
        self.is_behind = True

    def take(self, key: int) -> None:
        """Take a row of a key; whatever came before the first one was not received."""
        if self.cause is not None or self.at == -_NEVER:
            self.lost.append((self.at, key, self.cause or ""))
            self.cause = None
        self.at = max(self.at, key)
        self.is_behind = False

    def gaps(self) -> list[tuple[int, int, str]]:
        """Return what it has lost, and what it has not brought yet."""
        return [*self.lost, (self.at, _NEVER, self.cause or "")]

    def is_whole(self, after: int, key: int) -> bool:
        """Return whether it has brought everything between two keys, and the second one."""
        return self.at >= key and not any(_inside(max(a, after), min(b, key)) for a, b, _ in self.lost)


class _Series:
    """Rows of one stream in the order of their keys."""

    def __init__(self, channel: str, receivers: int) -> None:
        self.oldest_ns = _NEVER  # since when a row waits
        self._channel = channel
        #: The tracker of a receiver tells every loss of these: a row that follows in one of them need not wait.
        self._is_checked = channel.startswith(("trade", "candle"))
        self._received = [_Received() for _ in range(receivers)]
        self._waiting: list[tuple[int, int, _SeriesRow]] = []
        self._numbers = count()
        self._known: deque[Any] = deque()
        self._is_known: set[Any] = set()
        self._done: int | None = None
        self._last: _SeriesRow = None

    def take(self, receiver: int, row: _SeriesRow, now_ns: int) -> list[Row]:
        """Take a row, and return those whose turn it is."""
        key, bare = _key_of(row), _bare_of(row)
        self._received[receiver].take(key)
        out: list[Row] = []
        if bare not in self._is_known:
            self._remember(bare)
            if self._done is not None and key <= self._done:
                out.append(row)  # the others went on without it
            else:
                insort(self._waiting, (key, next(self._numbers), row))
        return out + self._due(now_ns)

    def lose(self, receiver: int, gap: Gap) -> list[Row]:
        """Take a receiver's gap; one that nobody can fill any more is returned, as at the end of a recording."""
        received = self._received[receiver]
        received.cause = gap.cause if received.cause is None else f"{received.cause}; {gap.cause}"
        return [gap] if all(each.cause is not None for each in self._received) else []

    def give_up(self, now_ns: int) -> list[Row]:
        """Return the rows that have waited long enough, and no longer wait for whoever is behind."""
        key = self._waiting[0][0]
        for received in self._received:
            received.is_behind |= received.at < key
        return self._due(now_ns)

    def _due(self, now_ns: int) -> list[Row]:
        out: list[Row] = []
        while self._waiting and self._is_due(self._waiting[0][0]):
            key, _, row = self._waiting.pop(0)
            if self._done is not None:
                cause = self._lost_by_all(self._done, key)
                if cause is not None:
                    out.append(self._gap(row, cause))
                for received in self._received:
                    received.lost = [each for each in received.lost if each[1] > key]
            self._done, self._last = key, row
            out.append(row)
        self.oldest_ns = min((row.received_ns for _, _, row in self._waiting), default=_NEVER)
        return out

    def _is_due(self, key: int) -> bool:
        if self._done is None:
            return True
        if self._is_checked and any(each.is_whole(self._done, key) for each in self._received):
            return True
        return all(each.at >= key for each in self._received if not each.is_behind)

    def _lost_by_all(self, after: int, key: int) -> str | None:
        """Return why everybody has lost something between two keys; None if somebody has not."""
        left = [(after, key)]
        causes: dict[str, None] = {}
        for received in self._received:
            found = []
            for begin, end in left:
                for lost_from, lost_to, cause in received.gaps():
                    if _inside(max(begin, lost_from), min(end, lost_to)):
                        found.append((max(begin, lost_from), min(end, lost_to)))
                        causes[cause] = None
            left = found
        return "; ".join(filter(None, causes)) or "lost" if left else None

    def _gap(self, row: _SeriesRow, cause: str) -> Gap:
        since_ns, until_ns = sorted((self._last.exchange_ns, row.exchange_ns))
        return Gap(row.instrument, row.exchange_ns, row.received_ns, self._channel, since_ns, until_ns, cause)

    def _remember(self, bare: Any) -> None:
        self._known.append(bare)
        self._is_known.add(bare)
        if len(self._known) > _REMEMBERED:
            self._is_known.discard(self._known.popleft())


class _Book:
    """Updates of one book in the order of their chain.

    Each receiver's rows are chained: its tracker tells a gap where its chain breaks, and a snapshot follows. So the
    merged chain goes on with whoever has the next update, and a snapshot counts only when nobody has.
    """

    def __init__(self, receivers: int) -> None:
        self.oldest_ns = _NEVER
        self._is_valid = [False] * receivers
        #: What a receiver has brought since a snapshot of its own that is ahead of the merged chain.
        self._ahead: list[deque[BookUpdate]] = [deque() for _ in range(receivers)]
        self._seq: int | None = None
        self._last: BookUpdate | None = None
        self._known: deque[tuple[int, int, int]] = deque(maxlen=_REMEMBERED)
        self._is_known: set[tuple[int, int, int]] = set()

    def take(self, receiver: int, update: BookUpdate, now_ns: int) -> list[Row]:
        """Take a row, and return those that follow now."""
        self._is_valid[receiver] = True
        ahead = self._ahead[receiver]
        if update.prev_seq == -1 and update.seq == 0 and not update.is_snapshot:
            # Without numbers nobody can tell a copy: the first receiver's rows are taken.
            return [update] if receiver == self._is_valid.index(True) else []
        if self._seq is None:
            return [self._went(update), *self._drain()] if update.is_snapshot else []
        if update.is_snapshot:
            ahead.clear()
            if not self._is_old(update):
                ahead.append(update)
        elif ahead or not (self._follows(update) or self._is_old(update)):
            ahead.append(update)
        elif self._follows(update):
            return [self._went(update), *self._drain()]
        return self._drain()

    def lose(self, receiver: int, gap: Gap) -> list[Row]:
        """Take a receiver's gap; it is one of the book if no other receiver goes on."""
        self._is_valid[receiver] = False
        self._ahead[receiver].clear()
        self._note_oldest()
        if self._seq is None or any(self._is_valid):
            return []
        self._seq = None
        return [gap]

    def give_up(self, now_ns: int) -> list[Row]:
        """Return a gap and the snapshot of whoever is ahead: nobody has brought the updates before it."""
        receiver = min(
            (each for each, ahead in enumerate(self._ahead) if ahead), key=lambda each: self._ahead[each][0].received_ns
        )
        ahead = self._ahead[receiver]
        last, first = self._last, ahead[0]
        assert last is not None, "there is no chain to be ahead of"
        since_ns, until_ns = sorted((last.exchange_ns, first.exchange_ns))
        gap = Gap(first.instrument, first.exchange_ns, now_ns, "book", since_ns, until_ns, "sequence")
        self._seq = None
        out: list[Row] = [gap]
        if first.is_snapshot:
            out.append(self._went(ahead.popleft()))
        else:
            ahead.clear()
        return out + self._drain()

    def _drain(self) -> list[Row]:
        """Return what receivers that were ahead have brought already and what follows now."""
        out: list[Row] = []
        is_moving = self._seq is not None
        while is_moving:
            is_moving = False
            for ahead in self._ahead:
                while ahead:
                    if not ahead[0].is_snapshot and self._follows(ahead[0]):
                        out.append(self._went(ahead.popleft()))
                        is_moving = True
                    elif self._is_old(ahead[0]):
                        ahead.popleft()
                    else:
                        break
        self._note_oldest()
        return out

    def _went(self, update: BookUpdate) -> BookUpdate:
        self._seq, self._last = update.seq, update
        if len(self._known) == _REMEMBERED:
            self._is_known.discard(self._known[0])
        self._known.append(_link_of(update))
        self._is_known.add(_link_of(update))
        return update

    def _follows(self, update: BookUpdate) -> bool:
        last = self._last
        if update.prev_seq != self._seq or last is None:
            return False
        # A sign of life has the number of the update before it.
        return update.seq != update.prev_seq or update.exchange_ns > last.exchange_ns

    def _is_old(self, update: BookUpdate) -> bool:
        """Return whether the merged chain has come to an update, or past it."""
        last = self._last
        if last is None or _link_of(update) in self._is_known or update.exchange_ns < last.exchange_ns:
            return True
        return update.is_snapshot and update.seq == self._seq

    def _note_oldest(self) -> None:
        self.oldest_ns = min((ahead[0].received_ns for ahead in self._ahead if ahead), default=_NEVER)


def _link_of(update: BookUpdate) -> tuple[int, int, int]:
    """Return what an update and its copy have in common."""
    return (update.prev_seq, update.seq, update.exchange_ns)


def _inside(low: int, high: int) -> bool:
    """Return whether a number lies between two others."""
    return high - low > 1


def _key_of(row: _SeriesRow) -> int:
    if isinstance(row, Trade):
        return row.trade_id or row.exchange_ns
    return row.open_ns if isinstance(row, Candle) else int(row.exchange_ns)


def _bare_of(row: _SeriesRow) -> Any:
    """Return what a row and its copy have in common."""
    if isinstance(row, Trade) and row.trade_id:
        return row.trade_id
    return row.open_ns if isinstance(row, Candle) else msgspec.structs.replace(row, received_ns=0)


def _stamped(row: Row, now_ns: int) -> Row:
    return row if row.received_ns == now_ns else msgspec.structs.replace(row, received_ns=now_ns)


def _order(row: Row) -> tuple[int, int, str]:
    kind = "instrument" if isinstance(row, InstrumentChange) else KINDS[type(row)]
    interval_ns = INTERVALS[row.interval] if isinstance(row, Candle) else 0
    return (RANKS[kind], interval_ns, row.instrument)
