"""One fault at a time, exactly: how often it is told, how soon it is noticed, and what it costs the exchange."""

import asyncio
import ssl
from collections import deque

import pytest
from simulation.setting import CHANNELS, CONFIG, NAMES, Setting, most_within
from simulation.swarm import Swarm
from simulation.virtual import settle, simulate, until

from quantkit.errors import FeedError, SubscriptionError
from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.codec.channels import Channel, book, tickers, trades
from quantkit.feeds.okx.errors import OkxError
from quantkit.feeds.okx.tracker.records import Stalled, Subscribed

pytestmark = pytest.mark.long


def _damage(setting: Setting, channel: Channel, what: str) -> None:
    (session,) = setting.holders(channel)
    session.mischief.setdefault((channel.name, channel.inst_id), deque()).append(what)


@pytest.mark.parametrize("what", ["drop", "swap", "cross", "malformed"])
def test_every_damage_of_a_book_is_one_gap_and_one_new_subscription(what: str) -> None:
    async def main() -> None:
        setting = Setting(1)
        async with setting.live():
            for number in range(30):
                _damage(setting, book(NAMES[number % len(NAMES)]), what)
                injected = len(setting.exchange.injected) + 1
                await until(lambda at=injected: len(setting.exchange.injected) == at, within_s=30)
                await until(lambda at=number + 1: len(setting.witness.gaps) == at, within_s=30)
                await setting.recover(within_s=10)
                await asyncio.sleep(2)
        setting.check()
        causes = {"drop": "sequence", "swap": "sequence", "cross": "crossed", "malformed": "malformed"}
        assert [(gap.channel, gap.cause) for gap in setting.witness.gaps] == [("book", causes[what])] * 30
        assert setting.exchange.operations["unsubscribe"] == 30
        assert setting.exchange.operations["subscribe"] == 30 + len(CHANNELS)
        assert not setting.tape.losses

    simulate(main(), seed=1)


def test_a_hundred_updates_after_a_gap_ask_for_one_snapshot() -> None:
    async def main() -> None:
        setting = Setting(2)
        async with setting.live():
            market = setting.exchange.markets["BTC-USDT"]
            (session,) = setting.holders(book("BTC-USDT"))
            for _ in range(20):
                before = setting.exchange.operations["unsubscribe"]
                session.mischief[("books", "BTC-USDT")] = deque(["drop"])
                for _ in range(101):
                    market.change()
                await setting.recover(within_s=10)
                assert setting.exchange.operations["unsubscribe"] == before + 1
        setting.check()
        assert len(setting.witness.gaps) == 20

    simulate(main(), seed=2)


@pytest.mark.parametrize("moment", ["frame", "timer"])
def test_what_is_down_at_an_agreed_end_is_told_at_that_moment_and_nothing_after_it(moment: str) -> None:
    """Whether a frame of another connection or the clock says first that the moment has come."""

    async def main() -> None:
        setting = Setting(4)
        async with setting.live():
            setting.network.is_unreachable = True
            down = list(setting.network.live)
            for link in down[:-1] if moment == "frame" else down:
                link.reset()
            await asyncio.sleep(1)
            end_ns = setting.loop.wall_ns() + 2 * 10**9
            setting.client.ends_at(end_ns)
            await asyncio.sleep(1.9)
            assert not setting.client.has_ended
            await asyncio.sleep(8)
            assert setting.client.has_ended is (moment == "frame")
            setting.client.end()
            setting.client.end()
        gaps = [event for event in setting.consumer.events if type(event) is Gap and event.received_ns == end_ns]
        assert len(gaps) > (0 if moment == "frame" else 2 * len(NAMES))
        assert all(gap.from_ns < gap.to_ns <= end_ns for gap in gaps)
        assert max(getattr(event, "received_ns", 0) for event in setting.consumer.events) == end_ns
        setting.check()

    simulate(main(), seed=4)


def test_what_is_legal_costs_nothing() -> None:
    async def main() -> None:
        setting = Setting(3)
        async with setting.live():
            for _ in range(50):
                for market in setting.exchange.markets.values():
                    market.keep_alive()
                    market.reset_sequence()
                    market.change()
                _damage(setting, book("ETH-USDT"), "double")
                _damage(setting, trades("ETH-USDT"), "double")
                _damage(setting, book("SOL-USDT"), "stranger")
                await asyncio.sleep(3)
            setting.exchange.markets["BTC-USDT"].whole_again()
            await setting.next_rows(within_s=70)
        setting.check()
        assert not setting.witness.gaps
        assert setting.exchange.operations == {"subscribe": len(CHANNELS)}

    simulate(main(), seed=3)


