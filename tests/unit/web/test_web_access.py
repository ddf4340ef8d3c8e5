"""Tokens, sessions of browsers, and the wait after wrong tries."""

from pathlib import Path

import pytest

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError
from quantkit.web.access import (
    FORGET_S,
    FREE_TRIES,
    SESSION_NS,
    SESSIONS_MAX,
    WAIT_S_MAX,
    Admission,
    BrowserSessions,
    LockedOutError,
    Lockout,
    read_token,
    write_private,
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def seconds(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(self.now_s * NS_PER_S)


def test_waits_double_up_to_a_limit() -> None:
    """One second after the free tries, then twice as long each time."""
    clock = Clock()
    lockout = Lockout(clock.seconds)
    waits = []
    for number in range(FREE_TRIES + 11):
        lockout.check()
        lockout.failed(f"guess {number}")
        try:
            lockout.check()
        except LockedOutError as error:
            waits.append(error.wait_s)
            clock.now_s += error.wait_s
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, WAIT_S_MAX, WAIT_S_MAX]


def test_the_same_wrong_token_is_one_guess() -> None:
    """A program with an old token locks nobody out."""
    lockout = Lockout(Clock().seconds)
    for _ in range(1000):
        lockout.failed("old")
        lockout.check()


def test_guesses_are_forgotten_after_a_while() -> None:
    """Not before."""
    clock = Clock()
    lockout = Lockout(clock.seconds)
    for number in range(FREE_TRIES):
        lockout.failed(str(number))
    clock.now_s += FORGET_S + 1
    for number in range(FREE_TRIES):
        lockout.failed(f"later {number}")
    lockout.check()
    lockout.failed("one more")
    with pytest.raises(LockedOutError, match=r"looked at in 1 s"):
        lockout.check()


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dG9rZW4=", "token", "Bearer tökén", "Bearer wrong"]
)
def test_wrong_authorization_is_nobody(authorization: str) -> None:
    """The cookie beside it does not count."""
    sessions = BrowserSessions(None)
    secret, _ = sessions.open()
    assert Admission("t" * 40, sessions).visitor(authorization, secret) is None


def test_a_session_ends_by_itself() -> None:
    """Twelve hours after signing in."""
    clock = Clock()
    sessions = BrowserSessions(None, clock.wall_ns)
    secret, session = sessions.open()
    clock.now_s += SESSION_NS / NS_PER_S - 1
    assert sessions.find(secret) is session
    clock.now_s += 2
    assert sessions.find(secret) is None


def test_the_oldest_session_makes_room() -> None:
    """And its sockets learn of it."""
    sessions = BrowserSessions(None)
    opened = [sessions.open() for _ in range(SESSIONS_MAX + 1)]
    assert sessions.find(opened[0][0]) is None
    assert opened[0][1].ended.is_set()
    assert all(sessions.find(secret) is session for secret, session in opened[1:])


def test_a_token_file_is_made_once(tmp_path: Path) -> None:
    """For its owner alone."""
    path = tmp_path / "token"
    token = read_token(path)
    assert len(token) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == token


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 5, b"a" * 20 + b"\x00" * 20])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    write_private(path, content)
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(path)


def test_what_others_can_read_is_refused(tmp_path: Path) -> None:
    """Token and sessions alike."""
    path = tmp_path / "kept"
    write_private(path, b"[]")
    path.chmod(0o640)
    for reading in (read_token, BrowserSessions):
        with pytest.raises(ConfigError, match="chmod 600"):
            reading(path)


def test_damaged_sessions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_private(path, b'[{"digest": 1}]')
    with pytest.raises(ConfigError, match="delete it"):
        BrowserSessions(path)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_private(tmp_path / "file" / "token", b"")
