"""One operation of the API: what it takes and gives, how a request becomes a call, and OpenAPI's description."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from quantkit.errors import ConfigError, QuantkitError
from quantkit.serving import BODY_BYTES, body_of
from quantkit.web.access import Visitor
from quantkit.web.security import KEY_HEADER, HttpRefusal, problem

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PREFIX: Final = "/api/v1"
#: How long a body may take to come.
_BODY_S: Final = 10.0
_JSON: Final = "application/json"
_T = TypeVar("_T")


class Problem(msgspec.Struct, frozen=True):
    """Why there is no answer, in one line."""

    error: str


class Operation(msgspec.Struct, frozen=True):
    """One operation.

    Attributes:
        name: As OpenAPI's `operationId`.
        method, path: Below `/api/v1`; a part of the path in braces is a parameter.
        summary: One sentence.
        reply: Type of the answer.
        where: Types of the parameters of the path.
        query, body: Structs that forbid unknown fields; None for none.
        refusals: HTTP statuses beside those that every operation has.
        other_media: What the answer may be beside JSON.
    """

    name: str
    method: str
    path: str
    summary: str
    reply: Any
    where: Mapping[str, Any] = {}
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    refusals: tuple[int, ...] = ()
    other_media: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True):
    """A request to an operation, checked.

    Attributes:
        visitor: Who asks; None where that may be anybody.
        where: Parameters of the path.
        query, body: Structs of the operation's types.
        accept: The media types that are wanted.
    """

    visitor: Visitor | None
    where: dict[str, Any]
    query: Any
    body: Any
    accept: str


#: Carries out an operation: gives its reply, or a whole answer.
Handler = Callable[[Call], "Awaitable[Any]"]


class Workers:
    """Runs what takes long in threads, a few at a time, so that the server keeps answering.

    Args:
        most: At a time.
        waiting_max: Calls that may wait; a further one is refused.
    """

    def __init__(self, most: int = 2, waiting_max: int = 32) -> None:
        self._slots = asyncio.Semaphore(most)
        self._waiting_max = waiting_max
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Return what a function returns.

        A thread cannot be stopped: whoever asked may leave, and the work still counts until it is done.

        Raises:
            HttpRefusal: Too many wait.
        """
        if self._waiting >= self._waiting_max:
            raise HttpRefusal(503, "too many requests wait; try again in a second", retry_after="1")
        self._waiting += 1
        task = asyncio.create_task(self._work(function, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _work(self, function: Callable[..., _T], *arguments: Any) -> _T:
        async with self._slots:
            return await asyncio.to_thread(function, *arguments)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._waiting -= 1
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # of which nobody hears where the one who asked has left


def route(operation: Operation, handler: Handler) -> "Route":
    """Return the route of an operation."""
    from starlette.routing import Route

    async def endpoint(request: "Request") -> "Response":
        return await _answered(operation, handler, request)

    path = PREFIX + operation.path
    for name, kind in operation.where.items():
        if kind is AnyPath:
            path = path.replace(f"{{{name}}}", f"{{{name}:path}}")
    return Route(path, endpoint, methods=[operation.method], name=operation.name)


#: A parameter of the path that may hold slashes: ids of instruments do.
AnyPath: Final = msgspec.Meta(min_length=1, max_length=200)


async def _answered(operation: Operation, handler: Handler, request: "Request") -> "Response":
    from starlette.responses import Response

    try:
        reply = await handler(await _call_of(operation, request))
    except HttpRefusal as refusal:
        return problem(refusal.status, refusal.reason, refusal.headers)
    except QuantkitError as error:
        # What is asked for is not there, or is there and damaged.
        return problem(404 if isinstance(error, ConfigError) else 422, " ".join(str(error).split()))
    if isinstance(reply, Response):
        return reply
    return Response(msgspec.json.encode(reply), media_type=_JSON)


async def _call_of(operation: Operation, request: "Request") -> Call:
    where = {}
    for name, kind in operation.where.items():
        wanted = str if kind is AnyPath else kind
        where[name] = _converted(request.path_params[name], wanted, f"the {name}")
    given = request.query_params.multi_items()
    if len({name for name, _ in given}) < len(given):
        raise HttpRefusal(400, "a parameter comes twice")
    query = None
    if operation.query is not None:
        query = _converted(dict(given), operation.query, "the query")
    elif given:
        raise HttpRefusal(400, f"{operation.path} takes no parameter {given[0][0]!r}")
    body = None if operation.body is None else await _body(operation.body, request)
    return Call(request.scope["state"]["visitor"], where, query, body, request.headers.get("accept", ""))


async def _body(kind: type[msgspec.Struct], request: "Request") -> Any:
    try:
        async with asyncio.timeout(_BODY_S):
            content = await body_of(request)
    except TimeoutError:
        raise HttpRefusal(408, f"the body did not come within {_BODY_S:.0f} s") from None
    if content is None:
        raise HttpRefusal(413, f"a body may be {BODY_BYTES:,} bytes long")
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise HttpRefusal(400, f"the body: {error}") from None


def _converted(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise HttpRefusal(400, f"{what}: {error}") from None


# Description -------------------------------------------------------------------------------------------------------


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of operations, from the types that they take and give."""
    kinds = [Problem, *(kind for each in operations for kind in _kinds(each))]
    unique = list({repr(kind): kind for kind in kinds}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    schema_of = {repr(kind): schema for kind, schema in zip(unique, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _described(
            operation, schema_of, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "quantkit serve",
            "version": version("quantkit"),
            "description": "Backtests, their tables and numbers, and one live paper run.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _kinds(operation: Operation) -> list[Any]:
    query = [] if operation.query is None else [operation.query]
    return [operation.reply, *query, *(() if operation.body is None else (operation.body,))]


def _described(operation: Operation, schema_of: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(kind)}
        for name, kind in operation.where.items()
    ]
    if operation.query is not None:
        fields = components[operation.query.__name__]
        needed = fields.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in needed, "schema": schema}
            for name, schema in fields["properties"].items()
        ]
    refusals = {400, 401, 404, 421, 422, 429, 503, *operation.refusals}
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {
                    _JSON: {"schema": schema_of[repr(operation.reply)]},
                    **{media: {"schema": {}} for media in operation.other_media},
                },
            },
        },
    }
    if operation.method != "GET":
        refusals |= {403, 408, 413, 415}
        found["description"] = f"Browsers send the key of their session in {KEY_HEADER}."
    if operation.body is not None:
        content = {_JSON: {"schema": schema_of[repr(operation.body)]}}
        found["requestBody"] = {"required": True, "content": content}
    for status in sorted(refusals):
        schema = schema_of[repr(Problem)]
        found["responses"][str(status)] = {"description": "Refused.", "content": {_JSON: {"schema": schema}}}
    return found


def _path_schema(kind: Any) -> Any:
    if kind is AnyPath:
        return {"type": "string", "minLength": 1, "maxLength": 200}
    return msgspec.json.schema(kind)


def sentence(function: Callable[..., Any]) -> str:
    """Return the first line of a function's docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]
