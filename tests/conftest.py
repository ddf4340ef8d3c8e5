"""Makes `tests/` importable, so that every test can use the oracle engine, and says how many tests run at once."""

import os


def pytest_xdist_auto_num_workers() -> int:
    """Run one test more than there are cores: those on real sockets spend most of their time waiting."""
    return (os.cpu_count() or 1) + 1
