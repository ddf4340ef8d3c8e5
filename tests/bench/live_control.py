"""Measure what slow readers of a run's status cost it: `python tests/bench/live_control.py`, or `run()`.

A paper run as in `live_socket`, at a steady rate, with its control endpoint open: alone, and with a hundred clients in
a process of their own that ask for statuses and hardly read. Pairs are interleaved, so that a noisy machine hits both.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from live_socket import SERVER, Stopwatch

from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig

CLIENTS = """
import socket, sys, time
from pathlib import Path
from quantkit.live.control import Hello, StatusOp, framed, read_address
count, runs = int(sys.argv[1]), Path(sys.argv[2])
while not (found := list(runs.glob("*/control.json"))):
    time.sleep(0.02)
address, lines = read_address(found[0].parent), []
for _ in range(count):
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect((address.host, address.port))
    line.sendall(framed(Hello(address.token)) + framed(StatusOp()))
    lines.append(line)
try:
    while True:
        print(time.time_ns(), len(lines), flush=True)
        for line in lines:
            line.recv(256)
        time.sleep(0.5)
except OSError:
    pass  # the run has ended
"""
RATE = 1_000
#: A run takes so long. Its beginning is left out, and for so long at least it is measured.
SECONDS, READY_S, LEAST_S = 14, 5, 5
PAIRS = 5
SLOW = 100


class Following(NamedTuple):
    """A process that follows a run: its arguments, to which the folder of runs is added, and how many clients it has.

    It writes lines that end with the number of clients that are there.
    """

    arguments: tuple[str, ...]
    clients: int


def p99_ms(following: Following | None, seconds: int = SECONDS) -> float:
    """Return how long rows took from their receipt to the hook, at the 99th percentile, once all clients were there."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(RATE / 2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    url = server.stdout.readline().strip()
    strategy = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, Path(folder, "said").open("w+") as said:
        runs = Path(folder, "runs")
        runs.mkdir()
        readers = None
        if following is not None:
            words = [sys.executable, *following.arguments, str(runs)]
            readers = subprocess.Popen(words, stdout=said, start_new_session=True)
        try:
            paper(
                strategy,
                okx=OkxConfig(url=url),
                record=runs,
                duration=f"{seconds}s",
                match_on="trade",
                control=True,
            )
        finally:
            if readers is not None:
                os.killpg(readers.pid, signal.SIGKILL)  # and what it started
                readers.wait()
            server.stdin.close()
            server.wait()
        said.seek(0)
        moments = [
            int(line.split()[0]) for line in said if following is not None and line.endswith(f" {following.clients}\n")
        ]
    begin = strategy.moments[0] + READY_S * 1e6
    if following is not None:
        begin = max(begin, moments[0] / 1e3) if moments else strategy.moments[-1]
        if min(strategy.moments[-1], moments[-1] / 1e3 + 2e6 if moments else 0) - begin < LEAST_S * 1e6:
            raise RuntimeError(
                f"{following.clients} clients did not follow the run for {LEAST_S} s: too busy a machine"
            )
    own_us = [us for us, moment in zip(strategy.own_us, strategy.moments, strict=True) if moment >= begin]
    return statistics.quantiles(own_us, n=100)[98] / 1e3


def run() -> None:
    """Print each pair, and how much the median grows."""
    print(f"from the receipt of a row to its hook, p99 at {RATE:,}/s, alone and with {SLOW} slow readers")
    readers = Following(("-c", CLIENTS, str(SLOW)), SLOW)
    grown: list[float] = []
    for _ in range(PAIRS):
        alone, slow = p99_ms(None), p99_ms(readers)
        grown.append(slow - alone)
        print(f"  {alone:.3f} ms alone, {slow:.3f} ms with them: {grown[-1]:+.3f} ms", flush=True)
    print(f"{'median of the growth':<66} {statistics.median(grown):>+13.3f} ms  <= 1 ms", flush=True)


if __name__ == "__main__":
    run()
