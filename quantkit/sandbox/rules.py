"""The exchange's limits and timers as numbers that a test can shrink."""

import msgspec

from quantkit.errors import ConfigError


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How strict and how patient the exchange is; the defaults are OKX's.

    Attributes:
        idle_s: A connection without a message either way for so long is closed with 4004.
        notice_s: From the notice 64008 to the close.
        login_window_s: How far a login's or a request's time may be from the server's.
        keep_alive_s: A book without change for so long sends an empty update.
        connects_per_s: Handshakes of one address in any second; the next is answered with HTTP 429.
        operations_per_h: Subscribe, unsubscribe and login requests of one connection in any hour.
        request_bytes: A longer request is answered with close code 1009.
        write_buffer_bytes: Text waiting for a slow reader; more is answered with close code 4005.
        connections_per_channel: How many connections may hold one private channel.
        channels_per_connection: Subscriptions of one connection; more is answered with close code 4009. 0: any number.
        account_push_s: How often account and positions send their full state.
        limits_rest: Whether REST endpoints count requests and answer 50011.
    """

    idle_s: float = 30.0
    notice_s: float = 60.0
    login_window_s: float = 30.0
    keep_alive_s: float = 60.0
    connects_per_s: int = 3
    operations_per_h: int = 480
    request_bytes: int = 65_536
    write_buffer_bytes: int = 4 * 2**20
    connections_per_channel: int = 30
    channels_per_connection: int = 0
    account_push_s: float = 5.0
    limits_rest: bool = True

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: A timer or a limit is not above zero.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value <= 0 and name not in ("channels_per_connection", "limits_rest"):
                raise ConfigError(f"the sandbox's {name} is {value}; it must be above zero")

    def faster(self, factor: float) -> "Rules":
        """Return the rules with every timer divided by `factor`; counts stay.

        Examples:
            >>> Rules().faster(60).notice_s
            1.0
        """
        timers = {name: getattr(self, name) / factor for name in self.__struct_fields__ if name.endswith("_s")}
        timers.pop("connects_per_s")
        return msgspec.structs.replace(self, **timers)
