"""`trade/order-precheck`: whether the exchange would take an order, by its order rules; nothing is booked.

The sandbox has no orders of its own yet. Here it judges one in every account mode; OKX does so in modes 3 and 4 alone.
"""

from decimal import Decimal
from typing import Any, Final

from quantkit.errors import ConfigError
from quantkit.instruments import Instrument, Side, common_step
from quantkit.sandbox.request import JsonRows, Refused, RestRequest
from quantkit.venue_rules.okx import STP_MODES, OrderBand, Standing, WantedOrder, code_of

_KINDS: Final = {"SPOT": "spot", "SWAP": "swap", "FUTURES": "future"}
_TYPES: Final = ("market", "limit", "post_only", "fok", "ioc")
#: What a margin account would say of an order that passes; this account is none.
_CHANGES: Final = dict.fromkeys(
    (
        "adjEq",
        "adjEqChg",
        "availBal",
        "availBalChg",
        "imr",
        "imrChg",
        "liab",
        "liabChg",
        "liabChgCcy",
        "liqPx",
        "liqPxDiff",
        "liqPxDiffRatio",
        "mgnRatio",
        "mgnRatioChg",
        "mmr",
        "mmrChg",
        "posBal",
        "posBalChg",
        "type",
    ),
    "",
)


def precheck(request: RestRequest) -> JsonRows:
    """Judge an order, given by the fields with which one is placed."""
    row = request.instrument_row(request.needed("instId"))
    request.choice("tdMode", "cash", "cross", "isolated")
    kind = request.choice("ordType", *_TYPES)
    side = Side(request.choice("side", *Side))
    limit = None if kind == "market" else request.decimal("px")
    if request.params.get("clOrdId", "") and not request.params["clOrdId"].isalnum():
        raise Refused("51000", "clOrdId")
    instrument = _instrument(row)
    qty = request.decimal("sz")
    reference = _reference(request, row["instId"], side)
    if _is_amount(request, instrument, side) and limit is None:
        if reference is None:
            raise Refused("51000", "sz")
        qty = instrument.qty_decimal(instrument.lots_within(qty / reference))
    code = _code(request, row, instrument, side, kind, qty, limit, reference)
    if code:
        raise Refused(code)
    return [dict(_CHANGES)]


def _code(
    request: RestRequest,
    row: dict[str, Any],
    instrument: Instrument,
    side: Side,
    kind: str,
    qty: Decimal,
    limit: Decimal | None,
    reference: Decimal | None,
) -> str:
    """Return the code by which an order is refused, empty where it is taken."""
    prices = [price for price in (limit, reference) if price is not None]
    try:
        # A grid that holds its numbers, wherever they lie: the rules say whether that is on the steps.
        instrument = instrument.on_grid(
            common_step([instrument.tick, *prices]), common_step([step for step in (instrument.lot, qty) if step])
        )
    except ConfigError:
        raise Refused("51000", "sz") from None
    lots, band = _count(qty, instrument.lot), _band(request, row["instId"], instrument)
    account, position_side = request.exchange.account, _position_side(request, instrument)
    is_leg = position_side != "net"
    client_id = request.params.get("clOrdId", "")
    asked = WantedOrder(
        is_buy=side is Side.BUY,
        lots=lots,
        left=lots,
        ticks=None if limit is None else _count(limit, instrument.tick),
        post_only=kind == "post_only",
        reduce_only=_closes(side, position_side) if is_leg else request.params.get("reduceOnly") == "true",
        is_fok=kind == "fok",
    )
    standing = Standing(
        state=str(row.get("state", "")),
        position=None if instrument.is_spot else _count(_held(request, instrument, position_side), instrument.lot),
        reference=None if reference is None else _count(reference, instrument.tick),
        band=band,
        open_orders=sum(each.get("instId") == instrument.id for each in account.orders),
        open_in_all=len(account.orders),
        is_id_open=bool(client_id) and any(each.get("clOrdId") == client_id for each in account.orders),
        stp_mode=request.choice("stpMode", *STP_MODES) if request.params.get("stpMode") else STP_MODES[0],
        is_leg=is_leg,
    )
    return code_of(asked, instrument, standing)


def _position_side(request: RestRequest, instrument: Instrument) -> str:
    """Return the position that an order is for: `net`, or a leg of the long/short mode, which has to be named."""
    if instrument.is_spot:
        return "net"
    if request.exchange.account.position_mode == "long_short_mode":
        return request.choice("posSide", "long", "short")
    return request.choice("posSide", "net") if request.params.get("posSide") else "net"


def _closes(side: Side, position_side: str) -> bool:
    """Return whether an order closes its leg; it only reduces then, whatever it says of itself."""
    return (side is Side.SELL) is (position_side == "long")


def _held(request: RestRequest, instrument: Instrument, position_side: str) -> Decimal:
    """Return the signed size of a position; the row of a leg states it without a sign."""
    rows = [each for each in request.exchange.account.positions if each.get("instId") == instrument.id]
    held = sum(
        (Decimal(each["pos"] or "0") for each in rows if (each.get("posSide") or "net") == position_side), Decimal(0)
    )
    return -held if position_side == "short" else held


def _count(number: Decimal, step: Decimal) -> int:
    return int(number / step)


def _instrument(row: dict[str, Any]) -> Instrument:
    """Return the instrument of a row of `public/instruments`.

    Raises:
        Refused: It is of a type whose orders are not judged.
    """
    kind = _KINDS.get(row["instType"])
    if kind is None:
        raise Refused("51000", "instId")
    is_spot = kind == "spot"
    return Instrument(
        row["instId"],
        kind=kind,
        settle=row.get("settleCcy") or None,
        price_step=row["tickSz"],
        qty_step=row["lotSz"],
        min_qty=row.get("minSz") or None,
        contract_value="1" if is_spot else row["ctVal"],
        contract_multiplier="1" if is_spot else row.get("ctMult") or "1",
        is_inverse=row.get("ctType") == "inverse",
        max_limit_qty=row.get("maxLmtSz") or None,
        # The largest market order on spot is stated in dollars under both names.
        max_market_qty=None if is_spot else row.get("maxMktSz") or None,
        max_limit_value=row.get("maxLmtAmt") or None,
        max_market_value=row.get("maxMktAmt") or (row.get("maxMktSz") if is_spot else None) or None,
    )


def _is_amount(request: RestRequest, instrument: Instrument, side: Side) -> bool:
    """Return whether a market order's size is in the quote currency: on spot, by default that of a purchase."""
    if not instrument.is_spot:
        return False
    default = "quote_ccy" if side is Side.BUY else "base_ccy"
    unit = request.params.get("tgtCcy") or default
    if unit not in ("base_ccy", "quote_ccy"):
        raise Refused("51000", "tgtCcy")
    return unit == "quote_ccy"


def _reference(request: RestRequest, name: str, side: Side) -> Decimal | None:
    """Return the best price that a market order meets, or the last one; None without any."""
    ticker = request.market.ticker(name, request.now_ms) or {}
    text = ticker.get("askPx" if side is Side.BUY else "bidPx") or ticker.get("last")
    return Decimal(text) if text else None


def _band(request: RestRequest, name: str, instrument: Instrument) -> OrderBand:
    row = request.market.row("price-limit", name, request.now_ms)
    if not row or not row.get("enabled"):
        return OrderBand()
    highest, lowest = row.get("buyLmt"), row.get("sellLmt")
    return OrderBand(
        instrument.limit_ticks(float(highest), Side.BUY) if highest else None,
        instrument.limit_ticks(float(lowest), Side.SELL) if lowest else None,
    )
