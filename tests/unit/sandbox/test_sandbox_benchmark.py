"""The market for measuring: its rate holds, and its ids follow each other."""

import asyncio
from itertools import pairwise

import pytest
from sandbox_stage import Client, play

from quantkit.errors import ConfigError
from quantkit.sandbox.benchmark import BenchmarkMarket
from quantkit.sandbox.exchange import Exchange


@pytest.mark.parametrize("rate", [50.0, 1000.0, 30_000.0])
def test_frames_come_at_the_rate_and_count_up(rate: float) -> None:
    async def scenario(exchange: Exchange) -> None:
        client = Client(exchange, "public")
        await client.subscribe("trades", "BTC-USDT")
        await asyncio.sleep(1)
        rows = client.rows("trades")
        assert len(rows) == pytest.approx(rate, rel=0.05)
        for last, row in pairwise(rows):
            assert int(row["tradeId"]) - int(row["count"]) == int(last["tradeId"])
        assert client.pushes("tickers") == []
        await client.subscribe("tickers", "BTC-USDT")
        await asyncio.sleep(1)
        assert len(client.rows("tickers")) == pytest.approx(rate, rel=0.05)

    play(scenario, BenchmarkMarket(rate))


def test_a_rate_is_above_zero() -> None:
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="cannot be sent"):
            BenchmarkMarket(rate)
