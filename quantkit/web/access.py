"""Who a request comes from: the token, the one-time link, sessions of browsers, and the wait after wrong tries."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from quantkit import clock
from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError, QuantkitError

#: How long a browser stays signed in.
SESSION_NS: Final = 12 * 3600 * NS_PER_S
#: Wrong credentials that are answered at once; each further one doubles the wait.
FREE_TRIES: Final = 8
#: The longest wait, and how long without a wrong try until all are forgotten.
WAIT_S_MAX: Final = 300.0
FORGET_S: Final = 900.0
#: Browsers signed in at a time; the oldest session ends for one more.
SESSIONS_MAX: Final = 32
_TRIES_KEPT: Final = 256
_PRIVATE: Final = 0o600


class LockedOutError(QuantkitError):
    """Too many wrong credentials; none is looked at for now."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many wrong tokens; the next one is looked at in {wait_s:.0f} s")
        self.wait_s = wait_s


class Lockout:
    """Counts different wrong credentials, and makes the next one wait twice as long each time.

    A right one forgets nothing: programs use theirs all the time, and a guesser would be free between.

    Args:
        now_s: A clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._now_s = now_s
        self._tried: dict[bytes, None] = {}
        self._count = 0
        self._last_s = 0.0
        self._until_s = 0.0

    def check(self) -> None:
        """Refuse to look at a credential while the wait lasts.

        Raises:
            LockedOutError: It does.
        """
        wait_s = self._until_s - self._now_s()
        if wait_s > 0:
            raise LockedOutError(wait_s)

    def failed(self, credential: str) -> None:
        """Count a wrong credential; the same one again, as of a forgotten browser tab, is no new guess."""
        now_s = self._now_s()
        if now_s - self._last_s > FORGET_S:
            self._tried.clear()
            self._count = 0
        digest = _digest(credential)
        if digest in self._tried:
            return
        self._tried[digest] = None
        if len(self._tried) > _TRIES_KEPT:
            del self._tried[next(iter(self._tried))]
        self._count += 1
        self._last_s = now_s
        if self._count > FREE_TRIES:
            self._until_s = now_s + min(2.0 ** (self._count - FREE_TRIES - 1), WAIT_S_MAX)


class BrowserSession:
    """A signed-in browser.

    Attributes:
        expires_ns: UTC ns.
        ended: Set once it was signed out; its sockets close then.
    """

    def __init__(self, digest: str, expires_ns: int) -> None:
        self.digest = digest
        self.expires_ns = expires_ns
        self.ended = asyncio.Event()


class _Kept(msgspec.Struct):
    """A session as the file has it: not the cookie, which it would be as good as."""

    digest: str
    expires_ns: int


class BrowserSessions:
    """The sessions of browsers, kept in a file so that they outlive the server.

    Args:
        path: The file, readable by its owner alone; None keeps nothing.
        wall_ns: The machine's clock.

    Raises:
        ConfigError: The file is another's to read, or cannot be read.
    """

    def __init__(self, path: Path | None, wall_ns: Callable[[], int] = clock.wall_ns) -> None:
        self._path = path
        self._wall_ns = wall_ns
        self._sessions: dict[str, BrowserSession] = {}
        if path is not None and path.exists():
            for kept in _read_sessions(path):
                self._sessions[kept.digest] = BrowserSession(kept.digest, kept.expires_ns)

    def open(self) -> tuple[str, BrowserSession]:
        """Begin a session; return the cookie's value and the session."""
        secret = secrets.token_urlsafe(32)
        session = BrowserSession(_digest(secret).hex(), self._wall_ns() + SESSION_NS)
        self._drop_expired()
        while len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(next(iter(self._sessions))).ended.set()
        self._sessions[session.digest] = session
        self._write()
        return secret, session

    def find(self, secret: str) -> BrowserSession | None:
        """Return the session of a cookie's value, None for none or one that has ended."""
        session = self._sessions.get(_digest(secret).hex())
        return session if session is not None and session.expires_ns > self._wall_ns() else None

    def end(self, session: BrowserSession) -> None:
        """Sign a browser out."""
        session.ended.set()
        self._sessions.pop(session.digest, None)
        self._write()

    def _drop_expired(self) -> None:
        now_ns = self._wall_ns()
        for session in [each for each in self._sessions.values() if each.expires_ns <= now_ns]:
            self.end(session)

    def _write(self) -> None:
        if self._path is not None:
            kept = [_Kept(each.digest, each.expires_ns) for each in self._sessions.values()]
            write_private(self._path, msgspec.json.encode(kept))


