"""The control endpoint: who gets in, what is answered, and what a client that is slow or hostile costs: one status."""

import asyncio
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from live_statuses import status

import quantkit as qk
from quantkit.live.commands import RunCommands
from quantkit.live.control import (
    CONTROL_FILE,
    REQUEST_BYTES_MAX,
    CommandOp,
    ControlClient,
    Hello,
    StatusOp,
    framed,
    read_address,
    write_address,
)
from quantkit.live.control_server import CLIENTS_MAX, ControlServer
from quantkit.live.history import HistoryKeeper
from quantkit.live.status import LiveStatus, RunHistory
from quantkit.storage.tape import TapeWriter


class Setting:
    """A run's folder, its commands, and its endpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tape = TapeWriter(folder / "engine")  # a run that is going
        self.commands = RunCommands()
        self.lines: list[socket.socket] = []
        self.history = HistoryKeeper()
        self.server = ControlServer(folder, self.commands, self.history)

    def close(self) -> None:
        self.commands.end()
        self.server.close()
        self.tape.close()
        for line in self.lines:
            line.close()

    def dial(self, hello: bytes | None = None, *, buffer: int | None = None) -> socket.socket:
        """Connect by hand; with the right token unless another first message is given."""
        address = read_address(self.folder)
        line = socket.socket()
        self.lines.append(line)
        if buffer is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        line.settimeout(10)
        line.connect((address.host, address.port))
        line.sendall(framed(Hello(address.token)) if hello is None else hello)
        return line

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that the endpoint's thread does."""
        for _ in range(2_000):
            if holds():
                return
            threading.Event().wait(0.005)
        raise AssertionError("it does not come")


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.close()


@contextmanager
def engine(commands: RunCommands) -> Iterator[list[str]]:
    """Take commands on a thread, as the engine's would."""

    class Feed:
        def wake_at(self, moment_ns: int) -> None:
            asked.set()

        def stop(self) -> None: ...

    asked, taken, is_over = threading.Event(), list[str](), threading.Event()
    commands.begin(Feed(), None)

    def work() -> None:
        while not is_over.is_set():
            asked.wait()
            asked.clear()
            while (command := commands.take(77)) is not None:
                taken.append(f"{command.name} {command.source} {command.reason}".strip())

    thread = threading.Thread(target=work)
    thread.start()
    yield taken
    is_over.set()
    asked.set()
    thread.join()


def message(line: socket.socket) -> bytes:
    """Return the next message of a connection, empty at its end."""
    prefix = taken(line, 4)
    return taken(line, struct.unpack(">I", prefix)[0]) if prefix else b""


def taken(line: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        try:
            more = line.recv(count - len(content))
        except ConnectionResetError:
            more = b""
        if not more:
            return b""
        content += more
    return content


# Address ------------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_and_goes_with_the_run(setting: Setting) -> None:
    file = setting.folder / CONTROL_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    address = read_address(setting.folder)
    assert address.host == "127.0.0.1"
    assert len(address.token) >= 43
    setting.server.close()
    assert not file.exists()
    assert [path.name for path in setting.folder.iterdir()] == ["engine"]
    with pytest.raises(qk.ConfigError, match="no run listens there"):
        read_address(setting.folder)


def test_every_run_has_a_token_of_its_own(tmp_path: Path) -> None:
    made = [Setting(tmp_path / name) for name in ("a", "b")]
    tokens = {read_address(each.folder).token for each in made}
    for each in made:
        each.close()
    assert len(tokens) == 2


def test_the_file_that_a_kill_left_is_called_stale(setting: Setting, tmp_path: Path) -> None:
    address = read_address(setting.folder)
    setting.close()
    write_address(tmp_path, address)
    client = ControlClient(tmp_path)
    with pytest.raises(qk.ConfigError, match=r"it was killed: its control\.json is stale"):
        asyncio.run(client.command("pause"))
    TapeWriter(tmp_path / "engine", resume=True).close()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b"\xff", b'{"host":"a","port":1,"token":"b","pid":1,"protocol":9}']
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONTROL_FILE).write_bytes(content)
    with pytest.raises(qk.DataError):
        read_address(tmp_path)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        with pytest.raises(qk.ConfigError, match="the run cannot be controlled"):
            ControlServer(tmp_path, RunCommands(), HistoryKeeper(), port=line.getsockname()[1])
    assert list(tmp_path.iterdir()) == []


