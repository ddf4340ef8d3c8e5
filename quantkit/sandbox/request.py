"""A parsed and checked REST request: parameters, user, and the errors that end it."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from quantkit.sandbox import wire
from quantkit.sandbox.keys import ApiKey
from quantkit.sandbox.market import MarketSource

if TYPE_CHECKING:
    from quantkit.sandbox.exchange import Exchange

KINDS: Final = ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION")
#: How many ids one parameter may list.
_MOST_LISTED: Final = 20

JsonRows: TypeAlias = "list[Any]"


class Refused(Exception):  # noqa: N818  the REST endpoints turn it into a reply
    """A request ends with an error of OKX's."""

    def __init__(self, code: str, *details: str, status: int = 200) -> None:
        super().__init__(code)
        self.code = code
        self.text = wire.TEXTS[code].format(*details)
        self.status = status


class RestRequest(NamedTuple):
    """A request taken apart: its parameters, the market, the time, who asks, and under which address."""

    params: dict[str, str]
    market: MarketSource
    now_ms: int
    exchange: "Exchange"
    key: ApiKey | None
    base: str = ""

    def needed(self, name: str) -> str:
        """Return a parameter that has to be there."""
        value = self.params.get(name, "")
        if not value:
            raise Refused("50014", name, status=400)
        return value

    def number(self, name: str) -> int | None:
        """Return a parameter that is a whole number, None where it is absent."""
        value = self.params.get(name, "")
        if not value:
            return None
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise Refused("51000", name)
        return int(value)

    def decimal(self, name: str) -> Decimal:
        """Return a parameter that has to be there and a number above zero."""
        try:
            value = Decimal(self.needed(name))
        except InvalidOperation:
            raise Refused("51000", name) from None
        if not (value.is_finite() and 0 < value < Decimal(10) ** 18):
            raise Refused("51000", name)
        return value

    def limit(self, most: int, default: int = 100) -> int:
        """Return how many rows are asked for, at most what the endpoint gives."""
        return max(1, min(self.number("limit") or default, most))

    def listed(self, name: str) -> list[str]:
        """Return the values of a parameter that takes several, separated by commas; none where it is absent."""
        values = [value for value in self.params.get(name, "").split(",") if value]
        if len(values) > _MOST_LISTED:
            raise Refused("50025", name, str(_MOST_LISTED))
        return values

    def instrument(self) -> str:
        """Return the instrument that the request is about."""
        return str(self.instrument_row(self.needed("instId"))["instId"])

    def instrument_row(self, name: str) -> dict[str, Any]:
        """Return the row of an instrument in `public/instruments`."""
        for row in self.market.instruments():
            if row["instId"] == name:
                return row
        raise Refused("51001")

    def kind(self) -> str:
        """Return the type of instruments that the request is about."""
        kind = self.needed("instType")
        if kind not in KINDS:
            raise Refused("51000", "instType")
        return kind

    def choice(self, name: str, *known: str) -> str:
        """Return a parameter that has to be one of some words."""
        value = self.needed(name)
        if value not in known:
            raise Refused("51000", name)
        return value

    def user(self) -> ApiKey:
        """Return the key of a signed request."""
        assert self.key is not None, "private endpoints are signed"
        return self.key


class Route(NamedTuple):
    """The endpoint of one path, with its rate limit.

    Attributes:
        answer: Gives the rows of the reply.
        most: Largest number of requests within the window.
        window_s: Length of the window, seconds.
    """

    answer: Callable[[RestRequest], JsonRows]
    most: int
    window_s: float = 2.0
