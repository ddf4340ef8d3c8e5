"""One connection: requests and answers, subscriptions, and the bounded queue of frames to send."""

import asyncio
import contextlib
import re
from typing import Any, Final, TypeVar, cast

import msgspec

from quantkit.sandbox import faults, wire
from quantkit.sandbox.channels import (
    COUNTED,
    ChannelRefusal,
    Topic,
    TopicSubscription,
    is_private,
    needs_login,
    needs_vip,
    topic_of,
    unknown,
)
from quantkit.sandbox.damage import damaged
from quantkit.sandbox.keys import ApiKey, judge_login
from quantkit.sandbox.log import Happening, SentFrame
from quantkit.sandbox.peer import ABORT, BatchPeer, Peer, PeerGone
from quantkit.sandbox.ports import SessionHost
from quantkit.sandbox.wire import TopicPush
from quantkit.venue_rules.window import Window

_F = TypeVar("_F", bound=faults.AnyFault)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}").fullmatch
_IDLE: Final = "No data received in {:g}s."
#: Which books a subscription of books-l2-tbt ends on the same connection.
_ENDED_BY_TBT: Final = ("books", "books50-l2-tbt")
#: Operations on orders; none is built yet.
_ORDER_OPERATIONS: Final = (
    "order",
    "batch-orders",
    "cancel-order",
    "batch-cancel-orders",
    "amend-order",
    "batch-amend-orders",
    "mass-cancel",
)
#: A request's text as an error repeats it is cut here.
_ECHOED: Final = 300


