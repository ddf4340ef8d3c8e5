"""The local exchange: connections, topics, faults and the market behind them. Asyncio time, no sockets."""

import asyncio
import logging
import zlib
from collections.abc import Callable
from typing import Any, Final, Self

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.errors import ConfigError
from quantkit.sandbox import faults, wire
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.board import FaultBoard
from quantkit.sandbox.channels import CHAINED, PATHS, Topic, TopicSubscription, is_private
from quantkit.sandbox.faults import Fault
from quantkit.sandbox.log import ExchangeLog, Happening
from quantkit.sandbox.market import MarketSource
from quantkit.sandbox.peer import ABORT, Peer
from quantkit.sandbox.ports import Listener
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.session import ClientSession
from quantkit.sandbox.wire import TopicPush
from quantkit.venue_rules.window import Window

_logger = logging.getLogger("quantkit.sandbox")
#: Where time begins for an exchange that is told no other: 2026-01-01T00:00:00Z.
EPOCH_NS: Final = 1_767_225_600 * NS_PER_S


class Exchange:
    """A stand-in for OKX. Enter it before use: `async with Exchange(market) as exchange`.

    Args:
        market: What is traded.
        rules: Limits and timers.
        is_demo: Whether this is the demo environment, which takes demo keys only.
        wall_ns: The time, UTC ns. Default: `epoch_ns` and what the loop's clock has counted since the start.
        epoch_ns: When an exchange without `wall_ns` starts.
        log: Where everything is written down; default counts only.
        account: What private channels say.

    Attributes:
        sessions: The connections that live, by number.
        faults: What waits to go wrong; add to it by `inject`.
    """

    def __init__(
        self,
        market: MarketSource,
        *,
        rules: Rules | None = None,
        is_demo: bool = False,
        wall_ns: Callable[[], int] | None = None,
        epoch_ns: int = EPOCH_NS,
        log: ExchangeLog | None = None,
        account: UserAccount | None = None,
    ) -> None:
        self.market = market
        self.rules = rules or Rules()
        self.is_demo = is_demo
        self.log = log or ExchangeLog()
        self.account = account or UserAccount()
        self.sessions: dict[int, ClientSession] = {}
        self.topics: dict[Topic, list[tuple[Listener, TopicSubscription]]] = {}
        self.faults = FaultBoard(self._loop_s)
        #: Changes whenever somebody joins or leaves a topic, so that a market need not look at each tick.
        self.version = 0
        self._wall_ns = wall_ns
        self._epoch_ns = epoch_ns
        self._connections = 0
        self._handshakes: dict[str, Window] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._start_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.TimerHandle] = []

    # Life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()
        for run in (self.market.run(self), self.account.run(self, self.market)):
            task = asyncio.create_task(run)
            task.add_done_callback(_report)
            self._tasks.append(task)
        return self

    async def __aexit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in list(self.sessions.values()):
            session.close(1001, "the exchange is closing")

    async def serve(self, peer: Peer, path: str) -> None:
        """Serve one connection until it ends.

        Args:
            peer: The connection, its handshake done.
            path: `public`, `business` or `private`, or a URL path that ends so.

        Raises:
            ConfigError: There is no such path.
        """
        path = path.rstrip("/").rpartition("/")[2]
        if path not in PATHS:
            raise ConfigError(f"there is no path {path!r}; use /ws/v5/ and one of {', '.join(PATHS)}")
        self._connections += 1
        number = self._connections
        connection_id = f"{zlib.crc32(f'connection {number}'.encode()):08x}"
        session = ClientSession(self, peer, path=path, number=number, connection_id=connection_id)
        self.sessions[number] = session
        self.log.happenings.append(Happening(self.now_ms(), number, "opened", path))
        try:
            await session.live()
        finally:
            del self.sessions[number]
            for subscription in session.subscriptions.values():
                self.leave(subscription)

    def admit(self, address: str, path: str = "") -> faults.Handshake | None:
        """Return the HTTP error that a handshake earns, None where it may go on.

        Args:
            address: Of the client; its handshakes are counted together.
            path: The URL path asked for.
        """
        where = path.rstrip("/").rpartition("/")[2]
        fault = self.faults.find(faults.Handshake, path=where)
        if fault is None:
            window = self._handshakes.setdefault(address, Window(self.rules.connects_per_s, 1.0))
            fault = None if window.take(self._loop_s()) else faults.Handshake(status=429)
        if fault is not None:
            self.log.happenings.append(Happening(self.now_ms(), 0, "refused", str(fault.status)))
        return fault

    # Time -----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """Return the exchange's time, UTC ms."""
        if self._wall_ns is not None:
            return self._wall_ns() // NS_PER_MS
        return (self._epoch_ns + int((self._loop_s() - self._start_s) * NS_PER_S)) // NS_PER_MS

    def is_timely(self, sent_s: float) -> bool:
        """Return whether a signature's time, seconds since 1970, is near the exchange's own or its market's.

        Clients sign by their clock, or by `public/time`, which is the market's.
        """
        now_ms, skew_s = self.now_ms(), self.faults.skew_s()
        times_s = (now_ms / 1000, self.market.time_ms(now_ms) / 1000)
        return any(abs(time_s + skew_s - sent_s) <= self.rules.login_window_s for time_s in times_s)

    def _loop_s(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    # Topics ---------------------------------------------------------------------------------------------------

    def join(self, session: Listener, subscription: TopicSubscription, *, is_silent: bool = False) -> None:
        """Let a session hear a topic, beginning with what a new subscriber gets; silent: without that."""
        topic = subscription.topic
        if is_private(topic.channel):
            self.topics.setdefault(topic, []).append((session, subscription))
            for push in self.account.first(topic.channel, subscription.fields, self.market, self.now_ms()):
                session.deliver(subscription, push)
            return
        pushes = self.market.first(topic, self.now_ms())
        # A market may publish to those who are there already while it prepares the first push for this one.
        self.topics.setdefault(topic, []).append((session, subscription))
        self.version += 1
        for push in pushes:
            if self.log.is_complete and topic.channel in CHAINED:
                self.log.published.append((self.now_ms(), topic, push))
            if is_silent:
                self.log.counts["no_snapshot"] += 1
            else:
                session.deliver(subscription, push)

    def leave(self, subscription: TopicSubscription) -> None:
        """End a subscription: its session hears the topic no more."""
        subscription.is_live = False
        listeners = self.topics.get(subscription.topic, [])
        listeners[:] = [each for each in listeners if each[1] is not subscription]
        if not listeners:
            self.topics.pop(subscription.topic, None)
        self.version += 1

    def publish(self, topic: Topic, push: TopicPush) -> None:
        """Send a push to everybody who holds its topic."""
        if self.log.is_complete:
            self.log.published.append((self.now_ms(), topic, push))
        self.log.counts[topic.channel] += 1
        for session, subscription in self.topics.get(topic, ()):
            session.deliver(subscription, push)

    def push(self, channel: str, *data: dict[str, Any], **envelope: Any) -> None:
        """Send rows of a private channel to everybody who holds it, as a script of a test would.

        Args:
            channel: account, positions, balance_and_position, orders or fills.
            data: The rows. A subscription for one instType, instId or ccy gets those that match.
            envelope: What stands beside `arg` and `data`, such as eventType.
        """
        for session, subscription in list(self.topics.get(Topic(channel), ())):
            rows = [row for row in data if _matches(row, subscription.fields)]
            if rows:
                beside = "".join(f',"{name}":{wire.text_of(value)}' for name, value in envelope.items())
                session.deliver(subscription, TopicPush(beside + wire.rows(*rows)))

    def holders(self, channel: str, user: str) -> int:
        """Return how many connections of a user hold a private channel."""
        listeners = self.topics.get(Topic(channel), ())
        return len({session.number for session, _ in listeners if session.key and session.key.uid == user})

    async def drained(self) -> None:
        """Wait until every connection has been sent what is queued for it."""
        for session in list(self.sessions.values()):
            await session.drained()

    # Faults ---------------------------------------------------------------------------------------------------

    def inject(self, *wanted: Fault) -> None:
        """Let things go wrong. Faults of connections act at their time; the others wait for what they match.

        Raises:
            ConfigError: A reset names an instrument whose sequence numbers cannot be changed.
        """
        assert self._loop is not None, "enter the exchange first"
        self.check(*wanted)
        for fault in wanted:
            self.log.happenings.append(Happening(self.now_ms(), 0, "fault", repr(fault)))
            if isinstance(fault, faults.Reset):
                self._later(fault.after_s, self.market.resetter(fault.instrument))
            elif isinstance(fault, faults.ACTIONS):
                self._later(fault.after_s, self._act, fault)
            else:
                self.faults.add(fault)

    def check(self, *wanted: Fault) -> None:
        """Check that faults can be injected here.

        Raises:
            ConfigError: A reset names an instrument whose sequence numbers cannot be changed.
        """
        for fault in wanted:
            if isinstance(fault, faults.Reset):
                self.market.resetter(fault.instrument)

    def _later(self, delay_s: float, call: Callable[..., None], *args: Fault) -> None:
        assert self._loop is not None, "enter the exchange first"
        now_s = self._loop.time()
        self._timers = [timer for timer in self._timers if timer.when() > now_s]
        self._timers.append(self._loop.call_later(delay_s, call, *args))

    def _act(self, fault: Fault) -> None:
        struck = 0
        for session in list(self.sessions.values()):
            if not _is_met(session, fault) or session.is_ending or (fault.times and struck >= fault.times):
                continue
            struck += 1
            if isinstance(fault, faults.Close):
                session.close(fault.code, fault.reason)
            elif isinstance(fault, faults.Drop):
                session.close(ABORT, "")
            elif isinstance(fault, faults.UpgradeNotice):
                after_s = self.rules.notice_s if fault.close_after_s is None else fault.close_after_s
                session.announce_close(after_s)

    def state(self) -> dict[str, Any]:
        """Return what is going on, ready for JSON."""
        return {
            "now_ms": self.now_ms(),
            "is_demo": self.is_demo,
            "connections": [
                {
                    "number": session.number,
                    "path": session.path,
                    "connId": session.connection_id,
                    "user": session.key.uid if session.key else None,
                    "frames_sent": session.frames_sent,
                    "subscriptions": [str(each.topic) for each in session.subscriptions.values()],
                }
                for session in self.sessions.values()
            ],
            "connections_so_far": self._connections,
            "faults": self.faults.waiting(),
            "counts": dict(self.log.counts),
        }


def _is_met(session: ClientSession, fault: Fault) -> bool:
    """Return whether a fault of connections is for this one."""
    if fault.path not in ("", session.path) or fault.connection not in (0, session.number):
        return False
    held = [each.topic for each in session.subscriptions.values()]
    return not (fault.channel or fault.instrument) or any(
        fault.channel in ("", topic.channel) and fault.instrument in ("", topic.key) for topic in held
    )


def _matches(row: dict[str, Any], fields: dict[str, str]) -> bool:
    for name in ("instType", "instId", "ccy"):
        wanted = fields.get(name, "")
        if wanted not in ("", "ANY") and row.get(name, wanted) != wanted:
            return False
    return True


def _report(task: asyncio.Task[None]) -> None:
    """Say so where a background task ends by an error; nobody awaits it before the end."""
    if not task.cancelled() and task.exception() is not None:
        _logger.error("the sandbox's %s failed", task.get_coro(), exc_info=task.exception())
