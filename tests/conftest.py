"""Makes `tests/` importable, so that every test can use the oracle engine in `tests/oracle`."""
