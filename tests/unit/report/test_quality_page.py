"""The page of a check: verdicts, findings and pictures in one file that asks no network; `--html` writes it."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from quality_rows import books, candles, stored, tickers, trades

from quantkit.cli import main
from quantkit.quality import QualityReport, check
from quantkit.report.page import quality
from quantkit.report.page.quality_pictures import STRETCHES, Pictures
from quantkit.storage.catalog import Catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten minutes of every kind, with one price ten times too high."""
    rows = [msgspec.structs.replace(row, price=1050.0) if n == 123 else row for n, row in enumerate(trades(600))]
    return stored(tmp_path / "data", rows, tickers(600), books(600), candles(trades(600), 10))


def looked_at(folder: Path) -> tuple[QualityReport, Pictures]:
    """Return what a check says and what it draws."""
    catalog = Catalog(folder)
    pictures = Pictures(catalog)
    return check(catalog, sink=pictures), pictures


def figures_of(page: str) -> dict[str, Any]:
    """Return the documents inside a page."""
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert block is not None
    found: dict[str, Any] = json.loads(block[1])
    return found


def test_the_page_shows_verdicts_findings_and_a_picture(folder: Path) -> None:
    report, pictures = looked_at(folder)
    page = quality.render(report, pictures).decode()
    for words in (
        "● clean",
        "× faulty",
        "? cannot be verified",
        "1 outlier of price",
        "tickers have no sequence numbers",
    ):
        assert words in page, words
    assert list(figures_of(page)) == ["picture_0"]
    assert not re.findall(r'(?:src|href)="', page)  # nothing is fetched
    assert page == quality.render(*looked_at(folder)).decode()


def test_the_pictures_count_each_row_once(folder: Path) -> None:
    """By the moment of receipt, whatever the blocks; prices and spreads stay what they were."""
    _, pictures = looked_at(folder)
    rows = {stream.kind: held for stream, held in pictures.streams.items()}
    assert {kind: int(held.counts.sum()) for kind, held in rows.items()} == {
        "trade": 600,
        "ticker": 600,
        "book": 601,
        "candle": 10,
    }
    assert float(np.nanmax(rows["trade"].high)) == 1050.0
    assert float(np.nanmin(rows["trade"].low)) == 100.0
    assert rows["ticker"].spread_bps[STRETCHES // 2] == pytest.approx(1e4 * 6 / 102.5)
    late = rows["trade"].latency_ms(0.5)[STRETCHES // 2]
    assert 5.0 <= late <= 5.0 * 1.5


def test_a_hostile_name_stays_text(folder: Path) -> None:
    report, pictures = looked_at(folder)
    hostile = msgspec.structs.replace(report, root="<script>alert(1)</script>")
    page = quality.render(hostile, pictures).decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_instruments_without_a_picture_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "DRAWN", 0)
    page = quality.render(*looked_at(folder)).decode()
    assert "Pictures of 1 further instrument with fewer findings are left out" in page
    assert figures_of(page) == {}


def test_the_command_writes_the_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a part as well; a place that cannot be written is refused before the check."""
    page = tmp_path / "quality.html"
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    done = CliRunner().invoke(main, ["data", "check", str(folder), "--html", str(page), "--open", "--kind", "trade"])
    assert done.exit_code == 0, done.output
    assert opened == [page.as_uri()]
    assert "1 outlier of price" in page.read_text()
    for arguments, words in (
        (["--open"], "name it with --html FILE"),
        (["--html", str(tmp_path / "nowhere" / "page.html")], "there is no folder"),
    ):
        refused = CliRunner().invoke(main, ["data", "check", str(folder), *arguments])
        assert refused.exit_code == 2
        assert words in " ".join(refused.output.split())


def test_a_folder_without_rows_has_a_page(tmp_path: Path) -> None:
    page = quality.render(*looked_at(stored(tmp_path / "data"))).decode()
    assert "None: every file and every row was read." in page
    part = quality.render(*looked_at(tmp_path / "data"), is_part=True).decode()
    assert "None in what was asked for." in part