class ClientSession:
    """One connection from its handshake to its end.

    Args:
        exchange: Whose it is.
        peer: The connection.
        path: public, business or private.
        number: From 1, in the order of connections.
        connection_id: The 8 hexadecimal digits that every event carries.
    """

    def __init__(self, exchange: SessionHost, peer: Peer, *, path: str, number: int, connection_id: str) -> None:
        self.path = path
        self.number = number
        self.connection_id = connection_id
        self.key: ApiKey | None = None
        #: By the arg's keys and values in sorted order.
        self.subscriptions: dict[str, TopicSubscription] = {}
        self.frames_sent = 0
        self._exchange = exchange
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._operations = Window(exchange.rules.operations_per_h, 3600.0)
        self._queue: list[str] = []
        self._pending_bytes = 0
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._ending: tuple[int, str] | None = None
        self._is_closing = False
        self._touched_s = self._loop.time()
        self._writer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: list[asyncio.TimerHandle] = []

    # Life -----------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Answer requests until the connection ends."""
        self._writer = asyncio.create_task(self._write())
        self._later(self._exchange.rules.idle_s, self._check_idle)
        try:
            while True:
                text = await self._peer.receive()
                self._touched_s = self._loop.time()
                if self._ending is None:
                    self.take(text)
        except PeerGone:
            self._happened("gone", "")
        finally:
            for timer in self._timers:
                timer.cancel()
            self._ending = self._ending or (ABORT, "")
            self._wake.set()
            self._drained.set()
            if not self._is_closing:
                self._writer.cancel()
            for task in (self._writer, *self._tasks):
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def close(self, code: int, reason: str) -> None:
        """End the connection: after what is queued with a close frame, at once with `ABORT` or 4005."""
        if self._ending is not None:
            return
        self._ending = (code, reason)
        self._happened("closed", f"{code} {reason}".rstrip())
        if code in (ABORT, 4005):
            # A reader that does not read would keep the writer, and so a close behind it, waiting for ever.
            self._queue.clear()
            if self._writer is not None:
                self._writer.cancel()
            task = self._loop.create_task(self._peer.close(code, reason))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._wake.set()

    def announce_close(self, close_after_s: float) -> None:
        """Send the notice 64008, and close later."""
        self.send(wire.notice(self.connection_id))
        self._happened("notice", f"{close_after_s:g} s")
        self._later(close_after_s, lambda: self.close(1001, "service upgrade"))

    @property
    def is_ending(self) -> bool:
        """Whether the server has decided to close."""
        return self._ending is not None

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        await self._drained.wait()

    def _later(self, delay_s: float, call: Any) -> None:
        self._timers = [timer for timer in self._timers if timer.when() > self._loop.time()]
        self._timers.append(self._loop.call_later(delay_s, call))

    def _check_idle(self) -> None:
        idle_s = self._exchange.rules.idle_s
        left_s = self._touched_s + idle_s - self._loop.time()
        if left_s <= 0:
            self.close(4004, _IDLE.format(idle_s))
        elif self._ending is None:
            self._later(left_s, self._check_idle)

    def _happened(self, what: str, details: str) -> None:
        self._exchange.log.happenings.append(Happening(self._exchange.now_ms(), self.number, what, details))

    # Sending --------------------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Queue a text, or close with 4005 where too much waits already."""
        if self._ending is not None:
            return
        self._pending_bytes += len(text)
        if self._pending_bytes > self._exchange.rules.write_buffer_bytes:
            self.close(4005, "Write buffer is full")
            return
        self._queue.append(text)
        if not self._wake.is_set():
            self._wake.set()
            self._drained.clear()

    async def _write(self) -> None:
        peer = self._peer
        send_many = cast(BatchPeer, peer).send_many if hasattr(peer, "send_many") else self._send_each
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                texts, self._queue = self._queue, []
                if texts:
                    await send_many(texts)
                    self._touched_s = self._loop.time()
                    self.frames_sent += len(texts)
                    self._pending_bytes -= sum(map(len, texts))
                if self._queue:
                    self._wake.set()
                    continue
                self._drained.set()
                if self._ending is not None:
                    self._is_closing = True
                    await peer.close(*self._ending)
                    return
        except PeerGone:
            self._drained.set()

    async def _send_each(self, texts: list[str]) -> None:
        for text in texts:
            await self._peer.send(text)

    def deliver(self, subscription: TopicSubscription, push: TopicPush) -> None:
        """Send a push of a topic, unless a fault says otherwise."""
        if not subscription.is_live or self._ending is not None:
            return
        text = f'{{"arg":{subscription.head}{push.tail}'
        exchange, topic = self._exchange, subscription.topic
        if exchange.faults:
            struck = exchange.faults.strikes(
                path=self.path,
                channel=topic.channel,
                instrument=topic.key,
                connection=self.number,
                is_update=push.prev_seq_id is not None and push.prev_seq_id >= 0,
            )
            if struck:
                self._deliver_damaged(topic, push, text, struck)
                return
        self.send(text)
        if exchange.log.is_complete:
            self._log(topic, push, "sent", text)

    def _deliver_damaged(self, topic: Topic, push: TopicPush, text: str, struck: list[faults.Fault]) -> None:
        for what, altered in damaged(text, struck):
            if altered:
                self.send(altered)
            self._exchange.log.counts[what] += 1
            self._log(topic, push, what, altered)

    def _log(self, topic: Topic, push: TopicPush, what: str, text: str) -> None:
        exchange = self._exchange
        entry = SentFrame(exchange.now_ms(), self.number, self.path, topic, what, push.seq_id, push.prev_seq_id, text)
        exchange.log.pushes.append(entry)

    # Requests -------------------------------------------------------------------------------------------------

    def take(self, text: str) -> None:
        """Answer one message of the client."""
        stall = self._stall()
        if text == "ping":
            if stall is None or not stall.is_deaf:
                self.send("pong")
            return
        if stall is not None:
            return
        if len(text.encode()) > self._exchange.rules.request_bytes:
            self.close(1009, "request is too large")
            return
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            request = None
        operation = request.get("op") if isinstance(request, dict) else None
        if operation in _ORDER_OPERATIONS:
            self._order(operation, request.get("id"))
            return
        if operation not in ("subscribe", "unsubscribe", "login"):
            given = request.get("id") if isinstance(request, dict) else None
            self._refuse(
                "60012", text[:_ECHOED], request_id=given if isinstance(given, str) and _REQUEST_ID(given) else None
            )
            return
        self._operate(operation, request, text)

    def _order(self, operation: str, given: Any) -> None:
        """Refuse an operation on orders: the sandbox has no orders yet."""
        request_id = given if isinstance(given, str) and _REQUEST_ID(given) else None
        if self.path == "private" and self.key is None:
            self._refuse("60011", request_id=request_id)
            return
        self._happened("error", "60028")
        now_us = self._exchange.now_ms() * 1000
        self.send(wire.operation_refused(operation, "60028", request_id=request_id, now_us=now_us))

    def _operate(self, operation: str, request: dict[str, Any], text: str) -> None:
        request_id = request.get("id")
        if request_id is not None and not (isinstance(request_id, str) and _REQUEST_ID(request_id)):
            self._refuse("60033", "id", request_id=None)
            return
        args = request.get("args")
        if not isinstance(args, list) or not args or not all(isinstance(arg, dict) for arg in args):
            self._refuse("60013", request_id=request_id)
            return
        if not self._operations.take(self._loop.time()):
            self._refuse("60014", request_id=request_id)
            return
        self._happened("operation", operation)
        if operation == "login":
            self._login(args[0], request_id)
            return
        for arg in args:
            # Clients send null for what they leave out.
            given = {name: value for name, value in arg.items() if value is not None}
            if not all(isinstance(value, str) for value in given.values()):
                self._refuse("60012", text[:_ECHOED], request_id=request_id)
            elif operation == "subscribe":
                self._subscribe(given, request_id)
            else:
                self._unsubscribe(given, request_id)

    def _refuse(self, code: str, *details: str, request_id: str | None) -> None:
        self._error(code, wire.TEXTS[code].format(*details), request_id)

    def _error(self, code: str, text: str, request_id: str | None) -> None:
        self._happened("error", code)
        self.send(wire.error(code, text, connection=self.connection_id, request_id=request_id))

    def _stall(self) -> faults.Stall | None:
        """Return the fault that keeps the whole connection silent, if there is one."""
        if not self._exchange.faults:
            return None
        return self._exchange.faults.find(faults.Stall, path=self.path, connection=self.number, is_struck=False)

    def _login(self, arg: dict[str, Any], request_id: str | None) -> None:
        exchange = self._exchange
        fault = exchange.faults.find(faults.LoginFailure, path=self.path, connection=self.number)
        if fault is not None:
            self._error(fault.code, wire.TEXTS.get(fault.code, "Login failed.").format("", ""), request_id)
            if fault.is_closing:
                self.close(4001, "Login failed")
            return
        if self.key is not None:
            self._refuse("60031", request_id=request_id)
            return
        verdict = judge_login(
            arg,
            is_timely=exchange.is_timely,
            is_demo=exchange.is_demo,
        )
        if isinstance(verdict, str):
            self._refuse(verdict, request_id=request_id)
            return
        self.key = verdict
        self._happened("login", verdict.key)
        self.send(wire.login_done(self.connection_id))

    # Subscriptions --------------------------------------------------------------------------------------------

    def _subscribe(self, fields: dict[str, str], request_id: str | None) -> None:
        exchange = self._exchange
        fault = self._struck(faults.Refuse, fields)
        if fault is not None:
            own = wire.TEXTS.get(fault.code, "Refused.").format(*_named(fields), "")
            self._error(fault.code, fault.text or own, request_id)
            return
        topic = self._topic(fields)
        if isinstance(topic, ChannelRefusal):
            self._error(topic.code, topic.text, request_id)
            return
        name, arg = _identity(fields), wire.text_of(fields)
        is_acked = self._struck(faults.NoAck, fields) is None
        if is_acked:
            self._ack("subscribe", arg, request_id)
        self._happened("subscribe", arg)
        if name in self.subscriptions:
            # A duplicate is acknowledged once more; its data are not doubled.
            return
        limit = exchange.rules.channels_per_connection
        if limit and len(self.subscriptions) >= limit:
            self.close(4009, "The number of channels on this connection is over the maximum")
            return
        if not self._settle_tbt(topic, request_id):
            return
        uid = self.key.uid if self.key else ""
        head = wire.text_of({**fields, "uid": uid}) if is_private(topic.channel) else arg
        subscription = TopicSubscription(topic, arg, head, fields)
        if topic.channel in COUNTED and not self._count_connections(topic.channel):
            return
        self.subscriptions[name] = subscription
        is_silent = self._struck(faults.NoSnapshot, fields) is not None
        exchange.join(self, subscription, is_silent=is_silent)

    def _topic(self, fields: dict[str, str]) -> Topic | ChannelRefusal:
        topic = topic_of(fields, path=self.path)
        if isinstance(topic, ChannelRefusal):
            return topic
        market = self._exchange.market
        if not is_private(topic.channel) and not market.has(topic):
            return unknown(fields)
        if needs_login(topic.channel) and topic.channel not in market.open_channels:
            if self.key is None:
                return ChannelRefusal("60011")
            if needs_vip(topic.channel) and not self.key.is_vip:
                return ChannelRefusal("64003")
        return topic

    def _settle_tbt(self, topic: Topic, request_id: str | None) -> bool:
        """Return whether a book may be held beside the others of its instrument; the rule of books-l2-tbt."""
        held = {each.topic.channel: name for name, each in self.subscriptions.items() if each.topic.key == topic.key}
        if topic.channel in _ENDED_BY_TBT and "books-l2-tbt" in held:
            self._refuse("64004", topic.channel, topic.key, request_id=request_id)
            return False
        if topic.channel == "books-l2-tbt":
            for channel in _ENDED_BY_TBT:
                if channel in held:
                    ended = self.subscriptions.pop(held[channel])
                    self._exchange.leave(ended)
                    self._ack("unsubscribe", ended.arg, None)
        return True

    def _count_connections(self, channel: str) -> bool:
        """Tell how many connections hold a private channel, and return whether this one may."""
        exchange, user = self._exchange, self.key.uid if self.key else ""
        if any(each.topic.channel == channel for each in self.subscriptions.values()):
            return True
        holders = exchange.holders(channel, user)
        fault = exchange.faults.find(faults.AccountConnections, path=self.path, channel=channel, connection=self.number)
        is_refused = fault is not None or holders >= exchange.rules.connections_per_channel
        count = exchange.rules.connections_per_channel if is_refused else holders + 1
        self.send(wire.connection_count(channel, count, connection=self.connection_id, is_refused=is_refused))
        return not is_refused

    def _unsubscribe(self, fields: dict[str, str], request_id: str | None) -> None:
        name, arg = _identity(fields), wire.text_of(fields)
        subscription = self.subscriptions.pop(name, None)
        if subscription is None and isinstance(topic := self._topic(fields), ChannelRefusal):
            self._error(topic.code, topic.text, request_id)
            return
        if subscription is not None:
            self._exchange.leave(subscription)
        self._happened("unsubscribe", arg)
        if self._struck(faults.NoAck, fields) is None:
            self._ack("unsubscribe", arg, request_id)

    def _struck(self, kind: type[_F], fields: dict[str, str]) -> _F | None:
        """Return the fault that strikes an arg, if one does."""
        return self._exchange.faults.find(
            kind,
            path=self.path,
            channel=fields.get("channel", ""),
            instrument=fields.get("instId", ""),
            connection=self.number,
        )

    def _ack(self, event: str, arg: str, request_id: str | None) -> None:
        self.send(wire.ack(event, arg, connection=self.connection_id, request_id=request_id))


def _identity(fields: dict[str, str]) -> str:
    """Return what tells one arg from another: its keys and values, whatever their order."""
    return wire.text_of(dict(sorted(fields.items())))


def _named(fields: dict[str, str]) -> tuple[str, ...]:
    return unknown(fields).details
