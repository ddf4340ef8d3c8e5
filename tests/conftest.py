"""Makes `tests/` importable, so that every test can use the oracle engine, and says how tests run.

Generated examples are the same in every run: a change is judged by its own doing. `--hypothesis-profile=search` draws
others each time, which is how new ones are found.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, print_blob=True)
settings.register_profile("search", print_blob=True)
settings.load_profile("fixed")

# Tests that are started in the background, or by `nohup`, have signals ignored, and hand that on to what they start.
for name in ("SIGINT", "SIGHUP"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """Run one test more than there are cores: those on real sockets spend most of their time waiting."""
    return (os.cpu_count() or 1) + 1
