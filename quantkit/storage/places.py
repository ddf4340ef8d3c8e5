"""URIs of data folders as they may be shown: without keys, passwords and tokens."""

from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

#: Options of a URI that say where and how, and nothing secret.
_OPEN: Final = frozenset(
    {
        "allow_bucket_creation",
        "allow_bucket_deletion",
        "allow_delayed_open",
        "anonymous",
        "check_directory_existence_before_creation",
        "endpoint_override",
        "force_virtual_addressing",
        "region",
        "retry_limit_seconds",
        "scheme",
    }
)
_HIDDEN: Final = "***"
_SHORTEST: Final = 4


def shown(uri: str) -> str:
    """Return a URI without what is secret in it, or a path; whoever uses it again gives the keys in the environment.

    Examples:
        >>> shown("s3://key:secret@bucket/data?region=eu-west-1&session_token=t")
        's3://bucket/data?region=eu-west-1'
    """
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(uri)
    except ValueError:
        return f"{uri.partition('://')[0]}://{_HIDDEN}"
    options = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in _OPEN]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, urlencode(options), ""))


def is_database(data: object) -> bool:
    """Return whether data are named by a database's address.

    Examples:
        >>> is_database("postgresql://localhost/market"), is_database("data")
        (True, False)
    """
    return isinstance(data, str) and data.startswith(("postgresql://", "postgres://"))


def secrets_of(uri: str) -> tuple[str, ...]:
    """Return what is secret in a URI, as it stands there and as it is meant, the longest first."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return (uri.partition("://")[2],)
    found = parts.netloc.rpartition("@")[0].split(":", 1) if "@" in parts.netloc else []
    found += [value for name, value in parse_qsl(parts.query) if name not in _OPEN]
    spellings = {spelled for each in found for spelled in (each, unquote(each), quote(unquote(each), safe=""))}
    # What is shorter is no secret, and half of every sentence.
    return tuple(sorted((each for each in spellings if len(each) >= _SHORTEST), key=lambda each: (-len(each), each)))


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text without the secrets."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return text
