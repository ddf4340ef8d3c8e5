"""URIs of data folders: which are opened, how they may be shown (without keys), and what a store's refusal means."""

import re
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
#: What `pyarrow.fs` opens and a data folder may lie in.
SCHEMES: Final = frozenset({"s3", "gs", "gcs", "file", "abfs", "abfss", "hdfs", "viewfs"})
#: What a store's libraries say, and what it means; the first that fits counts.
_REFUSALS: Final = (
    (
        re.compile(r"OAuth2 access token|UNAUTHENTICATED"),
        "there are no credentials for it: name their file in GOOGLE_APPLICATION_CREDENTIALS, or write "
        "gs://anonymous@bucket/folder for a public bucket",
    ),
    (
        re.compile(r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE\w*|HTTP status 40[13]|PERMISSION_DENIED"),
        "the store refuses the keys, or there are none, or they have no right to this: check AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or those of your store",
    ),
    (re.compile(r"NO_SUCH_BUCKET"), "there is no such bucket; make it first"),
    (
        re.compile(r"HTTP status (?:30[127]|400)"),
        "the bucket is in another region or at another store: check region= and endpoint_override= in the URL",
    ),
    (re.compile(r"curlCode: 6\b"), "the endpoint's host is not known: check endpoint_override= and the network"),
    (re.compile(r"curlCode: (?:7|28)\b"), "nobody answers at the endpoint: check endpoint_override= and the network"),
    (
        re.compile(r"curlCode: (?:35|60)\b"),
        "no TLS connection to the endpoint: check its certificate; a store without TLS needs scheme=http",
    ),
    (re.compile(r"HTTP status 50\d|SLOW_DOWN|UNAVAILABLE"), "the store is out of order or overloaded; try again later"),
)
_OF_STORES: Final = re.compile(r"AWS Error|google::cloud::Status|Azure Error").search


def shown(uri: str) -> str:
    """Return a URI without what is secret in it, or a path; whoever uses it again gives the keys in the environment.

    Examples:
        >>> shown("s3://key:secret@bucket/data?region=eu-west-1&session_token=t")
        's3://bucket/data?region=eu-west-1'
    """
    if "://" not in uri:
        return uri
    try:
        parts = urlsplit(_quoted(uri))
    except ValueError:
        return f"{uri.partition('://')[0]}://{_HIDDEN}"
    options = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name in _OPEN]
    place = urlunsplit(("", "", parts.path, urlencode(options), ""))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{place}"


def has_slash_in_key(uri: str) -> bool:
    """Return whether the keys in a URI hold a slash, which ends them for whoever takes it apart.

    Examples:
        >>> has_slash_in_key("s3://key:se/cret@bucket/data"), has_slash_in_key("s3://bucket/a@b")
        (True, False)
    """
    return _quoted(uri) != uri


def _quoted(uri: str) -> str:
    """Return a URI whose keys hold no slash, so that it can be taken apart."""
    scheme, _, rest = uri.partition("://")
    front, mark, options = rest.partition("?")
    keys, at, place = front.rpartition("@")
    if not at or "/" not in keys or ":" not in keys.partition("/")[0]:
        return uri
    return f"{scheme}://{keys.replace('/', '%2F')}@{place}{mark}{options}"


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
        parts = urlsplit(_quoted(uri))
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


def refusal(text: str) -> str | None:
    """Return what a store's refusal means, with its own word for it; None of what no store said.

    Examples:
        >>> refusal("When reading 'x': AWS Error NO_SUCH_BUCKET during PutObject operation: The bucket is not there")
        'there is no such bucket; make it first (NO_SUCH_BUCKET)'
    """
    if not _OF_STORES(text):
        return None
    found = next(((meaning, match[0]) for said, meaning in _REFUSALS if (match := said.search(text))), None)
    return text if found is None else f"{found[0]} ({found[1]})"
