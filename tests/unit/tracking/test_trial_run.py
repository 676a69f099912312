"""`open_trial`: true status, every epoch once, and few calls, whoever is killed meanwhile."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from test_run import Data
from test_search_run import SEARCH

from secondread.config import load_config
from secondread.tracking.launcher import lock_of, sweep
from secondread.tracking.run import Run
from secondread.tracking.search import open_search
from secondread.tracking.trial import Ended, Joined, TrialRun, join_search, open_trial, settle_trials, trials_of

CONFIG = load_config("pneumonia", {"train.epochs": 3})

# A worker that logs two epochs, the second of them not yet sent to MLflow, and never ends by itself.
WORK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from secondread.tracking.trial import join_search, open_trial
from test_trial_run import CONFIG
with open_trial(join_search(sys.argv[2]), 7, CONFIG, "worker 0") as trial:
    trial._flush_s = 0.0
    trial.log_epoch({"val/auroc": 0.5, "val/loss": 1.0}, 1)
    trial._flush_s = 1000.0
    trial.log_epoch({"val/auroc": 0.6, "val/loss": 0.9}, 2)
    print(trial.id, flush=True)
    time.sleep(300)
"""


@pytest.fixture
def search(tracked: MlflowClient) -> Iterator[Run]:
    with open_search(SEARCH, Data) as (run, _):
        yield run


@pytest.fixture
def joined(search: Run) -> Joined:
    return join_search(search.id)


def curve(client: MlflowClient, run_id: str, name: str = "val/auroc") -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def ended(joined: Joined, number: int = 7, **more: Any) -> TrialRun:
    with open_trial(joined, number, CONFIG, "worker 0", **more) as trial:
        trial.log_epoch({"val/auroc": 0.8}, 1)
        trial.finish({"auroc": 0.8})
    return trial


def test_a_trial_is_a_child_of_its_search_and_says_what_it_is(tracked: MlflowClient, joined: Joined) -> None:
    with open_trial(joined, 7, CONFIG, "worker 1", sampled={"preprocess": "three windows"}) as trial:
        assert tracked.get_run(trial.id).info.status == "RUNNING"
        trial.log_epoch({"val/auroc": 0.7, "val/loss": 0.5}, 1)
        trial.log_epoch({"val/auroc": 0.8, "val/loss": float("nan")}, 2)
        trial.finish({"auroc": 0.8, "latency": 12.0}, {"best/epoch": 2})
    kept = tracked.get_run(trial.id)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "trial 7: compact_resnet")
    told = {"step": "trial", "trial": "7", "worker": "worker 1", "mlflow.parentRunId": joined.run.id}
    told |= {"task": "pneumonia", "model": "compact_resnet", "manifest_digest": "m" * 64, "search_key": SEARCH.key}
    assert told.items() <= kept.data.tags.items()
    assert kept.data.params == {k: str(v) for k, v in CONFIG.flat().items()} | {"preprocess": "three windows"}
    assert kept.data.metrics == {
        "objective/auroc": 0.8,
        "objective/latency": 12.0,
        "best/epoch": 2,
        "val/auroc": 0.8,
        "val/loss": 0.5,
    }
    assert curve(tracked, trial.id) == [(1, 0.7), (2, 0.8)]


def test_the_status_is_the_true_one(tracked: MlflowClient, joined: Joined, search: Run) -> None:
    with open_trial(joined, 0, CONFIG, "w") as pruned:
        pruned.prune()
    with open_trial(joined, 1, CONFIG, "w") as failed:
        failed.fail("epoch 2: the loss is not finite")
    with pytest.raises(KeyboardInterrupt), open_trial(joined, 2, CONFIG, "w"):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), open_trial(joined, 3, CONFIG, "w"):
        raise ZeroDivisionError
    with open_trial(joined, 4, CONFIG, "w"):
        pass
    ended(joined, 10)
    assert [(seen.number, seen.status, seen.pruned, seen.error) for seen in trials_of(search)] == [
        (0, "KILLED", True, ""),
        (1, "FAILED", False, "epoch 2: the loss is not finite"),
        (2, "KILLED", False, "KeyboardInterrupt"),
        (3, "FAILED", False, "ZeroDivisionError"),
        (4, "KILLED", False, "KeyboardInterrupt"),
        (10, "FINISHED", False, ""),
    ]


