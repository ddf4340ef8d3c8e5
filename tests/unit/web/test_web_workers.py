"""Work in threads: bounded, also when those who asked for it have left."""

import asyncio
import threading

import pytest

from quantkit.web.operations import Workers
from quantkit.web.security import HttpRefusal


def test_work_counts_until_it_is_done() -> None:
    """A request that was given up leaves its thread behind, and no other one starts in its place."""
    begun, may_end = threading.Semaphore(0), threading.Event()

    def work() -> str:
        begun.release()
        may_end.wait(20)
        return "done"

    async def go() -> str:
        workers = Workers(most=1, waiting_max=2)
        left = asyncio.create_task(workers.run(work))
        await asyncio.to_thread(begun.acquire)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        second = asyncio.create_task(workers.run(work))
        await asyncio.sleep(0)
        with pytest.raises(HttpRefusal) as refused:
            await workers.run(work)
        assert refused.value.status == 503
        assert not begun.acquire(blocking=False)
        may_end.set()
        found = await second
        return found + await workers.run(work)

    assert asyncio.run(go()) == "donedone"


def test_what_goes_wrong_is_told_to_who_asked() -> None:
    def broken() -> None:
        raise ValueError("of the work")

    async def go() -> None:
        workers = Workers(most=1, waiting_max=1)
        for _ in range(3):
            with pytest.raises(ValueError, match="of the work"):
                await workers.run(broken)

    asyncio.run(go())
