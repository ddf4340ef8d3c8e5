"""Measure what slow browsers cost a run: `python tests/bench/live_pages.py [PAIRS [REAL]]`, or `run()`.

A paper run as in `live_control`: alone, and with `quantkit serve --live` and a hundred sockets of pages that take a few
bytes a second from receive buffers that are full; no browser reads as badly. Pairs are interleaved, so that a noisy
machine hits both. So many REAL pages in Chromium besides draw four times a second without a graphics card: on a machine
of few cores they measure who gets the processor, and nothing of the server.
"""

import statistics
import sys
from pathlib import Path

from live_control import RATE, SECONDS, Following, p99_ms

SCRIPT = Path(__file__).with_name("slow_pages.py")
PAIRS = 5
SLOW = 100


def run(count: int = PAIRS, real: int = 0) -> None:
    """Print each pair, and how much the median grows."""
    what = f"{SLOW} slow pages" + (f" and {real} in Chromium" if real else "")
    print(f"from the receipt of a row to its hook, p99 at {RATE:,}/s, alone and with {what} behind a server")
    pages = Following((str(SCRIPT), str(SLOW), str(real)), SLOW + real)
    seconds = 2 * SECONDS if real else SECONDS  # Chromium takes a while to start
    grown: list[float] = []
    for _ in range(count):
        alone, followed = p99_ms(None, seconds), p99_ms(pages, seconds)
        grown.append(followed - alone)
        print(f"  {alone:.3f} ms alone, {followed:.3f} ms with them: {grown[-1]:+.3f} ms", flush=True)
    print(f"{'median of the growth':<66} {statistics.median(grown):>+13.3f} ms  <= 1 ms", flush=True)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