def test_missing_trades_are_named_by_their_ids() -> None:
    async def main() -> None:
        setting = Setting(4)
        async with setting.live():
            market = setting.exchange.markets["BTC-USDT"]
            for _ in range(20):
                _damage(setting, trades("BTC-USDT"), "drop")
                told = len(setting.witness.gaps)
                await until(lambda at=told: len(setting.witness.gaps) > at, within_s=60)
        setting.check()
        gaps = setting.witness.gaps
        assert len(gaps) == len([each for each in setting.exchange.injected if each.what == "drop"]) == 20
        ids = {trade.first_id: trade.last_id for trade in market.prints}
        for gap in gaps:
            _, first, _, last, *_ = gap.cause.split()
            assert ids[int(first)] == int(last)

    simulate(main(), seed=4)


def test_a_dead_peer_is_declared_within_31_seconds() -> None:
    async def main() -> list[float]:
        swarm = Swarm(5, faults=("partition", "silence"))
        await swarm.run(disconnects=60)
        swarm.check()
        return [each.silence_s for each in swarm.detections]

    silences = simulate(main(), seed=5)
    silences.sort()
    print(f"{len(silences)} dead peers: min {silences[0]:.3f} s, median {silences[len(silences) // 2]:.3f} s, ", end="")
    print(f"max {silences[-1]:.3f} s of silence")
    assert len(silences) >= 60
    assert max(silences) <= 31
    # Each was silent for as long as the client waits; none was taken for dead earlier.
    assert min(silences) >= 29.99


def test_lost_pongs_and_single_bytes_are_no_reason_to_reconnect() -> None:
    async def main() -> None:
        setting = Setting(6)
        async with setting.live():
            for session in setting.exchange.live:
                session.is_pongless = True
            for link in setting.network.live:
                link.bytewise()
            # Six times as long as a peer may be silent.
            await asyncio.sleep(180)
        setting.check()
        assert not setting.tape.losses
        assert not setting.witness.gaps

    simulate(main(), seed=6)


def test_a_quiet_market_is_kept_alive_by_pings() -> None:
    async def main() -> None:
        setting = Setting(7)
        async with setting.live():
            for market in setting.exchange.markets.values():
                market.is_quiet = True
            for _ in range(15):
                await asyncio.sleep(60)
                for market in setting.exchange.markets.values():
                    market.keep_alive()
        setting.check()
        assert not setting.tape.losses
        assert not setting.witness.gaps

    simulate(main(), seed=7)


def test_a_short_partition_loses_nothing() -> None:
    async def main() -> None:
        setting = Setting(8)
        async with setting.live():
            for _ in range(20):
                link = setting.network.live[0]
                link.partition()
                await asyncio.sleep(25)
                link.heal()
                await asyncio.sleep(5)
        setting.check()
        assert not setting.witness.gaps

    simulate(main(), seed=8)


def test_an_announced_close_costs_not_one_row() -> None:
    async def main() -> None:
        setting = Setting(9)
        async with setting.live():
            for _ in range(25):
                session = setting.holders(trades("BTC-USDT"))[0]
                setting.witness.handovers_ns.append(setting.loop.wall_ns())
                session.say(event="notice", code="64008", msg="The connection will soon be closed.")
                await until(lambda old=session: old.is_over, within_s=20)
                await setting.recover(within_s=10)
                await asyncio.sleep(30)
        setting.check()
        assert not setting.witness.gaps
        assert not setting.tape.losses

    simulate(main(), seed=9)


def test_a_silent_book_is_noticed_and_subscribed_anew() -> None:
    async def main() -> None:
        setting = Setting(10)
        async with setting.live():
            for _ in range(10):
                (session,) = setting.holders(book("ETH-USDT"))
                session.stalled.add(("books", "ETH-USDT"))
                start_s = setting.loop.time()
                told = len(setting.witness.gaps)
                await until(lambda at=told: len(setting.witness.gaps) > at, within_s=120)
                assert 85 <= setting.loop.time() - start_s <= CONFIG.stall_after_s + 2
                await setting.recover(within_s=10)
                await setting.next_rows(within_s=70)
        setting.check()
        assert [gap.cause.split()[0] for gap in setting.witness.gaps] == ["stalled"] * 10
        assert sum(isinstance(record, Stalled) for record in setting.tape.records()) == 10
        assert not setting.tape.losses

    simulate(main(), seed=10)


