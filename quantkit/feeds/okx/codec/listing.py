"""OKX's instrument metadata: the rows of `public/instruments` and of its channel, and the instruments they describe."""

from typing import Final

import msgspec

from quantkit.errors import ConfigError, ParseError
from quantkit.feeds.okx.codec import grammar, wire
from quantkit.feeds.okx.codec.wire import InstrumentRow
from quantkit.instruments import Instrument

_KINDS: Final = {"SPOT": "spot", "SWAP": "swap", "FUTURES": "future"}

_reply: Final = msgspec.json.Decoder(wire.RestReply)
_raw_rows: Final = msgspec.json.Decoder(list[msgspec.Raw])
_instrument_row: Final = msgspec.json.Decoder(InstrumentRow)


def decode_instruments(body: bytes) -> list[InstrumentRow | ParseError]:
    """Return the rows of a REST reply of `public/instruments`; a malformed row comes back as its error.

    Raises:
        ParseError: The body is not a reply, or one with an error code.
    """
    try:
        reply = _reply.decode(body)
        if str(reply.code) != "0" or not reply.data:
            raise ParseError(f"the reply has code {reply.code}: {reply.msg}"[:200], where="OKX instruments")
        raw_rows = _raw_rows.decode(reply.data)
    except wire.DECODE_ERRORS as error:
        raise ParseError(str(error) or type(error).__name__, where="OKX instruments") from error
    rows: list[InstrumentRow | ParseError] = []
    for raw in raw_rows:
        try:
            rows.append(_instrument_row.decode(raw))
        except wire.DECODE_ERRORS as error:
            rows.append(ParseError(str(error) or type(error).__name__, where="OKX instruments"))
    return rows


def instrument_of(row: InstrumentRow, *, source: str = "capture", valid_from_ns: int = 0) -> Instrument | None:
    """Return the instrument that a row of metadata describes.

    Args:
        row: From REST or the instruments channel.
        source: Where the metadata comes from, kept with the instrument.
        valid_from_ns: Start of its validity.

    Returns:
        None for kinds that are not traded here (options, margin, unknown ones), and for a row with blank steps, as
        before the opening of an instrument.

    Raises:
        ParseError: A number or the id is malformed, or the fields contradict each other.
    """
    kind = _KINDS.get(row.inst_type)
    if kind is None or not row.tick_sz or not row.lot_sz:
        return None
    if kind != "spot" and not row.ct_val:
        return None
    name = grammar.instrument_id(row.inst_id)
    # A family such as BTC-USD_UM is settled in a stablecoin; its quote currency is USD all the same.
    family = (row.inst_family or row.uly or name).split("-")
    base = row.base_ccy or family[0]
    quote = row.quote_ccy or (family[1] if len(family) > 1 else "").removesuffix("_UM")
    for text in (row.tick_sz, row.lot_sz, row.min_sz or "1", row.ct_val or "1", row.ct_mult or "1"):
        grammar.price(text)
    if row.ct_type not in ("", "linear", "inverse"):
        return None
    is_spot = kind == "spot"
    try:
        return Instrument(
            name,
            kind=kind,
            base=base,
            quote=quote,
            settle=row.settle_ccy or None,
            price_step=row.tick_sz,
            qty_step=row.lot_sz,
            min_qty=row.min_sz or None,
            contract_value="1" if is_spot else row.ct_val,
            contract_multiplier="1" if is_spot else row.ct_mult or "1",
            is_inverse=row.ct_type == "inverse",
            source=source,
            valid_from_ns=valid_from_ns,
            max_limit_qty=_most(row.max_lmt_sz),
            # The largest market order on spot is stated in dollars under both names.
            max_market_qty=None if is_spot else _most(row.max_mkt_sz),
            max_limit_value=_most(row.max_lmt_amt),
            max_market_value=_most(row.max_mkt_amt or (row.max_mkt_sz if is_spot else "")),
        )
    except ConfigError as error:
        raise ParseError(str(error), where="OKX instruments") from None


def _most(text: str) -> str | None:
    """Return a largest size or value, None where the row has none: a bound that cannot be read bounds nothing."""
    try:
        return text if text and 1e-20 <= grammar.price(text) <= 1e20 else None
    except ParseError:
        return None