# Commands -----------------------------------------------------------------------------------------------------------


def test_a_command_is_answered_with_the_moment_at_which_the_run_took_it(setting: Setting) -> None:
    client = ControlClient(setting.folder)
    with engine(setting.commands) as taken_commands:
        assert asyncio.run(client.command("pause", source="web", reason="lunch")) == 77
        assert asyncio.run(client.command("resume")) == 77
    assert taken_commands == ["pause web lunch", "resume control"]


def test_what_the_run_refuses_is_told(setting: Setting) -> None:
    client = ControlClient(setting.folder)
    with pytest.raises(qk.ConfigError, match="reason of a command is a text of at most 200"):
        asyncio.run(client.command("pause", reason="x" * 201))
    setting.commands.end()
    with pytest.raises(qk.ConfigError, match="the run is over"):
        asyncio.run(client.command("pause"))


def test_a_command_counts_though_its_client_has_gone(setting: Setting) -> None:
    """The way of the answer is lost, not the command."""
    line = setting.dial()
    line.sendall(framed(CommandOp("stop")))
    setting.until(lambda: len(setting.commands._waiting) == 1)
    line.close()
    with engine(setting.commands) as taken_commands:
        setting.commands.pause()
        setting.until(lambda: len(taken_commands) == 2)
    assert taken_commands == ["stop control", "pause python"]


def test_a_run_that_ends_answers_those_who_wait(setting: Setting) -> None:
    client, answers = ControlClient(setting.folder), list[Any]()

    def ask() -> None:
        try:
            answers.append(asyncio.run(client.command("pause")))
        except qk.QuantkitError as error:
            answers.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    setting.until(lambda: len(setting.commands._waiting) == 1)
    setting.commands.end()
    setting.server.close()
    thread.join()
    assert answers == ["pause: the run ended before it took the command"]


# Statuses -----------------------------------------------------------------------------------------------------------


def test_statuses_come_as_they_are_and_end_with_the_run(setting: Setting) -> None:
    """Every field of them, money too."""
    client, got = ControlClient(setting.folder), list[LiveStatus]()

    async def read() -> None:
        async for each in client.statuses():
            got.append(each)

    thread = threading.Thread(target=lambda: asyncio.run(read()))
    thread.start()
    setting.until(lambda: setting.server.is_watching)
    for number in (1, 2):
        setting.server.show(status(number=number))
        setting.until(lambda number=number: len(got) == number)  # type: ignore[misc]
    setting.server.close()
    thread.join()
    assert got == [status(number=1), status(number=2)]
    assert not setting.server.is_watching


def test_a_client_that_comes_later_gets_the_last_hour(setting: Setting) -> None:
    """Also while nothing new comes; a run of an older version, which does not know the word, has none."""
    client = ControlClient(setting.folder)
    assert asyncio.run(client.history()) == RunHistory()
    setting.history.add_mark("BTC-USDT", 5, 100.0)
    setting.history.add_equity(6, 1_000.0)
    found = asyncio.run(client.history())
    assert [(path.instrument, path.time_ns, path.price) for path in found.prices] == [("BTC-USDT", (5,), (100.0,))]
    assert (found.equity.time_ns, found.equity.price) == ((6,), (1_000.0,))
    assert not setting.server.is_watching


