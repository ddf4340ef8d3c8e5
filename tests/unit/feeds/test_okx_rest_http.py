"""REST over real sockets: what is sent, what is signed, and what happens when the network or TLS fails."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
from certificates import CERTIFICATE, PRIVATE_KEY

from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxAuthError, OkxError, OkxNetworkError
from quantkit.feeds.okx.rest.rest import OkxRest

ONCE = RetryPolicy(give_up_after=1)
TIME = b'{"code":"0","msg":"","data":[{"ts":"1787702400000"}]}'
CREDENTIALS = Credentials("key-of-mine", "secret-of-mine", "passphrase-of-mine")

Answer = Callable[[BaseHTTPRequestHandler], None]


def reply(body: bytes, status: int = 200, **headers: str) -> Answer:
    """Return what answers every request in the same way."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on a free port of this machine and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing: clients that hang up in the middle are what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(config: OkxConfig, use: Callable[[OkxRest], Any] = OkxRest.server_time_ns, **options: Any) -> Any:
    async def main() -> Any:
        async with OkxRest(config, rng=np.random.default_rng(1), **options) as rest:
            return await use(rest)

    return asyncio.run(main())


def failure(config: OkxConfig, use: Callable[[OkxRest], Any] = OkxRest.server_time_ns, **options: Any) -> OkxError:
    with pytest.raises(OkxError) as caught:
        ask(config.with_(retry=ONCE), use, **options)
    return caught.value


def served_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's context with the certificate, and the file that holds it."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(PRIVATE_KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_the_http_library_is_loaded_by_those_who_use_it_alone() -> None:
    code = "import sys, quantkit.feeds.okx.rest.rest as rest; rest.OkxRest(); print('httpx2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# What is sent -----------------------------------------------------------------------------------------------------


def test_an_answer_over_a_real_connection_compressed_or_not() -> None:
    for each in (reply(TIME), reply(gzip.compress(TIME), Content_Encoding="gzip")):
        with serving(each) as url:
            assert ask(OkxConfig(url=url)) == 1787702400000_000_000


def test_one_connection_serves_many_requests() -> None:
    ports = set()

    def answer(request: BaseHTTPRequestHandler) -> None:
        ports.add(request.client_address[1])
        reply(TIME)(request)

    async def use(rest: OkxRest) -> None:
        for _ in range(3):
            await rest.book_body("BTC-USDT")

    with serving(answer) as url:
        ask(OkxConfig(url=url), use)
    assert len(ports) == 1


def test_what_is_signed_are_the_bytes_that_arrive() -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        headers = request.headers
        message = f"{headers['OK-ACCESS-TIMESTAMP']}{request.command}{request.path}".encode()
        signature = base64.b64encode(hmac.new(b"secret-of-mine", message, hashlib.sha256).digest()).decode()
        seen.append((request.path, headers["OK-ACCESS-TIMESTAMP"]))
        if headers["OK-ACCESS-SIGN"] != signature or headers["OK-ACCESS-PASSPHRASE"] != "passphrase-of-mine":
            reply(b'{"code":"50113","msg":"Invalid Sign"}', 401)(request)
        elif headers["OK-ACCESS-KEY"] != "key-of-mine":
            reply(b'{"code":"50111","msg":"Invalid OK-ACCESS-KEY"}', 401)(request)
        else:
            row = {
                "acctLv": "3",
                "posMode": "long_short_mode",
                "perm": "read_only",
                "feeType": "1",
                "uid": "7",
                "level": "Lv1",
            }
            reply(json.dumps({"code": "0", "data": [row], "msg": ""}).encode())(request)

    now_ns = 1607418537715_999_999
    with serving(answer) as url:
        config = ask(OkxConfig(url=url), OkxRest.account_config, credentials=CREDENTIALS, now_ns=lambda: now_ns)
        assert (config.level, config.position_mode, config.permissions) == (
            "multi-currency",
            "long_short_mode",
            ("read_only",),
        )
        assert (config.pays_fees_in_quote, config.uid, config.fee_level) == (True, "7", "Lv1")
        wrong = Credentials("key-of-mine", "another-secret", "passphrase-of-mine")
        error = failure(OkxConfig(url=url), OkxRest.account_config, credentials=wrong)
    assert (type(error), error.code) == (OkxAuthError, "50113")
    assert seen[0] == ("/api/v5/account/config", "2020-12-08T09:08:57.715Z")


