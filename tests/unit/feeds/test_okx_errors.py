"""Every refusal is one line that says what, where and what to do, with the right class, and without a secret."""

import json
import pickle
import socket
import ssl
import string
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import FeedError
from quantkit.feeds.okx.errors import (
    OkxAuthError,
    OkxError,
    OkxLimitError,
    OkxNetworkError,
    OkxRequestError,
    OkxServerError,
    close_error,
    is_clock_skew,
    is_fatal_close,
    is_retryable,
    network_error,
    reply_error,
)


@pytest.mark.parametrize(
    ("code", "text", "kind", "advice"),
    [
        ("60032", "API key doesn't exist", OkxAuthError, "region"),
        ("50119", "API key doesn't exist", OkxAuthError, "region"),
        ("50101", "APIKey does not match current environment.", OkxAuthError, "demo"),
        ("50102", "Timestamp request expired", OkxAuthError, "clock"),
        ("60006", "Timestamp request expired", OkxAuthError, "clock"),
        ("60004", "Invalid timestamp", OkxAuthError, "clock"),
        ("60005", "Invalid apiKey", OkxAuthError, "API key"),
        ("60007", "Invalid sign", OkxAuthError, "secret"),
        ("50113", "Invalid Sign", OkxAuthError, "secret"),
        ("60024", "Wrong passphrase", OkxAuthError, "passphrase"),
        ("60011", "Please log in", OkxAuthError, "credentials"),
        ("50110", "Your IP is not included", OkxAuthError, "address"),
        ("50118", "something new in the family", OkxAuthError, "permissions"),
        ("64003", "Your trading fee tier doesn't meet the requirement", OkxRequestError, "use books instead"),
        ("60018", "Wrong URL or channel", OkxRequestError, "instrument id"),
        ("64001", "moved", OkxRequestError, "business"),
        ("51001", "Instrument ID does not exist", OkxRequestError, "BTC-USDT-SWAP"),
        ("51000", "Parameter bar error", OkxRequestError, "parameter"),
        ("60012", "Invalid request", OkxRequestError, "report"),
        ("50011", "Too Many Requests", OkxLimitError, "fewer"),
        ("60014", "Requests too frequent", OkxLimitError, "fewer"),
        ("50001", "Service temporarily unavailable", OkxServerError, "later"),
        ("63999", "Login failed due to internal error", OkxServerError, "again"),
        ("99999", "brand new", OkxRequestError, "documentation"),
    ],
)
def test_class_and_advice_of_each_code(code: str, text: str, kind: type[OkxError], advice: str) -> None:
    error = reply_error(code, text, where="books BTC-USDT")
    assert type(error) is kind
    assert isinstance(error, FeedError)
    assert (error.code, error.text, error.where) == (code, text, "books BTC-USDT")
    said = str(error)
    assert said.startswith(f"books BTC-USDT: {text.rstrip('.')} (OKX code {code}); ")
    assert advice in said.split("; ", 1)[1]
    assert "\n" not in said


def test_numeric_codes_count_as_text() -> None:
    assert reply_error(50011, "Too Many Requests", where="x").code == "50011"
    assert is_retryable(50011)
    assert is_clock_skew(60006)


def test_what_can_be_repeated() -> None:
    again = {"50001", "50004", "50011", "50013", "50026", "50040", "50061", "60014", "60023", "63999", "64007"}
    never = {"50101", "50102", "50113", "50119", "51000", "51001", "60018", "60032", "64003", "99999", ""}
    for code in again:
        assert is_retryable(code)
        assert reply_error(code, "", where="x").is_retryable
    for code in never:
        assert not is_retryable(code)
        assert not reply_error(code, "", where="x").is_retryable


@pytest.mark.parametrize(
    ("status", "kind", "can_repeat"),
    [
        (302, OkxServerError, False),
        (401, OkxAuthError, False),
        (403, OkxAuthError, False),
        (404, OkxRequestError, False),
        (407, OkxNetworkError, False),
        (408, OkxServerError, True),
        (418, OkxRequestError, False),
        (429, OkxLimitError, True),
        (451, OkxAuthError, False),
        (500, OkxServerError, True),
        (503, OkxServerError, True),
    ],
)
def test_the_status_decides_without_a_code(status: int, kind: type[OkxError], can_repeat: bool) -> None:
    error = reply_error("", None, where="OKX public/time", status=status)
    assert (type(error), error.is_retryable, error.code) == (kind, can_repeat, f"HTTP {status}")
    assert f"(HTTP {status}); " in str(error)


def test_a_known_code_decides_before_the_status_and_a_failing_gateway_before_the_code() -> None:
    assert type(reply_error("50113", "Invalid Sign", where="x", status=401)) is OkxAuthError
    assert type(reply_error("50011", "Too Many", where="x", status=503)) is OkxLimitError
    failed = reply_error("51000", "Parameter error", where="x", status=502)
    assert (type(failed), failed.is_retryable, failed.code) == (OkxServerError, True, "51000")


def test_a_quoted_login_is_blanked_in_every_spelling() -> None:
    login = {"op": "login", "args": [{"apiKey": "k3y-1", "passphrase": 'pa"ss ph\\rase', "sign": "c2lnbg==/+"}]}
    quoted = json.dumps(login)
    texts = [
        f"Invalid request: {quoted}",
        f"Invalid request: {json.dumps(quoted)}",
        "header OK-ACCESS-PASSPHRASE: pa-rase rejected",
        "OK-ACCESS-KEY=k3y-1&OK-ACCESS-SIGN=c2lnbg==/+",
        "{'apiKey': 'k3y-1', 'passphrase': 'rase'}",
    ]
    for text in texts:
        error = reply_error("60012", text, where="login")
        shown = f"{error!s} {error!r} {error.text}"
        for secret in ("k3y-1", "rase", "c2lnbg"):
            assert secret not in shown, text


