"""CryptoDataDownload's candles: a first line with the site's address, newest rows first, two volumes."""

from typing import Final

from quantkit.importers.formats.record import OHLC, Format, Named, Table
from quantkit.importers.formats.symbols import of_venue

_NAME: Final = r"^(?P<venue>[A-Za-z]+)_(?P<symbol>[A-Z0-9]+)_(?:[0-9]{4}_)?(?P<interval>1?d|1h|minute|1min|hour)"


def _market(venue: str, symbol: str) -> Named:
    return of_venue(venue.lower() or "cryptodatadownload", symbol)


def _has_half_days(table: Table) -> bool:
    return all(text.endswith(("-AM", "-PM")) for text in table.texts("date"))


def _has_plain_dates(table: Table) -> bool:
    return not any(text.endswith(("-AM", "-PM")) for text in table.texts("date"))


FORMATS: Final = (
    Format(
        name="cryptodatadownload/candles",
        title="CryptoDataDownload candles",
        holds="candle",
        headers=(
            "unix,date,symbol,open,high,low,close,volume *,volume *",
            "unix timestamp,date,symbol,open,high,low,close,volume",
        ),
        columns={**OHLC, "time": "unix*", "instrument": "symbol", "volume": "volume*"},
        name_pattern=_NAME,
        market=_market,
        zone="UTC",
    ),
    *(
        Format(
            name=f"cryptodatadownload/{name}",
            title=f"CryptoDataDownload candles with dates alone{says}",
            holds="candle",
            headers=("date,symbol,open,high,low,close,volume *,volume *",),
            columns={**OHLC, "time": "date", "instrument": "symbol", "volume": "volume*"},
            test=test,
            name_pattern=_NAME,
            market=_market,
            zone="UTC",
            time_format=time_format,
        )
        for name, says, test, time_format in (
            ("dated-candles", "", _has_plain_dates, ""),
            ("hourly-candles", " and hours of a half day", _has_half_days, "%Y-%m-%d %I-%p"),
        )
    ),
)
