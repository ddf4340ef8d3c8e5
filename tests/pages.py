"""The pages of the documentation: where they are, what code they hold, and a folder to try it in."""

import re
import shlex
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
#: Commands that need a server, or are one.
LIVE = ("sandbox", "live", "watch", "verify", "serve", "mcp")


def text_of(page: Path) -> str:
    """Return a page's text."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """Return a page's code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Return the words of every quantkit command in a page's shell blocks."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("quantkit ")]
    return [shlex.split(line)[1:] for line in lines]


def section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    level = heading.count("#")
    found = re.search(rf"^{re.escape(heading)}$\n(.*?)(?=^#{{1,{level}}} |\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page.name} has no heading {heading!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in a text, headings left out; ``\\|`` is no border."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    ruled = [index for index, cells in enumerate(tables) if all(set(cell) <= set("-: ") for cell in cells)]
    headings = {index - 1 for index in ruled} | set(ruled)
    return [cells for index, cells in enumerate(tables) if index not in headings]


def code_words(text: str) -> list[str]:
    """Return what a text has in single backticks, blocks of code left out."""
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


def without_blocks(text: str) -> str:
    """Return a text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the names by which GitHub links to a page's headings.

    Examples:
        `## What a run stores` is `what-a-run-stores`.
    """
    titles = re.findall(r"^#+ (.*)$", without_blocks(text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """Return the targets of a page's links that stay within the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(text_of(page)))
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def lay_out_clone(folder: Path) -> None:
    """Fill a folder with what a reader of the pages has: a clone, and files of his own."""
    for name in ("data", "strategies"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "data", folder / "tests" / "data")
    strategy = next(block for block in blocks(README, "python") if "class MaCross" in block)
    (folder / "my_strategy.py").write_text(strategy, encoding="utf-8")
    minutes = [f"2025-01-0{1 + i // 1440}T{i // 60 % 24:02}:{i % 60:02}:00Z" for i in range(2000)]
    prices = [94_000.0 + (i * 37 % 101) + 300 * (i // 100 % 2) for i in range(2001)]
    bars = [f"{t},{a},{max(a, b)},{min(a, b)},{b},1.5" for t, a, b in zip(minutes, prices, prices[1:], strict=False)]
    (folder / "btc_1m.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(bars) + "\n")
    days = [f"2025-01-{day:02},{190 + day},{195 + day},{188 + day},{191 + day},1000" for day in range(1, 29)]
    (folder / "goog.csv").write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(days) + "\n")
