"""The JSON API: what each operation does with a checked request."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.clock import iso_of
from quantkit.live.status import LiveStatus
from quantkit.runs.diff import RunDiff
from quantkit.web.access import Admission, Visitor
from quantkit.web.calls import Calls
from quantkit.web.link import LiveLink
from quantkit.web.operations import AnyPath, Call, Handler, Operation, Workers, openapi
from quantkit.web.security import HttpRefusal, Site
from quantkit.web.shapes import (
    CommandAnswer,
    CommandShape,
    DataQuery,
    DataShape,
    DiffQuery,
    EquityLine,
    EquityQuery,
    Nothing,
    NumberShape,
    PriceColumns,
    PricesQuery,
    RunDetail,
    RunId,
    RunPage,
    SearchQuery,
    SessionShape,
    SignIn,
    TableName,
    TableQuery,
    TableShape,
)

if TYPE_CHECKING:
    from starlette.responses import Response

ARROW: Final = "application/vnd.apache.arrow.stream"
_ROWS: Final = 100


class Api:
    """The operations over what `calls` gives.

    Args:
        calls: The folder of runs, the data folder, the live run.
        site: The names of the server.
        admission: Signs browsers in and out.
        link: To the live run; None for none.
        workers: Carry out what takes long.
    """

    def __init__(self, calls: Calls, site: Site, admission: Admission, link: LiveLink | None, workers: Workers) -> None:
        self._calls = calls
        self._site = site
        self._admission = admission
        self._link = link
        self._workers = workers
        self._description = b""

    def operations(self) -> list[tuple[Operation, Handler]]:
        """Return every operation with what carries it out."""
        run = {"run": RunId}
        table = {"run": RunId, "table": TableName}
        return [
            (Operation("describe", "GET", "/openapi.json", "This description.", dict[str, Any]), self._describe),
            (
                Operation("session", "GET", "/session", "Who asks, and the key of the session.", SessionShape),
                self._session,
            ),
            (
                Operation(
                    "signIn", "POST", "/session", "Sign a browser in.", SessionShape, body=SignIn, refusals=(401,)
                ),
                self._sign_in,
            ),
            (
                Operation("signOut", "DELETE", "/session", "Sign a browser out.", SessionShape, body=Nothing),
                self._sign_out,
            ),
            (Operation("listRuns", "GET", "/runs", "Runs, newest first.", RunPage, query=SearchQuery), self._list_runs),
            (Operation("getRun", "GET", "/runs/{run}", "One run.", RunDetail, run), self._get_run),
            (
                Operation("getNumbers", "GET", "/runs/{run}/stats", "Its statistics.", list[NumberShape], run),
                self._get_numbers,
            ),
            (
                Operation(
                    "getTable",
                    "GET",
                    "/runs/{run}/tables/{table}",
                    "Rows of one of its tables, as JSON or as an Arrow IPC stream.",
                    TableShape,
                    table,
                    query=TableQuery,
                    other_media=(ARROW,),
                ),
                self._get_table,
            ),
            (
                Operation(
                    "getPrices",
                    "GET",
                    "/runs/{run}/prices/{instrument}",
                    "Prices of one of its instruments, as fine as the buckets allow.",
                    PriceColumns,
                    {"run": RunId, "instrument": AnyPath},
                    query=PricesQuery,
                ),
                self._prices,
            ),
            (
                Operation(
                    "getEquity",
                    "GET",
                    "/runs/{run}/equity",
                    "Its equity as a line.",
                    EquityLine,
                    run,
                    query=EquityQuery,
                ),
                self._equity,
            ),
            (
                Operation("compareRuns", "GET", "/diff", "Where two runs differ.", RunDiff, query=DiffQuery),
                self._compare,
            ),
            (
                Operation("listData", "GET", "/data", "Streams of the data folder.", DataShape, query=DataQuery),
                self._data,
            ),
            (Operation("getLive", "GET", "/live", "The newest status of the live run.", LiveStatus), self._live),
            (
                Operation(
                    "command",
                    "POST",
                    "/live/commands",
                    "Pause, resume, cancel all orders of the live run, or stop it.",
                    CommandAnswer,
                    body=CommandShape,
                    refusals=(409,),
                ),
                self._command,
            ),
        ]

    async def _live(self, _: Call) -> LiveStatus:
        link = self._followed()
        if link.status is None:
            raise HttpRefusal(503, f"no status of the run yet: {link.reason}", retry_after="1")
        return link.status

    async def _command(self, call: Call) -> CommandAnswer:
        return await self._followed().command(_known(call), call.body)

    def _followed(self) -> LiveLink:
        if self._link is None:
            raise HttpRefusal(404, "this server follows no live run; start it with --live RUN")
        return self._link

    def _shape_of(self, visitor: Visitor) -> SessionShape:
        session = visitor.session
        expires = None if session is None else iso_of(session.expires_ns)
        return SessionShape(visitor.key, expires, has_live=self._link is not None)

    async def _describe(self, _: Call) -> "Response":
        from starlette.responses import Response

        if not self._description:
            self._description = msgspec.json.encode(openapi([operation for operation, _ in self.operations()]))
        return Response(self._description, media_type="application/json")

    async def _session(self, call: Call) -> SessionShape:
        return self._shape_of(_known(call))

    async def _sign_in(self, call: Call) -> "Response":
        from starlette.responses import Response

        opened = self._admission.sign_in(call.body.credential)
        if opened is None:
            raise HttpRefusal(401, "this link was used, or the token is wrong", www_authenticate="Bearer")
        secret, visitor = opened
        assert visitor.session is not None, "a browser signed in"
        reply = Response(msgspec.json.encode(self._shape_of(visitor)), media_type="application/json")
        reply.set_cookie(
            self._site.cookie, secret, path="/", secure=self._site.is_tls, httponly=True, samesite="strict"
        )
        return reply

    async def _sign_out(self, call: Call) -> "Response":
        from starlette.responses import Response

        visitor = _known(call)
        self._admission.sign_out(visitor)
        reply = Response(msgspec.json.encode(SessionShape("", None, has_live=False)), media_type="application/json")
        reply.delete_cookie(self._site.cookie, path="/", secure=self._site.is_tls, httponly=True, samesite="strict")
        return reply

    async def _list_runs(self, call: Call) -> RunPage:
        return await self._workers.run(self._calls.list_runs, call.query.search, call.query.limit, call.query.offset)

    async def _get_run(self, call: Call) -> RunDetail:
        return await self._workers.run(self._calls.get_run, call.where["run"])

    async def _get_numbers(self, call: Call) -> list[NumberShape]:
        return await self._workers.run(self._calls.numbers, call.where["run"])

    async def _get_table(self, call: Call) -> "TableShape | Response":
        from starlette.responses import StreamingResponse

        run, name, query = call.where["run"], call.where["table"], call.query
        if query.format == "arrow" or (query.format is None and ARROW in call.accept):
            table = await self._workers.run(self._calls.arrow_table, run, name, query.offset, query.limit)
            return StreamingResponse(self._calls.arrow_parts(table), media_type=ARROW)
        return await self._workers.run(self._calls.table, run, name, query.offset, query.limit or _ROWS)

    async def _prices(self, call: Call) -> PriceColumns:
        query = call.query
        return await self._workers.run(
            self._calls.prices, call.where["run"], call.where["instrument"], query.start, query.end, query.buckets
        )

    async def _equity(self, call: Call) -> EquityLine:
        return await self._workers.run(self._calls.equity, call.where["run"], call.query.buckets)

    async def _compare(self, call: Call) -> RunDiff:
        return await self._workers.run(self._calls.compare, call.query.a, call.query.b)

    async def _data(self, call: Call) -> DataShape:
        return await self._workers.run(self._calls.data, call.query.search)


def _known(call: Call) -> Visitor:
    """Return who asks; the guard lets nobody else through to these."""
    if call.visitor is None:
        raise HttpRefusal(401, "sign in first, or send the token", www_authenticate="Bearer")
    return call.visitor
