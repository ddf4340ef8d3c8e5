"""The virtual loop itself: the real websockets library on it, in virtual time, with every fault of a link."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from simulation.network import Link
from simulation.virtual import StuckError, simulate, until, virtual_loop
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage

pytestmark = pytest.mark.long

_URL = "ws://exchange.test:8765/echo"


async def _echo(peer: ServerConnection) -> None:
    try:
        async for message in peer:
            await peer.send(message)
    except ConnectionClosed:
        return


@asynccontextmanager
async def _connected() -> AsyncIterator[tuple[ClientConnection, Link]]:
    async with (
        serve(_echo, "exchange.test", 8765, ping_interval=None),
        connect(_URL, ping_interval=None, proxy=None, compression=None, close_timeout=1) as client,
    ):
        yield client, virtual_loop().network.links[-1]


async def _answered(client: ClientConnection, text: str) -> bool:
    await client.send(text)
    return await client.recv() == text


def test_an_hour_of_messages_takes_a_second_and_is_the_same_for_a_seed() -> None:
    async def main() -> list[float]:
        arrivals = []
        async with _connected() as (client, _):
            for number in range(3600):
                assert await _answered(client, str(number))
                arrivals.append(virtual_loop().time())
                await asyncio.sleep(1)
        assert virtual_loop().time() > 3600
        return arrivals

    start_s = time.process_time()
    first, second = simulate(main(), seed=7), simulate(main(), seed=7)
    assert first == second
    assert simulate(main(), seed=8) != first
    # Three virtual hours; real sockets would take three real ones. Thousands of virtual seconds for each real one.
    assert time.process_time() - start_s < 3 * 3600 / 500


def test_a_task_that_waits_for_nothing_is_named() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StuckError, match="nothing is left to happen"):
        simulate(main())


def test_threads_and_dns_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="thread"):
            await asyncio.to_thread(print)
        with pytest.raises(RuntimeError, match="real DNS"):
            await asyncio.get_running_loop().getaddrinfo("exchange.test", 80)

    simulate(main())


def test_an_error_that_no_task_awaits_fails_the_simulation() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(ExceptionGroup, match="no task awaited"):
        simulate(main())


def test_a_reset_and_a_finish_end_the_reader_at_once() -> None:
    async def main(fault: str) -> None:
        async with _connected() as (client, link):
            assert await _answered(client, "hello")
            getattr(link, fault)()
            start_s = virtual_loop().time()
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert virtual_loop().time() - start_s < 0.1
            await until(lambda: not link.is_live and link.server.is_ended, within_s=1)
            assert link.client_ended_s is not None

    simulate(main("reset"))
    simulate(main("finish"))


def test_a_partition_says_nothing_and_heals_without_loss() -> None:
    async def main() -> None:
        async with _connected() as (client, link):
            link.partition()
            await client.send("late")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(600):
                    await client.recv()
            link.heal()
            assert await client.recv() == "late"
            assert link.is_live

    simulate(main())


def test_an_aborted_half_open_link_leaves_the_other_side_in_the_dark() -> None:
    async def main() -> None:
        async with _connected() as (client, link):
            link.partition()
            client.transport.abort()
            await asyncio.sleep(60)
            assert link.client.is_ended
            assert not link.server.is_ended
            link.server.abort()  # or the server's close would wait for the echo of its close frame
            with pytest.raises(ConnectionClosedError):
                await client.recv()

    simulate(main())


def test_frames_arrive_whole_however_they_are_cut() -> None:
    async def main(seed_text: str) -> None:
        async with _connected() as (client, link):
            link.bytewise()
            assert await _answered(client, seed_text * 50)
            link.trickle()
            start_s = virtual_loop().time()
            assert await _answered(client, "0123456789")
            assert 11 <= virtual_loop().time() - start_s < 13  # a header of 2 bytes and 10 bytes of text
            link.stall_inside(5)
            await client.send("cut off")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(60):
                    await client.recv()
            link.heal()
            assert await client.recv() == "cut off"

    simulate(main("text"))


def test_a_reader_that_pauses_makes_the_writer_wait() -> None:
    async def main() -> int:
        sent = 0

        async def blast(peer: ServerConnection) -> None:
            nonlocal sent
            try:
                while True:
                    await peer.send("x" * 1000)
                    sent += 1
            except ConnectionClosed:
                return

        async with (
            serve(blast, "exchange.test", 8765, ping_interval=None, close_timeout=1, compression=None),
            connect(_URL, ping_interval=None, proxy=None, compression=None, max_queue=4) as client,
        ):
            await asyncio.sleep(60)
            stuck_at = sent
            await asyncio.sleep(60)
            assert sent == stuck_at
            for _ in range(300):
                await client.recv()
            await until(lambda: sent > stuck_at, within_s=1)
            client.transport.abort()
        return stuck_at

    # The window, the writer's own buffer and what the client's library holds: about 100 frames, never more.
    assert 60 < simulate(main()) < 200


def test_dials_are_refused_lost_or_end_in_errors() -> None:
    async def main() -> None:
        network = virtual_loop().network
        with pytest.raises(ConnectionRefusedError):
            await connect(_URL, proxy=None)
        network.is_nameless = True
        with pytest.raises(OSError, match="not known"):
            await connect(_URL, proxy=None)
        network.is_nameless, network.is_unreachable = False, True
        with pytest.raises(TimeoutError):
            await connect(_URL, proxy=None, open_timeout=10)
        assert len(network.dials) == 2
        assert network.dials[1] + 10 == pytest.approx(virtual_loop().time())

    simulate(main())


def test_a_link_that_breaks_during_the_handshake_is_an_error() -> None:
    async def main() -> None:
        async with serve(_echo, "exchange.test", 8765):
            network = virtual_loop().network
            dial = asyncio.ensure_future(connect(_URL, proxy=None).connect())
            await until(lambda: bool(network.links), within_s=1, every_s=0.001)
            network.links[0].server.abort()
            with pytest.raises((ConnectionError, InvalidMessage)):
                await dial

    simulate(main())