def test_no_error_and_no_client_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A server that sends every header back finds none of them in errors, their chain, logs or counters."""

    def echo(request: BaseHTTPRequestHandler) -> None:
        text = json.dumps({"code": "50113", "msg": f"Invalid: {dict(request.headers)}"})
        reply(text.encode(), 401)(request)

    async def use(rest: OkxRest) -> str:
        with pytest.raises(OkxAuthError) as caught:
            await rest.account_config()
        chain: BaseException | None = caught.value
        shown = f"{rest!r} {vars(rest)} {rest.counters}"
        while chain is not None:
            shown += f"{chain} {chain!r} {vars(chain)}"
            chain = chain.__cause__ or chain.__context__
        return shown

    caplog.set_level(0)
    with serving(echo) as url:
        shown = ask(OkxConfig(url=url), use, credentials=CREDENTIALS) + caplog.text
    for secret in ("key-of-mine", "secret-of-mine", "passphrase-of-mine"):
        assert secret not in shown


# When the network fails -------------------------------------------------------------------------------------------


def test_a_refused_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port, and nobody answers
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        error = failure(OkxConfig(url=f"http://{place}"))
    assert type(error) is OkxNetworkError
    assert str(error) == (
        f"OKX public/time at {place}: the connection was refused; check that the server runs and the url is right"
    )


def test_a_host_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def unknown(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        config = OkxConfig(trust_env=False, retry=ONCE)
        async with OkxRest(config) as rest:
            await rest.server_time_ns()

    with pytest.raises(OkxNetworkError) as caught:
        asyncio.run(main())
    assert str(caught.value) == (
        "OKX public/time at openapi.okx.com: the host name cannot be resolved; "
        "check the network connection, DNS and the url"
    )


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Close without a word."""
    request.close_connection = True


def cut_short(request: BaseHTTPRequestHandler) -> None:
    """Promise more than is sent."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(TIME)
    request.close_connection = True


def babble(request: BaseHTTPRequestHandler) -> None:
    """Answer with something that is not HTTP."""
    request.wfile.write(b"220 mail.example ESMTP\r\n\r\n")
    request.close_connection = True


@pytest.mark.parametrize("answer", [hang_up, cut_short, babble], ids=lambda each: each.__name__)
def test_a_broken_answer_is_a_network_error_that_can_be_repeated(answer: Answer) -> None:
    with serving(answer) as url:
        error = failure(OkxConfig(url=url))
    assert type(error) is OkxNetworkError
    assert error.is_retryable


def test_a_silent_server_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = failure(OkxConfig(url=f"http://127.0.0.1:{silent.getsockname()[1]}"), timeout_s=0.05)
    assert type(error) is OkxNetworkError
    assert "no answer in time" in str(error)


# TLS --------------------------------------------------------------------------------------------------------------


def test_an_untrusted_certificate_is_fatal_and_nothing_is_sent(tmp_path: Path) -> None:
    context, _ = served_tls(tmp_path)
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        reply(TIME)(request)

    with serving(answer, context) as url, pytest.raises(OkxNetworkError) as caught:
        # With the default policy: a certificate does not become trusted by asking again.
        ask(OkxConfig(url=url), OkxRest.account_config, credentials=CREDENTIALS)
    error = caught.value
    place = urlsplit(url).netloc
    assert str(error).startswith(
        f"OKX account/config at {place}: TLS failed, the server's certificate is not trusted ("
    )
    assert "ca_file" in str(error)
    assert not error.is_retryable
    assert asked == []


def test_a_certificate_named_by_ca_file_is_trusted(tmp_path: Path) -> None:
    context, certificate = served_tls(tmp_path)
    with serving(reply(TIME), context) as url:
        assert ask(OkxConfig(url=url, ca_file=str(certificate))) == 1787702400000_000_000


def test_a_certificate_for_another_host_is_not_trusted(tmp_path: Path) -> None:
    context, certificate = served_tls(tmp_path)
    with serving(reply(TIME), context) as url:
        # The whole of 127.0.0.0/8 is this machine, but the certificate names one address.
        elsewhere = url.replace("127.0.0.1", "127.0.0.2")
        transport = Elsewhere(url, str(certificate))
        error = failure(OkxConfig(url=elsewhere, ca_file=str(certificate)), transport=transport)
    assert "certificate is not trusted" in str(error)
    assert "127.0.0.2" in str(error)


class Elsewhere(httpx2.AsyncHTTPTransport):
    """Connects to one server while the request is meant for another host, as a hijacked name does."""

    def __init__(self, url: str, ca_file: str) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=ca_file))
        self._url = httpx2.URL(url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions["sni_hostname"] = request.url.host
        request.url = request.url.copy_with(host=self._url.host, port=self._url.port)
        return await super().handle_async_request(request)


def test_a_port_that_does_not_speak_tls() -> None:
    with serving(reply(TIME)) as url:
        error = failure(OkxConfig(url=url.replace("http:", "https:")))
    assert type(error) is OkxNetworkError
    assert "TLS failed" in str(error)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_file_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"ca_file .*ca\.pem"):
        ask(OkxConfig(ca_file=str(path)))