class Visitor(msgspec.Struct, frozen=True):
    """Who a request comes from.

    Attributes:
        key: What its changes carry in a header, and its sockets in their first message.
        session: None for a program with the token.
    """

    key: str
    session: BrowserSession | None


class Admission:
    """Decides who a request comes from.

    Args:
        token: What programs send; None makes one up.
        sessions: Of browsers.
        lockout: Of wrong credentials.
    """

    def __init__(self, token: str | None, sessions: BrowserSessions, lockout: Lockout | None = None) -> None:
        self.token = secrets.token_urlsafe(32) if token is None else token
        #: Opens one session, once.
        self.link_key = secrets.token_urlsafe(32)
        self._sessions = sessions
        self._lockout = lockout or Lockout()

    def visitor(self, authorization: str | None, cookie: str | None) -> Visitor | None:
        """Return who sent these credentials, None for nobody known.

        Args:
            authorization: The header of that name; it counts before the cookie.
            cookie: The value of the session's cookie.

        Raises:
            LockedOutError: Too many wrong ones came before.
        """
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer" or not self._is_right(token.strip(), self.token):
                return None
            return Visitor(self.token, None)
        if not cookie:
            return None
        # An old cookie is no guess, and 256 random bits are not found by guessing: it costs nobody a wait.
        session = self._sessions.find(cookie)
        return None if session is None else Visitor(_key_of(cookie), session)

    def sign_in(self, credential: str) -> tuple[str, Visitor] | None:
        """Open a browser's session by the one-time link or the token; return the cookie's value, and who it is.

        Raises:
            LockedOutError: Too many wrong credentials came before.
        """
        self._lockout.check()
        if hmac.compare_digest(credential.encode(), self.link_key.encode()):
            self.link_key = secrets.token_urlsafe(32)
        elif not self._is_right(credential, self.token):
            return None
        secret, session = self._sessions.open()
        return secret, Visitor(_key_of(secret), session)

    def sign_out(self, visitor: Visitor) -> None:
        """End a browser's session."""
        if visitor.session is not None:
            self._sessions.end(visitor.session)

    def _is_right(self, given: str, wanted: str) -> bool:
        self._lockout.check()
        if hmac.compare_digest(given.encode(), wanted.encode()):
            return True
        self._lockout.failed(given)
        return False


def same_key(given: str, visitor: Visitor) -> bool:
    """Return whether a key is the visitor's, in constant time."""
    return hmac.compare_digest(given.encode(), visitor.key.encode())


def read_token(path: Path) -> str:
    """Return the token that a file holds, which is made with a new one where it is missing.

    Raises:
        ConfigError: It is another's to read, holds no token, or cannot be written.
    """
    if not path.exists():
        token = secrets.token_urlsafe(32)
        write_private(path, token.encode() + b"\n")
        return token
    text = _read_private(path).decode("ascii", "replace").strip()
    if len(text) < 32 or not text.isprintable():
        raise ConfigError(f"{path} holds no token of at least 32 characters; delete it, and a new one is made")
    return text


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as file:  # noqa: PTH123
            file.write(content)
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error


def _read_sessions(path: Path) -> list[_Kept]:
    try:
        return msgspec.json.decode(_read_private(path), type=list[_Kept])
    except msgspec.DecodeError:
        raise ConfigError(f"{path} holds no sessions of browsers; delete it, and they sign in again") from None


def _read_private(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        ConfigError: It cannot be read, or others than its owner can read it.
    """
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"{path} is open to others (mode {stat.S_IMODE(mode):o}): chmod 600, or delete it")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _key_of(cookie: str) -> str:
    """Return the key that belongs to a cookie, which a page can read while the cookie it cannot."""
    return hmac.digest(cookie.encode("utf-8", "surrogateescape"), b"quantkit serve: key of a session", "sha256").hex()
