"""Follow a run by slow pages: `python tests/bench/slow_pages.py SLOW REAL RUNS`, ended by a signal.

Waits for the run in the folder, starts `quantkit serve --live` for it, opens so many sockets of pages that take a few
bytes a second from full receive buffers, and so many pages in Chromium. Then it writes a line a second: the moment, and
how many pages the server says are there.
"""

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
#: The least that Linux gives.
RECEIVE_BYTES = 2304


def served(runs: Path) -> tuple[str, str]:
    """Start the server of the run; return its one-time link and its token."""
    while not (found := [*runs.glob("*/control.json")]):
        time.sleep(0.02)
    words = ["serve", "--runs", str(runs), "--live", str(found[0].parent), "--port", "0"]
    server = subprocess.Popen([sys.executable, "-m", "quantkit", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    said = ""
    while (token := re.search(r"the token: (\S+)", said)) is None:
        line = server.stdout.readline()
        assert line, said
        said += line
    return said.partition("  open ")[2].split()[0], token[1]


def slow_page(host: str, token: str) -> socket.socket:
    """Open the socket of a page that hardly reads."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    name, _, port = host.partition(":")
    line.connect((name, int(port)))
    head = (
        f"GET /api/v1/live/socket HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
    )
    line.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += line.recv(1)
    assert b" 101 " in answer, answer
    first = f'{{"key":"{token}"}}'.encode()
    line.sendall(bytes((0x81, 0x80 | len(first))) + bytes(4) + first)  # text, masked with zeros
    return line


def real_pages(link: str, count: int) -> Any:
    """Open pages in Chromium, which has the processor when nobody else wants it: it stands for another machine."""
    from playwright.sync_api import sync_playwright

    os.nice(19)
    browser = sync_playwright().start().chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
    context = browser.new_context()
    for number in range(count):
        page = context.new_page()
        page.goto(link if not number else f"{link.partition('/open')[0]}/live")
        page.wait_for_selector("html[data-state=whole]")
    return browser


def main() -> None:
    """Follow the run until a signal."""
    slow, real, runs = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    link, token = served(runs)
    host = link.partition("//")[2].partition("/")[0]
    lines = [slow_page(host, token) for _ in range(slow)]
    pages = real_pages(link, real) if real else None
    asked = urllib.request.Request(f"http://{host}/metrics", headers={"Authorization": f"Bearer {token}"})
    while True:
        with urllib.request.urlopen(asked) as reply:
            found = re.search(r"quantkit_serve_sockets (\d+)", reply.read().decode())
        assert found is not None
        print(time.time_ns(), found[1], flush=True)
        for line in lines:
            line.recv(16)
        if pages is not None:
            pages.contexts[0].pages[0].wait_for_timeout(1000)
        else:
            time.sleep(1)


if __name__ == "__main__":
    main()
