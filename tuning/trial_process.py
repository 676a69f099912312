"""A trial in a process of its own, as its worker sees it: an order in, messages out, an answer to each.

One process a trial gives its memory back when it ends, and what kills it leaves the worker standing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from secondread.config import RunConfig

LOG = "log.txt"
_COMMAND = (sys.executable, "-m", "tuning", "trial")


class TrialOrder(BaseModel):
    """What a trial's process is told; one line of JSON.

    Args:
        objectives: what is measured on val, in the order of the answer.
        folder: keeps the training's state and what it prints; the same order goes on from there.
        folds: measure on so many folds of the patients of train and val; 0 on val.
        seed: divides the folds, alike in every trial of a search.
        epochs: train so many at most, of those that are configured; None for all.
        continues_folder: of another trial with the same settings, whose training this one goes on with.
        worker: process that the trial ends with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: RunConfig
    objectives: tuple[str, ...]
    folder: Path
    folds: int = 0
    seed: int = 0
    epochs: int | None = None
    continues_folder: Path | None = None
    worker: int = 0


class TrialProcess:
    """A trial's process; leaving the context kills it.

    Its messages, each a mapping:
        `epoch` or `fold` (from 1) with `values`, which waits for an answer; told again after a takeover;
        and last one of `done` (`values` of the objectives, `metrics`, `epochs`), `stopped` (epochs or folds that were
        trained) and `failed` (the reason, `kind` of error, and `epochs`). Without a last one it was killed, or crashed.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    def start(cls, order: TrialOrder, command: Sequence[str] = _COMMAND) -> "TrialProcess":
        """Start a trial; call it in the main thread, for the kernel ends a child with the thread that began it."""
        order.folder.mkdir(parents=True, exist_ok=True)
        with (order.folder / LOG).open("a") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
                start_new_session=True,  # ctrl-C is for the worker, who may let the epoch end
            )
        started = cls(process)
        started._write(order.model_copy(update={"worker": os.getpid()}).model_dump_json())
        return started

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give each message as it comes, until the process has ended."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # else it was killed while it wrote
                yield json.loads(line)
        self._process.wait()

    def answer(self, word: Literal["go", "stop"]) -> None:
        """Let the training go on after a message, or end it there; without effect once the process has ended."""
        self._write(word)

    def kill(self) -> None:
        """End the process at once, and wait until it has."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:  # what was not read any more
                continue

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self._process.poll()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it has ended, as the messages will show
            return

    def __enter__(self) -> "TrialProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
