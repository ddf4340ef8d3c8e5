"""`quantkit serve` as it is typed: the browser it opens, the file of its token, TLS on every address of the machine."""

import http.client
import json
import os
import re
import signal
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from certificates import CERTIFICATE, PRIVATE_KEY
from click.testing import CliRunner, Result

from quantkit.cli import main
from quantkit.cli import serve as command
from quantkit.web import server

Visit = Callable[[str], Any]
Serve = Callable[..., tuple[Result, Any]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve an empty folder until the browser that it opens has been there; return its words and what was found."""
    runs = tmp_path / "runs"
    runs.mkdir()

    def served(*words: str, visit: Visit) -> tuple[Result, Any]:
        found: list[Any] = []

        def open_browser(uri: str) -> None:
            try:
                found.append(visit(uri))
            except BaseException as error:  # noqa: BLE001  the test raises it
                found.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(command.webbrowser, "open", open_browser)
        done = CliRunner().invoke(main, ["serve", "--runs", str(runs), "--port", "0", "--open", *words])
        assert found, done.output
        if isinstance(found[0], BaseException):
            raise found[0]
        return done, found[0]

    return served


def link_in(uri: str) -> str:
    """Return the one-time link of the file that a browser is given."""
    found = re.search(r"url=([^\"]+)", Path(urlsplit(uri).path).read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def ask(link: str, method: str, path: str, *, context: ssl.SSLContext | None = None, **words: str) -> Any:
    """Return status, cookie and answer of a request to the server of a link."""
    host = urlsplit(link).netloc
    connection = http.client.HTTPConnection(host, timeout=20)
    if context is not None:
        connection = http.client.HTTPSConnection(host, timeout=20, context=context)
    body = words.pop("body", None)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in words.items()})
    reply = connection.getresponse()
    content = json.loads(reply.read())
    connection.close()
    return reply.status, reply.getheader("set-cookie", ""), content


def sign_in(link: str, **options: Any) -> Any:
    """Follow the link as its page does."""
    body = json.dumps({"credential": urlsplit(link).fragment})
    return ask(link, "POST", "/api/v1/session", body=body, Content_Type="application/json", **options)


def test_the_browser_gets_the_link_by_a_private_file(serve: Serve) -> None:
    """Not as a word of a command, which every user of the machine sees; the file goes with the server."""

    def visit(uri: str) -> Any:
        assert "#" not in uri
        file = Path(urlsplit(uri).path)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        return file, sign_in(link_in(uri))

    done, (file, (status, cookie, _)) = serve(visit=visit)
    assert (done.exit_code, status) == (0, 200)
    assert "HttpOnly" in cookie
    assert not file.exists()
    assert "The link works once" in done.output


def test_a_file_keeps_the_token_over_restarts(serve: Serve, tmp_path: Path) -> None:
    """Made for its owner alone; programs come in by it."""
    kept = tmp_path / "serve.token"

    def visit(uri: str) -> Any:
        token = kept.read_text(encoding="ascii").strip()
        wrong = ask(link_in(uri), "GET", "/api/v1/session", Authorization="Bearer " + "x" * 40)
        return token, wrong[0], ask(link_in(uri), "GET", "/api/v1/session", Authorization=f"Bearer {token}")[0]

    first, found = serve("--token-file", str(kept), visit=visit)
    again, same = serve("--token-file", str(kept), visit=visit)
    assert found == same == (found[0], 401, 200)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert found[0] in first.output
    assert found[0] in again.output
    kept.chmod(0o644)
    refused = CliRunner().invoke(main, ["serve", "--port", "0", "--token-file", str(kept)])
    assert (refused.exit_code, "chmod 600" in refused.output) == (2, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_speaks_tls(serve: Serve, tmp_path: Path, host: str) -> None:
    """A client that checks the certificate gets in, and one without TLS gets nothing; the cookie needs TLS as well."""
    certificate, key = tmp_path / "quant.pem", tmp_path / "quant.key"
    certificate.write_text(CERTIFICATE, encoding="ascii")
    key.write_text(PRIVATE_KEY, encoding="ascii")
    context = ssl.create_default_context(cafile=str(certificate))

    def visit(uri: str) -> Any:
        link = link_in(uri)
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(link, "GET", "/api/v1/session")
        return link, sign_in(link, context=context)

    words = ("--host", host, "--name", "localhost", "--certificate", str(certificate), "--key", str(key))
    done, (link, (status, cookie, _)) = serve(*words, visit=visit)
    assert (done.exit_code, status) == (0, 200)
    assert link.startswith("https://")
    assert cookie.startswith("__Host-quantkit-")
    assert "; Secure" in cookie


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "--i-understand"),
        (["--certificate", "a.pem"], "give both"),
        (["--certificate", "none.pem", "--key", "none.key"], "cannot speak TLS"),
        (["--with-run"], "--live"),
        (["--live", "nowhere"], "there is no run nowhere"),
        (["--host", "203.0.113.7", "--i-understand"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_told(words: list[str], told: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["serve", "--runs", str(tmp_path), "--port", "0", *words])
    assert done.exit_code == 2
    assert told in done.output


def test_it_ends_some_time_after_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that is over before it starts, too."""
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(server, "FAREWELL_S", 0.1)
    words = ["serve", "--runs", str(tmp_path), "--port", "0", "--live", str(tmp_path / "run"), "--with-run"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "quantkit serve: the run is over, and so is its server"
