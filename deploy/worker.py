"""One worker as the supervisor sees it: a process that loads a model, warms up, answers at a socket, and is retired."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from deploy.champions import Champion
from deploy.state import State
from deploy.unix_http import ask

_SCORING = Path(__file__).with_name("scoring.py")
_PATIENCE_S = 400  # until a worker is warm: imports alone take 10 s of a free core, minutes of a machine in use
_DRAIN_S = 40  # until a retired worker is killed; requests are given up earlier
_DEAF_AFTER = 6  # questions in a row without an answer


class Worker:
    """A process of one model. Create it in the main thread: it is told to end when the thread that made it ends.

    Args:
        socket: where it will answer; `answer_at` moves it.
    """

    def __init__(self, champion: Champion, socket: Path, state: State, answer_s: int) -> None:
        self.champion = champion
        self.warm = threading.Event()
        self.started = time.monotonic()
        self.said: list[str] = []
        self._socket = socket
        self._retired_at: float | None = None
        self._unheard = 0
        # An empty folder: the model must bring everything. setpriv: no worker outlives even a killed supervisor.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", sys.executable, "-I", str(_SCORING), str(champion.folder), str(socket)],
            cwd=state.run / "empty",
            env=_environment(answer_s),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the supervisor, which lets requests end first
        )
        assert self.process.stdout is not None  # it is a pipe
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()
        threading.Thread(target=self._warm_up, daemon=True).start()

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it will never be warm."""
        return not self.warm.is_set() and (not self.runs or time.monotonic() - self.started > _PATIENCE_S)

    @property
    def resident_bytes(self) -> int:
        """Its resident memory; 0 when it has ended."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def answer_at(self, socket: Path) -> None:
        """Take a socket's name over at once: a new connection is this worker's, those that are open stay put.

        No proxy needs to be told, so none has to be reloaded, and no connection is dropped.
        """
        self._socket.replace(socket)
        self._socket = socket

    def in_work(self) -> int | None:
        """Requests that it works on; None when it does not answer."""
        try:
            count: int = ask(self._socket, "GET", "/load").content["in_work"]
        except (OSError, ValueError):
            self._unheard += 1
            return None
        self._unheard = 0
        return count

    @property
    def is_deaf(self) -> bool:
        """Whether it runs but has not answered `in_work` for a while."""
        return self._unheard >= _DEAF_AFTER

    def retire(self) -> None:
        """Ask it to finish its requests and end; asked again after a while, it is killed."""
        if self._retired_at is None:
            self._retired_at = time.monotonic()
            self.process.terminate()
        elif time.monotonic() - self._retired_at > _DRAIN_S:
            self.process.kill()

    def kill(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait()

    def _listen(self, output: IO[str]) -> None:
        """Keep what it says before it is warm; later a library's warning may quote an image's header: that goes."""
        for line in output:
            if not self.warm.is_set():
                self.said = [*self.said[-19:], line.rstrip()]

    def _warm_up(self) -> None:
        while self.runs and not self.failed:
            if self._socket.exists() and self._answers_its_example():
                self.warm.set()
                return
            time.sleep(0.1)

    def _answers_its_example(self) -> bool:
        try:
            return ask(self._socket, "POST", "/invocations", self.champion.example, timeout_s=60).status == 200
        except OSError:
            return False


def _environment(answer_s: int) -> dict[str, str]:
    """The supervisor's, without what would point the model to this project's code or tracking store."""
    kept: dict[str, Any] = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))
    }
    return kept | {
        "MALLOC_ARENA_MAX": "2",  # glibc: else each thread of the server keeps free memory for itself, 30 MB together
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": str(answer_s),
        "PYTHONUNBUFFERED": "1",
    }
