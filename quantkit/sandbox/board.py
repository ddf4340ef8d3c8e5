"""Faults in waiting: armed, matched against events, counted down."""

from collections.abc import Callable
from typing import TypeVar

from quantkit.sandbox.channels import CHAINED
from quantkit.sandbox.faults import PUSH_FAULTS, AnyFault, ClockSkew, Crossed, Fault, LostPush, Rest, Stall

_F = TypeVar("_F", bound=AnyFault)


class _Armed:
    """A fault with what is left of it."""

    __slots__ = ("fault", "left", "met", "until_s", "wakes_s")

    def __init__(self, fault: Fault, now_s: float) -> None:
        self.fault = fault
        self.left = fault.times
        self.met = 0  # the requests that it was for
        self.wakes_s = now_s + fault.after_s
        self.until_s = self.wakes_s + fault.for_s if isinstance(fault, Stall) and fault.for_s else None


class FaultBoard:
    """The faults that are waiting to strike.

    Args:
        clock: The loop's time, seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._armed: list[_Armed] = []

    def __bool__(self) -> bool:
        return bool(self._armed)

    def add(self, fault: Fault) -> None:
        """Arm a fault."""
        self._armed.append(_Armed(fault, self._clock()))

    def clear(self) -> None:
        """Forget every fault."""
        self._armed.clear()

    def waiting(self) -> list[Fault]:
        """Return the faults that have not struck for the last time."""
        return [armed.fault for armed in self._armed]

    def find(
        self,
        kind: type[_F],
        *,
        path: str = "",
        channel: str = "",
        instrument: str = "",
        connection: int = 0,
        is_struck: bool = True,
    ) -> _F | None:
        """Return the first fault of a kind that matches what happens, and count that it struck.

        Args:
            kind: Which class.
            path, channel, instrument, connection: What happens, and where.
            is_struck: False to look only.
        """
        now_s = self._clock()
        for armed in self._armed:
            fault = armed.fault
            if (
                isinstance(fault, kind)
                and armed.wakes_s <= now_s
                and (armed.until_s is None or now_s < armed.until_s)
                and fault.path in ("", path)
                and fault.channel in ("", channel)
                and fault.instrument in ("", instrument)
                and fault.connection in (0, connection)
            ):
                if is_struck:
                    self._strike(armed)
                return fault
        return None

    def of_request(self, endpoint: str) -> Rest | None:
        """Return the first fault that strikes a REST request, and count that it did."""
        now_s = self._clock()
        for armed in list(self._armed):
            fault = armed.fault
            if isinstance(fault, Rest) and armed.wakes_s <= now_s and endpoint.endswith(fault.endpoint):
                armed.met += 1
                if armed.met % fault.every == 0:
                    self._strike(armed)
                    return fault
        return None

    def strikes(self, *, path: str, channel: str, instrument: str, connection: int, is_update: bool) -> list[Fault]:
        """Return the faults that change a push, each counted; a stall lasts and is not counted.

        Args:
            path, channel, instrument, connection: Of the push.
            is_update: Whether it is an update of a chained book: what a gap or a crossing needs there.
        """
        now_s = self._clock()
        struck: list[Fault] = []
        for armed in list(self._armed):
            fault = armed.fault
            if (
                not isinstance(fault, PUSH_FAULTS)
                or armed.wakes_s > now_s
                or fault.path not in ("", path)
                or fault.channel not in ("", channel)
                or fault.instrument not in ("", instrument)
                or fault.connection not in (0, connection)
            ):
                continue
            if isinstance(fault, Stall):
                if armed.until_s is not None and now_s >= armed.until_s:
                    self._armed.remove(armed)
                else:
                    struck.append(fault)
                continue
            if isinstance(fault, Crossed) and not is_update:
                continue
            if isinstance(fault, LostPush) and channel in CHAINED and not is_update:
                continue
            self._strike(armed)
            struck.append(fault)
        return struck

    def skew_s(self) -> float:
        """Return by how much the server's clock is off now."""
        fault = self.find(ClockSkew, is_struck=False)
        return 0.0 if fault is None else fault.offset_s

    def _strike(self, armed: _Armed) -> None:
        if armed.left == 1:
            self._armed.remove(armed)
        elif armed.left:
            armed.left -= 1