@given(
    secrets=st.lists(st.text(string.printable, min_size=8, max_size=30), min_size=4, max_size=4, unique=True),
    is_nested=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_no_secret_survives_a_quoted_request(secrets: list[str], is_nested: bool) -> None:
    """Whatever the secret is made of, quotes and backslashes included, no run of it is left over."""
    names = ("apiKey", "passphrase", "sign", "secretKey")
    quoted = json.dumps({"op": "login", "args": [dict(zip(names, secrets, strict=True))]})
    text = "Invalid request: " + (json.dumps(quoted) if is_nested else quoted)
    error = reply_error("60012", text, where="login")
    shown = f"{error!s} {error!r} {error.text} {error.args}"
    frame = '{"op": "login", "args": [{"apiKey": "***"}]} passphrase sign secretKey Invalid request OkxRequestError'
    own = f"{frame} {reply_error('60012', 'Invalid request', where='login')}"  # the advice may hold a secret's words
    for secret in secrets:
        words = [word for word in secret.split() if len(word) >= 6 and word not in own]
        assert not any(word in shown for word in words)


@given(
    code=st.one_of(st.text(max_size=30), st.integers()),
    text=st.one_of(st.none(), st.text(max_size=2000)),
    status=st.integers(100, 599),
)
@settings(max_examples=200, deadline=None)
def test_any_refusal_is_one_printable_line_of_bounded_length(code: str | int, text: str | None, status: int) -> None:
    error = reply_error(code, text, where="OKX market/books BTC-USDT", status=status)
    said = str(error)
    assert said.isprintable()
    assert len(said) < 700
    assert said.startswith("OKX market/books BTC-USDT: ")
    assert "; " in said


def test_errors_survive_pickling_with_their_facts() -> None:
    error = reply_error("50011", "Too Many Requests", where="x", retry_after_s=3.0)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.code, copy.retry_after_s) == (OkxLimitError, str(error), "50011", 3.0)


# Closes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "is_fatal", "advice"),
    [
        (4001, OkxAuthError, True, "login"),
        (4002, OkxRequestError, True, "parameters"),
        (4003, OkxAuthError, True, "accounts"),
        (4004, OkxServerError, False, "30 s"),
        (4005, OkxServerError, False, "slowly"),
        (4006, OkxServerError, False, "unknown"),
        (4007, OkxAuthError, True, "key"),
        (4008, OkxLimitError, True, "channels"),
        (4009, OkxLimitError, True, "channels_per_connection"),
        (1000, OkxServerError, False, "anew"),
        (1006, OkxServerError, False, "anew"),
        (1009, OkxRequestError, False, "large"),
    ],
)
def test_close_codes(code: int, kind: type[OkxError], is_fatal: bool, advice: str) -> None:
    error = close_error(code, "the reason\n", where="private connection 2")
    assert (type(error), error.is_retryable, is_fatal_close(code)) == (kind, not is_fatal, is_fatal)
    assert str(error).startswith(f"private connection 2: closed with {code} (the reason); ")
    assert advice in str(error)


# The network ------------------------------------------------------------------------------------------------------


def chained(*errors: BaseException) -> BaseException:
    """Return the first error, each raised from the next, as HTTP libraries wrap them."""
    for outer, inner in pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


def misspoken() -> ssl.SSLError:
    """Return what OpenSSL itself says about a server that does not speak TLS."""
    side = ssl.MemoryBIO()
    side.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    try:
        ssl.create_default_context().wrap_bio(side, ssl.MemoryBIO(), server_hostname="localhost").do_handshake()
    except ssl.SSLError as error:
        return error
    raise AssertionError("plain HTTP passed for TLS")


@pytest.mark.parametrize(
    ("error", "said", "can_repeat"),
    [
        (untrusted(), "the server's certificate is not trusted (self-signed certificate)", False),
        (chained(RuntimeError("x"), OSError("y"), untrusted()), "certificate is not trusted", False),
        (ssl.SSLError("made by a library"), "TLS failed (", True),
        (ssl.SSLCertVerificationError("made by a library"), "is not trusted (", False),
        (misspoken(), "TLS failed (WRONG_VERSION_NUMBER)", True),
        (chained(RuntimeError("x"), socket.gaierror(-2, "Name or service not known")), "cannot be resolved", True),
        (ConnectionRefusedError(111, "refused"), "the connection was refused", True),
        (ConnectionResetError(104, "reset"), "the connection was cut", True),
        (TimeoutError(), "no answer in time", True),
        (OSError(101, "Network is unreachable"), "the network cannot be reached", True),
        (
            OSError("All connection attempts failed"),
            "the network cannot be reached",
            True,
        ),
        (
            chained(OSError("All connection attempts failed"), ExceptionGroup("", [ConnectionRefusedError(111, "no")])),
            "the connection was refused",
            True,
        ),
        (RuntimeError(OSError("wrapped")), "the network cannot be reached", True),
        (RuntimeError("Server disconnected without sending a response."), "no answer (Server disconnected", True),
    ],
)
def test_network_errors_name_the_deepest_cause(error: BaseException, said: str, can_repeat: bool) -> None:
    found = network_error(error, where="OKX public/time at openapi.okx.com")
    assert str(found).startswith("OKX public/time at openapi.okx.com: ")
    assert said in str(found)
    assert str(found).isprintable()
    assert found.is_retryable is can_repeat
    assert "check" in str(found)


def test_a_cycle_of_causes_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert "no answer (a)" in str(network_error(first, where="x"))