def test_a_book_that_stays_silent_after_that_costs_the_connection() -> None:
    async def main() -> None:
        setting = Setting(21)
        async with setting.live():
            for _ in range(2):
                (session,) = setting.holders(book("ETH-USDT"))
                session.stalled.add(("books", "ETH-USDT"))
                told = len(setting.witness.gaps)
                await until(lambda at=told: len(setting.witness.gaps) > at, within_s=120)
                await setting.recover(within_s=10)
        setting.check()
        assert [loss.cause.split(":")[0] for loss in setting.tape.losses] == ["books ETH-USDT"]

    simulate(main(), seed=21)


def test_a_refused_argument_leaves_the_others_live() -> None:
    async def main() -> None:
        names = [f"COIN{number}-USDT" for number in range(50)]
        setting = Setting(11, channels=[book(name) for name in names])
        setting.exchange.refused.update({"COIN7-USDT", "COIN33-USDT"})
        async with setting.open():
            with pytest.raises(SubscriptionError) as caught:
                await settle(setting.client.subscribe(*setting.channels), within_s=120)
            assert set(caught.value.refused) == {book("COIN7-USDT"), book("COIN33-USDT")}
            for error in caught.value.refused.values():
                assert isinstance(error, OkxError)
                assert error.code == "60018"
            live = [channel for channel in setting.channels if channel not in caught.value.refused]
            await until(lambda: all(setting.witness.is_valid(each.inst_id) for each in live), within_s=30)
        setting.check()
        confirmed = {(channel, name) for each in setting.exchange.sessions for channel, name in each.subscriptions}
        assert len(confirmed) + len(caught.value.refused) == len(setting.channels)

    simulate(main(), seed=11)


async def _always_break(setting: Setting, names: list[str], for_s: float) -> None:
    """Let every update after a snapshot be lost, again and again, and then no more."""
    end_s = setting.loop.time() + for_s
    while setting.loop.time() < end_s:
        for name in names:
            for session in setting.holders(book(name)):
                if not session.mischief.get(("books", name)):
                    session.mischief[("books", name)] = deque(["drop"])
        await asyncio.sleep(5)
    for session in setting.exchange.live:
        session.mischief.clear()


def test_no_connection_asks_more_than_480_times_an_hour() -> None:
    async def main() -> int:
        names = [f"COIN{number}-USDT" for number in range(8)]
        setting = Setting(12, channels=[tickers("BTC-USDT"), *map(book, names)], pace_s=2.5)
        async with setting.live():
            # An hour to come to the limit, and some more under it.
            await _always_break(setting, names, 1.8 * 3600)
            await setting.recover(within_s=3800)
        setting.check()
        return max(len(session.operations) for session in setting.exchange.sessions)

    assert simulate(main(), seed=12) > 480


def test_one_book_that_always_breaks_leaves_requests_for_the_others() -> None:
    async def main() -> int:
        setting = Setting(22, channels=[book("BTC-USDT"), tickers("BTC-USDT")])
        async with setting.live():
            await _always_break(setting, ["BTC-USDT"], 3600)
            (session,) = setting.holders(tickers("BTC-USDT"))
            asked = len(session.operations)
            await settle(setting.client.subscribe(trades("BTC-USDT")), within_s=5)
            await setting.recover(within_s=62)
        setting.check()
        assert not setting.tape.losses
        return asked

    assert 100 < simulate(main(), seed=22) < 240


def test_a_storm_of_reconnects_stays_within_three_connects_a_second() -> None:
    async def main() -> None:
        names = [f"COIN{number}-USDT" for number in range(10)]
        config = CONFIG.with_(depth_channels_per_connection=1)
        setting = Setting(13, channels=[book(name) for name in names], config=config)
        async with setting.live():
            assert len(setting.network.live) == 10
            for _ in range(10):
                for link in setting.network.live:
                    link.reset()
                await asyncio.sleep(0.1)
                assert await setting.recover(within_s=60) <= 60
        setting.check()
        assert len(setting.tape.losses) == 100
        assert most_within(setting.network.dials, 1.0) == 3
        assert len(setting.witness.gaps) == 100

    simulate(main(), seed=13)


def test_refused_handshakes_are_tried_again_within_the_limit() -> None:
    async def main() -> None:
        setting = Setting(14)
        async with setting.live():
            for status in (503, 429, 403) * 5:
                setting.exchange.handshakes.extend([status] * 4)
                for link in setting.network.live:
                    link.reset()
                await asyncio.sleep(0.5)
                await setting.recover(within_s=60)
        setting.check()
        assert len([each for each in setting.exchange.injected if each.what.startswith("handshake")]) == 60

    simulate(main(), seed=14)


