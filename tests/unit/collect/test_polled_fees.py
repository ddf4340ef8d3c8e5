"""The account's fees are polled like the exchange's other rules, with an API key alone, and told when they change."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from collect_stage import CONFIG, KEY, SPOT, SWAP, Venue
from simulation.virtual import simulate, virtual_loop

from quantkit.errors import ConfigError
from quantkit.events import FeeRate, Row
from quantkit.feeds.okx.rest.polling import RulesPoller
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.source import OkxSource
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import Rest
from quantkit.sandbox.generated import GeneratedMarket

FEES = [Stream("fee_rate", SPOT), Stream("fee_rate", SWAP)]


class Sink:
    """Keeps what is delivered, stamped one after another."""

    is_recorded = False

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def stamp(self) -> int:
        return virtual_loop().wall_ns()

    def deliver(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def __getattr__(self, name: str) -> Any:
        return None


def polled(for_s: float, *faults: Rest) -> tuple[Sink, dict[str, int], int]:
    """Return what polls for a time bring, what failed, and how many requests they cost."""

    async def main() -> tuple[Sink, dict[str, int], int]:
        market = GeneratedMarket(3, 6, orders_per_s=0, tick_ms=60_000)
        async with Exchange(market, wall_ns=virtual_loop().wall_ns) as exchange:
            await asyncio.sleep(1)
            exchange.inject(*faults)
            options = {"transport": Venue(exchange), "now_ns": virtual_loop().wall_ns, "attempts": 1}
            async with OkxRest(CONFIG, credentials=KEY, rng=np.random.default_rng(1), **options) as rest:
                sink = Sink()
                poller = RulesPoller(rest, sink)
                poller.start(FEES)
                await asyncio.sleep(for_s)
                await poller.close()
                return sink, dict(poller.counters), rest.requests

    return simulate(main())


def test_fees_are_asked_for_every_hour_and_told_once_while_they_stay() -> None:
    sink, failed, requests = polled(2.5 * 3600)
    assert [(type(row), row.instrument, row.maker, row.taker) for row in sink.rows if isinstance(row, FeeRate)] == [
        (FeeRate, SPOT, 0.0008, 0.001),
        (FeeRate, SWAP, 0.0002, 0.0005),
    ]
    assert (failed, requests) == ({}, 3 * 2 * 2)


def test_a_failed_poll_is_counted_and_made_again() -> None:
    sink, failed, _ = polled(1.5 * 3600, Rest(endpoint="account/trade-fee", times=1))
    assert failed == {"failed requests of fee_rate": 1}
    assert sorted(row.instrument for row in sink.rows if isinstance(row, FeeRate)) == [SPOT, SWAP]


def test_without_a_key_polls_of_fees_are_refused_in_one_line() -> None:
    """And the key that is there shows nowhere."""
    pair = Instrument(SPOT, price_step="0.1", qty_step="0.1")
    assert Stream("fee_rate", SPOT) in OkxSource.polled_of(pair)

    async def main() -> None:
        client = OkxSource(CONFIG).client(Sink(), wall=virtual_loop().wall_ns)  # type: ignore[arg-type]
        client.poll([Stream("price_limit", SPOT)] * 0)
        client.poll(FEES)

    with pytest.raises(ConfigError, match="fee-rates are an account's own and need an API key: set OKX_API_KEY"):
        simulate(main())
    assert "secret" not in repr(vars(OkxSource(CONFIG, credentials=KEY)))