def test_a_run_that_knows_no_history_has_none(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.live.control_server._requests", msgspec.json.Decoder(StatusOp | CommandOp))
    setting.history.add_equity(6, 1_000.0)
    assert asyncio.run(ControlClient(setting.folder).history()) == RunHistory()


def test_without_a_client_nobody_watches(setting: Setting) -> None:
    """Nor with one that only gives commands, or that has not said what it wants."""
    assert not setting.server.is_watching
    line = setting.dial()
    setting.until(lambda: len(setting.server._clients) == 1)
    assert not setting.server.is_watching
    line.sendall(framed(StatusOp()))
    setting.until(lambda: setting.server.is_watching)
    line.close()

    def is_gone() -> bool:
        setting.server.show(status())
        return not setting.server.is_watching

    setting.until(is_gone)


def test_a_client_that_does_not_read_holds_one_status_back(setting: Setting) -> None:
    """However many come: its transport keeps what it was given last, and it finds the newest behind that."""
    line = setting.dial(buffer=4096)
    line.sendall(framed(StatusOp()))
    setting.until(lambda: setting.server.is_watching)
    large = tuple("x" * 1000 for _ in range(300))
    pending: list[int] = []
    # Looked for once: it takes a walk over everything that the process holds.
    transports = _transports()
    for number in range(1, 61):
        setting.server.show(status(number=number, notes=large))
        setting.until(lambda number=number: setting.server._newest.number == number)  # type: ignore[misc]
        pending.append(backlog(setting, transports))
    length = len(setting.server._newest.frame)
    assert max(pending) <= length
    numbers = []
    while not numbers or numbers[-1] < 60:
        numbers.append(msgspec.json.decode(message(line))["status"]["number"])
    assert numbers == sorted(set(numbers))
    assert len(numbers) <= 4
    line.close()


def backlog(setting: Setting, transports: list[Any]) -> int:
    """Return how many bytes the endpoint keeps for its clients."""
    found: list[int] = []
    loop = setting.server._loop
    assert loop is not None

    def look() -> None:
        found.append(sum(each.get_write_buffer_size() for each in transports if not each.is_closing()))

    loop.call_soon_threadsafe(look)
    setting.until(lambda: bool(found))
    return found[0]


def _transports() -> list[Any]:
    import gc
    from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]

    return [each for each in gc.get_objects() if isinstance(each, _SelectorSocketTransport)]


def test_what_the_endpoint_has_not_taken_over_is_replaced(setting: Setting) -> None:
    """The engine never waits for its thread: of what it left meanwhile the newest counts."""
    line = setting.dial()
    line.sendall(framed(StatusOp()))
    setting.until(lambda: setting.server.is_watching)
    held, go_on = threading.Event(), threading.Event()
    loop = setting.server._loop
    assert loop is not None
    loop.call_soon_threadsafe(lambda: (held.set(), go_on.wait(10)))
    assert held.wait(10)
    for number in range(1, 1001):
        setting.server.show(status(number=number))
    go_on.set()
    assert msgspec.json.decode(message(line))["status"]["number"] == 1000
    setting.server.show(status(number=1001))
    assert msgspec.json.decode(message(line))["status"]["number"] == 1001
    line.close()


