"""What a search found is on its run: written over what was there, and nothing counted twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from found import plan, record
from mlflow import MlflowClient

from secondread.config import load_config
from secondread.tracking.run import Run
from secondread.tracking.search import Search, open_search
from secondread.tracking.trial import join_search, open_trial, trials_of
from tuning import publish as module
from tuning.engine import Record, Status
from tuning.publish import Publisher, publish, settle

FILES = {
    *("report.html", "trials.parquet", "best.yaml"),
    *(f"figures/{name}.png" for name in ("best_so_far", "best_trial", "parallel_coordinates", "slices", "time_line")),
}


@dataclass(frozen=True)
class Data:
    """What the search learns from."""

    name: str = "chest_xray"
    manifest_digest: str = "m" * 64
    store_digest: str = "s" * 32


@contextmanager
def searching() -> Iterator[Run]:
    config = load_config("pneumonia", {"train.epochs": 3})
    with open_search(Search("0123456789abcdef", "first", config), Data) as (run, _):
        yield run


def tried(run: Run, trial: Record) -> Record:
    """A trial's run, with two epochs."""
    with open_trial(join_search(run.id), trial.trial.number, load_config("pneumonia", {}), "worker 0") as opened:
        for epoch, value in ((1, 0.5), (2, trial.outcome.values[0])):
            opened.log_epoch({"val/auroc": value, "val/loss": 1 - value, "train/loss": 1 - value}, epoch)
        opened.finish({"auroc": trial.outcome.values[0]})
    return trial


def files(client: MlflowClient, run: Run, folder: str = "") -> set[str]:
    found = client.list_artifacts(run.id, folder)
    return {name for each in found for name in (files(client, run, each.path) if each.is_dir else {each.path})}


def points(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run.id, name)]


def test_everything_is_on_the_search_and_the_course_is_told_once(tracked: MlflowClient, workplace: Path) -> None:
    with searching() as run:
        used = plan(run.id, run.experiment_id)
        trials = [tried(run, record(0, 0.7)), tried(run, record(1, 0.9))]
        publish(run, used, [*trials, record(2, status=Status.RUNNING)], {})
        assert points(tracked, run, "val/auroc") == []  # a metric cannot be taken back: another trial may be better
        assert points(tracked, run, "search/best_auroc") == [(1, 0.7), (2, 0.9)]
        for _ in range(2):
            publish(run, used, [*trials, tried(run, record(2, 0.8))], {"train.learning_rate": 1.0})
    assert files(tracked, run) - {"git.diff"} == FILES | {"figures/importance.png"}
    assert points(tracked, run, "search/best_auroc") == [(1, 0.7), (2, 0.9), (3, 0.9)]
    assert points(tracked, run, "val/auroc") == [(1, 0.5), (2, 0.9)]
    kept = tracked.get_run(run.id)
    assert (kept.data.tags["best_trial"], kept.data.metrics["search/measured"]) == ("1", 3)
    table = pd.read_parquet(tracked.download_artifacts(run.id, "trials.parquet", str(workplace)))
    assert table["worker"].tolist() == ["worker 0"] * 3
    assert table["objective/auroc"].tolist() == [0.7, 0.9, 0.8]


def test_a_search_without_a_measured_trial_has_a_report(tracked: MlflowClient) -> None:
    with searching() as run:
        publish(run, plan(run.id, run.experiment_id), [record(0)], {})
    assert files(tracked, run) - {"git.diff"} == {
        *("report.html", "trials.parquet", "figures/best_so_far.png", "figures/time_line.png")
    }


def test_runs_whose_worker_was_killed_at_the_end_say_what_the_engine_knows(tracked: MlflowClient) -> None:
    records = [record(0, 0.9), record(1), record(2, status=Status.FAILED, reason="no memory")]
    records.append(record(3, status=Status.RUNNING))
    with searching() as run:
        for each in records:
            with open_trial(join_search(run.id), each.trial.number, load_config("pneumonia", {}), "w") as opened:
                opened.leave()
        settle(run, records)
        assert [(seen.status, seen.pruned, seen.error) for seen in trials_of(run)] == [
            ("FINISHED", False, ""),
            ("KILLED", True, ""),
            ("FAILED", False, "no memory"),
            ("RUNNING", False, ""),
        ]


def test_publishing_takes_a_fiftieth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def takes(seconds: float) -> None:
        clock[0] += seconds

    publisher = Publisher(None, plan())  # type: ignore[arg-type]  # it is not asked
    for seconds, pause in ((0.1, 30), (4.0, 200)):
        monkeypatch.setattr(module, "publish", lambda *_, seconds=seconds: takes(seconds))
        publisher.publish([], {})
        clock[0] += pause - 1
        assert not publisher.due()
        clock[0] += 1
        assert publisher.due()