def test_epochs_are_sent_in_batches(joined: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Counting(MlflowClient):  # type: ignore[misc]  # mlflow's types are not followed
        def __getattribute__(self, name: str) -> Any:
            if name in ("create_run", "log_batch", "set_terminated", "search_runs", "get_run", "get_metric_history"):
                calls.append(name)
            return super().__getattribute__(name)

    joined.run.client.client = Counting()
    with open_trial(joined, 7, CONFIG, "w") as trial:
        for epoch in range(1, 21):
            trial.log_epoch({"val/auroc": 0.5, "val/loss": 1.0}, epoch)
        trial.finish({"auroc": 0.5})
    assert calls == ["create_run", "log_batch", "log_batch", "set_terminated"]


def test_epochs_that_waited_long_enough_are_sent(tracked: MlflowClient, joined: Joined) -> None:
    with open_trial(joined, 7, CONFIG, "w", flush_s=0) as trial:
        trial.log_epoch({"val/auroc": 0.5}, 1)
        assert curve(tracked, trial.id) == [(1, 0.5)]
        trial.finish({})


def test_a_killed_worker_loses_no_epoch_and_none_is_logged_twice(
    tracked: MlflowClient, search: Run, joined: Joined
) -> None:
    command = [sys.executable, "-c", WORK, str(Path(__file__).parent), search.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        assert curve(tracked, run_id) == [(1, 0.5)]
        sweep(tracked, {search.experiment_id})
        assert tracked.get_run(run_id).info.status == "RUNNING"
        process.send_signal(signal.SIGKILL)
    sweep(tracked, {search.experiment_id})
    assert tracked.get_run(run_id).info.status == "KILLED"
    with open_trial(joined, 7, CONFIG, "worker 1", taken_over=True) as trial:
        assert (trial.id, tracked.get_run(run_id).info.status) == (run_id, "RUNNING")
        trial.log_epoch({"val/auroc": 0.66, "val/loss": 0.99}, 2)
        trial.log_epoch({"val/auroc": 0.7, "val/loss": 0.8}, 3)
        trial.finish({"auroc": 0.7})
    assert curve(tracked, run_id) == [(1, 0.5), (2, 0.6), (3, 0.7)]
    assert [(seen.run_id, seen.status, seen.worker) for seen in trials_of(search)] == [(run_id, "FINISHED", "worker 1")]


def test_half_a_line_that_a_killed_worker_left_is_not_read(tracked: MlflowClient, joined: Joined) -> None:
    with open_trial(joined, 7, CONFIG, "w") as trial:
        trial.log_epoch({"val/auroc": 0.5}, 1)
        with (joined.run.folder.parent / trial.id / "epochs.jsonl").open("a") as file:
            file.write('[2, {"val/au')
    again = ended(joined, taken_over=True)
    assert curve(tracked, again.id) == [(1, 0.5)]


def test_a_trial_whose_worker_was_killed_at_the_very_end_is_counted_once(
    tracked: MlflowClient, joined: Joined, search: Run
) -> None:
    first = ended(joined)
    again = ended(joined, taken_over=True)
    assert first.id == again.id
    assert curve(tracked, first.id, "objective/auroc") == [(0, 0.8)]
    assert [seen.status for seen in trials_of(search)] == ["FINISHED"]


def test_a_trial_whose_worker_was_killed_before_it_had_a_run_gets_one(joined: Joined, search: Run) -> None:
    ended(joined, taken_over=True)
    assert [seen.number for seen in trials_of(search)] == [7]


def test_trials_of_other_searches_are_not_taken(tracked: MlflowClient, joined: Joined, search: Run) -> None:
    ended(joined, 7)
    with open_search(replace(SEARCH, key="f" * 16, name="second"), Data) as (other, _):
        ended(join_search(other.id), 7, taken_over=True)
        assert len(trials_of(other)) == 1
    assert len(trials_of(search)) == 1


def test_a_run_that_is_left_to_another_worker_is_not_touched(tracked: MlflowClient, joined: Joined) -> None:
    with open_trial(joined, 7, CONFIG, "w") as trial:
        trial.log_epoch({"val/auroc": 0.5}, 1)
        trial.leave()
    kept = tracked.get_run(trial.id)
    assert (kept.info.status, kept.data.metrics) == ("RUNNING", {})
    with lock_of(trial.id).acquire(timeout=0):
        pass


def test_runs_are_settled_as_the_engine_remembers_them(joined: Joined, search: Run) -> None:
    for number in range(5):
        with open_trial(joined, number, CONFIG, "w") as trial:
            trial.leave() if number < 4 else trial.finish({"auroc": 0.5})
    outcomes = {0: Ended.finished(), 1: Ended.pruned(), 2: Ended.failed("out of memory"), 4: Ended.finished()}
    settle_trials(search, outcomes)
    assert [(seen.status, seen.pruned, seen.error) for seen in trials_of(search)] == [
        ("FINISHED", False, ""),
        ("KILLED", True, ""),
        ("FAILED", False, "out of memory"),
        ("RUNNING", False, ""),
        ("FINISHED", False, ""),
    ]


def test_no_path_is_told(tracked: MlflowClient, joined: Joined, workplace: Path) -> None:
    kept = tracked.get_run(ended(joined).id)
    assert not any(str(workplace) in text for text in [*kept.data.tags.values(), *kept.data.params.values()])
