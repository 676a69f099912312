"""One search by two machines that share a Postgres; the one that leads is killed, and the other one closes it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from postgres_server import PostgresServer

TRIALS = 5


def machine(folder: Path, name: str, source: Path, storage: str) -> "subprocess.Popen[bytes]":
    """The same command on a machine with a home of its own; the tracking store is everybody's."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    home = folder / name
    home.mkdir(exist_ok=True)
    typed = ["--task", "pneumonia", "--data", str(source), "--space", "quick", "--name", "shared"]
    typed += ["--explanation.images", "0"]
    with (home / "said.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuning", "search", *typed, "--trials", str(TRIALS), "--storage", storage],
            cwd=home,
            env=outside
            | {
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
                "SECONDREAD_HOME": str(home / "home"),
            },
            stdout=log,
            stderr=log,
        )


def wait_for(text: str, path: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a machine has said something."""
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, path.read_text()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_whoever_is_left_takes_up_the_trials_of_a_killed_machine_and_closes_the_search(
    phantom_source: Callable[[str], Path], tmp_path: Path, postgres: PostgresServer
) -> None:
    source, storage = phantom_source("pneumonia"), postgres.url
    leader = machine(tmp_path, "leader", source, storage)
    wait_for("trials:", tmp_path / "leader" / "said.txt", leader)
    other = machine(tmp_path, "other", source, storage)
    wait_for("this command works for it", tmp_path / "other" / "said.txt", other)
    wait_for("trial 0:", tmp_path / "leader" / "said.txt", leader)
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    assert other.wait() == 0, (tmp_path / "other" / "said.txt").read_text()
    assert "this one closes it" in (tmp_path / "other" / "said.txt").read_text()
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("pneumonia")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1_000)
    trials = [run for run in runs if run.data.tags["step"] == "trial"]
    assert sorted(int(run.data.tags["trial"]) for run in trials) == list(range(TRIALS))
    for run in trials:
        assert run.info.status == ("KILLED" if run.data.tags.get("pruned") == "true" else "FINISHED")
    assert [run.info.status for run in runs if run.data.tags["step"] in ("search", "retrain")] == ["FINISHED"] * 2
    password = storage.partition("://")[2].partition("@")[0].partition(":")[2]
    assert not password or password not in str([run.to_dictionary() for run in runs])
