"""What OKX tells of the present alone: open interest, price limits, position tiers, fee rates; with their moment."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from quantkit.errors import ConfigError, ParseError
from quantkit.events import FeeRate, OpenInterest, PositionTier, PriceLimit
from quantkit.feeds.okx.codec import wire
from quantkit.feeds.okx.codec.grammar import instrument_id, number, optional_price, qty, time_ns, whole
from quantkit.feeds.okx.rest.calls import (
    INSTRUMENTS,
    OPEN_INTEREST,
    POSITION_TIERS,
    PRICE_LIMIT,
    TRADE_FEE,
    Endpoint,
    Reply,
    RestCalls,
)
from quantkit.feeds.okx.rest.ids import kind_of, own_id, type_of_kind

RuleRow: TypeAlias = OpenInterest | PositionTier | PriceLimit | FeeRate

#: Margin modes, as OKX names them.
MARGIN_MODES: Final = ("cross", "isolated")


class _LimitRow(msgspec.Struct, rename="camel"):
    inst_id: str
    buy_lmt: str = ""
    sell_lmt: str = ""
    ts: str = ""
    enabled: bool = True


class _TierRow(msgspec.Struct, rename="camel"):
    tier: str
    min_sz: str
    max_sz: str
    mmr: str
    imr: str
    max_lever: str


class _GroupRow(msgspec.Struct, rename="camel"):
    """public/instruments: which group of instruments with equal fees it belongs to."""

    inst_id: str
    group_id: str = ""


class _FeeGroup(msgspec.Struct, rename="camel"):
    group_id: str
    maker: str
    taker: str


class _FeeRow(msgspec.Struct, rename="camel"):
    level: str = ""
    fee_group: list[_FeeGroup] = []


_interests: Final = msgspec.json.Decoder(list[wire.OpenInterestRow])
_limits: Final = msgspec.json.Decoder(list[_LimitRow])
_tiers: Final = msgspec.json.Decoder(list[_TierRow])
_groups: Final = msgspec.json.Decoder(list[_GroupRow])
_fees: Final = msgspec.json.Decoder(list[_FeeRow])


class RulesNow:
    """Asks for what is so now; each row is received at the moment of the reply.

    Args:
        calls: Makes the requests.
    """

    def __init__(self, calls: RestCalls) -> None:
        self._calls = calls

    async def rows(self, kind: str, instrument: str) -> Sequence[RuleRow]:
        """Return the rows of a kind as they are now.

        Args:
            kind: Of the rows: `open_interest`, `position_tier`, `price_limit` or `fee_rate`.
            instrument: The id.

        Raises:
            ConfigError: The kind is none of these, or it needs credentials that are not there.
            ParseError: A reply cannot be understood.
            OkxError: A request failed.
        """
        match kind:
            case "open_interest":
                return [await self.open_interest(instrument)]
            case "position_tier":
                return await self.position_tiers(instrument)
            case "price_limit":
                return [await self.price_limit(instrument)]
            case "fee_rate":
                return [await self.fee_rate(instrument)]
            case _:
                raise ConfigError(f"{kind} is more than what holds now; download its history")

    async def open_interest(self, instrument: str) -> OpenInterest:
        """Return how many contracts are open.

        Raises:
            ParseError: The reply holds no such row.
            OkxError: The request failed.
        """
        query = {"instType": type_of_kind(kind_of(instrument)), "instId": own_id(instrument)}
        reply = await self._calls.get(OPEN_INTEREST, query)
        with _Reading(OPEN_INTEREST, instrument):
            (row,) = [row for row in _interests.decode(reply.data) if instrument_id(row.inst_id) == instrument]
            return OpenInterest(
                instrument,
                time_ns(row.ts),
                reply.received_ns,
                qty(row.oi),
                qty(row.oi_ccy) if row.oi_ccy else None,
                qty(row.oi_usd) if row.oi_usd else None,
            )

    async def price_limit(self, instrument: str) -> PriceLimit:
        """Return the band of prices that orders may have.

        Raises:
            ParseError: The reply holds no such row.
            OkxError: The request failed.
        """
        reply = await self._calls.get(PRICE_LIMIT, {"instId": own_id(instrument)})
        with _Reading(PRICE_LIMIT, instrument):
            (row,) = [row for row in _limits.decode(reply.data) if instrument_id(row.inst_id) == instrument]
            at_ns = time_ns(row.ts) if row.ts else reply.received_ns
            highest, lowest = optional_price(row.buy_lmt), optional_price(row.sell_lmt)
            return PriceLimit(instrument, at_ns, reply.received_ns, highest, lowest, row.enabled)

    async def position_tiers(self, instrument: str) -> list[PositionTier]:
        """Return the tiers of a contract for both margin modes, all with one moment.

        Raises:
            ConfigError: It is a spot pair.
            ParseError: A reply cannot be understood.
            OkxError: A request failed.
        """
        type_ = type_of_kind(kind_of(instrument))
        if type_ == "SPOT":
            raise ConfigError(f"{instrument}: position tiers are for contracts; a spot pair has none")
        family = "-".join(own_id(instrument).split("-")[:2])
        replies: dict[str, Reply] = {}
        for mode in MARGIN_MODES:
            query = {"instType": type_, "tdMode": mode, "instFamily": family}
            replies[mode] = await self._calls.get(POSITION_TIERS, query)
        at_ns = max(reply.received_ns for reply in replies.values())
        with _Reading(POSITION_TIERS, instrument):
            return [
                PositionTier(
                    instrument,
                    at_ns,
                    at_ns,
                    mode,
                    whole(row.tier),
                    qty(row.min_sz),
                    qty(row.max_sz),
                    number(row.mmr),
                    number(row.imr),
                    number(row.max_lever),
                )
                for mode, reply in replies.items()
                for row in _tiers.decode(reply.data)
            ]

    async def fee_rate(self, instrument: str) -> FeeRate:
        """Return what fills of the account cost in an instrument; signed.

        Raises:
            ConfigError: There are no credentials, or they must not be sent to this host.
            ParseError: The replies name no rates for the instrument.
            OkxError: A request failed.
        """
        type_ = type_of_kind(kind_of(instrument))
        fees = await self._calls.get(TRADE_FEE, {"instType": type_}, is_private=True)
        listed = await self._calls.get(INSTRUMENTS, {"instType": type_, "instId": own_id(instrument)}, bucket=type_)
        with _Reading(TRADE_FEE, instrument):
            (own,) = [row.group_id for row in _groups.decode(listed.data) if row.inst_id == instrument]
            (row,) = _fees.decode(fees.data)
            (rates,) = [group for group in row.fee_group if group.group_id == own]
            at_ns = fees.received_ns
            # OKX writes what is paid as a negative number; -0.0 would be another row than 0.0.
            maker, taker = 0.0 - number(rates.maker), 0.0 - number(rates.taker)
            return FeeRate(instrument, at_ns, at_ns, maker, taker, row.level, own)


class _Reading:
    """Turns what goes wrong in reading a reply into one error that names it."""

    def __init__(self, endpoint: Endpoint, instrument: str) -> None:
        self._where = f"OKX {endpoint.path} {instrument}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (*wire.DECODE_ERRORS, ValueError)) and not isinstance(error, ParseError):
            raise ParseError(f"the reply has not the one row that was asked for ({error})", where=self._where) from None