def test_an_hour_without_a_network_ends_within_the_longest_wait() -> None:
    async def main() -> None:
        setting = Setting(15)
        async with setting.live():
            setting.network.dial_error = lambda: ConnectionRefusedError("connect call failed")
            for link in setting.network.live:
                link.reset()
            await asyncio.sleep(3600)
            dials = len(setting.network.dials)
            setting.network.dial_error = None
            assert await setting.recover(within_s=70) <= CONFIG.retry.cap_s + 5
        setting.check()
        # Full jitter up to 60 s: about 120 attempts of each of three connections in an hour, not thousands.
        assert dials < 600
        # One gap for each stream, however many attempts there were; candles are fetched.
        fast = [channel for channel in CHANNELS if not channel.name.startswith("candle")]
        assert len(setting.witness.gaps) == len(fast)

    simulate(main(), seed=15)


def test_a_bad_certificate_is_tried_once_and_told() -> None:
    async def main() -> None:
        setting = Setting(16)
        setting.network.dial_error = lambda: ssl.SSLCertVerificationError(1, "certificate verify failed")
        async with setting.open():
            with pytest.raises(FeedError, match="certificate"):
                await settle(setting.client.subscribe(book("BTC-USDT")), within_s=60)
            await asyncio.sleep(600)
        assert len(setting.network.dials) == 1

    simulate(main(), seed=16)


@pytest.mark.parametrize("code", [4001, 4003, 4007, 4008, 4009])
def test_a_close_that_forbids_coming_back_is_told_and_obeyed(code: int) -> None:
    async def main() -> None:
        setting = Setting(17)
        async with setting.live():
            dials = len(setting.network.dials)
            session = setting.holders(trades("BTC-USDT"))[0]
            await session.close(code)
            await asyncio.sleep(600)
            assert len(setting.network.dials) == dials
            assert any(str(code) in str(error) for error in setting.consumer.troubles)
            # What the other connections carry is not touched.
            assert setting.holders(Channel("candle1m", "BTC-USDT"))
            before = setting.witness.counts["Candle"]
            await asyncio.sleep(120)
            assert setting.witness.counts["Candle"] > before
        setting.check()

    simulate(main(), seed=17)


def test_a_consumer_that_stops_costs_rows_but_never_a_wrong_book() -> None:
    async def main() -> None:
        setting = Setting(18, config=CONFIG.with_(queue_events=200))
        async with setting.live():
            for _ in range(10):
                setting.consumer.pause_until_s = setting.loop.time() + 60
                await asyncio.sleep(1)
                await setting.recover(within_s=120)
                await setting.next_rows(within_s=70)
        setting.check()
        assert not setting.tape.losses
        sheds = setting.client.counters["times the queue was full"]
        assert sheds == 10
        # Each stream tells each of them once; candles wait and are not lost.
        fast = [channel for channel in CHANNELS if not channel.name.startswith("candle")]
        assert len(setting.witness.gaps) == sheds * len(fast)

    simulate(main(), seed=18)


def test_a_burst_is_delivered_whole_to_a_consumer_that_reads() -> None:
    async def main() -> None:
        setting = Setting(19, config=CONFIG.with_(queue_events=50_000))
        async with setting.live():
            market = setting.exchange.markets["BTC-USDT"]
            before = setting.rows(book("BTC-USDT"))
            for _ in range(20):
                for _ in range(500):
                    market.change()
                await asyncio.sleep(0.1)
            await setting.recover(within_s=10)
            assert setting.rows(book("BTC-USDT")) - before >= 10_000
        setting.check()
        assert not setting.witness.gaps

    simulate(main(), seed=19)


def test_what_was_given_up_brings_nothing_any_more() -> None:
    async def main() -> None:
        setting = Setting(20)
        async with setting.live():
            await settle(setting.client.unsubscribe(book("SOL-USDT"), tickers("SOL-USDT")), within_s=10)
            await asyncio.sleep(1)
            updates = [e for e in setting.consumer.events if isinstance(e, BookUpdate) and e.instrument == "SOL-USDT"]
            for link in setting.network.live:
                link.reset()
            await asyncio.sleep(60)
            later = [e for e in setting.consumer.events if isinstance(e, BookUpdate) and e.instrument == "SOL-USDT"]
            assert len(later) == len(updates)
            assert not setting.exchange.holders("books", "SOL-USDT")
        setting.check()
        wanted = [record for record in setting.tape.records() if isinstance(record, Subscribed)]
        assert [record.channel for record in wanted].count(book("SOL-USDT")) == 1

    simulate(main(), seed=20)
