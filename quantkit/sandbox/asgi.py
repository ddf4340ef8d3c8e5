"""The local exchange as an ASGI application: WebSocket paths, REST, its own control, and uvicorn around it."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from quantkit.errors import ConfigError
from quantkit.sandbox.archives import FILES
from quantkit.sandbox.channels import PATHS
from quantkit.sandbox.door import Door, response_of
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import decode_faults
from quantkit.sandbox.peer import ABORT, PeerGone
from quantkit.sandbox.rest import PREFIX, RestApi, failure
from quantkit.sandbox.wire import TEXTS
from quantkit.serving import BODY_BYTES, body_of, quiet_server

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

#: In an ASGI scope's extensions: the protocol object itself, for writing many frames at once.
_DIRECT: Final = "quantkit.direct"
_CLOSE_S: Final = 2.0
_TEXT: Final = 0x81


class _SocketPeer:
    """A connection of the server; writes whole batches of frames straight to the transport.

    That sends three times as many small messages a second as one ASGI message and one write for each of them.
    """

    def __init__(self, websocket: "WebSocket", protocol: Any) -> None:
        self._websocket = websocket
        self._protocol = protocol

    async def receive(self) -> str:
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            raise PeerGone
        text: str | None = message.get("text")
        # A binary message is none of OKX's; as text it is answered like any other junk.
        return bytes(message["bytes"]).decode(errors="replace") if text is None else text

    async def send(self, text: str) -> None:
        await self.send_many([text])

    async def send_many(self, texts: list[str]) -> None:
        protocol = self._protocol
        await protocol.writable.wait()
        if protocol.disconnected or protocol.close_sent or protocol.transport.is_closing():
            raise PeerGone
        protocol.transport.write(b"".join([part for text in texts for part in _frame(text.encode())]))
        # Only a reader that keeps up lets the next batch go out.
        await protocol.writable.wait()

    async def close(self, code: int, reason: str) -> None:
        protocol = self._protocol
        if code == ABORT:
            protocol.transport.abort()
            return
        # A reader that does not read never takes the close frame either.
        protocol.loop.call_later(_CLOSE_S, protocol.transport.abort)
        if not protocol.writable.is_set():
            return
        # Starlette and uvicorn each have an error of their own for a connection that has ended meanwhile.
        with contextlib.suppress(RuntimeError, OSError):
            await self._websocket.close(code, reason)


def _frame(payload: bytes) -> tuple[bytes, bytes]:
    """Return the head of an unmasked text frame, and its payload."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)), payload
    if size < 65_536:
        return struct.pack("!BBH", _TEXT, 126, size), payload
    return struct.pack("!BBQ", _TEXT, 127, size), payload


def application(exchange: Exchange, *, host: str) -> "Starlette":
    """Return the ASGI application of an exchange: three WebSocket paths, REST, and the sandbox's own control.

    Args:
        exchange: Entered when the application starts, left when it ends.
        host: The address that it is served on; requests for other hosts are refused.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute

    api = RestApi(exchange)

    async def rest(request: "Request") -> "Response":
        body = await body_of(request)
        if body is None:
            return _too_long()
        address = request.client.host if request.client else ""
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = api.answer(
            request.method,
            request.url.path,
            request.scope["query_string"].decode("latin-1"),
            headers,
            body,
            address=address,
            now_s=asyncio.get_running_loop().time(),
            base=f"{request.url.scheme}://{request.url.netloc}",
        )
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        return response_of(reply)

    async def stream(websocket: "WebSocket") -> None:
        path = websocket.url.path
        fault = exchange.admit(websocket.client.host if websocket.client else "", path)
        if fault is not None:
            retry = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
            await websocket.send_denial_response(Response("refused", fault.status, retry))
            return
        await websocket.accept()
        protocol = websocket.scope["extensions"][_DIRECT]["protocol"]
        await exchange.serve(_SocketPeer(websocket, protocol), path)

    async def state(_: "Request") -> "Response":
        return _json(exchange.state())

    async def control(request: "Request") -> "Response":
        if request.method == "DELETE":
            exchange.faults.clear()
            return _json({"faults": 0})
        body = await body_of(request)
        if body is None:
            return _too_long()
        try:
            wanted = decode_faults(body)
            exchange.inject(*wanted)
        except ConfigError as error:
            return _json({"error": str(error)}, status=400)
        return _json({"faults": len(wanted)})

    async def push(request: "Request") -> "Response":
        body = await body_of(request)
        if body is None:
            return _too_long()
        try:
            order = msgspec.json.decode(body, type=_PushOrder)
        except (msgspec.DecodeError, RecursionError) as error:
            return _json({"error": f"this is no push: {error}"}, status=400)
        exchange.push(order.channel, *order.data, **order.envelope)
        return _json({"rows": len(order.data)})

    @contextlib.asynccontextmanager
    async def lifespan(_: "Starlette") -> AsyncIterator[None]:
        async with exchange:
            yield

    sockets = [WebSocketRoute(f"/ws/v5/{path}", stream) for path in PATHS]
    control_routes = [
        Route("/sandbox/state", state),
        Route("/sandbox/faults", control, methods=["POST", "DELETE"]),
        Route("/sandbox/push", push, methods=["POST"]),
    ]
    files = Route(FILES + "{file:path}", rest)
    # A route for a function takes GET alone unless told; what OKX does not take is refused in its form.
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(
        routes=[*sockets, *control_routes, Route(PREFIX + "{rest:path}", rest, methods=methods), files],
        lifespan=lifespan,
        middleware=[Middleware(Door, host=host)],
        exception_handlers={404: _not_there, 405: _not_there, 500: _broken},
    )


class _PushOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A push of a private channel, asked for over HTTP."""

    channel: str
    data: list[dict[str, Any]]
    envelope: dict[str, Any] = {}


def _too_long() -> "Response":
    return response_of(failure(413, "413", f"a body may be {BODY_BYTES} bytes long"))


async def _not_there(_: "Request", error: Exception) -> "Response":
    """Answer a path or a method that there is not, in the form of every other reply."""
    from starlette.exceptions import HTTPException

    assert isinstance(error, HTTPException), "it is registered for HTTP errors"
    return response_of(failure(error.status_code, str(error.status_code), error.detail))


async def _broken(_: "Request", __: Exception) -> "Response":
    """Answer a request that a mistake of the sandbox ended; the error goes on to the log."""
    return response_of(failure(500, "50026", TEXTS["50026"]))


def _json(value: Any, *, status: int = 200) -> "Response":
    from starlette.responses import Response

    return Response(msgspec.json.encode(value), status, media_type="application/json")


def uvicorn_server(exchange: Exchange, *, host: str, certificate: Path | None, key: Path | None) -> "uvicorn.Server":
    import uvicorn
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class Protocol(WebSocketsSansIOProtocol):
        """Uvicorn's protocol, which also hands itself to the application."""

        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            if hasattr(self, "scope"):
                # The application's task was made above and starts only after this.
                cast("dict[str, Any]", self.scope["extensions"])[_DIRECT] = {"protocol": self}

    return quiet_server(
        uvicorn.Config(
            application(exchange, host=host),
            ws=Protocol,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            ws_max_size=2**20,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
    )
