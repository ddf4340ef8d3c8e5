"""Swarm runs: one seed picks which faults may happen, and they happen to the real client until it has had enough."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from simulation.network import Link
from simulation.setting import NAMES, Setting
from simulation.sim_okx import SimSession

#: Faults that end a connection, or keep one from being made.
DISCONNECTS: Final = (
    "reset",
    "finish",
    "close 1000",
    "close 1001",
    "close 4004",
    "close 4005",
    "close 4006",
    "partition",
    "stall inside",
    "trickle",
    "silence",
    "notice",
    "storm",
)
#: Faults that a connection survives.
NUISANCES: Final = (
    "drop",
    "double",
    "swap",
    "malformed",
    "cut",
    "cross",
    "stranger",
    "sequence reset",
    "keep alive",
    "unasked snapshot",
    "stalled book",
    "bytewise",
    "pongless",
    "short partition",
    "slow consumer",
    "ack lost",
    "snapshot lost",
    "handshake 503",
    "handshake 429",
    "unreachable",
    "dial error",
    "nameless",
    "rest down",
)
#: Virtual time after which a run is given up.
_LONGEST_S: Final = 2 * 3600.0
_DAMAGES: Final = ("drop", "double", "swap", "malformed", "cut", "cross", "stranger")
#: Which faults may make a client tell a gap of some cause.
_REASONS: Final = {
    "crossed": ("cross",),
    "malformed": ("malformed", "cut"),
    "sequence": ("drop", "swap", "cut", "cross", "malformed", "silence ends"),
    "are missing": ("drop", "swap", "cut", "malformed"),
    "no snapshot": ("snapshot lost",),
}


class Detection(NamedTuple):
    """How long a connection that had gone silent was believed in: since its last byte, and since the fault."""

    what: str
    silence_s: float
    age_s: float


class Swarm(Setting):
    """One seed's run: the exchange, the client, the faults and the checks.

    Args:
        seed: Everything follows from it.
        faults: What may happen; None draws a subset.

    Attributes:
        detections: How long each connection that went silent was believed in.
        counts: How often each fault was tried.
        heal_s: How long after the last fault all was well.
    """

    def __init__(self, seed: int, *, faults: tuple[str, ...] | None = None) -> None:
        super().__init__(seed)
        self.rng = np.random.default_rng([seed, 2])
        self.faults = self._drawn(seed) if faults is None else faults
        self.detections: list[Detection] = []
        self.counts: Counter[str] = Counter()
        self.heal_s = 0.0
        self._silenced: dict[Link, tuple[str, float]] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._closings: set[asyncio.Task[None]] = set()

    def _drawn(self, seed: int) -> tuple[str, ...]:
        """Draw a subset of the faults, never without one that disconnects."""
        some = [fault for fault in (*DISCONNECTS, *NUISANCES) if self.rng.random() < 0.5]
        return tuple(dict.fromkeys((DISCONNECTS[seed % len(DISCONNECTS)], *some)))

    async def run(self, *, disconnects: int) -> None:
        """Let things go wrong until so many connections were lost, stop that, and wait until all is right again."""
        async with self.live(), asyncio.timeout(_LONGEST_S):
            while len(self.tape.losses) < disconnects:
                await asyncio.sleep(self.rng.uniform(1, 8))
                self.inject(self.faults[int(self.rng.integers(len(self.faults)))])
                self._measure()
            await self._settle_down()
        self._measure()

    async def _settle_down(self) -> None:
        """Stop all faults, then measure how long it takes until everything is live and valid."""
        for timer in self._timers:
            timer.cancel()
        self._reconnect()
        self.exchange.acks_to_lose = self.exchange.snapshots_to_lose = 0
        self.exchange.handshakes.clear()
        self.consumer.resume()
        for link in self.network.live:
            if link in self._silenced and self._silenced[link][0] != "silence":
                del self._silenced[link]
            link.down.piece_bytes, link.down.piece_gap_s, link.down.bytes_left = None, 0.0, None
            link.heal()
        for session in self.exchange.live:
            session.mischief.clear()
            for channel, name in sorted(session.stalled):
                # What comes after a silence that was not noticed yet does not follow what came before.
                self.exchange.note("silence ends", session, channel, name)
            session.stalled.clear()
            session.is_pongless = False
        self.heal_s = await self.recover(within_s=60)
        await self.next_rows(within_s=70)

    def check(self) -> None:
        """Make sure of everything a run promises, and that every gap has a reason: none is told without a fault."""
        super().check()
        self._check_gaps()
        assert self.heal_s <= 60
        assert not self.consumer.troubles
        for detection in self.detections:
            assert detection.silence_s <= 31, detection

    def _check_gaps(self) -> None:
        injected = Counter((each.what, each.instrument) for each in self.exchange.injected)
        told = Counter((gap.cause.split(";")[0], gap.channel, gap.instrument) for gap in self.witness.gaps)
        disconnected: Counter[tuple[str, str]] = Counter()
        for (cause, channel, name), count in told.items():
            assert "replaced by" not in cause, f"{channel} {name}: a handover lost something"
            if cause.startswith("disconnected: "):
                disconnected[channel, name] += count
            elif cause == "shed":
                assert count <= self.client.counters["times the queue was full"]
            elif cause.startswith("not fetched"):
                assert self.counts["rest down"]
            elif cause.startswith("stalled"):
                assert self.counts["stalled book"]
            else:
                whats = next((_REASONS[reason] for reason in _REASONS if reason in cause), ())
                # A connection that is replaced may have been dead already, which the ids of trades bring to light.
                reasons = sum(injected[what, name] for what in whats) + self.counts["notice"]
                assert count <= reasons, f"{count} gaps {cause!r} of {channel} {name}, but {reasons} reasons"
        for stream, count in disconnected.items():
            assert count <= len(self.tape.losses), f"{count} gaps of {stream}, more than connections were lost"

    # Faults ------------------------------------------------------------------------------------------------------

    def inject(self, fault: str) -> None:
        """Let something go wrong now."""
        exchange = self.exchange
        links = [link for link in self.network.live if link not in self._silenced]
        link = links[int(self.rng.integers(len(links)))] if links else None
        if fault in _DAMAGES:
            self._damage(fault)
        elif fault in ("sequence reset", "keep alive", "unasked snapshot"):
            market = exchange.markets[self._name()]
            change: dict[str, Callable[[], None]] = {
                "sequence reset": market.reset_sequence,
                "keep alive": market.keep_alive,
                "unasked snapshot": market.whole_again,
            }
            change[fault]()
        elif fault == "stalled book":
            name = self._name()
            for session in exchange.holders("books", name):
                session.stalled.add(("books", name))
        elif fault in ("ack lost", "snapshot lost"):
            self._lose_answer(fault)
        elif fault.startswith("handshake"):
            exchange.handshakes.extend([int(fault.split()[1])] * int(self.rng.integers(1, 4)))
        elif fault in ("unreachable", "dial error", "nameless", "rest down"):
            self._cut_off(fault)
        elif fault == "slow consumer":
            self.consumer.pause_until_s = self.loop.time() + self.rng.uniform(5, 40)
        elif fault == "storm":
            for each in links:
                each.reset()
        elif link is not None:
            self._disturb(fault, link)
        self.counts[fault] += 1

    def _disturb(self, fault: str, link: Link) -> None:
        """Let something go wrong on one link."""
        session = next((each for each in self.exchange.live if each.peer is link.server.protocol), None)
        if fault == "reset":
            link.reset()
        elif fault == "finish":
            link.finish()
        elif fault == "partition":
            link.partition()
            self._silenced[link] = (fault, self.loop.time())
        elif fault == "short partition":
            link.partition()
            self._later(self.rng.uniform(1, 12), lambda: None if link in self._silenced else link.heal())
        elif fault == "stall inside":
            link.stall_inside(int(self.rng.integers(1, 300)))
            self._silenced[link] = (fault, self.loop.time())
        elif fault == "trickle":
            link.trickle()
            self._silenced[link] = (fault, self.loop.time())
        elif fault == "bytewise":
            link.bytewise()
        elif session is None:
            return
        elif fault == "silence":
            session.is_silent = True
            self._silenced[link] = (fault, self.loop.time())
        elif fault == "pongless":
            session.is_pongless = True
        elif fault == "notice":
            self._notice(session)
        elif fault.startswith("close"):
            self._spawn(session, int(fault.split()[1]))
        else:
            raise AssertionError(fault)

    def _damage(self, fault: str) -> None:
        channel = "books" if fault in ("cross", "stranger") or self.rng.random() < 0.7 else "trades"
        name = self._name()
        for session in self.exchange.holders(channel, name):
            session.mischief.setdefault((channel, name), deque()).append(fault)

    def _lose_answer(self, fault: str) -> None:
        """Lose an answer, and give the client a reason to ask."""
        if fault == "ack lost":
            self.exchange.acks_to_lose = 1
        else:
            self.exchange.snapshots_to_lose = 1
        self._damage("drop")

    def _cut_off(self, fault: str) -> None:
        if fault == "unreachable":
            self.network.is_unreachable = True
        elif fault == "dial error":
            self.network.dial_error = lambda: ConnectionRefusedError("connect call failed")
        elif fault == "nameless":
            self.network.is_nameless = True
        else:
            self.exchange.is_rest_down = True
        self._later(self.rng.uniform(3, 30), self._reconnect)

    def _reconnect(self) -> None:
        self.network.is_unreachable = self.network.is_nameless = False
        self.network.dial_error = None
        self.exchange.is_rest_down = False

    def _notice(self, session: SimSession) -> None:
        self.witness.handovers_ns.append(self.loop.wall_ns())
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        session.say(event="notice", code="64008", msg=text)
        self._later(self.rng.uniform(20, 60), lambda: self._spawn(session, 1001))

    def _spawn(self, session: SimSession, code: int) -> None:
        if not session.is_over:
            closing = asyncio.ensure_future(session.close(code))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)

    def _later(self, delay_s: float, act: Callable[[], object]) -> None:
        self._timers.append(self.loop.call_later(delay_s, act))

    def _name(self) -> str:
        return NAMES[int(self.rng.integers(len(NAMES)))]

    def _measure(self) -> None:
        """Measure for how long silent connections were believed in."""
        for link in [link for link in self._silenced if link.client_ended_s is not None]:
            assert link.client_ended_s is not None
            what, since_s = self._silenced.pop(link)
            ended_s = link.client_ended_s
            self.detections.append(Detection(what, ended_s - link.heard_s, ended_s - since_s))
