"""How to reach OKX: hosts, timeouts, limits and the retry policy, checked when made."""

import ipaddress
import math
from typing import Any, Final, Literal, Self, TypeAlias, get_args
from urllib.parse import SplitResult, urlsplit

import msgspec
import numpy as np

from quantkit.errors import ConfigError
from quantkit.feeds.okx.codec.channels import PATHS

Region: TypeAlias = Literal["global", "eea", "us"]

_REST_HOSTS: Final[dict[str, str]] = {"global": "openapi.okx.com", "eea": "eea.okx.com", "us": "us.okx.com"}
_WS_HOSTS: Final[dict[str, str]] = {"global": "ws", "eea": "wseea", "us": "wsus"}
_DEMO_WS_HOSTS: Final[dict[str, str]] = {"global": "wspap", "eea": "wseeapap", "us": "wsuspap"}
#: OKX closes a connection after 30 s without traffic.
_SERVER_IDLE_S: Final = 30.0
#: A bound for every duration, so that a slip of the unit is caught.
_LONGEST_S: Final = 86_400.0
_TLS_SCHEMES: Final = ("wss", "https")
_COUNTS: Final = (
    "connects_per_s",
    "operations_per_h",
    "depth_channels_per_connection",
    "channels_per_connection",
    "request_bytes",
    "queue_events",
    "max_frame_bytes",
)
_SMALLEST_REQUEST: Final = 256
_LARGEST_REQUEST: Final = 65_536
#: Longest wait that a server's Retry-After header can ask for.
_LONGEST_RETRY_AFTER_S: Final = 3600.0


def _refuse_okx(url: str) -> None:
    """Refuse an address of OKX's own as a base, since there REST lives on another host than the WebSockets.

    Raises:
        ConfigError: It is one.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host != "okx.com" and not host.endswith(".okx.com"):
        return
    name = host.removesuffix(".okx.com")
    advice = f"use one of the regions {', '.join(get_args(Region))}, and demo=True for demo trading"
    for region, live in _WS_HOSTS.items():
        if name == _DEMO_WS_HOSTS[region]:
            advice = f'use region="{region}", demo=True (--region {region} --demo)'
        elif name == live or host == _REST_HOSTS[region] or (name == "www" and region == "global"):
            advice = f'use region="{region}" (--region {region})'
    raise ConfigError(f"url {url!r}: OKX's REST lives on another host than its WebSockets; leave url out and {advice}")


def _base(url: str) -> tuple[str, str]:
    """Return the scheme, and host, port and path prefix of a base address."""
    advice = "write for example ws://127.0.0.1:8765 or wss://okx.example:8443"
    problem = ""
    parts = SplitResult("", "", "", "", "")
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            problem = "it holds a user name or password"
        elif parts.scheme not in ("ws", "wss", "http", "https"):
            problem = "its scheme is not ws, wss, http or https"
        elif not parts.hostname:
            problem = "it has no host"
        elif parts.port == 0:
            problem = "its port is 0"
        elif parts.query or parts.fragment:
            problem = "it has a query or fragment"
        elif not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
            problem = "it holds spaces or unprintable characters"
    except ValueError:
        problem = "its host or port is malformed"
    if problem:
        # The address itself is left out where it may hold a password.
        shown = "url" if "@" in url else f"url {url!r}"
        raise ConfigError(f"{shown}: {problem}; {advice}")
    prefix = parts.path.rstrip("/")
    # The address of one path, copied from OKX's documentation, names the same server as its base.
    for path in PATHS:
        prefix = prefix.removesuffix(f"/ws/v5/{path}")
    return parts.scheme, parts.netloc + prefix.removesuffix("/ws/v5").rstrip("/")


def _check_duration(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} is {value!r}; it must be a number of seconds")
    if not 0.0 < value <= _LONGEST_S:
        raise ConfigError(f"{name} is {value:g}; it must be above 0 and at most {_LONGEST_S:g} seconds")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number of at least 1")


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The wait before the next attempt: full jitter, at most `base_s * factor ** failures`, capped.

    Attributes:
        base_s: Upper bound of the first wait.
        cap_s: Upper bound of every wait.
        factor: Growth of the bound with each failure.
        give_up_after: Number of failures in a row that end the attempts; None for never.
    """

    base_s: float = 0.25
    cap_s: float = 60.0
    factor: float = 2.0
    give_up_after: int | None = None

    def __post_init__(self) -> None:
        for name in ("base_s", "cap_s"):
            _check_duration(f"retry.{name}", getattr(self, name))
        if not 1.0 <= self.factor <= 100.0:
            raise ConfigError(f"retry.factor is {self.factor}; it must be from 1 to 100")
        if self.give_up_after is not None:
            _check_count("retry.give_up_after", self.give_up_after)

    def bound_s(self, failures: int) -> float:
        """Return the longest wait after so many failures in a row (1 is the first).

        Examples:
            >>> [RetryPolicy().bound_s(n) for n in (1, 2, 3, 100)]
            [0.25, 0.5, 1.0, 60.0]
        """
        steps = max(failures, 1) - 1
        # Compared as logarithms first, since the power of many failures is no number any more.
        if steps * math.log(self.factor) >= math.log(self.cap_s / self.base_s):
            return self.cap_s
        return self.base_s * self.factor**steps


