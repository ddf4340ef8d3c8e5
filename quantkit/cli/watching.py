"""The work of `quantkit watch`: an OKX client that fills a board, drawn or printed until it is ended."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Final

import click

from quantkit.cli.ending import signals
from quantkit.cli.quotes import Board, Head, candle_line
from quantkit.cli.root import one_line
from quantkit.cli.screen import drawn, glyphs_of
from quantkit.cli.view import brief
from quantkit.clock import wall_ns
from quantkit.errors import ConfigError, FeedError, SubscriptionError
from quantkit.feeds.okx.codec.channels import candles, tickers
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.errors import OkxRequestError
from quantkit.feeds.okx.rest.ids import kind_of
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.ws.client import ConnectionStatus, OkxClient
from quantkit.report.console import console_of

#: Off a terminal: how often each instrument gets a line.
_LINES_EVERY_S: Final = 5.0
_HISTORY: Final = 60
_QUARTERS_A_DAY: Final = 96


class _Notes(logging.Handler):
    """Hands warnings on as plain text."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a warning on."""
        self._say(record.getMessage())


class Watch:
    """The client, the board that it fills, and the printed lines."""

    def __init__(self, config: OkxConfig, board: Board, *, is_drawn: bool) -> None:
        self._config = config
        self._board = board
        self._is_drawn = is_drawn
        #: Whether a signal came before there was anything to show.
        self.is_interrupted = False
        self._okx: OkxClient | None = None
        self._states: dict[int, tuple[str, str]] = {}
        self._started_ns = 0

    async def run(self, length_s: float | None) -> None:
        """Watch until the time is over or a signal comes, and leave the last quotes on standard output.

        Raises:
            FeedError: The instruments were refused, or the connection failed for good.
        """
        self._started_ns = wall_ns()
        loop = asyncio.get_running_loop()
        watching = asyncio.ensure_future(self._watch())
        end = None if length_s is None else loop.call_later(length_s, watching.cancel)

        def ask() -> None:
            self.is_interrupted = self._okx is None
            loop.call_soon_threadsafe(watching.cancel)

        with self._logged(), signals(ask, last_words=lambda: "killed"), self._shown():
            # Cancelled is how it ends when all is well.
            with suppress(asyncio.CancelledError):
                await watching
            if end is not None:
                end.cancel()
        for line in self._board.plain_lines(wall_ns()):
            click.echo(line)

    async def _watch(self) -> None:
        board = self._board
        await self._check()
        async with OkxClient(self._config, on_state=self._on_state) as okx:
            self._okx = okx
            history = asyncio.create_task(self._fill())
            lines = asyncio.create_task(self._lines())
            try:
                await self._subscribe(okx)
                async for event in okx:
                    closed = board.take(event)
                    if closed is not None and not self._is_drawn:
                        click.echo(candle_line(board.quotes[closed.instrument], closed))
            finally:
                lines.cancel()
                history.cancel()
                await asyncio.gather(lines, history, return_exceptions=True)

    async def _subscribe(self, okx: OkxClient) -> None:
        """Subscribe tickers and candles; where OKX has one of them only, that is shown, and a note tells of the other.

        Raises:
            SubscriptionError: There are none at all.
        """
        board = self._board
        wanted = [channel for name in board.quotes for channel in (tickers(name), candles(name, board.interval))]
        try:
            await okx.subscribe(*wanted)
        except SubscriptionError as error:
            if len(error.refused) == len(wanted):
                raise

    async def _check(self) -> None:
        """Ask OKX for each instrument, so that a slip is told before anything is shown.

        Raises:
            ConfigError: There is no such instrument.
            FeedError: OKX cannot be reached.
        """
        async with OkxRest(self._config) as rest:
            for name, quote in self._board.quotes.items():
                try:
                    quote.use_step((await rest.instrument(name)).price_step)
                except OkxRequestError as error:
                    raise ConfigError(f"{error}{await _suggestion(rest, name)}") from error

    async def _fill(self) -> None:
        """Fetch the candles before now, and the price of a day ago; without them the table is only shorter."""
        try:
            async with OkxRest(self._config) as rest:
                for quote in self._board.quotes.values():
                    quote.fill(await rest.candles(quote.instrument, self._board.interval, count=_HISTORY))
                    day = await rest.candles(quote.instrument, "15m", count=_QUARTERS_A_DAY)
                    quote.day_open = day[0].open if len(day) == _QUARTERS_A_DAY else None
        except FeedError as error:
            self._say(f"no earlier candles: {error}")

    async def _lines(self) -> None:
        """Print what the tickers say from time to time, where the table is not drawn."""
        while not self._is_drawn:
            await asyncio.sleep(_LINES_EVERY_S)
            for line in self._board.plain_lines(wall_ns()):
                click.echo(line)

    def _on_state(self, status: ConnectionStatus) -> None:
        """Tell of a connection that changed, where the table does not."""
        state = (str(status.state), status.error)
        if self._states.get(status.number) != state:
            self._states[status.number] = state
            if not self._is_drawn:
                error = f": {one_line(status.error)}" if status.error else ""
                click.echo(f"{status.path} {status.number} {status.state}{error}", err=True)

    def _say(self, text: str) -> None:
        self._board.notes.append(brief(text))
        if not self._is_drawn:
            click.echo(f"note: {one_line(text)}", err=True)

    def _head(self) -> Head:
        connections = self._okx.connections if self._okx is not None else ()
        live = sum(status.state == "live" for status in connections)
        others = [f", {status.path} {status.number} {status.state}" for status in connections if status.state != "live"]
        said = f"{live}/{len(connections)} live{''.join(others)}" if connections else "connecting"
        return Head(wall_ns(), self._started_ns, said, is_live=bool(connections) and not others)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Show the library's warnings as notes: a line printed by somebody else would break the table."""
        handler = _Notes(self._say)
        library = logging.getLogger("quantkit")
        library.addHandler(handler)
        try:
            yield
        finally:
            library.removeHandler(handler)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        if not self._is_drawn:
            yield
            return
        console = console_of()
        glyphs = glyphs_of(console)
        with drawn(
            console,
            lambda: self._board.frame(self._head(), width=console.width, height=console.height, glyphs=glyphs),
        ):
            yield


async def _suggestion(rest: OkxRest, name: str) -> str:
    """Return the ids that look most like one that is not known, as an end of a sentence."""
    known = [instrument.id for instrument in await rest.instruments(kind_of(name))]
    close = get_close_matches(name.upper(), known, n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(close)}?" if close else ""
