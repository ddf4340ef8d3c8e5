"""One open WebSocket from its handshake to its end: the login, the requests under way, and their answers."""

import asyncio
import logging
from collections import deque
from typing import Final

from quantkit.clock import NS_PER_S, span_text
from quantkit.errors import FeedError, ParseError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import Ack, ConnectionCount, ErrorEvent, Notice, decode
from quantkit.feeds.okx.config import Backoff
from quantkit.feeds.okx.errors import (
    OkxAuthError,
    OkxError,
    OkxLimitError,
    OkxNetworkError,
    OkxRequestError,
    is_clock_skew,
    is_fatal_close,
    is_retryable,
    reply_error,
)
from quantkit.feeds.okx.limits import SlidingLimit
from quantkit.feeds.okx.tracker.records import Subscribed, Unsubscribed
from quantkit.feeds.okx.ws.operations import Op, Request, parts
from quantkit.feeds.okx.ws.ports import ClientServices, Ending, SessionCallbacks, Socket
from quantkit.feeds.okx.ws.subscriptions import SubscriptionState

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: OKX counts by its own clock and after the network's delay, so the hour is taken a little longer here.
_HOUR_S: Final = 3660.0
#: Answered requests that are remembered for errors that come after the acknowledgement.
_REMEMBERED: Final = 64
#: How often a request is sent without an answer before the connection is given up.
_TRIES: Final = 2
_PLANNED_CLOSE: Final = "64008"
#: Close codes have four digits, OKX's own codes five.
_CLOSE_DIGITS: Final = 4


