"""The application: the API, the pages and their files behind the guard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from quantkit.clock import wall_ns
from quantkit.web import metrics, pages
from quantkit.web.access import Admission
from quantkit.web.api import Api
from quantkit.web.calls import Calls
from quantkit.web.link import LiveLink
from quantkit.web.operations import PREFIX, Workers, route
from quantkit.web.security import Guard, Site, problem
from quantkit.web.sockets import LiveSockets

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute


def application(calls: Calls, site: Site, admission: Admission, link: LiveLink | None) -> "Starlette":
    """Return the ASGI application.

    Args:
        calls: What it serves.
        site: The names that it goes by.
        admission: Knows who may come in.
        link: To the live run; None for none.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute

    sockets = None if link is None else LiveSockets(link)
    workers = Workers()
    api = Api(calls, site, admission, link, workers)
    routes: list[BaseRoute] = [route(operation, handler) for operation, handler in api.operations()]

    async def show_metrics(_: "Request") -> "Response":
        return Response(_metrics(link, sockets), media_type=metrics.CONTENT_TYPE)

    routes.append(Route("/metrics", show_metrics))
    routes.extend(pages.routes(calls, workers))
    if sockets is not None:
        routes.append(WebSocketRoute(f"{PREFIX}/live/socket", sockets.serve))

    @contextlib.asynccontextmanager
    async def lifespan(_: "Starlette") -> AsyncIterator[None]:
        following = None if link is None else asyncio.create_task(link.run())
        yield
        if following is not None:
            following.cancel()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, site=site, admission=admission, public=pages.PUBLIC)],
        exception_handlers={404: _not_there, 405: _not_there, 500: _broken},
    )


def _metrics(link: LiveLink | None, sockets: LiveSockets | None) -> str:
    if link is None or sockets is None:
        return metrics.text(None, age_ns=None, sockets=0)
    age_ns = None if link.reason else max(0, wall_ns() - link.taken_ns)
    return metrics.text(link.status, age_ns=age_ns, sockets=sockets.open)


async def _not_there(_: "Request", error: Exception) -> "Response":
    """Answer a path or a method that there is not."""
    from starlette.exceptions import HTTPException

    assert isinstance(error, HTTPException), "it is registered for HTTP errors"
    return problem(error.status_code, error.detail, error.headers)


async def _broken(_: "Request", __: Exception) -> "Response":
    """Answer a request that a mistake of ours ended, without a word of how."""
    return problem(500, "quantkit made a mistake here; please report what you asked for")
