"""Measure what slow readers of a run's status cost it: `python tests/bench/live_control.py`, or `run()`.

A paper run as in `live_socket`, at a steady rate, with its control endpoint open: alone, and with a hundred clients in
a process of their own that ask for statuses and hardly read. Pairs are interleaved, so that a noisy machine hits both.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from live_socket import SERVER, WARM_S, Stopwatch

from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig

CLIENTS = """
import socket, sys, time
from pathlib import Path
from quantkit.live.control import Hello, StatusOp, framed, read_address
runs, count = Path(sys.argv[1]), int(sys.argv[2])
while not (found := list(runs.glob("*/control.json"))):
    time.sleep(0.02)
address, lines = read_address(found[0].parent), []
for _ in range(count):
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect((address.host, address.port))
    line.sendall(framed(Hello(address.token)) + framed(StatusOp()))
    lines.append(line)
print(len(lines), flush=True)
try:
    while True:
        for line in lines:
            line.recv(256)
        time.sleep(0.5)
except OSError:
    pass  # the run has ended
"""
RATE = 1_000
SECONDS = 8
PAIRS = 5
SLOW = 100


def p99_ms(clients: int) -> float:
    """Return how long rows took from their receipt to the hook, at the 99th percentile."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(RATE / 2)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdin is not None
    url = server.stdout.readline().strip()
    strategy = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "runs").mkdir()
        readers = None
        if clients:
            readers = subprocess.Popen([sys.executable, "-c", CLIENTS, f"{folder}/runs", str(clients)])
        try:
            paper(
                strategy,
                okx=OkxConfig(url=url),
                record=f"{folder}/runs",
                duration=f"{SECONDS}s",
                match_on="trade",
                control=True,
            )
        finally:
            if readers is not None:
                readers.kill()
                readers.wait()
            server.stdin.close()
            server.wait()
    begin = strategy.moments[0] + 2 * WARM_S * 1e6
    own_us = [us for us, moment in zip(strategy.own_us, strategy.moments, strict=True) if moment >= begin]
    return statistics.quantiles(own_us, n=100)[98] / 1e3


def run() -> None:
    """Print each pair, and how much the median grows."""
    print(f"from the receipt of a row to its hook, p99 at {RATE:,}/s, alone and with {SLOW} slow readers")
    grown: list[float] = []
    for _ in range(PAIRS):
        alone, slow = p99_ms(0), p99_ms(SLOW)
        grown.append(slow - alone)
        print(f"  {alone:.3f} ms alone, {slow:.3f} ms with them: {grown[-1]:+.3f} ms", flush=True)
    print(f"{'median of the growth':<66} {statistics.median(grown):>+13.3f} ms  <= 1 ms", flush=True)


if __name__ == "__main__":
    run()
