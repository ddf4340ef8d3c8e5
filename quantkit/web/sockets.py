"""The WebSocket of a page: signs in by its first message, then gets the newest status and never two in a row unread."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from quantkit import clock
from quantkit.clock import NS_PER_S
from quantkit.web.access import Visitor, same_key
from quantkit.web.link import LiveLink, PageFeed

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

#: Pages that follow a run at a time.
SOCKETS_MAX: Final = 256
#: How long a page may take for its first message, and for reading one.
_FIRST_S: Final = 5.0
_READ_S: Final = 30.0
#: No faster than this, and at least as often as that.
_EVERY_S: Final = 0.2
_ALIVE_S: Final = 1.0
#: Close codes: a message that is not allowed, no more room, signed out.
_POLICY: Final = 1008
_FULL: Final = 1013
SIGNED_OUT: Final = 4401


class _First(msgspec.Struct, forbid_unknown_fields=True):
    """The first message of a page: the key of its session."""

    key: str


class LiveSockets:
    """The sockets of all pages that follow a run.

    Args:
        link: To the run.
    """

    def __init__(self, link: LiveLink) -> None:
        self._link = link
        self.open = 0

    async def serve(self, websocket: "WebSocket") -> None:
        """Serve one page until it leaves, is signed out, or stops reading."""
        visitor: Visitor = websocket.scope["state"]["visitor"]
        await websocket.accept()
        if self.open >= SOCKETS_MAX:
            await _close(websocket, _FULL, "too many pages follow this run")
            return
        self.open += 1
        try:
            code, reason = await self._served(websocket, visitor)
            await _close(websocket, code, reason)
        finally:
            self.open -= 1

    async def _served(self, websocket: "WebSocket", visitor: Visitor) -> tuple[int, str]:
        """Return the code and the reason with which the socket ends."""
        try:
            async with asyncio.timeout(_FIRST_S):
                first = await _text_of(websocket)
        except TimeoutError:
            return _POLICY, "the first message did not come"
        if first is None or not _is_signed(first, visitor):
            return _POLICY, "the first message carries the session's key"
        tasks = {
            asyncio.create_task(self._send(websocket)): (_POLICY, "this page does not read"),
            asyncio.create_task(_listen(websocket)): (_POLICY, "a page says nothing after its first message"),
            asyncio.create_task(_ended(visitor)): (SIGNED_OUT, "signed out"),
        }
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return tasks[done.pop()]

    async def _send(self, websocket: "WebSocket") -> None:
        """Send what is new, as fast as the page reads; return when it does not, or has left."""
        feed = PageFeed(self._link)
        with contextlib.suppress(TimeoutError, RuntimeError, OSError):
            while True:
                async with asyncio.timeout(_READ_S):
                    await websocket.send_text(msgspec.json.encode(feed.message()).decode())
                await asyncio.sleep(_EVERY_S)
                await feed.changed(_ALIVE_S)


async def _listen(websocket: "WebSocket") -> None:
    """Return when the page leaves or says something."""
    await _text_of(websocket)


async def _text_of(websocket: "WebSocket") -> str | None:
    """Return a page's next message, None for one that has left or sent bytes."""
    message = await websocket.receive()
    return message.get("text") if message["type"] == "websocket.receive" else None


def _is_signed(text: str, visitor: Visitor) -> bool:
    try:
        return same_key(msgspec.json.decode(text, type=_First).key, visitor)
    except (msgspec.DecodeError, RecursionError):
        return False


async def _ended(visitor: Visitor) -> None:
    """Return when the session ends; a program's never does."""
    if visitor.session is None:
        await asyncio.Event().wait()
        return
    left_s = (visitor.session.expires_ns - clock.wall_ns()) / NS_PER_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, left_s)):
            await visitor.session.ended.wait()


async def _close(websocket: "WebSocket", code: int, reason: str) -> None:
    # Starlette and uvicorn each have an error of their own for a connection that has ended meanwhile. Who does not
    # read never takes the close frame either.
    with contextlib.suppress(RuntimeError, OSError, TimeoutError):
        async with asyncio.timeout(2.0):
            await websocket.close(code, reason)
