"""What an exchange tells of the present alone, as rows with their moment: for downloads and for a recorder's polls."""

from collections.abc import Sequence

from quantkit.collect.kinds import WORDS, DownloadKind
from quantkit.errors import ConfigError
from quantkit.events import MarketEvent
from quantkit.feeds.okx.rest.rest import OkxRest


async def rows_now(rest: OkxRest, kind: DownloadKind, instrument: str) -> Sequence[MarketEvent]:
    """Return the rows of a kind as it is now; none of `instruments`, which are metadata.

    Raises:
        ConfigError: The kind has a history, or it needs credentials that are not there.
        OkxError: A request failed.
    """
    row_kind = WORDS[kind.word].kind
    if kind.is_past:
        raise ConfigError(f"{kind.text} has a history; download it")
    return [] if row_kind == "instrument" else await rest.now.rows(row_kind, instrument)
