"""The sandbox's fixed API keys, and the check of logins and signed requests. They open nothing anywhere else."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the sandbox.

    Attributes:
        key, secret, passphrase: What a client presents.
        uid: The user it belongs to.
        is_vip: Whether its fee tier opens books-l2-tbt, books50-l2-tbt and fills.
        is_demo: Whether it is a demo-trading key.
        is_local: False for a key of another region, which this exchange does not know.
    """

    key: str
    secret: str
    passphrase: str
    uid: str
    is_vip: bool
    is_demo: bool
    is_local: bool


#: The secret and the passphrase of every key.
SECRET: Final = "sandbox-secret"
PASSPHRASE: Final = "sandbox-pass"


def _key(name: str, uid: int, *, is_vip: bool = False, is_demo: bool = False, is_local: bool = True) -> ApiKey:
    user = f"1000000000000000{uid:02d}"
    return ApiKey(
        key=name, secret=SECRET, passphrase=PASSPHRASE, uid=user, is_vip=is_vip, is_demo=is_demo, is_local=is_local
    )


#: Every key that the sandbox knows, by its `key`: a regular one, one of a higher fee tier, a demo-trading one, and one
#: of another region.
KEYS: Final[dict[str, ApiKey]] = {
    each.key: each
    for each in (
        _key("sandbox-key", 1),
        _key("sandbox-vip", 2, is_vip=True),
        _key("sandbox-demo", 3, is_demo=True),
        _key("sandbox-eea", 4, is_local=False),
    )
}


def sign(secret: str, prehash: str) -> str:
    """Return the Base64 of the HMAC-SHA256 of a text, OKX's signature."""
    return base64.b64encode(hmac.new(secret.encode(), prehash.encode(), hashlib.sha256).digest()).decode()


def judge_login(arg: dict[str, object], *, is_timely: Callable[[float], bool], is_demo: bool) -> ApiKey | str:
    """Return the key that a login presents, or the code of the error that it earns.

    Args:
        arg: The request's only arg.
        is_timely: Whether a login of that time, seconds since 1970, comes neither too early nor too late.
        is_demo: Whether this is the demo environment.
    """
    fields = [arg.get(name) for name in ("apiKey", "passphrase", "timestamp", "sign")]
    # OKX takes the time as a JSON number too, and its own Python client sends one.
    if isinstance(fields[2], int | float):
        fields[2] = str(fields[2])
    if not all(isinstance(field, str) and field for field in fields):
        return "60009"
    name, passphrase, timestamp, signature = (str(field) for field in fields)
    try:
        sent_s = float(timestamp)
    except ValueError:
        return "60004"
    if not is_timely(sent_s):
        return "60006"
    key = KEYS.get(name)
    if key is None:
        return "60005"
    if not key.is_local:
        return "60032"
    if key.is_demo is not is_demo:
        return "50101"
    if passphrase != key.passphrase:
        return "60024"
    if not hmac.compare_digest(signature.encode(), sign(key.secret, timestamp + "GET/users/self/verify").encode()):
        return "60007"
    return key
