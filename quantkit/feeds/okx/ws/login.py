"""Logins: signed with the exchange's time; foreign texts are cleaned of the credentials they may quote."""

from collections.abc import Callable

import msgspec

from quantkit.clock import NS_PER_S
from quantkit.errors import QuantkitError
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxError, OkxServerError
from quantkit.feeds.okx.ws.fetches import Fetches


class Login:
    """Makes the login requests of all connections.

    Args:
        credentials: None where no channel needs a login.
        fetches: Has the REST client that asks for the exchange's time.
        stamp: Returns UTC ns.
    """

    def __init__(self, credentials: Credentials | None, fetches: Fetches, stamp: Callable[[], int]) -> None:
        self._credentials = credentials
        self._fetches = fetches
        self._stamp = stamp
        self._clock_offset_ns = 0

    @property
    def is_possible(self) -> bool:
        """Whether there are credentials."""
        return self._credentials is not None

    def request(self) -> bytes:
        """Return a login, signed now."""
        assert self._credentials is not None
        timestamp_s = (self._stamp() + self._clock_offset_ns) // NS_PER_S
        return msgspec.json.encode({"op": "login", "args": [self._credentials.sign_login(timestamp_s)]})

    async def measure_clock(self) -> int:
        """Ask OKX for its time, use it for later logins, and return how far it is ahead, in ns.

        Raises:
            OkxError: OKX did not tell it.
        """
        try:
            rest = await self._fetches.rest()
            self._clock_offset_ns = await rest.clock_offset_ns()
        except OkxError:
            raise
        except QuantkitError as error:
            raise OkxServerError(f"OKX's time cannot be had: {error}", is_retryable=True) from error
        return self._clock_offset_ns

    def clean(self, text: str) -> str:
        """Return a foreign text with the credentials in it blanked."""
        return text if self._credentials is None else self._credentials.clean(text)
