"""Child processes that do jobs, a few at a time, within bounded time, and end with their parent."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from quantkit.errors import DataError
from quantkit.proving.jobs import TIMED_OUT, ChildReport, Job

#: Of what a child printed before it died.
_LAST_LINES: Final = 400


class ChildPool:
    """Runs jobs in processes of their own. Used as a context, it leaves neither processes nor files behind.

    Args:
        workers: How many at a time.
        timeout_s: What one run may take.
        progress: Called with (runs done, a name) as they end.
    """

    def __init__(self, workers: int, timeout_s: float, progress: Callable[[int, str], None] | None) -> None:
        self._workers = workers
        self._timeout_s = timeout_s
        self._progress = progress
        self._folder = tempfile.TemporaryDirectory(prefix="quantkit-check-")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._count = 0
        self._frames: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    def kill(self) -> None:
        """End every child with all that it started, and start no more."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            _end(process)

    def run(self, jobs: Sequence[Job]) -> list[ChildReport]:
        """Do jobs and return their reports in the same order.

        Raises:
            DataError: A child died.
        """
        with ThreadPoolExecutor(self._workers) as threads:
            futures = [threads.submit(self._do, job) for job in jobs]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                return [future.result() for future in futures]
            except BaseException:
                # Ctrl-C, or a child that died: nobody waits for the others.
                self.kill()
                for future in futures:
                    future.cancel()
                raise

    def _do(self, job: Job) -> ChildReport:
        with self._lock:
            self._count += 1
            number = self._count
        job_file, report_file, words_file = (
            Path(self._folder.name) / f"{number}.{ending}" for ending in ("job", "report", "txt")
        )
        job_file.write_bytes(pickle.dumps(self._with_stored_frames(job)))
        with words_file.open("wb") as words:
            process = self._start(job, job_file, report_file, words)
            try:
                # Standard input stays open: a child ends when it closes.
                process.wait(self._timeout_s * len(job.runs))
            except subprocess.TimeoutExpired:
                _end(process)
                return ChildReport(failed=TIMED_OUT)
            finally:
                with self._lock:
                    self._running.discard(process)
                _end(process)
        if process.returncode or not report_file.exists():
            said = words_file.read_text(errors="replace").strip()[-_LAST_LINES:]
            raise DataError(f"a process of the check ended with {process.returncode}: {said or 'it said nothing'}")
        report = msgspec.msgpack.decode(report_file.read_bytes(), type=ChildReport)
        if self._progress is not None:
            self._progress(len(job.runs), job.runs[-1].name)
        return report

    def _with_stored_frames(self, job: Job) -> Job:
        """Return a job whose frames lie in a file, which all jobs share."""
        if not isinstance(job.data, Mapping):
            return job
        with self._lock:
            if self._frames is None:
                self._frames = Path(self._folder.name) / "frames"
                self._frames.write_bytes(pickle.dumps(dict(job.data)))
        return msgspec.structs.replace(job, data=self._frames)

    def _start(self, job: Job, job_file: Path, report_file: Path, words: Any) -> "subprocess.Popen[bytes]":
        path = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(job.world.hash_seed),
            "PYTHONPATH": os.pathsep.join(path),
        }
        if job.world.has_hurried_threads:
            environment.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
        with self._lock:
            if self._is_closed:
                raise DataError("the check was stopped")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "quantkit.proving.child", str(job_file), str(report_file)],
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C is the parent's to handle, and what a strategy starts ends with it
            )
            self._running.add(process)
            return process


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a child and the processes that it has started; one that has ended already stays ended."""
    if process.poll() is None:
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    if process.stdin is not None:
        process.stdin.close()
    process.wait()
