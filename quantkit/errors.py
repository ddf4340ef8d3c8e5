"""Every exception that quantkit raises on purpose."""

from collections.abc import Mapping
from typing import Any


class QuantkitError(Exception):
    """Base of all quantkit errors; the message says what, where and what to do."""


class ConfigError(QuantkitError):
    """A fault that the user can fix: a flag, a file, a parameter, a strategy path."""


class DataError(QuantkitError):
    """Bytes or rows are not what they claim to be."""


class ParseError(DataError):
    """A text or a frame that cannot be understood.

    Attributes:
        where: File and line, or channel, as far as known.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class EmptyImportError(DataError):
    """Foreign files hold no row of what is wanted."""


class SchemaError(DataError):
    """A Parquet file's columns, version or order are not quantkit's."""


class FeedError(QuantkitError):
    """The connection failed, not the data."""


class FeedClosedError(FeedError):
    """The feed was closed while it was still wanted."""


class SubscriptionError(FeedError):
    """Some subscriptions were refused; all others stay live.

    Attributes:
        refused: What was refused, each with its reason.
    """

    def __init__(self, message: str, *, refused: Mapping[Any, FeedError] | None = None) -> None:
        super().__init__(message)
        self.refused: dict[Any, FeedError] = dict(refused or {})


class OrderError(QuantkitError):
    """A call that could never become a valid order: NaN, zero, an unknown instrument."""


class StrategyError(QuantkitError):
    """User code raised; the original exception is its cause.

    Attributes:
        hook: Name of the hook that raised.
        now_ns: Engine time, UTC nanoseconds; None before the start of the run.
    """

    def __init__(self, message: str, *, hook: str, now_ns: int | None) -> None:
        super().__init__(message)
        self.hook = hook
        self.now_ns = now_ns
