"""A process with limits on time and memory: runs quantkit's command line, or tells what a strategy file holds."""

import runpy
import sys
from contextlib import redirect_stdout
from typing import Any

import msgspec

from quantkit.errors import QuantkitError
from quantkit.web.workshop import StrategyShape


def main() -> None:
    """Set the limits that the first two arguments name, and do what the others say."""
    seconds, memory_bytes, *words = sys.argv[1:]
    set_limits(int(seconds), int(memory_bytes))
    if words[0] == "validate":
        validate(words[1])
        return
    sys.argv = ["quantkit", *words]
    runpy.run_module("quantkit", run_name="__main__", alter_sys=True)


def set_limits(seconds: int, memory_bytes: int) -> None:
    """Limit this process; without any where the system has no such limits."""
    try:
        import resource
    except ImportError:
        return
    for kind, most, hard in (
        # At the hard limit the process is killed without a word; the second before tells why.
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (most, hard))


def validate(file: str) -> None:
    """Print what a strategy file holds as JSON, or the reason why it cannot be run."""
    from quantkit.loading import load_strategy, parameter_fields
    from quantkit.strategy import check_built

    try:
        # What a file prints is no part of the answer.
        with redirect_stdout(sys.stderr):
            kind: Any = load_strategy(file)
            built = kind()
            check_built(built)
    except QuantkitError as error:
        print(f"quantkit: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    found = StrategyShape(
        file=file.replace("\\", "/").rpartition("/")[2],
        strategy=kind.__name__,
        says=(kind.__doc__ or "").strip().partition("\n")[0],
        parameters=parameter_fields(built.parameters),
    )
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    main()
