"""API keys: their sources, the signatures of requests, and their protection from being shown."""

import base64
import hashlib
import hmac
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn, final

from quantkit.errors import ConfigError

ENVIRONMENT: Final = {"key": "OKX_API_KEY", "secret": "OKX_API_SECRET", "passphrase": "OKX_API_PASSPHRASE"}
_REDACTED: Final = "***"
_LARGEST_FILE: Final = 64 * 1024


@final
class Secret:
    """A text that only `reveal` shows.

    `repr`, `str` and `format` give `***`; pickling, copying into JSON and hashing are refused.

    Examples:
        >>> secret = Secret("hunter2")
        >>> f"{secret} {secret!r} {secret:>5}", secret.reveal()
        ('*** *** ***', 'hunter2')
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the text; keep it nowhere."""
        return self.__value

    def __repr__(self) -> str:
        return _REDACTED

    def __format__(self, spec: str) -> str:
        return _REDACTED

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash in a log would let short secrets be guessed

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is never pickled or copied")

    def __bool__(self) -> bool:
        return bool(self.__value)


@final
class Credentials:
    """An API key with its secret and passphrase.

    Args:
        key: The key's id, as OKX shows it.
        secret: The signing key of requests.
        passphrase: The one chosen with the key.

    Raises:
        ConfigError: A text is empty or holds characters that cannot be sent.
    """

    __slots__ = ("key", "passphrase", "secret")

    def __init__(self, key: str | Secret, secret: str | Secret, passphrase: str | Secret) -> None:
        self.key = _secret("key", key)
        self.secret = _secret("secret", secret)
        self.passphrase = _secret("passphrase", passphrase)

    def __repr__(self) -> str:
        return f"Credentials({_REDACTED})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("credentials are never pickled or copied")

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> "Credentials":
        """Read credentials from a file if one is named, else from the environment.

        Raises:
            ConfigError: There are none, or they are malformed.
        """
        return cls.from_environment() if path is None else cls.from_file(path)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Credentials":
        """Read OKX_API_KEY, OKX_API_SECRET and OKX_API_PASSPHRASE.

        Raises:
            ConfigError: One of them is missing.
        """
        found = os.environ if environment is None else environment
        missing = [name for name in ENVIRONMENT.values() if not found.get(name)]
        if missing:
            raise ConfigError(f"no OKX credentials: set {', '.join(missing)}, or name a credentials file")
        return cls(**{field: found[name] for field, name in ENVIRONMENT.items()})

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "Credentials":
        """Read `key`, `secret` and `passphrase` from a TOML file that its owner alone can read.

        Raises:
            ConfigError: The file is missing, readable by others, or does not hold these three texts.
        """
        place = Path(path)
        data, problem = _read_private(place)
        table: dict[str, object] = {}
        if not problem:
            try:
                table = tomllib.loads(data.decode())
            except ValueError:
                problem = 'is not TOML; write key = "...", secret = "..." and passphrase = "..."'
        if not problem:
            problem = _table_problem(table)
        # Raised outside of any handler: a chained error would carry the file's text along.
        if problem:
            raise ConfigError(f"credentials file {place}: {problem}")
        return cls(**{field: str(table[field]) for field in ENVIRONMENT})

    def sign_login(self, timestamp_s: int) -> dict[str, str]:
        """Return the argument of a WebSocket login.

        Args:
            timestamp_s: OKX's time, whole UTC seconds.
        """
        stamp = str(timestamp_s)
        return {
            "apiKey": self.key.reveal(),
            "passphrase": self.passphrase.reveal(),
            "timestamp": stamp,
            "sign": self._sign(f"{stamp}GET/users/self/verify".encode()),
        }

    def sign_rest(self, timestamp: str, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        """Return the headers of a private REST request.

        Args:
            timestamp: ISO 8601 UTC with milliseconds, such as `2020-12-08T09:08:57.715Z`.
            method: In capitals.
            path: From `/api/v5` on, with the query exactly as sent.
            body: The bytes sent, empty for GET.
        """
        return {
            "OK-ACCESS-KEY": self.key.reveal(),
            "OK-ACCESS-SIGN": self._sign(f"{timestamp}{method}{path}".encode() + body),
            "OK-ACCESS-TIMESTAMP": timestamp,
            "OK-ACCESS-PASSPHRASE": self.passphrase.reveal(),
        }

    def clean(self, text: str) -> str:
        """Return a text with every quotation of the key, secret and passphrase blanked."""
        for secret in (self.secret, self.key, self.passphrase):
            quoted = secret.reveal()
            # Requests are quoted inside of JSON texts, where quotes and backslashes are escaped once or twice.
            for _ in range(3):
                text = text.replace(quoted, _REDACTED)
                quoted = quoted.replace("\\", "\\\\").replace('"', '\\"')
        return text

    def _sign(self, message: bytes) -> str:
        digest = hmac.new(self.secret.reveal().encode(), message, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()


def _secret(name: str, value: str | Secret) -> Secret:
    text = value.reveal() if isinstance(value, Secret) else value
    if not text:
        raise ConfigError(f"OKX credentials: the {name} is empty")
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ConfigError(f"OKX credentials: the {name} holds spaces around it, or characters other than plain ASCII")
    return value if isinstance(value, Secret) else Secret(value)


def _read_private(path: Path) -> tuple[bytes, str]:
    """Return a file's bytes and its problem, empty without one."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return b"", "is not a file"
            if os.name == "posix" and status.st_mode & 0o077:
                return b"", f"can be read by others (mode {status.st_mode & 0o777:04o}); run: chmod 600 {path}"
            data = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    return (data, "") if len(data) <= _LARGEST_FILE else (b"", "is too long for three texts")


def _table_problem(table: Mapping[str, object]) -> str:
    unknown = [name for name in table if name not in ENVIRONMENT]
    if unknown:
        return f"holds {len(unknown)} keys besides {', '.join(ENVIRONMENT)}; leave them out"
    wrong = [name for name in ENVIRONMENT if not isinstance(table.get(name), str) or not table[name]]
    return f"has no text for {', '.join(wrong)}" if wrong else ""