class Session:
    """Talks over one socket. Frames come in by `frame`, its end by `lost`.

    Args:
        services: The client around it.
        connection: The connection it serves.
        where: The connection's name in errors.
    """

    def __init__(self, services: ClientServices, connection: SessionCallbacks, where: str) -> None:
        self.socket: Socket | None = None
        self.is_open = False
        self.ending: Ending | None = None
        self._services = services
        self._pipeline = services.pipeline
        self._login = services.login
        self._connection = connection
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._operations = SlidingLimit(services.config.operations_per_h, _HOUR_S)
        self._request: Request | None = None
        self._recent: deque[Request] = deque(maxlen=_REMEMBERED)
        self._login_answer: asyncio.Future[Ack | ErrorEvent | Ending] | None = None
        self._is_proven = False
        self._told: set[str] = set()
        self.waits_until_s = 0.0  # loop time at which the hourly limit lets the next request through

    # The socket's side ----------------------------------------------------------------------------------------

    def frame(self, data: bytes) -> None:
        """Take one text frame."""
        if not self.is_open:
            self._early(data)
            return
        connection = self._connection
        if connection.needs_login and b'"error"' in data:
            # OKX quotes malformed requests back; should it ever quote a key, no tape sees it.
            data = self._login.clean(data.decode("utf-8", "replace")).encode()
        received_ns = self._pipeline.stamp()
        connection.frames += 1
        connection.last_frame_ns = received_ns
        if self._pipeline.frame(connection.number, received_ns, data) and not self._is_proven:
            self._prove()

    def binary(self, size: int) -> None:
        """Ignore a binary message; OKX's JSON channels have none."""
        self._pipeline.counters["binary frames"] += 1

    def stale(self, is_stale: bool) -> None:
        """Hear that the other side is silent, or speaks again."""
        self._connection.stale(is_stale)

    def clean(self, text: str) -> str:
        """Return a foreign text without the credentials it may quote."""
        return self._login.clean(text)

    def lost(self, ending: Ending) -> None:
        """Hear that the connection is over; the first cause counts."""
        if self.ending is None:
            self.ending = ending
            self._over.set()
            self._answered.set()
            self._wake.set()
            if self._login_answer is not None and not self._login_answer.done():
                self._login_answer.set_result(ending)

    def _early(self, data: bytes) -> None:
        """Take a frame from before the login's end; such frames may quote the login and are kept nowhere."""
        if self._login_answer is None or self._login_answer.done():
            return
        try:
            messages = decode(data, received_ns=self._pipeline.stamp())
        except ParseError:
            return
        for message in messages:
            if isinstance(message, ErrorEvent) or (isinstance(message, Ack) and message.event == "login"):
                self._login_answer.set_result(message)
                return

    def _prove(self) -> None:
        """Count the session as a success: it brought data or an answer."""
        self._is_proven = True
        self._connection.backoff.succeeded()

    # Login ----------------------------------------------------------------------------------------------------

    async def login(self) -> None:
        """Log in; a wrong clock is measured and corrected once.

        Raises:
            OkxError: It failed; `is_retryable` says whether another connection may do better.
        """
        error = await self._try_login()
        if error is None:
            return
        if not is_clock_skew(error.code):
            raise error
        ahead_ns = await self._login.measure_clock()
        _log.warning(
            "%s: this machine's clock is %s %s OKX's; logging in with the corrected time",
            self._where,
            span_text(abs(ahead_ns)),
            "behind" if ahead_ns > 0 else "ahead of",
        )
        error = await self._try_login()
        if error is not None:
            shown = f"{error} (measured: OKX is {ahead_ns / NS_PER_S:+.3f} s from this clock)"
            raise OkxAuthError(shown, code=error.code, text=error.text, where=self._where)

    async def _try_login(self) -> OkxError | None:
        self._login_answer = self._loop.create_future()
        await self._pace()
        self._send(self._login.request())
        try:
            async with asyncio.timeout(self._services.config.ack_timeout_s):
                answer = await self._login_answer
        except TimeoutError:
            raise OkxError(f"{self._where}: no answer to the login", where=self._where, is_retryable=True) from None
        if isinstance(answer, Ending):
            raise answer.error
        if isinstance(answer, Ack):
            self._prove()
            return None
        return reply_error(answer.code, self._login.clean(answer.text), where=self._where)

    # Work -----------------------------------------------------------------------------------------------------

    async def serve(self) -> Ending:
        """Keep the subscriptions as they are wanted until the connection is over; return why it is."""
        worker = asyncio.create_task(self._work(), name=f"{self._where}: requests")
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait((worker, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (worker, over):
                task.cancel()
            results = await asyncio.gather(worker, over, return_exceptions=True)
        if self.ending is None and isinstance(results[0], BaseException):
            self.ending = Ending(OkxError(f"{self._where}: {results[0]}", where=self._where), results[0])
        assert self.ending is not None
        return self.ending

    def wake(self) -> None:
        """Look at the subscriptions again: some have changed."""
        self._wake.set()

    async def _work(self) -> None:
        subscriptions = self._connection.subscriptions
        while self.ending is None:
            self._wake.clear()
            await self._ask("unsubscribe", subscriptions.at(SubscriptionState.LEAVING, SubscriptionState.RESYNC))
            await self._ask("subscribe", subscriptions.at(SubscriptionState.NEW))
            if not subscriptions.at(SubscriptionState.LEAVING, SubscriptionState.RESYNC, SubscriptionState.NEW):
                self._connection.changed()
                await self._wake.wait()

    async def _ask(self, op: Op, channels: list[Channel]) -> None:
        for part in parts(channels, self._services.config.request_bytes):
            await self._ask_part(op, part, is_first=True)

    async def _ask_part(self, op: Op, part: tuple[Channel, ...], *, is_first: bool) -> None:
        """Send one request until all of it is answered."""
        config = self._services.config
        request = Request(op, part)
        patience = Backoff(config.retry, self._connection.backoff.rng)
        tries = 0
        while request.waiting and self.ending is None:
            await self._pace()
            if op == "subscribe" and is_first:
                self._announce(request)
            is_first = False
            for channel in list(request.waiting):
                if self._connection.subscriptions.get(channel) is None:
                    request.forget(channel)
            if not request.waiting:
                return
            self._request = request
            self._recent.append(request)
            self._answered.clear()
            self._send(request.begin(self._services.request_id()))
            is_answered = await self._answer(request)
            self._request = None
            self._take_refused(request)
            if self._over.is_set() or not request.waiting:
                return
            if request.is_busy:
                patience.failed()
                await self._pause(patience.wait_s())
            elif len(part) > 1 and (request.is_ambiguous or request.has_loose_errors):
                for channel in list(request.waiting):
                    await self._ask_part(op, (channel,), is_first=False)
                return
            elif not is_answered:
                tries += 1
                if tries == _TRIES:
                    names = ", ".join(map(str, list(request.waiting)[:3]))
                    self.abort(f"no answer to {op} of {names}{' and more' if len(request.waiting) > 3 else ''}")
                    return

    def _announce(self, request: Request) -> None:
        """Record what is about to be subscribed; what was given up meanwhile is left out."""
        subscriptions = self._connection.subscriptions
        for channel in request.channels:
            subscription = subscriptions.get(channel)
            if subscription is None or subscription.state is not SubscriptionState.NEW:
                request.forget(channel)
                continue
            subscription.state = SubscriptionState.SENT
            self._pipeline.record(Subscribed(self._pipeline.stamp(), self._connection.number, channel))

    async def _answer(self, request: Request) -> bool:
        """Wait until a request is settled; return whether it was in time."""
        try:
            async with asyncio.timeout(self._services.config.ack_timeout_s):
                while not request.is_settled and self.ending is None:
                    await self._answered.wait()
                    self._answered.clear()
        except TimeoutError:
            return False
        return True

    async def _pace(self) -> None:
        """Wait for a place among the operations of an hour."""
        while (wait_s := self._operations.take(self._loop.time())) > 0.0 and self.ending is None:
            self.waits_until_s = self._loop.time() + wait_s
            _log.warning(
                "%s: %d requests were sent within an hour, OKX's limit; the next follows in %.0f s",
                self._where,
                self._operations.used,
                wait_s,
            )
            self._connection.changed()
            await self._pause(wait_s)
        self.waits_until_s = 0.0

    async def _pause(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._over.wait()
        except TimeoutError:
            return

    def _send(self, data: bytes) -> None:
        if self.socket is not None:
            self.socket.send(data)

    def abort(self, cause: str) -> None:
        """Give the connection up, as a loss."""
        if self.socket is not None:
            self.socket.abort(cause)

    # Answers --------------------------------------------------------------------------------------------------

    def control(self, message: object) -> None:
        """Take a message that is about the connection."""
        match message:
            case Ack():
                self._acked(message)
            case ErrorEvent():
                self._error(message)
            case Notice(code=code, text=text):
                if code == _PLANNED_CLOSE:
                    self._connection.planned_close()
                else:
                    self._tell_once(f"notice {code}", f"notice {code}: {text}")
            case ConnectionCount(is_refused=True, channel=name, count=count):
                self._count_refused(name, count)
            case ConnectionCount(channel=name, count=count):
                self._tell_once(f"count {name}", f"{count} connections of this account carry {name}")
            case _:  # a pong, or an answer that asks for nothing
                pass

    def _acked(self, message: Ack) -> None:
        if not self._is_proven:
            self._prove()
        request = self._request
        channel = request.ack(message) if request is not None else None
        if channel is None:
            if message.event == "unsubscribe" and not self._is_known(message.request_id):
                self._dropped(message)
            return
        subscription = self._connection.subscriptions.get(channel)
        if subscription is not None:
            if message.event == "subscribe":
                subscription.acked_s = self._loop.time()
                if subscription.state is SubscriptionState.SENT:
                    subscription.state = SubscriptionState.LIVE
                subscription.settle()
            else:
                self._unsubscribed(channel)
        self._answered.set()

    def _unsubscribed(self, channel: Channel) -> None:
        subscriptions = self._connection.subscriptions
        subscription = subscriptions.get(channel)
        if subscription is not None and subscription.state is SubscriptionState.LEAVING:
            subscriptions.remove(channel)
        elif subscription is not None and subscription.state is SubscriptionState.RESYNC:
            subscription.state = SubscriptionState.NEW

    def _is_known(self, request_id: str) -> bool:
        return bool(request_id) and any(request.owns(request_id) for request in self._recent)

    def _error(self, message: ErrorEvent) -> None:
        requests = [self._request] if self._request is not None else []
        if message.request_id:
            requests = [request for request in self._recent if request.owns(message.request_id)][-1:]
        if not requests:
            self._tell_once(f"error {message.code}", f"error {message.code}: {self._login.clean(message.text)}")
            return
        text = self._login.clean(message.text)
        late = requests[0].refuse(ErrorEvent(message.code, text, message.request_id, message.connection))
        if late is not None and requests[0].op == "subscribe":
            self._kill(late, reply_error(message.code, text, where=str(late)))
        self._answered.set()

    def _take_refused(self, request: Request) -> None:
        for channel, error in request.refused.items():
            if request.op == "subscribe":
                self._kill(channel, error)
            else:
                # What OKX does not know is not subscribed either.
                self._unsubscribed(channel)
        request.refused.clear()

    def _kill(self, channel: Channel, error: FeedError) -> None:
        """Give a subscription up that OKX does not serve."""
        subscription = self._connection.subscriptions.remove(channel)
        if subscription is None:
            return
        if subscription.state is not SubscriptionState.LEAVING:
            self._pipeline.record(Unsubscribed(self._pipeline.stamp(), self._connection.number, channel))
            is_late = not subscription.settle(error)
            if is_late:
                _log.error("%s: the subscription has ended: %s", self._where, error)
            else:
                _log.warning("%s: refused: %s", self._where, error)
            self._connection.refused(channel, error, is_late=is_late)

    def _count_refused(self, name: str, count: int) -> None:
        """End the subscriptions of a private channel that too many connections carry already."""
        for subscription in self._connection.subscriptions:
            if subscription.channel.name == name:
                where = str(subscription.channel)
                text = (
                    f"{where}: {count} connections of this account carry {name}, OKX's limit; "
                    "close other sessions and subscribe again"
                )
                self._kill(subscription.channel, OkxLimitError(text, where=where))

    def _dropped(self, message: Ack) -> None:
        """Take the server's own end of a subscription: tried once more, then given up."""
        subscriptions = self._connection.subscriptions
        for subscription in subscriptions:
            channel = subscription.channel
            if channel.name != message.channel or channel.inst_id != message.instrument:
                continue
            if subscription.state is SubscriptionState.LEAVING:
                subscriptions.remove(channel)
                return
            finer = Channel("books-l2-tbt", channel.inst_id)
            if subscription.was_dropped or (channel.is_depth and channel != finer and finer in subscriptions):
                where = str(channel)
                text = f"{where}: OKX ended the subscription by itself; a finer book of the instrument may replace it"
                self._kill(channel, OkxError(text, where=where))
            else:
                subscription.was_dropped = True
                if subscriptions.resync(channel):
                    self.wake()
            return

    def _tell_once(self, name: str, text: str) -> None:
        if name not in self._told and len(self._told) < 100:
            self._told.add(name)
            _log.info("%s: %s", self._where, text)


def is_final(error: OkxError) -> bool:
    """Return whether trying again would only repeat a failure: a refused login, no trusted certificate, a fatal close.

    What a gateway answers to a handshake is never final.
    """
    if isinstance(error, OkxNetworkError):
        return not error.is_retryable
    if not error.code.isdigit():
        return False
    if len(error.code) == _CLOSE_DIGITS:
        return is_fatal_close(int(error.code))
    return isinstance(error, OkxAuthError | OkxRequestError) and not is_retryable(error.code)