class Backoff:
    """Exponential back-off with full jitter: uniform between 0 and a bound that grows with each failure.

    Args:
        policy: The bounds.
        rng: Source of the jitter, so that connections lost together do not come back together.

    Examples:
        >>> backoff = Backoff(RetryPolicy(base_s=1.0), np.random.default_rng(1))
        >>> backoff.failed()
        >>> 0.0 <= backoff.wait_s() <= 1.0, backoff.wait_s(retry_after_s=5.0)
        (True, 5.0)
    """

    __slots__ = ("_policy", "failures", "rng")

    def __init__(self, policy: RetryPolicy, rng: np.random.Generator) -> None:
        self._policy = policy
        self.rng = rng
        self.failures = 0

    def failed(self) -> None:
        """Count a failure."""
        self.failures += 1

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the policy says to give up."""
        limit = self._policy.give_up_after
        return limit is not None and self.failures >= limit

    def wait_s(self, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait now, at least what the server asked for; 0 before the first failure."""
        jitter_s = float(self.rng.uniform(0.0, self._policy.bound_s(self.failures))) if self.failures else 0.0
        return max(jitter_s, min(retry_after_s or 0.0, _LONGEST_RETRY_AFTER_S))


class OkxConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts, limits and timeouts of OKX; every default suits OKX itself.

    Attributes:
        region: Region of the account: `global`, `eea` (my.okx.com) or `us` (app.okx.com, Australia too).
        demo: Use OKX's demo trading hosts.
        url: Base of another server, such as `ws://127.0.0.1:8765`; all WebSocket paths and REST derive from it. OKX's
            own hosts are named by `region` and `demo`.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        trust_env: Use the proxy named by the environment (`HTTPS_PROXY`); never for loopback.
        ping_after_s: Time without a received byte before a ping.
        dead_after_s: Time without a received byte before the connection is aborted.
        handshake_timeout_s: For connecting, TLS, the WebSocket handshake and login together.
        ack_timeout_s: For the answer to a request.
        frame_timeout_s: For the rest of a frame that has begun.
        close_timeout_s: For a graceful close.
        stall_after_s: Silence of a depth channel before it is subscribed again.
        candle_late_s: Delay of a candle after its close before it is fetched by REST.
        watch_every_s: Time between two checks for stalled channels and late candles.
        successor_timeout_s: Time for the replacement of a closing connection to become complete.
        connects_per_s: Handshakes in any second, over all connections.
        operations_per_h: Subscribe, unsubscribe and login requests in any hour, for each connection.
        depth_channels_per_connection: How many 50- and 400-level books share a connection.
        channels_per_connection: How many channels of all kinds share a connection.
        request_bytes: Longest subscribe request.
        queue_events: How many events may wait for a consumer that is slower than the market.
        max_frame_bytes: Longest frame that is accepted.
        compress: Offer permessage-deflate.
        retry: The waits between attempts.

    Raises:
        ConfigError: A value makes no sense.

    Examples:
        >>> OkxConfig().in_region("eea").as_demo().ws_url("public")
        'wss://wseeapap.okx.com:8443/ws/v5/public'
        >>> OkxConfig(url="ws://127.0.0.1:8765").rest_url
        'http://127.0.0.1:8765'
    """

    region: Region = "global"
    demo: bool = False
    url: str | None = None
    ca_file: str | None = None
    trust_env: bool = True
    ping_after_s: float = 15.0
    dead_after_s: float = 30.0
    handshake_timeout_s: float = 10.0
    ack_timeout_s: float = 5.0
    frame_timeout_s: float = 5.0
    close_timeout_s: float = 2.0
    stall_after_s: float = 90.0
    candle_late_s: float = 5.0
    watch_every_s: float = 1.0
    successor_timeout_s: float = 20.0
    connects_per_s: int = 3
    operations_per_h: int = 480
    depth_channels_per_connection: int = 30
    channels_per_connection: int = 400
    request_bytes: int = 4096
    queue_events: int = 100_000
    max_frame_bytes: int = 2**20
    compress: bool = False
    retry: RetryPolicy = RetryPolicy()

    def __post_init__(self) -> None:
        if self.region not in get_args(Region):
            raise ConfigError(f"region {self.region!r} is not known; use one of {', '.join(get_args(Region))}")
        if self.url is not None:
            _base(self.url)
            _refuse_okx(self.url)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.endswith("_s") and name != "connects_per_s":
                _check_duration(name, value)
            elif name in _COUNTS:
                _check_count(name, value)
        if self.ping_after_s >= self.dead_after_s:
            raise ConfigError(
                f"ping_after_s ({self.ping_after_s:g}) must be below dead_after_s ({self.dead_after_s:g}): "
                "the answer to the ping needs time"
            )
        if self.dead_after_s > _SERVER_IDLE_S:
            raise ConfigError(
                f"dead_after_s is {self.dead_after_s:g}; OKX itself closes after {_SERVER_IDLE_S:g} s without traffic"
            )
        if self.request_bytes < _SMALLEST_REQUEST or self.request_bytes > _LARGEST_REQUEST:
            raise ConfigError(
                f"request_bytes is {self.request_bytes}; use {_SMALLEST_REQUEST} to {_LARGEST_REQUEST}, OKX's limit"
            )

    # Addresses ------------------------------------------------------------------------------------------------

    def ws_url(self, path: str) -> str:
        """Return the address of the `public`, `business` or `private` WebSocket.

        Raises:
            ConfigError: The path is none of them.
        """
        if path not in PATHS:
            raise ConfigError(f"WebSocket path {path!r} is not known; use one of {', '.join(PATHS)}")
        if self.url is None:
            host = (_DEMO_WS_HOSTS if self.demo else _WS_HOSTS)[self.region]
            return f"wss://{host}.okx.com:8443/ws/v5/{path}"
        scheme, place = _base(self.url)
        return f"{'wss' if scheme in _TLS_SCHEMES else 'ws'}://{place}/ws/v5/{path}"

    @property
    def rest_url(self) -> str:
        """The base of REST, without a slash at its end."""
        if self.url is None:
            return f"https://{_REST_HOSTS[self.region]}"
        scheme, place = _base(self.url)
        return f"{'https' if scheme in _TLS_SCHEMES else 'http'}://{place}"

    @property
    def host(self) -> str:
        """The host name of the WebSockets."""
        return urlsplit(self.ws_url("public")).hostname or ""

    @property
    def is_okx(self) -> bool:
        """Whether the host is OKX's own, reached over TLS; a `url` never is."""
        return self.url is None

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check_keys_allowed(self) -> None:
        """Make sure that API keys may be sent to this host: OKX's own over TLS, or this machine.

        Raises:
            ConfigError: They may not.
        """
        if not self.is_okx and not self.is_loopback:
            raise ConfigError(
                f"API keys are never sent to {self.ws_url('private')}: it is neither OKX over TLS nor this machine; "
                "leave out the credentials or the url"
            )

    # Fluent changes -------------------------------------------------------------------------------------------

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some values changed.

        Raises:
            ConfigError: A name is unknown, or a value makes no sense.

        Examples:
            >>> OkxConfig().with_(queue_events=10).queue_events
            10
        """
        for name in changes:
            if name not in self.__struct_fields__:
                raise ConfigError(f"OkxConfig has no {name!r}; it has {', '.join(self.__struct_fields__)}")
        return msgspec.structs.replace(self, **changes)

    def in_region(self, region: Region) -> Self:
        """Return a copy for accounts of another region."""
        return self.with_(region=region)

    def as_demo(self) -> Self:
        """Return a copy for demo trading."""
        return self.with_(demo=True)

    def at(self, url: str) -> Self:
        """Return a copy for another server."""
        return self.with_(url=url)
