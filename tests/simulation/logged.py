"""The truth of a sandbox run: what the exchange's own log says of each instrument, as the witness reads it."""

import bisect
import json
from collections import Counter
from typing import Any

from simulation.sim_market import Levels, Print

from quantkit.sandbox.log import ExchangeLog


class LoggedMarket:
    """One instrument as the log has it; the fields are those of `SimMarket`.

    Args:
        log: A complete one, of a run that is over.
        instrument: The id.
    """

    def __init__(self, log: ExchangeLog, instrument: str) -> None:
        self.books: dict[tuple[int, int], Levels] = {}
        self.unasked: set[tuple[int, int]] = set()
        self.restated = self._repeated(log, instrument)
        self.quotes = self._stamps(log, "tickers", instrument)
        self.marks = self._stamps(log, "mark-price", instrument)
        self.bars: dict[int, list[str]] = {}
        self._prints: dict[int, Print] = {}
        book = Levels({}, {})
        for push in log.truth("books", instrument):
            content = json.loads(f"{{{push.tail[1:]}")
            for row in content["data"]:
                if content["action"] == "snapshot":
                    book = Levels({}, {})
                book = Levels(_changed(book.bids, row["bids"]), _changed(book.asks, row["asks"]))
                self.books[row["seqId"], int(row["ts"])] = book
        for row in _rows(log, "trades", instrument):
            last_id, count = int(row["tradeId"]), int(row["count"])
            self._prints[last_id] = Print(
                last_id - count + 1, last_id, int(row["ts"]), float(row["px"]), float(row["sz"])
            )
        for bar in _rows(log, "candle1m", instrument):
            if bar[8] == "1":
                self.bars[int(bar[0])] = bar

    def print_of(self, trade_id: int) -> Print | None:
        """Return the trade of an id."""
        return self._prints.get(trade_id)

    @staticmethod
    def _repeated(log: ExchangeLog, instrument: str) -> set[int]:
        """Return the stamps that a connection was sent twice: the state at its subscription, and then as news."""
        seen: Counter[tuple[int, str, str]] = Counter()
        for channel in ("tickers", "mark-price"):
            for sent in log.of(channel=channel, instrument=instrument):
                if sent.what == "sent":
                    seen.update((sent.connection, channel, row["ts"]) for row in json.loads(sent.text)["data"])
        return {int(ts) for (_, _, ts), count in seen.items() if count > 1}

    @staticmethod
    def _stamps(log: ExchangeLog, channel: str, instrument: str) -> list[int]:
        stamps: list[int] = []
        for row in _rows(log, channel, instrument):
            at_ms, place = int(row["ts"]), bisect.bisect_left(stamps, int(row["ts"]))
            if place == len(stamps) or stamps[place] != at_ms:
                stamps.insert(place, at_ms)
        return stamps


def _rows(log: ExchangeLog, channel: str, instrument: str) -> list[Any]:
    """Return every row of a topic: those published, and those that only a new subscriber was sent."""
    found = [row for push in log.truth(channel, instrument) for row in json.loads(f"{{{push.tail[1:]}")["data"]]
    for sent in log.of(channel=channel, instrument=instrument):
        if sent.what == "sent":
            found += json.loads(sent.text)["data"]
    return found


def _changed(levels: dict[float, float], rows: list[list[str]]) -> dict[float, float]:
    after = levels | {float(price): float(size) for price, size, *_ in rows}
    return {price: size for price, size in after.items() if size}
