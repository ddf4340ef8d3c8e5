"""Print the lower bounds of pyproject.toml as pip constraints, so that they are tested and not only claimed."""

import sys
import tomllib
from pathlib import Path


def floors(pyproject: Path, extras: list[str]) -> list[str]:
    """Return `name==lowest` for every dependency of the project and of some of its extras.

    Raises:
        SystemExit: A dependency has no lower bound.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    found = []
    for line in wanted:
        name, at_least, lowest = line.partition(">=")
        if not at_least:
            raise SystemExit(f"{pyproject}: {line!r} has no lower bound; write {line}>=X")
        found.append(f"{name}=={lowest}")
    return found


if __name__ == "__main__":
    print("\n".join(floors(Path(sys.argv[1]), sys.argv[2:])))
