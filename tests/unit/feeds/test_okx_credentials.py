"""Where API keys come from, and signatures as OKX computes them."""

import base64
import hashlib
import hmac
import os
import sys

import pytest

from quantkit.errors import ConfigError
from quantkit.feeds.okx.credentials import Credentials, Secret

GOOD = 'key = "k1"\nsecret = "s1"\npassphrase = "p1"\n'


def write(path, text, mode=0o600):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_the_environment_is_read():
    found = Credentials.from_environment({"OKX_API_KEY": "a", "OKX_API_SECRET": "b", "OKX_API_PASSPHRASE": "c"})
    assert (found.key.reveal(), found.secret.reveal(), found.passphrase.reveal()) == ("a", "b", "c")


def test_load_takes_the_environment_unless_a_file_is_named(tmp_path, monkeypatch):
    for name in ("KEY", "SECRET", "PASSPHRASE"):
        monkeypatch.setenv(f"OKX_API_{name}", name)
    assert Credentials.load().key.reveal() == "KEY"
    assert Credentials.load(write(tmp_path / "keys.toml", GOOD)).key.reveal() == "k1"


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="set OKX_API_SECRET, OKX_API_PASSPHRASE"):
        Credentials.from_environment({"OKX_API_KEY": "a", "OKX_API_SECRET": ""})


@pytest.mark.skipif(os.name != "posix", reason="other systems keep no such modes")
@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666, 0o610])
def test_a_file_that_others_can_touch_is_refused(tmp_path, mode):
    with pytest.raises(ConfigError, match="chmod 600"):
        Credentials.from_file(write(tmp_path / "keys.toml", GOOD, mode))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hunter2 = ", "is not TOML"),
        (b"\xffhunter2", "is not TOML"),
        ('key = "hunter2"', "has no text for secret, passphrase"),
        ('key = "a"\nsecret = 5\npassphrase = "c"', "has no text for secret"),
        (GOOD + 'hunter2 = "x"', "1 keys besides"),
        ("#" * 70_000, "too long"),
        ('key = "a"\nsecret = "hunter2\\n"\npassphrase = "c"', "the secret holds"),
        ('key = "a"\nsecret = "hunter2ä"\npassphrase = "c"', "the secret holds"),
    ],
)
def test_a_malformed_file_is_refused_without_quoting_it(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Credentials.from_file(write(tmp_path / "keys.toml", text))
    error = caught.value
    while error is not None:
        assert "hunter2" not in repr(error)
        assert b"hunter2" not in getattr(error, "object", b"")
        error = error.__cause__ or error.__context__


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Credentials.from_file(tmp_path / "none.toml")
    if sys.platform == "linux":
        with pytest.raises(ConfigError, match="is not a file"):
            Credentials.from_file("/dev/null")


def test_a_login_is_signed_as_okx_says():
    credentials = Credentials("K", "S", "P")
    login = credentials.sign_login(1704876947)
    digest = hmac.new(b"S", b"1704876947GET/users/self/verify", hashlib.sha256).digest()
    assert login == {
        "apiKey": "K",
        "passphrase": "P",
        "timestamp": "1704876947",
        "sign": base64.b64encode(digest).decode(),
    }


def test_a_request_is_signed_over_the_bytes_sent():
    headers = Credentials("K", "S", "P").sign_rest(
        "2020-12-08T09:08:57.715Z", "POST", "/api/v5/x?b=2&a=1", b'{"instId":"BTC-USDT"}'
    )
    message = b'2020-12-08T09:08:57.715ZPOST/api/v5/x?b=2&a=1{"instId":"BTC-USDT"}'
    assert headers == {
        "OK-ACCESS-KEY": "K",
        "OK-ACCESS-SIGN": base64.b64encode(hmac.new(b"S", message, hashlib.sha256).digest()).decode(),
        "OK-ACCESS-TIMESTAMP": "2020-12-08T09:08:57.715Z",
        "OK-ACCESS-PASSPHRASE": "P",
    }


def test_secrets_compare_without_showing_themselves():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret("a"))


def test_credentials_made_of_secrets_keep_them():
    assert Credentials(Secret("a"), Secret("b"), Secret("c")).secret.reveal() == "b"


def test_quotations_are_blanked_however_deep_they_are_escaped():
    credentials = Credentials("the-key", 'se"c\\ret', "pass phrase")
    told = r'the-key se"c\ret se\"c\\ret se\\\"c\\\\ret pass phrase'
    assert credentials.clean(told) == "*** *** *** *** ***"
