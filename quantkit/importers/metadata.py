"""Instrument metadata of an import: given, from a capture or a file, stored already, or inferred from the data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.feeds.okx.codec.decode import InstrumentRow, decode_instruments, instrument_of
from quantkit.importers.files import DAMAGE, opened
from quantkit.instruments import Instrument

#: Prices and sizes are looked at to this many decimals; crypto's finest steps have ten or so.
_DECIMALS: Final = 12
_EXACT: Final = 2**53
_REPLY: Final = re.compile(rb"https?://\S+ -> [0-9.]+: (\{.*)", re.DOTALL).fullmatch


class InstrumentOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The user's options for the instrument of an import; None for those not given."""

    instrument: Instrument | None = None
    price_step: str | None = None
    qty_step: str | None = None
    contract_value: str | None = None
    kind: str | None = None
    settle: str | None = None
    quote: str | None = None
    is_inverse: bool | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields that were given, by their names in `Instrument`."""
        names = ("price_step", "qty_step", "contract_value", "kind", "settle", "quote", "is_inverse")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class StepFinder:
    """Finds the common step of all numbers seen so far.

    Examples:
        >>> finder = StepFinder()
        >>> finder.add(np.array([61800.2, 61800.7, 61799.0])); finder.step()
        Decimal('0.1')
        >>> finder.add(np.array([0.125])); finder.step()
        Decimal('0.005')
    """

    def __init__(self) -> None:
        self._decimals = 0
        self._divisor = 0
        #: The smallest number seen, infinite where there was none.
        self.least = float("inf")

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Look at more numbers; zeros and NaN say nothing."""
        if self._fits(numbers):
            return
        import pyarrow as pa

        usable = numbers[np.isfinite(numbers) & (numbers != 0.0)]
        # Hashing before sorting: trades have few different prices and sizes.
        values = np.unique(np.abs(pa.array(usable, pa.float64()).unique().to_numpy()))
        if not len(values):
            return
        self.least = min(self.least, float(values[0]))
        decimals = self._decimals
        while decimals < _DECIMALS:
            # Dividing two exact numbers gives the float nearest to the decimal, the same that parsing its text gives.
            scaled = np.rint(values * 10.0**decimals)
            if float(scaled[-1]) >= _EXACT or (scaled / 10.0**decimals == values).all():
                break
            decimals += 1
        scaled = np.minimum(np.rint(values * 10.0**decimals), _EXACT)
        self._divisor *= 10 ** (decimals - self._decimals)
        self._decimals = decimals
        self._divisor = int(np.gcd(self._divisor, np.gcd.reduce(scaled.astype(np.int64))))

    def _fits(self, numbers: NDArray[np.float64]) -> bool:
        """Return whether numbers bring no finer step, and take the least of them; as in all blocks but the first."""
        if not self._divisor or not len(numbers):
            return False
        least, scale = float(numbers.min()), 10.0**self._decimals
        scaled = numbers * scale
        np.rint(scaled, out=scaled)
        if not (least > 0.0 and float(scaled.max()) < _EXACT):  # a NaN says no to both
            return False
        if not (scaled / scale == numbers).all():
            return False
        if self._divisor > 1 and not (np.rint(scaled / self._divisor) * self._divisor == scaled).all():
            return False
        self.least = min(self.least, least)
        return True

    @property
    def is_empty(self) -> bool:
        """Whether no number has been seen."""
        return not self._divisor

    def divides(self, step: Decimal) -> bool:
        """Return whether all numbers seen are multiples of `step`."""
        if not self._divisor:
            return True
        return Decimal(self._divisor).scaleb(-self._decimals) % step == 0

    def step(self) -> Decimal:
        """Return the largest 1, 2 or 5 times a power of ten that divides every number seen; 1 if there was none."""
        if not self._divisor:
            return Decimal(1)
        power = 1
        while self._divisor % (power * 10) == 0:
            power *= 10
        factor = next(factor for factor in (5, 2, 1) if self._divisor % (power * factor) == 0)
        # A handful of round prices must not make a coarse grid: no step is above one unit.
        return min(Decimal(power * factor).scaleb(-self._decimals), Decimal(1)).normalize()


class Steps:
    """The price and size steps of one instrument, as its data show them."""

    def __init__(self) -> None:
        self.price = StepFinder()
        self.qty = StepFinder()


def kind_of(instrument_id: str) -> str:
    """Return the kind that an id's ending stands for: `-SWAP`, `-YYMMDD` for a future, else spot.

    Examples:
        >>> kind_of("BTC-USDT-SWAP"), kind_of("BTC-USD-220527"), kind_of("binance:BTC-USDT")
        ('swap', 'future', 'spot')
    """
    if instrument_id.endswith("-SWAP"):
        return "swap"
    return "future" if re.search(r"-[0-9]{6}$", instrument_id) else "spot"


