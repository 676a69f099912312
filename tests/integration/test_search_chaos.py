"""A search whose processes are killed at random, the whole command too, ends as if nothing had been."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

KILLS = 20
TRIALS = 8
SEED = 20261120
WEIGHTS = {"search": 1, "work": 2, "trial": 3, "retrain": 1}


def begin(folder: Path, source: Path, engine: str) -> "subprocess.Popen[bytes]":
    """Start, or go on with, the search."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    typed = ["--task", "pneumonia", "--data", str(source), "--space", "quick", "--name", "chaos", "--engine", engine]
    typed += ["--explanation.images", "0"]
    budget = ["--trials", str(TRIALS), "--workers", "2", "--retrain", "1"]
    with (folder / "said.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuning", "search", *typed, *budget],
            cwd=folder,
            env=outside | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
        )


def kill_one(command: "subprocess.Popen[bytes]", chance: random.Random) -> str:
    """Kill -9 a process of a search at work: a trial or a worker, less often the leader; nobody while it begins."""
    kinds: dict[str, list[psutil.Process]] = {}
    try:
        leader = psutil.Process(command.pid)
        for process in [leader, *leader.children(recursive=True)]:
            words = process.cmdline()
            if words[1:3] == ["-m", "tuning"]:
                kinds.setdefault(words[3], []).append(process)
        if kinds.keys() <= {"search"}:
            return "nobody"
        [kind] = chance.choices(sorted(kinds), [WEIGHTS[kind] for kind in sorted(kinds)])
        chance.choice(kinds[kind]).send_signal(signal.SIGKILL)
    except (psutil.NoSuchProcess, IndexError):
        return "nobody"
    return kind


@pytest.mark.slow
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("engine", ["optuna", "keras_tuner"])
def test_twenty_random_kills_leave_exactly_the_trials_asked_for_with_true_statuses(
    engine: str, phantom_source: Callable[[str], Path], tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    command, killed, restarts = begin(tmp_path, phantom_source("pneumonia"), engine), 0, 0
    while True:
        time.sleep(chance.uniform(1, 12))
        status = command.poll()
        if status == 0:
            break
        if status is not None:
            assert status == -signal.SIGKILL, (tmp_path / "said.txt").read_text()
            command, restarts = begin(tmp_path, phantom_source("pneumonia"), engine), restarts + 1
        elif killed < KILLS:
            victim = kill_one(command, chance)
            killed += victim != "nobody"
            print(f"kill {killed}: {victim}", flush=True)
    print(f"{killed} kills, {restarts} restarts of the command")
    assert killed == KILLS, "the search ended too soon to be killed so often: give it more trials"
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("pneumonia")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1_000))
    steps = {step: [run for run in runs if run.data.tags["step"] == step] for step in ("search", "trial", "retrain")}
    assert [run.info.status for run in steps["search"]] == ["FINISHED"]
    assert [run.info.status for run in steps["retrain"]].count("FINISHED") == 1
    assert sorted(int(run.data.tags["trial"]) for run in steps["trial"]) == list(range(TRIALS))
    for run in steps["trial"]:
        pruned = run.data.tags.get("pruned") == "true"
        assert run.info.status == ("KILLED" if pruned else "FINISHED"), run.data.tags.get("error")
        epochs = [metric.step for metric in client.get_metric_history(run.info.run_id, "val/loss")]
        assert epochs == list(range(1, len(epochs) + 1))  # each once
        assert pruned or len(epochs) == int(run.data.params["train.epochs"])
    assert not [run for run in runs if run.info.status in ("RUNNING", "SCHEDULED")]
