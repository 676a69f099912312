"""A command in a process of its own, watched while it runs."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

WAIT_S = 400
Result = TypeVar("Result")


@dataclass(frozen=True)
class Command:
    """A command that may still run.

    Args:
        log: its output and its standard error.
    """

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self.log.read_text()

    def wait_until(self, happened: Callable[[], Result | None]) -> Result:
        """Wait until something happens while the command runs; give what `happened` answers instead of None."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            found = happened()
            if found is not None:
                return found
            assert self.process.poll() is None, f"it ended before that:\n{self.said}"
            time.sleep(0.005)
        raise AssertionError(f"it did not happen within {WAIT_S} s:\n{self.said}")


@contextmanager
def started(words: Sequence[str | Path], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Command]:
    """Start a command in a folder; what is left of it and of its children at the end is killed."""
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Command(process, log)
    finally:
        if process.poll() is None:
            left = psutil.Process(process.pid)
            for child in [*left.children(recursive=True), left]:
                with suppress(psutil.NoSuchProcess):  # it ended with the one before
                    child.kill()
        process.wait()
