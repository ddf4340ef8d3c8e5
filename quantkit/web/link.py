"""The link to a live run: reads its status over its control socket, keeps what a page draws, gives it commands."""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import msgspec

from quantkit import clock
from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError, QuantkitError
from quantkit.live.status import LiveStatus, MarkPath, RunHistory
from quantkit.orders import Fill
from quantkit.web.access import Visitor
from quantkit.web.security import HttpRefusal
from quantkit.web.shapes import CommandAnswer, CommandName, CommandShape
from quantkit.web.trail import Trail

#: Fills kept for a page that is opened later.
FILLS_MAX: Final = 1000
#: How long one may think about a dangerous command.
CONFIRM_S: Final = 10.0
_ASKED_MAX: Final = 100
_LOOK_S: Final = 0.25
_RETRY_S: Final = (0.25, 0.5, 1.0, 2.0)
#: What these do cannot be undone.
_DANGEROUS: Final = frozenset(("cancel_all", "stop"))


class Control(Protocol):
    """The control socket of a live run."""

    def statuses(self) -> AsyncIterator[LiveStatus]:
        """Give each status from now on; end with the run.

        Raises:
            QuantkitError, OSError: The run cannot be reached.
        """
        ...

    async def history(self) -> RunHistory:
        """Return the last hour of the run.

        Raises:
            QuantkitError, OSError: The run cannot be reached.
        """
        ...

    async def command(self, name: CommandName, *, source: str = "control", reason: str = "") -> int:
        """Give a command; return the engine time at which the run took it, UTC ns.

        Raises:
            QuantkitError, OSError: The run did not take it.
        """
        ...