def resolve(
    instrument_id: str,
    steps: Steps,
    options: InstrumentOptions,
    *,
    listed: Mapping[str, Instrument],
    stored: Mapping[str, Instrument],
    hints: Mapping[str, Any],
) -> tuple[Instrument, str]:
    """Return the metadata of an instrument and where it comes from.

    Args:
        instrument_id: Whose.
        steps: Steps inferred from its data.
        options: The user's options; they come first.
        listed: From an instrument file or the capture; comes next.
        stored: From the data folder; comes before anything inferred.
        hints: Fields that the source's format implies, for what is inferred.

    Returns:
        The instrument and its source: its own, or `stored`.
    """
    if options.instrument is not None and options.instrument.id == instrument_id:
        return options.instrument, options.instrument.source
    fields = options.fields()
    known = listed.get(instrument_id)
    if known is not None and not fields:
        return known, known.source
    old = known or stored.get(instrument_id)
    if old is not None and not fields:
        return old, "stored"
    is_given = {"price_step", "qty_step"} <= fields.keys()
    merged: dict[str, Any] = {"kind": kind_of(instrument_id), **hints}
    if old is not None:
        merged = {name: value for name, value in old.to_dict().items() if name not in ("id", "exchange", "min_qty")}
        is_given = is_given or old.source != "inferred"
    merged |= {"source": "given" if is_given else "inferred"} | fields
    merged.setdefault("price_step", steps.price.step())
    merged.setdefault("qty_step", steps.qty.step())
    return Instrument(instrument_id, **merged), merged["source"]


def read_instruments(path: Path) -> dict[str, Instrument]:
    """Return the instruments of a file, by id.

    The file is OKX's REST reply of `public/instruments` (or several, in an object, or as a recorder's lines
    `URL -> time: reply`), a list of its rows, or a list of `Instrument.to_dict()`. Rows of kinds that are not traded
    here are left out; of replies also those that are malformed.

    Raises:
        ConfigError: The file is none of these.
    """
    with opened(path) as (stream, _):
        try:
            content = stream.read()
        except DAMAGE:
            raise ConfigError(f"{path} is damaged or ends early; fetch the instrument file again") from None
    found: dict[str, Instrument] = {}
    try:
        for body in _bodies(content):
            found |= _instruments(body)
    except (DataError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ConfigError) as error:
        raise ConfigError(f"{path} is no instrument file: {error}") from None
    if not found:
        raise ConfigError(f"{path} holds no instrument; give OKX's public/instruments reply or a list of instruments")
    return found


def instruments_of_reply(body: bytes) -> tuple[dict[str, Instrument], list[ParseError]]:
    """Return the instruments of one OKX REST reply by id, and what is wrong with the rows that are malformed.

    Rows of kinds that are not traded here, and of instruments that are not open yet, are left out.

    Raises:
        ParseError: The body is no such reply.
    """
    found: dict[str, Instrument] = {}
    malformed: list[ParseError] = []
    for row in decode_instruments(body):
        # One bad row must not cost the others.
        try:
            if isinstance(row, ParseError):
                raise row
            instrument = instrument_of(row)
        except ParseError as error:
            malformed.append(error)
            continue
        if instrument is not None:
            found[instrument.id] = instrument
    return found, malformed


def _bodies(content: bytes) -> Iterator[bytes]:
    """Yield the JSON texts of an instrument file."""
    if content.lstrip()[:1] in (b"{", b"["):
        yield content
        return
    for line in content.splitlines():
        match = _REPLY(line.strip())
        if match is not None and b"/instruments" in line[:200]:
            yield match[1]


def _instruments(body: bytes) -> dict[str, Instrument]:
    document = msgspec.json.decode(body)
    if isinstance(document, dict) and "data" not in document:
        replies = [msgspec.json.encode(reply) for reply in document.values() if isinstance(reply, dict)]
        return {name: each for reply in replies for name, each in instruments_of_reply(reply)[0].items()}
    if isinstance(document, dict):
        return instruments_of_reply(body)[0]
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise ParseError("expected a list of objects")
    return {each.id: each for each in _listed(document)}


def _listed(rows: Sequence[dict[str, Any]]) -> Iterator[Instrument]:
    for row in rows:
        if "instId" in row:
            instrument = instrument_of(msgspec.convert(row, InstrumentRow))
            if instrument is not None:
                yield instrument
        else:
            yield Instrument.from_dict(row)
