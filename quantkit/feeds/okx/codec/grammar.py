"""The one strict grammar of OKX's numbers, times and ids: text in, a value or a ParseError out.

A price, a size or an amount of money is text of plain digits with an optional sign and fraction, and nothing else: no
exponent, no space, no `NaN`, at most 24 digits on either side of the point. A time is in milliseconds and has 13
digits, so that seconds, microseconds, zero and nonsense are refused without a clock. "No value" is the empty text.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from sys import intern
from typing import Final, TypeVar

from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError, ParseError
from quantkit.instruments import check_id

#: Possessive, since a number never has to give digits back: junk is refused in one pass.
_UNSIGNED: Final = r"[0-9]{1,24}+(?:\.[0-9]{1,24}+)?+"
_NUMBER: Final = re.compile(rf"-?+{_UNSIGNED}").fullmatch
_NUMBERS: Final = re.compile(rf"{_UNSIGNED}(?:,{_UNSIGNED})*+").fullmatch
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}").fullmatch
#: Milliseconds from September 2001 to October 2096.
_TIME_MS: Final = re.compile(r"[1-3][0-9]{12}").fullmatch
#: How many conversions of one kind are remembered; at about 200 bytes each that is a few megabytes.
_REMEMBERED: Final = 16_384

_Parsed = TypeVar("_Parsed")


def number(text: str) -> float:
    """Return an OKX number as a float.

    Raises:
        ParseError: The text is not plain digits with an optional sign and fraction, or has too many of them.

    Examples:
        >>> number("0.00000074528"), number("-0.0005")
        (7.4528e-07, -0.0005)
    """
    if _NUMBER(text) is None:
        raise ParseError(f"{text[:40]!r} is not a plain number")
    return float(text)


def price(text: str) -> float:
    """Return a price, which is above zero.

    Raises:
        ParseError: It is not.
    """
    value = number(text)
    if value <= 0.0:
        raise ParseError(f"price {text!r} is not above zero")
    return value


def qty(text: str) -> float:
    """Return a size, which is zero or more.

    Raises:
        ParseError: It is not.
    """
    value = number(text)
    if value < 0.0:
        raise ParseError(f"size {text!r} is below zero")
    return value + 0.0  # "-0" would keep its sign.


def traded_qty(text: str) -> float:
    """Return the size of a trade, which is above zero.

    Raises:
        ParseError: It is not.
    """
    value = number(text)
    if value <= 0.0:
        raise ParseError(f"trade size {text!r} is not above zero")
    return value


def prices(texts: Sequence[str]) -> tuple[float, ...]:
    """Return many prices at once, as `price` does each.

    Raises:
        ParseError: One of them is malformed or not above zero.

    Examples:
        >>> prices(["0.10", "250"])
        (0.1, 250.0)
    """
    values = _unsigned(texts)
    return tuple([price(text) for text in texts]) if values is None or (values and min(values) <= 0.0) else values


def qtys(texts: Sequence[str]) -> tuple[float, ...]:
    """Return many sizes at once, as `qty` does each.

    Raises:
        ParseError: One of them is malformed or below zero.
    """
    values = _unsigned(texts)
    return tuple([qty(text) for text in texts]) if values is None else values


def _unsigned(texts: Sequence[str]) -> tuple[float, ...] | None:
    """Return numbers without a sign; None where one of the texts has to be looked at by itself."""
    if not texts:
        return ()
    try:
        # One match over all texts; a text with a comma of its own passes it and fails as a float.
        return tuple(map(float, texts)) if _NUMBERS(",".join(texts)) is not None else None
    except TypeError:
        raise ParseError("a price level holds something else than texts") from None
    except ValueError:
        return None


def amount(text: str) -> Decimal:
    """Return money or any other number of the private channels, exactly.

    Raises:
        ParseError: The text is not a plain number.

    Examples:
        >>> amount("-0.02522168")
        Decimal('-0.02522168')
    """
    if _NUMBER(text) is None:
        raise ParseError(f"{text[:40]!r} is not a plain number")
    return Decimal(text)


def optional_price(text: str) -> float | None:
    """Return a price, or None where OKX has none: the empty text, or zero on an empty side."""
    if not text:
        return None
    value = number(text)
    if value < 0.0:
        raise ParseError(f"price {text!r} is below zero")
    return value or None


def optional_qty(text: str) -> float | None:
    """Return a size, or None for the empty text and for zero, OKX's word for "none"."""
    return (qty(text) or None) if text else None


def whole(text: str) -> int:
    """Return a whole number; the empty text is 0.

    Raises:
        ParseError: The text is something else, or beyond 18 digits.
    """
    if not text:
        return 0
    if _WHOLE(text) is None:
        raise ParseError(f"{text[:40]!r} is not a whole number")
    return int(text)


def time_ns(text: str) -> int:
    """Return an OKX time, text of milliseconds since 1970, as UTC nanoseconds.

    Raises:
        ParseError: The text is something else, or not between the years 2001 and 2096: seconds and microseconds are not
            taken for milliseconds.

    Examples:
        >>> time_ns("1597026383085")
        1597026383085000000
    """
    if _TIME_MS(text) is None:
        raise ParseError(f"{text[:40]!r} is not a time in milliseconds")
    return int(text) * NS_PER_MS


def instrument_id(text: str) -> str:
    """Return an instrument id, interned, after checking that it can stand in a path.

    Raises:
        ParseError: It cannot, or it has a venue prefix, which OKX's own ids do not.
    """
    try:
        check_id(text)
    except ConfigError as error:
        raise ParseError(str(error)) from None
    if ":" in text:
        raise ParseError(f"instrument id {text!r} has a venue prefix")
    return intern(text)


class Remembered(dict[str, _Parsed]):
    """Values of texts, parsed once: prices, sizes and ids repeat all the time.

    Args:
        parse: Turns a text into its value; refused texts are not remembered.

    Examples:
        >>> known = Remembered(price)
        >>> known["0.5"], list(known)
        (0.5, ['0.5'])
    """

    def __init__(self, parse: Callable[[str], _Parsed]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> _Parsed:
        value = self._parse(text)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = value
        return value


#: Shared by all decoders: a lookup costs a tenth of a conversion.
PRICES: Final = Remembered(price)
TRADED_QTYS: Final = Remembered(traded_qty)
OPTIONAL_PRICES: Final = Remembered(optional_price)
OPTIONAL_QTYS: Final = Remembered(optional_qty)
INSTRUMENT_IDS: Final = Remembered(instrument_id)
