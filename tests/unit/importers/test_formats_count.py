"""The README says of how many makers files are known."""

from pathlib import Path

from quantkit.importers import formats

README = Path(__file__).parents[3] / "README.md"


def test_the_readme_counts_the_makers() -> None:
    """In both places."""
    # Not `FORMATS`, to which other tests add.
    shipped = {each.name.partition("/")[0] for venue in formats._VENUES for each in venue.FORMATS}
    assert len(shipped) == 23
    text = README.read_text("utf-8")
    assert "Binance, OKX, Bybit, Tardis, Kraken and eighteen others" in text
    assert "import of the files of twenty-three makers" in text