class LiveLink:
    """What is known of one live run, and the way to it.

    Args:
        control: Of the run.
        wall_ns: The machine's clock.

    Attributes:
        status: The newest, None before the first.
        encoded: The same as JSON, encoded once for all pages.
        taken_ns: When it came, UTC ns.
        reason: Why nothing comes now; "" while it does.
        is_over: Whether there is no such run any more, as far as its folder tells.
        version: Grows with each change of these.
        prices: A line for each instrument.
        equity: A line.
        fills: Newest last.
    """

    def __init__(self, control: Control, *, wall_ns: Callable[[], int] = clock.wall_ns) -> None:
        self._control = control
        self._wall_ns = wall_ns
        self._has_changed = asyncio.Event()
        self._asked: dict[str, tuple[CommandName, str, float]] = {}
        self.status: LiveStatus | None = None
        self.encoded = msgspec.Raw(b"null")
        self.taken_ns = 0
        self.reason = "no status has come yet"
        self.is_over = False
        self.version = 0
        self.prices: dict[str, Trail] = {}
        self.equity = Trail()
        self.fills: deque[Fill] = deque(maxlen=FILLS_MAX)

    # Reading --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the run until cancelled, through losses of the connection."""
        tries = 0
        while True:
            reason = "the run has ended"
            try:
                self._begin(await self._control.history())
                async for status in self._control.statuses():
                    self._take(status)
                    tries = 0
            except (QuantkitError, OSError) as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                # Of a lost connection nobody knows; that no run listens there is known.
                self.is_over = isinstance(error, ConfigError)
            self._lose(reason)
            await asyncio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1

    async def over(self, for_s: float) -> None:
        """Return once the run has been over for so long."""
        since_s = None
        while since_s is None or clock.monotonic_s() - since_s < for_s:
            since_s = (since_s or clock.monotonic_s()) if self.is_over else None
            await asyncio.sleep(_LOOK_S)

    async def changed(self, version: int) -> None:
        """Return once something is newer than a version."""
        while self.version <= version:
            await self._has_changed.wait()

    def _begin(self, history: RunHistory) -> None:
        """Take what was before the first status, or while the connection was lost."""
        for path in history.prices:
            self._extend(path)
        for time_ns, equity in zip(history.equity.time_ns, history.equity.price, strict=True):
            self.equity.add(time_ns // NS_PER_MS, equity)

    def _extend(self, path: MarkPath) -> None:
        """Add the points of a path that are new: statuses overlap, and what was had before is left out by its time."""
        trail = self.prices.setdefault(path.instrument, Trail())
        for time_ns, price in zip(path.time_ns, path.price, strict=True):
            trail.add(time_ns // NS_PER_MS, price)

    def _take(self, status: LiveStatus) -> None:
        self.status = status
        self.encoded = msgspec.Raw(msgspec.json.encode(status))
        self.taken_ns = self._wall_ns()
        self.reason = ""
        self.is_over = False
        if status.equity is not None:
            self.equity.add(status.now_ns // NS_PER_MS, status.equity)
        for path in status.prices:
            self._extend(path)
        last = self.fills[-1].id if self.fills else -1
        self.fills.extend(fill for fill in status.last_fills if fill.id > last)
        self._tell()

    def _lose(self, reason: str) -> None:
        self.reason = reason
        self._tell()

    def _tell(self) -> None:
        self.version += 1
        self._has_changed.set()
        self._has_changed = asyncio.Event()

    # Commands -------------------------------------------------------------------------------------------------

    async def command(self, visitor: Visitor, wanted: CommandShape) -> CommandAnswer:
        """Give a command, a dangerous one after it was asked for twice.

        Raises:
            HttpRefusal: The run did not take it.
        """
        if wanted.command in _DANGEROUS and not self._is_confirmed(visitor, wanted):
            return self._ask(visitor, wanted.command)
        try:
            taken_at_ns = await self._control.command(wanted.command, source="web")
        except (QuantkitError, OSError) as error:
            raise HttpRefusal(409, f"the run did not take it: {' '.join(str(error).split())}") from None
        return CommandAnswer(taken_at_ns)

    def _ask(self, visitor: Visitor, command: CommandName) -> CommandAnswer:
        while len(self._asked) >= _ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        nonce = secrets.token_urlsafe(16)
        self._asked[nonce] = command, visitor.key, clock.monotonic_s() + CONFIRM_S
        return CommandAnswer(None, nonce, self._what_happens(command))

    def _is_confirmed(self, visitor: Visitor, wanted: CommandShape) -> bool:
        """Return whether the same visitor was asked about this command just now; each answer counts once."""
        command, key, until_s = self._asked.pop(wanted.confirm, (None, "", 0.0))
        return command == wanted.command and key == visitor.key and clock.monotonic_s() <= until_s

    def _what_happens(self, command: CommandName) -> str:
        status = self.status
        orders = 0 if status is None else len(status.open_orders)
        positions = 0 if status is None else len(status.positions)
        cancelled = "no order is open" if not orders else f"{orders} open order{'s' * (orders > 1)} cancelled"
        if command == "cancel_all":
            return f"Cancel all? {cancelled}; the strategy goes on"
        stays = "no position is open" if not positions else f"{positions} position{'s' * (positions > 1)} left open"
        return f"Stop? {cancelled}, {stays}"


class StatusMessage(msgspec.Struct, frozen=True, tag="status", tag_field="kind"):
    """What goes over the socket of a page: the newest status, and what was added to the lines since its last one.

    Attributes:
        status: As JSON.
        age_ms: How old it is.
        reason: Why no newer one comes; "" while they do.
        prices, equity, fills: Points and fills that this page has not had.
        skipped: Statuses that came while this page was still reading.
    """

    status: msgspec.Raw
    age_ms: int
    reason: str
    prices: dict[str, tuple[list[int], list[float]]]
    equity: tuple[list[int], list[float]]
    fills: list[Fill]
    skipped: int


class PageFeed:
    """What one page has had of a live run, so that it gets the rest; keeps nothing itself.

    Args:
        link: To the run.
        wall_ns: The machine's clock.
    """

    def __init__(self, link: LiveLink, *, wall_ns: Callable[[], int] = clock.wall_ns) -> None:
        self._link = link
        self._wall_ns = wall_ns
        self._version = -1
        self._prices: dict[str, int] = {}
        self._equity = 0
        self._fill = -1

    async def changed(self, within_s: float) -> None:
        """Return once there is something new, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._link.changed(self._version)

    def message(self) -> StatusMessage:
        """Return what is new."""
        link = self._link
        skipped = max(0, link.version - self._version - 1) if self._version >= 0 else 0
        self._version = link.version
        prices = {}
        for name, trail in link.prices.items():
            points = trail.since(self._prices.get(name, 0))
            self._prices[name] = trail.added
            if points[0]:
                prices[name] = points
        equity = link.equity.since(self._equity)
        self._equity = link.equity.added
        fills = [fill for fill in link.fills if fill.id > self._fill]
        self._fill = fills[-1].id if fills else self._fill
        return StatusMessage(
            status=link.encoded,
            age_ms=max(0, self._wall_ns() - link.taken_ns) // NS_PER_MS if link.taken_ns else 0,
            reason=link.reason,
            prices=prices,
            equity=equity,
            fills=fills,
            skipped=skipped,
        )
