"""A market for measurements: small frames at a steady rate, each with its sending time."""

import asyncio
from typing import Final

from quantkit import clock
from quantkit.errors import ConfigError
from quantkit.sandbox import wire
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.ports import Publisher
from quantkit.sandbox.wire import TopicPush

_TICK_S: Final = 0.001
_CHANNELS: Final = ("trades", "tickers")
#: Where a lag is not caught up: a burst after a pause would measure the pause.
_LAG_S: Final = 0.1


class BenchmarkMarket(GeneratedMarket):
    """A generated market whose `trades`, and `tickers` where held, are replaced by frames at a given rate.

    A trade's id is the machine's time when it was made, in microseconds since 1970, and its count the distance from the
    one before, so that ids follow each other without a hole. Rates hold for each topic that somebody holds.

    Args:
        messages_per_s: Frames each second of each topic.
        instruments: How many there are.
    """

    def __init__(self, messages_per_s: float, instruments: int = 1) -> None:
        super().__init__(1, instruments, orders_per_s=0.0)
        if not 0 < messages_per_s <= 10_000_000:
            raise ConfigError(f"{messages_per_s} messages a second cannot be sent; use a rate above zero")
        self.messages_per_s = messages_per_s
        self.sent = 0
        self._last_us: dict[Topic, int] = {}

    async def run(self, exchange: Publisher) -> None:
        """Push at the rate until cancelled."""
        self._open(exchange)
        loop = asyncio.get_running_loop()
        done_s = loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = loop.time()
            count = int((min(now_s - done_s, _LAG_S)) * self.messages_per_s)
            if count:
                done_s = max(done_s + count / self.messages_per_s, now_s - _LAG_S)
                for topic in list(exchange.topics):
                    if topic.channel in _CHANNELS:
                        self._push(exchange, topic, count)

    def _push(self, exchange: Publisher, topic: Topic, count: int) -> None:
        publish = exchange.publish
        self.sent += count
        if topic.channel == "tickers":
            row = self.simulators[topic.key].ticker(exchange.now_ms())
            push = TopicPush(wire.rows(row))
            for _ in range(count):
                publish(topic, push)
            return
        wall_ns = clock.wall_ns
        last_us = self._last_us.get(topic, 0)
        head = f',"data":[{{"instId":"{topic.key}","tradeId":"'
        for _ in range(count):
            now_us = max(wall_ns() // 1000, last_us + 1)
            distance = now_us - last_us if last_us else 1
            last_us = now_us
            publish(
                topic,
                TopicPush(
                    f'{head}{now_us}","px":"100000.1","sz":"0.00011186","side":"buy","ts":"{now_us // 1000}",'
                    f'"count":"{distance}","source":"0","seqId":{now_us}}}]}}',
                    now_us,
                ),
            )
        self._last_us[topic] = last_us

    def first(self, topic: Topic, now_ms: int) -> list[TopicPush]:
        """Return nothing for topics pushed at the rate, and the usual snapshot for others."""
        return [] if topic.channel == "trades" else super().first(topic, now_ms)
