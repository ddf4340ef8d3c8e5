"""What is mended is whole and no row is another; a plan changes nothing; a kill leaves each mend done or not begun."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from quality_rows import BTC, START_NS, checked, stored, trades

from quantkit.cli import main
from quantkit.clock import NS_PER_DAY
from quantkit.errors import DataError
from quantkit.quality.repair import JOURNAL, LEFT, planned, repair
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.root import Root
from quantkit.storage.rows_digest import rows_digest
from quantkit.storage.writer import Writer

TRADE = Stream("trade", BTC)
LATER_NS = START_NS + 30 * NS_PER_DAY


def everything(folder: Path) -> str:
    """Return the digest of all trades."""
    return rows_digest(Catalog(folder), TRADE, -(2**63), 2**63 - 1)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Six hundred trades in twenty files of one day."""
    rows = trades(600)
    folder = stored(tmp_path / "data", rows[:30])
    for start in range(30, 600, 30):
        with Writer(folder) as writer:
            writer.write(Block.from_events(rows[start : start + 30]))
    return folder


def test_small_files_become_one(small: Path) -> None:
    before = everything(small)
    (plan,) = planned(Root.of(small), LATER_NS)
    assert (plan.action, len(plan.files)) == ("compact", 20)
    assert len(Catalog(small).files(TRADE, START_NS, LATER_NS)) == 20  # a plan changes nothing
    assert not (small / JOURNAL).exists()
    done = msgspec.structs.replace(plan, digest_before=before, digest_after=before)
    assert list(repair(Root.of(small), LATER_NS)) == [done]
    assert len(Catalog(small).files(TRADE, START_NS, LATER_NS)) == 1
    assert everything(small) == before
    assert planned(Root.of(small), LATER_NS) == []
    (line,) = (small / JOURNAL).read_bytes().splitlines()
    assert msgspec.json.decode(line)["action"] == "compact"


def test_a_torn_line_is_dropped_and_its_file_adopted(small: Path) -> None:
    """The line that is lost is the last one, of whichever file; its rows come back."""
    before = everything(small)
    content = (small / MANIFEST).read_bytes()
    (small / MANIFEST).write_bytes(content[:-40])
    with pytest.raises(DataError):
        Catalog(small)
    assert [each.action for each in planned(Root.of(small), 0)] == ["drop torn line"]
    done = list(repair(Root.of(small), 0))
    assert [each.action for each in done] == ["drop torn line", "adopt"]
    assert everything(small) == before
    assert [finding for finding in checked(small).findings if finding.code == "unlisted"] == []


def test_a_double_of_stored_rows_is_removed_and_other_rows_stay(small: Path) -> None:
    (first, *_) = Catalog(small).files(TRADE, START_NS, LATER_NS)
    copy = small / Path(first.path).with_name("copy.parquet")
    copy.write_bytes((small / first.path).read_bytes())
    damaged = copy.with_name("damaged.parquet")
    damaged.write_bytes(copy.read_bytes()[:-9])
    before = everything(small)
    plan, left = planned(Root.of(small), 0)
    assert (plan.action, plan.files) == ("remove double", (copy.relative_to(small).as_posix(),))
    assert (left.action, left.files) == (LEFT, (damaged.relative_to(small).as_posix(),))
    assert list(repair(Root.of(small), 0)) == [plan, left]
    assert everything(small) == before
    assert not copy.exists()
    assert damaged.exists()


def test_nothing_is_mended_where_more_than_the_last_line_is_damaged(small: Path) -> None:
    content = (small / MANIFEST).read_bytes()
    (small / MANIFEST).write_bytes(content[:200] + b"x" + content[201:-5])
    with pytest.raises(DataError):
        planned(Root.of(small), 0)


def test_the_command_plans_first(small: Path) -> None:
    said = CliRunner().invoke(main, ["data", "repair", str(small)])
    assert said.exit_code == 0
    assert "20 files become one of 600 rows" in " ".join(said.output.split())
    assert "nothing was changed" in said.output
    done = CliRunner().invoke(main, ["data", "repair", str(small), "--yes", "--json"])
    assert [each["action"] for each in msgspec.json.decode(done.output)] == ["compact"]
    assert "nothing to mend" in CliRunner().invoke(main, ["data", "repair", str(small)]).output
    assert CliRunner().invoke(main, ["data", "repair", str(small / "nowhere")]).exit_code != 0
