"""How many stand in front of a resting order: the models of its place in the queue of a displayed level.

All of them agree on this: who joins stands behind the size displayed then; a print at the price by the other side takes
its size from the front; the place is never behind more than the level displays, and it never grows. A print that the
exchange stamped before an update, but that comes in after it, counts as if it had come in time: the level has shrunk by
it already. So the last `REMEMBERED` updates that moved a place are remembered, gone back on and repeated.

They differ in one thing: where the others stood that cancelled.

- `risk_averse`: all of them behind us, as far as the level allows it. The default.
- `front`: nobody ever stands in front. An upper bound.
- The probability models: a share of them in front. A level's cancels are what it shrank by since it was last shown with
  another size, less what was printed there in between. Of the size that stood in front and behind, with
  `front + behind` the level less the prints, a part `p` of the cancels came from behind:

  | name | p |
  | --- | --- |
  | `proportional` | behind / (behind + front) |
  | `power:N` | behind^N / (behind^N + front^N) |
  | `power2:N` | behind^N / (behind + front)^N |
  | `power3:N` | 1 - (front / (front + behind))^N |
  | `log` | log(1 + behind) / (log(1 + behind) + log(1 + front)) |
  | `log2` | log(1 + behind) / log(1 + behind + front) |

  What exceeds the size behind came from the front. The place is rounded up to whole size steps. The functions are those
  of hftbacktest's probability queue models, which take `behind` as the level without subtracting the prints.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from quantkit.errors import ConfigError

#: A place this close above a whole number is that number: the last bits of a power differ between machines.
_NOISE: Final = 1e-9
#: The largest exponent of a model.
_LARGEST_EXPONENT: Final = 100.0
DEFAULT_QUEUE_MODEL: Final = "risk_averse"
#: How many updates a print may come in behind; what moved a place before that stays.
REMEMBERED: Final = 8
#: The stamp of an update behind which no print comes in late.
NEVER_LATE_NS: Final = 0
#: Every other model lies between these: the one that fills least, and the one that fills most.
BOUNDS: Final = (DEFAULT_QUEUE_MODEL, "front")


class Moved(NamedTuple):
    """An update that moved a place, and the place before it.

    Attributes:
        stamp_ns: The update's, by the exchange.
        ahead, shown, printed: The place before.
        level: What the update displays.
    """

    stamp_ns: int
    ahead: int
    shown: int | None
    printed: int
    level: int


class Queued(Protocol):
    """Whatever has a place in its level's queue, in size steps.

    Attributes:
        ahead: What stands in front; None while unknown.
        shown: What the level displayed when it was last looked at; None without a look since a gap.
        printed: What was printed at the price since `shown` changed.
        moves: The updates since the last print that moved it, the last ones.
    """

    ahead: int | None
    shown: int | None
    printed: int
    moves: tuple[Moved, ...]


class QueuePlace:
    """A place of its own, which rows are tried on."""

    __slots__ = ("ahead", "moves", "printed", "shown")

    def __init__(
        self, ahead: int | None = None, shown: int | None = None, printed: int = 0, moves: tuple[Moved, ...] = ()
    ) -> None:
        self.ahead = ahead
        self.shown = shown
        self.printed = printed
        self.moves = moves


class QueueModel(ABC):
    """One model; it has no state of its own."""

    __slots__ = ()

    @abstractmethod
    def join(self, place: Queued, shown: int | None) -> None:
        """Put an order at the back of a level that displays `shown`; None where the display does not reach."""

    @abstractmethod
    def see(self, place: Queued, shown: int, stamp_ns: int) -> None:
        """Let an update, stamped by the exchange, show what the level displays."""

    def take_print(self, place: Queued, lots: int, stamp_ns: int) -> int:
        """Let a print at the price by the other side take its size off the front, and return what stood there then.

        The place is known.
        """
        moves = place.moves
        if moves:
            first = next((number for number, moved in enumerate(moves) if moved.stamp_ns > stamp_ns), None)
            place.moves = ()
            if first is not None:
                return self._take_late(place, lots, moves[first:])
        before = place.ahead
        assert before is not None
        self._print(place, lots)
        return before

    def _take_late(self, place: Queued, lots: int, moves: Sequence[Moved]) -> int:
        """Go back on updates, let a print in, and repeat them."""
        now = place.ahead
        before = moves[0].ahead
        assert now is not None
        place.ahead, place.shown, place.printed = before, moves[0].shown, moves[0].printed
        self._print(place, lots)
        for moved in moves:
            self.see(place, moved.level, moved.stamp_ns)
        place.ahead = min(now, place.ahead)
        return before

    def _print(self, place: Queued, lots: int) -> None:
        assert place.ahead is not None
        place.ahead = max(0, place.ahead - lots)

    def lose_sight(self, place: Queued) -> None:
        """Go through a gap: nobody knows how the level came to what it shows next."""
        place.moves = ()


class RiskAverse(QueueModel):
    """Whoever cancels stood behind us, as far as the level allows it."""

    __slots__ = ()

    def join(self, place: Queued, shown: int | None) -> None:
        place.ahead = shown
        place.moves = ()

    def see(self, place: Queued, shown: int, stamp_ns: int) -> None:
        ahead = place.ahead
        if ahead is None:
            place.ahead = shown
        elif shown < ahead:
            place.moves = (*place.moves[1 - REMEMBERED :], Moved(stamp_ns, ahead, None, 0, shown))
            place.ahead = shown


class Front(QueueModel):
    """Nobody ever stands in front."""

    __slots__ = ()

    def join(self, place: Queued, shown: int | None) -> None:
        place.ahead = 0

    def see(self, place: Queued, shown: int, stamp_ns: int) -> None:
        place.ahead = 0


class Probability(QueueModel):
    """A part of those who cancel stood behind us.

    Args:
        part_behind: Returns that part, 0 to 1, of the sizes in front, which is above 0, and behind.
    """

    __slots__ = ("_part_behind",)

    def __init__(self, part_behind: Callable[[int, int], float]) -> None:
        self._part_behind = part_behind

    def join(self, place: Queued, shown: int | None) -> None:
        place.ahead = place.shown = shown
        place.printed = 0
        place.moves = ()

    def see(self, place: Queued, shown: int, stamp_ns: int) -> None:
        before, ahead = place.shown, place.ahead
        if shown == before:
            return
        if ahead:
            place.moves = (*place.moves[1 - REMEMBERED :], Moved(stamp_ns, ahead, before, place.printed, shown))
        if before is not None and ahead:
            at_rest = before - place.printed
            cancelled = at_rest - shown
            if cancelled > 0:
                behind = max(0, at_rest - ahead)
                from_behind = min(self._part_behind(ahead, behind) * cancelled, behind)
                ahead = max(0, math.ceil(ahead - (cancelled - from_behind) - _NOISE))
        place.ahead = shown if ahead is None else min(ahead, shown)
        place.shown = shown
        place.printed = 0

    def _print(self, place: Queued, lots: int) -> None:
        super()._print(place, lots)
        place.printed += lots

    def lose_sight(self, place: Queued) -> None:
        super().lose_sight(place)
        place.shown = None


def _power(exponent: float) -> Callable[[int, int], float]:
    def part_behind(front: int, behind: int) -> float:
        # Of the ratio: the powers of sizes themselves may be too large for a float.
        larger = max(front, behind)
        of_behind, of_front = math.pow(behind / larger, exponent), math.pow(front / larger, exponent)
        return of_behind / (of_behind + of_front)

    return part_behind


def _power2(exponent: float) -> Callable[[int, int], float]:
    return lambda front, behind: math.pow(behind / (behind + front), exponent)


def _power3(exponent: float) -> Callable[[int, int], float]:
    return lambda front, behind: 1 - math.pow(front / (front + behind), exponent)


def _log(front: int, behind: int) -> float:
    of_behind = math.log(1 + behind)
    return of_behind / (of_behind + math.log(1 + front))


def _log2(front: int, behind: int) -> float:
    return math.log(1 + behind) / math.log(1 + behind + front)


_PLAIN: Final[Mapping[str, Callable[[], QueueModel]]] = {
    DEFAULT_QUEUE_MODEL: RiskAverse,
    "front": Front,
    "proportional": lambda: Probability(_power(1.0)),
    "log": lambda: Probability(_log),
    "log2": lambda: Probability(_log2),
}
_POWERS: Final = {"power": _power, "power2": _power2, "power3": _power3}
#: Every name; `N` stands for an exponent.
QUEUE_MODELS: Final = (*_PLAIN, *(f"{name}:N" for name in _POWERS))


def queue_model(name: str) -> QueueModel:
    """Return a model by name.

    Raises:
        ConfigError: There is no such model, or its exponent is none.
    """
    if isinstance(name, str):
        if name in _PLAIN:
            return _PLAIN[name]()
        family, _, text = name.partition(":")
        if family in _POWERS:
            try:
                exponent = float(text)
            except ValueError:
                exponent = 0.0
            if not 0 < exponent <= _LARGEST_EXPONENT:
                raise ConfigError(
                    f"queue_model {name!r} needs an exponent above 0, at most {_LARGEST_EXPONENT:g}; "
                    f"for example {family}:2"
                )
            return Probability(_POWERS[family](exponent))
    raise ConfigError(f"queue_model is {name!r}; there are {', '.join(QUEUE_MODELS)}, for example power:2")
