"""Where events wait for a consumer on the same event loop: in order, drained one by one, with errors at their end."""

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

#: A consumer that never has to wait would keep the loop from its sockets; it is interrupted after so many items.
_TURN: Final = 64


class Inbox(Generic[Item]):
    """A queue between the sockets' callbacks and an `async for`; its owner keeps it bounded by what it puts in."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._errors: deque[BaseException] = deque()
        self._last: BaseException | None = None
        self._is_closed = False
        self._turn = 0
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: list[Item]) -> None:
        """Add items."""
        self._items.extend(items)
        self._ready.set()

    def fail(self, error: BaseException, *, is_last: bool = False) -> None:
        """Have an error raised, once, when the items before it are taken; again and again if nothing can follow it."""
        self._errors.append(error)
        if is_last:
            self._last = error
        self._ready.set()

    def close(self) -> None:
        """Let the consumer end when all is taken."""
        self._is_closed = True
        self._ready.set()

    async def take(self) -> Item:
        """Return the next item.

        Raises:
            StopAsyncIteration: The inbox is closed and empty.
        """
        self._turn += 1
        if self._turn >= _TURN:
            self._turn = 0
            await asyncio.sleep(0)
        while not self._items:
            if self._errors:
                raise self._errors.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            if self._last is not None:
                raise self._last
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()
