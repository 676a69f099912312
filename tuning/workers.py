"""The workers of one command: started, heard, replaced when they die, and sent home."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from tqdm import tqdm

from secondread.errors import SearchError
from tuning.plan import Plan
from tuning.worker import Order, write_order

_PATIENCE_S = 20  # from the wish to end to the end
_FAILURES = 3  # of workers, with no trial ended between
_KILLS = 50


class Workers:
    """Processes that try trials; to be used from the main thread, for a child ends with the thread that started it.

    Args:
        prefix: begins the workers' names.
    """

    def __init__(self, plan: Plan, began: float, prefix: str) -> None:
        self._plan = plan
        self._began = began
        self._prefix = prefix
        self._working: dict[str, subprocess.Popen[bytes]] = {}
        self._failures = self._kills = 0

    @property
    def working(self) -> int:
        """Workers that have not ended."""
        return len(self._working)

    def hire(self, count: int) -> None:
        """Start workers, so that `count` are working."""
        names = (f"{self._prefix}{place}" for place in range(count))
        for name in [name for name in names if name not in self._working]:
            self._start(name)

    def _start(self, name: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuning", "work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:  # who died already is replaced
            pipe.write(write_order(Order(self._plan, name, self._began)))
        threading.Thread(target=_pass_on, args=(process.stdout,), daemon=True).start()
        self._working[name] = process

    def progressed(self) -> None:
        """Take note that a trial has ended: earlier deaths are forgiven."""
        self._failures = self._kills = 0

    def look_after(self) -> None:
        """Replace workers that died; those who found nothing more to do are gone.

        Raises:
            SearchError: they die again and again.
        """
        for name, process in list(self._working.items()):
            status = process.poll()
            if status is None:
                continue
            del self._working[name]
            if status == 0:
                continue
            killed = status < 0
            self._kills += killed
            self._failures += not killed
            if self._failures == _FAILURES or self._kills == _KILLS:
                raise SearchError(
                    f"workers end with status {status} again and again; what they said is above. When that is mended, "
                    "the same command goes on"
                )
            self._start(name)

    def dismiss(self) -> None:
        """End everyone; trials that they worked on can be taken up again."""
        for process in self._working.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _PATIENCE_S
        for process in self._working.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._working.clear()


def _pass_on(pipe: IO[bytes]) -> None:
    """Print what a worker says, beside the progress bar."""
    with pipe:
        for line in pipe:
            tqdm.write(line.decode(errors="replace").rstrip("\n"))
            sys.stdout.flush()