# Strangers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hello",
    [
        framed(Hello("wrong")),
        framed(Hello("")),
        framed(Hello("\U0001f600" * 50)),
        b"\0\0\0\2{}",
        b"\0\0\0\4\xff\xff\xff\xff",
        b"\0\0\0\0",
        struct.pack(">I", REQUEST_BYTES_MAX + 1),
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_without_the_token_there_is_no_answer(setting: Setting, hello: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.live.control_server._BACK_OFF_S", 0.0)
    monkeypatch.setattr("quantkit.live.control_server._HELLO_S", 60.0)  # it is not the time that ends the connection
    line = setting.dial(hello)
    assert message(line) == b""
    assert len(setting.commands._waiting) == 0
    setting.until(lambda: not setting.server._clients)


def test_each_wrong_token_is_answered_later_and_the_right_one_at_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def noted(wait_s: float) -> None:
        waits.append(wait_s)

    monkeypatch.setattr("quantkit.live.control_server.asyncio.sleep", noted)
    for _ in range(10):
        assert message(setting.dial(framed(Hello("wrong")))) == b""
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    with engine(setting.commands):
        assert asyncio.run(ControlClient(setting.folder).command("pause")) == 77
    assert len(waits) == 10


def test_the_token_is_compared_in_constant_time(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, own: bytes) -> bool:
        compared.append(given)
        return given == own

    monkeypatch.setattr("quantkit.live.control_server.hmac.compare_digest", compare)
    monkeypatch.setattr("quantkit.live.control_server._BACK_OFF_S", 0.0)
    message(setting.dial(framed(Hello("wrong"))))
    assert compared == [b"wrong"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"{}",
        b'{"op":"sell"}',
        b'{"op":"command","name":"kill"}',
        b'{"op":"command","name":"pause","x":1}',
        b"\xff",
        b"[]",
    ],
)
def test_what_is_not_understood_is_refused(setting: Setting, request_bytes: bytes) -> None:
    line = setting.dial()
    line.sendall(len(request_bytes).to_bytes(4, "big") + request_bytes)
    reply = msgspec.json.decode(message(line))
    assert reply["kind"] == "refused"
    assert message(line) == b""


def test_only_so_many_clients_are_let_in(setting: Setting) -> None:
    """And once they have gone there is room again."""
    lines = []
    for number in range(1, CLIENTS_MAX + 1):
        lines.append(setting.dial())
        lines[-1].sendall(framed(StatusOp()))
        setting.until(lambda number=number: setting.server._watchers == number)  # type: ignore[misc]
    assert message(setting.dial()) == b""
    setting.server.show(status(number=1))
    for line in lines:
        assert msgspec.json.decode(message(line))["status"]["number"] == 1
        line.close()

    def is_empty() -> bool:
        setting.server.show(status())
        return not setting.server._clients

    setting.until(is_empty)


def test_many_come_in_at_once(setting: Setting) -> None:
    """Each has its turn, also behind strangers that say nothing and go."""
    strangers = [setting.dial(b"") for _ in range(40)]
    setting.until(lambda: len(setting.server._clients) == 40)
    lines = [setting.dial() for _ in range(60)]
    for line in lines:
        line.sendall(framed(StatusOp()))
    setting.until(lambda: len(setting.server._clients) == 100)
    assert not setting.server.is_watching
    for line in strangers:
        line.close()
    setting.until(lambda: setting.server._watchers == 60)


def test_a_client_that_says_nothing_is_let_go(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.live.control_server._HELLO_S", 0.01)
    assert message(setting.dial(b"")) == b""
    assert message(setting.dial()) == b""
    setting.until(lambda: not setting.server._clients)


def test_the_end_waits_for_nobody_who_does_not_read(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.live.control_server._LAST_WORDS_S", 0.01)
    line = setting.dial(buffer=4096)
    line.sendall(framed(StatusOp()))
    setting.until(lambda: setting.server.is_watching)
    setting.server.show(status(notes=tuple("x" * 1000 for _ in range(3000))))
    setting.until(lambda: setting.server._newest.number == 1)
    setting.server.close()
    assert not setting.server._thread.is_alive()
    line.close()


def test_a_lost_connection_is_an_error_and_no_end(setting: Setting) -> None:
    """Whoever watches must not take a broken wire for the end of the run."""
    client = ControlClient(setting.folder)

    async def read() -> None:
        async for _ in client.statuses():
            loop = setting.server._loop
            assert loop is not None
            loop.call_soon_threadsafe(abort_all, loop)

    def abort_all(loop: asyncio.AbstractEventLoop) -> None:
        for each in _transports():
            if each._loop is loop:
                each.abort()

    def show() -> None:
        setting.until(lambda: setting.server.is_watching)
        setting.server.show(status())

    thread = threading.Thread(target=show)

    thread.start()
    with pytest.raises(qk.FeedError, match=r"the run has closed the connection|is lost"):
        asyncio.run(read())
    thread.join()
