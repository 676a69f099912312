"""What MLflow shows of a schedule: a run a firing, with its true status and links; entry points by `mlflow run`."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from integration.test_schedule import HOURLY, Place, ready
from secondread.tracking.plain import open_plain
from secondread.tracking.scheduled import decided_already, note_skipped, open_scheduled

MLPROJECT = """
name: tiny
entry_points:
  tune:
    parameters: {task: string, name: string}
    command: "python work.py search {task} {name}"
  promote:
    parameters: {task: string}
    command: "python work.py promote {task} decision"
"""
WORK = """
import sys, time
from pathlib import Path
from secondread.execution import die_with_parent
from secondread.tracking.database import connect
from secondread.tracking.plain import open_plain

die_with_parent()
step, task, name = sys.argv[1:4]
client = connect()
with open_plain(client, step, task, name, {"words": " ".join(sys.argv[4:])}) as (run, _):
    run.set_tags({"search": name})
    while Path(f"hold {step}").exists():
        time.sleep(0.01)
    if Path(f"fail {step}").exists():
        raise SystemExit(1)
    client.set_terminated(run.id, "FINISHED")
"""


@pytest.fixture
def place(tracked: MlflowClient, workplace: Path) -> Iterator[Place]:
    """Where schedulers launch the entry points of a tiny project."""
    project = workplace / "project"
    project.mkdir()
    (project / "MLproject").write_text(MLPROJECT)
    (project / "work.py").write_text(WORK)
    tracked.create_experiment("pneumonia", str(workplace / "artifacts"))
    place = Place(workplace)
    place.write(HOURLY + "    tune: {trials: 3, data: /a/path}\n")
    yield place
    place.engine.dispose()


def runs(client: MlflowClient, step: str) -> list[Run]:
    """Runs of a step, the oldest first."""
    experiment = client.get_experiment_by_name("pneumonia").experiment_id
    same = f"tags.step = '{step}'"
    return list(client.search_runs([experiment], same, order_by=["attributes.start_time ASC"]))


def statuses(client: MlflowClient, step: str) -> list[str]:
    return [run.info.status for run in runs(client, step)]


@pytest.mark.slow
def test_a_firing_is_a_run_that_leads_to_its_search_and_its_decision(place: Place, tracked: MlflowClient) -> None:
    hold = place.folder / "project" / "hold search"
    hold.touch()
    with place.scheduler("schedule") as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_until(lambda: len(runs(tracked, "search")) == 1)
        place.set_clock("02:00")
        place.wait_until(lambda: statuses(tracked, "scheduled") == ["RUNNING", "KILLED"])
        hold.unlink()
        place.wait_for(("01:00", "FINISHED"), ("02:00", "SKIPPED"))
    fired, skipped = runs(tracked, "scheduled")
    (search,), (decision,) = runs(tracked, "search"), runs(tracked, "promote")
    assert fired.info.status == search.info.status == decision.info.status == "FINISHED"
    assert fired.data.tags["search_run_id"] == search.info.run_id
    assert fired.data.tags["decision_run_id"] == decision.info.run_id
    assert f"runs/{search.info.run_id}" in fired.data.tags["mlflow.note.content"]
    assert fired.data.tags["scheduled_at"] == "2026-06-01T01:00:00+00:00"
    assert search.data.params["words"] == "--trials 3 --data /a/path"
    assert fired.data.params == {"cron": "0 * * * *", "tune.trials": "3", "tune.name": "hourly-2026-06-01-0100"}
    assert skipped.data.tags["skipped"] == "the one before still ran"
    assert place.firings.newest(1)[0].run_id == skipped.info.run_id


@pytest.mark.slow
def test_a_killed_scheduler_leaves_no_process_and_its_run_is_gone_on_with(place: Place, tracked: MlflowClient) -> None:
    (place.folder / "project" / "hold search").touch()
    with place.scheduler("schedule") as scheduler:
        ready(scheduler)
        place.set_clock("01:00")
        place.wait_until(lambda: len(runs(tracked, "search")) == 1)
        below = psutil.Process(scheduler.process.pid).children(recursive=True)
        scheduler.process.kill()
        gone(below)
    assert statuses(tracked, "scheduled") == ["KILLED"]
    (place.folder / "project" / "hold search").unlink()
    (place.folder / "project" / "fail promote").touch()
    with place.scheduler("schedule"):
        place.wait_for(("01:00", "FAILED"))
    assert statuses(tracked, "scheduled") == ["FAILED"]
    (fired,) = runs(tracked, "scheduled")
    assert fired.data.tags["search_run_id"] == runs(tracked, "search")[-1].info.run_id
    assert [run.info.run_name for run in runs(tracked, "search")] == ["hourly-2026-06-01-0100"] * 2


def gone(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended; nobody may be there to reap them."""
    until = time.monotonic() + 60
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes):
        assert time.monotonic() < until, processes
        time.sleep(0.05)


def test_a_decision_that_was_made_before_the_interruption_is_not_made_again(tracked: MlflowClient) -> None:
    with open_scheduled("pneumonia", "weekly", "2026-06-01T01:00:00+00:00", {}) as run:
        assert decided_already(run) is None
        with open_plain(tracked, "promote", "pneumonia", "decision", {}) as (decision, _):
            tracked.set_terminated(decision.id, "FINISHED")
        assert decided_already(run) == decision.id
    with open_scheduled("pneumonia", "weekly", "2026-06-08T01:00:00+00:00", {}) as later:
        assert decided_already(later) is None
    assert later.id != run.id


def test_an_interrupted_firing_is_the_same_run_again(tracked: MlflowClient) -> None:
    def interrupted() -> str:
        with open_scheduled("pneumonia", "weekly", "2026-06-01T01:00:00+00:00", {"cron": "0 1 * * mon"}) as run:
            raise KeyboardInterrupt(run.id)

    with pytest.raises(KeyboardInterrupt) as first:
        interrupted()
    run_id = str(first.value)
    assert tracked.get_run(run_id).info.status == "KILLED"
    with open_scheduled("pneumonia", "weekly", "2026-06-01T01:00:00+00:00", {"cron": "0 1 * * mon"}) as run:
        assert run.id == run_id
    ended = tracked.get_run(run_id)
    assert ended.info.status == "FINISHED"
    assert "error" not in ended.data.tags


def test_a_skipped_firing_is_a_killed_run_that_says_why(tracked: MlflowClient) -> None:
    run_id = note_skipped("pneumonia", "weekly", "2026-06-01T01:00:00+00:00", {}, "the one before still ran")
    kept = tracked.get_run(run_id)
    assert (kept.info.status, kept.data.tags["skipped"]) == ("KILLED", "the one before still ran")
