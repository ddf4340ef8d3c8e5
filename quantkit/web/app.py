"""The application: the API, the pages and their files behind the guard."""

from typing import TYPE_CHECKING

from quantkit.web.access import Admission
from quantkit.web.api import Api
from quantkit.web.calls import Calls
from quantkit.web.operations import route
from quantkit.web.security import Guard, Site, problem

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


def application(calls: Calls, site: Site, admission: Admission) -> "Starlette":
    """Return the ASGI application.

    Args:
        calls: What it serves.
        site: The names that it goes by.
        admission: Knows who may come in.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware

    api = Api(calls, site, admission)
    return Starlette(
        routes=[route(operation, handler) for operation, handler in api.operations()],
        middleware=[Middleware(Guard, site=site, admission=admission, public=frozenset())],
        exception_handlers={404: _not_there, 405: _not_there, 500: _broken},
    )


async def _not_there(_: "Request", error: Exception) -> "Response":
    """Answer a path or a method that there is not."""
    from starlette.exceptions import HTTPException

    assert isinstance(error, HTTPException), "it is registered for HTTP errors"
    return problem(error.status_code, error.detail, error.headers)


async def _broken(_: "Request", __: Exception) -> "Response":
    """Answer a request that a mistake of ours ended, without a word of how."""
    return problem(500, "quantkit made a mistake here; please report what you asked for")
