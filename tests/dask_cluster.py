"""A Dask cluster of the tests' own: a scheduler and workers, each a process as a user starts it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from secondread.execution import die_with_parent

_QUIET = {  # nothing of the tests' machine is looked up or asked
    "DASK_DISTRIBUTED__DASHBOARD__LINK": "",
    "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "false",
}


class DaskCluster:
    """A scheduler on a free port of this machine alone, and workers of one thread; it ends with the tests.

    Args:
        folder: where the processes run, and write what they say.
        environment: added to this process's own for the workers.
    """

    def __init__(self, folder: Path, workers: int = 2, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = os.environ | _QUIET | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(environment or {})
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = int(probe.getsockname()[1])
        self._scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start()
        for _ in range(workers):
            self.add_worker()

    @property
    def address(self) -> str:
        """What `execution.dask` is set to."""
        return f"tcp://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the scheduler, and wait until it listens."""
        self._scheduler = self._run("scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard")
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            except OSError:
                assert self._scheduler.poll() is None, self.log()
                assert time.monotonic() < until, self.log()
                time.sleep(0.05)

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker; nobody starts it again when it ends."""
        flags = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(self._folder)]
        worker = self._run("worker", self.address, "--host", "127.0.0.1", *flags)
        self.workers.append(worker)
        return worker

    def kill_worker(self) -> None:
        """End the oldest worker by SIGKILL, whatever it is at."""
        worker = self.workers.pop(0)
        worker.kill()
        worker.wait()

    def stop_scheduler(self) -> None:
        """Kill the scheduler."""
        if self._scheduler:
            self._scheduler.kill()
            self._scheduler.wait()
            self._scheduler = None

    def log(self) -> str:
        """What scheduler and workers said."""
        return (self._folder / "dask.txt").read_text()

    def close(self) -> None:
        """End all of it."""
        for process in self.workers:
            process.kill()
            process.wait()
        self.stop_scheduler()

    def _run(self, role: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "dask.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + role, *arguments],
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
