"""The tracking database is there whole or not at all."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from mlflow import MlflowClient

from secondread.tracking.database import connect

CONNECT = [sys.executable, "-c", "from secondread.tracking.database import connect; connect()"]


def test_a_process_killed_while_it_makes_the_database_leaves_none_that_is_half_made(workplace: Path) -> None:
    process = subprocess.Popen(CONNECT, stderr=subprocess.DEVNULL)
    while not list(workplace.glob(".mlflow.db.*.part")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workplace / "mlflow.db").exists()
    subprocess.run(CONNECT, check=True, stderr=subprocess.DEVNULL)
    assert MlflowClient(f"sqlite:///{workplace}/mlflow.db").search_experiments()


def test_a_database_that_is_there_is_opened_as_it_is(tracked: MlflowClient, workplace: Path) -> None:
    tracked.create_experiment("kept")
    assert {"Default", "kept"} == {found.name for found in connect().search_experiments()}
