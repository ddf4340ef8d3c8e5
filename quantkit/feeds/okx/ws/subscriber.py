"""The subscriptions of one open WebSocket: requests to subscribe and unsubscribe, and their answers."""

import asyncio
import logging
from collections import deque
from typing import Final

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.decode import Ack, ErrorEvent
from quantkit.feeds.okx.config import Backoff
from quantkit.feeds.okx.errors import OkxError, OkxLimitError, reply_error
from quantkit.feeds.okx.tracker.records import Subscribed, Unsubscribed
from quantkit.feeds.okx.ws.operations import Op, Request, parts
from quantkit.feeds.okx.ws.outbox import Outbox
from quantkit.feeds.okx.ws.ports import ClientServices, SessionCallbacks
from quantkit.feeds.okx.ws.subscriptions import SubscriptionState

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: Answered requests that are kept for errors that come after the acknowledgement.
_REMEMBERED: Final = 64
#: Times a request is sent without an answer before the connection is given up.
_TRIES: Final = 2


class Subscriber:
    """Subscribes and unsubscribes the channels of one connection while it is open.

    Args:
        services: The client around it.
        connection: Has the subscriptions.
        outbox: Sends the requests.
        where: The connection's name in errors.
    """

    def __init__(self, services: ClientServices, connection: SessionCallbacks, outbox: Outbox, where: str) -> None:
        self._services = services
        self._pipeline = services.pipeline
        self._connection = connection
        self._outbox = outbox
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._answered = asyncio.Event()
        self._request: Request | None = None
        self._recent: deque[Request] = deque(maxlen=_REMEMBERED)

    def wake(self) -> None:
        """Look at the subscriptions again: some have changed."""
        self._wake.set()

    def stop(self) -> None:
        """Stop waiting: the connection is over."""
        self._answered.set()
        self._wake.set()

    async def run(self) -> None:
        """Keep the subscriptions as they are wanted until the connection is over."""
        subscriptions = self._connection.subscriptions
        while not self._outbox.has_ended():
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
        """Send one request until every channel of it is answered."""
        config = self._services.config
        request = Request(op, part)
        patience = Backoff(config.retry, self._connection.backoff.rng)
        tries = 0
        while request.waiting and not self._outbox.has_ended():
            await self._outbox.pace()
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
            self._outbox.send(request.begin(self._services.request_id()))
            is_answered = await self._answer(request)
            self._request = None
            self._take_refused(request)
            if self._outbox.has_ended() or not request.waiting:
                return
            if request.is_busy:
                patience.failed()
                await self._outbox.pause(patience.wait_s())
            elif len(part) > 1 and (request.is_ambiguous or request.has_loose_errors):
                for channel in list(request.waiting):
                    await self._ask_part(op, (channel,), is_first=False)
                return
            elif not is_answered:
                tries += 1
                if tries == _TRIES:
                    names = ", ".join(map(str, list(request.waiting)[:3]))
                    self._outbox.abort(f"no answer to {op} of {names}{' and more' if len(request.waiting) > 3 else ''}")
                    return

    def _announce(self, request: Request) -> None:
        """Record the channels about to be subscribed, without those that were unsubscribed meanwhile."""
        subscriptions = self._connection.subscriptions
        for channel in request.channels:
            subscription = subscriptions.get(channel)
            if subscription is None or subscription.state is not SubscriptionState.NEW:
                request.forget(channel)
                continue
            subscription.state = SubscriptionState.SENT
            self._pipeline.record(Subscribed(self._pipeline.stamp(), self._connection.number, channel))

    async def _answer(self, request: Request) -> bool:
        """Wait until a request is settled; return False after the timeout."""
        try:
            async with asyncio.timeout(self._services.config.ack_timeout_s):
                while not request.is_settled and not self._outbox.has_ended():
                    await self._answered.wait()
                    self._answered.clear()
        except TimeoutError:
            return False
        return True

    # Answers --------------------------------------------------------------------------------------------------

    def acked(self, message: Ack) -> None:
        """Take an acknowledgement."""
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

    def failed(self, message: ErrorEvent) -> bool:
        """Take an error; return whether it answers a request."""
        requests = [self._request] if self._request is not None else []
        if message.request_id:
            requests = [request for request in self._recent if request.owns(message.request_id)][-1:]
        if not requests:
            return False
        text = self._services.login.clean(message.text)
        late = requests[0].refuse(ErrorEvent(message.code, text, message.request_id, message.connection))
        if late is not None and requests[0].op == "subscribe":
            self._kill(late, reply_error(message.code, text, where=str(late)))
        self._answered.set()
        return True

    def _take_refused(self, request: Request) -> None:
        for channel, error in request.refused.items():
            if request.op == "subscribe":
                self._kill(channel, error)
            else:
                # A channel that OKX does not know is not subscribed either.
                self._unsubscribed(channel)
        request.refused.clear()

    def _kill(self, channel: Channel, error: FeedError) -> None:
        """End a subscription that OKX does not serve."""
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

    def count_refused(self, name: str, count: int) -> None:
        """End the subscriptions of a private channel that too many connections of the account carry."""
        for subscription in self._connection.subscriptions:
            if subscription.channel.name == name:
                where = str(subscription.channel)
                text = (
                    f"{where}: {count} connections of this account carry {name}, OKX's limit; "
                    "close other sessions and subscribe again"
                )
                self._kill(subscription.channel, OkxLimitError(text, where=where))

    def _dropped(self, message: Ack) -> None:
        """Take an end of a subscription by the server: subscribe once more, then give up."""
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
