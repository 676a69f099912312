"""The run that `mlflow run` opens: known, linked, left alone, and ended when its process is gone."""

from pathlib import Path

import pytest
from filelock import Timeout
from mlflow import MlflowClient

from secondread.tracking.launcher import Launcher, circumstances, held, link, lock_of, sweep, take_launcher

NOBODY = Launcher(None, None)


@pytest.fixture
def experiment(tracked: MlflowClient) -> str:
    return str(tracked.create_experiment("launched"))


def opened(client: MlflowClient, experiment: str, **tags: str) -> str:
    return str(client.create_run(experiment, tags=tags).info.run_id)


def status(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


def test_what_mlflow_run_left_in_the_environment_is_taken_out_of_it() -> None:
    environment = {"MLFLOW_RUN_ID": "r", "MLFLOW_EXPERIMENT_ID": "7", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    assert take_launcher(environment) == Launcher("r", "7")
    assert environment == {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}


def test_a_command_that_a_person_typed_has_no_launcher() -> None:
    assert take_launcher({}) == NOBODY


def test_the_experiment_behind_the_launcher_counts_unless_it_is_the_default(
    tracked: MlflowClient, experiment: str
) -> None:
    assert Launcher("r", experiment).experiment_name(tracked) == "launched"
    assert Launcher("r", "0").experiment_name(tracked) is None
    assert NOBODY.experiment_name(tracked) is None
    assert Launcher("r", "4711").experiment_name(tracked) is None  # of another tracking store


def test_launcher_and_work_point_at_each_other(tracked: MlflowClient, experiment: str) -> None:
    launcher, work = opened(tracked, experiment), opened(tracked, experiment)
    link(tracked, Launcher(launcher, experiment), work)
    assert tracked.get_run(launcher).data.tags["work_run_id"] == work
    assert tracked.get_run(work).data.tags["launcher_run_id"] == launcher


def test_a_launcher_of_another_tracking_store_does_not_stop_the_work(tracked: MlflowClient, experiment: str) -> None:
    work = opened(tracked, experiment)
    elsewhere = Launcher("0" * 32, "4711")
    with held(tracked, elsewhere):
        link(tracked, elsewhere, work)
    assert tracked.get_run(work).data.tags["launcher_run_id"] == "0" * 32


def test_without_a_launcher_nothing_is_linked(tracked: MlflowClient, experiment: str) -> None:
    work = opened(tracked, experiment)
    with held(tracked, NOBODY):
        link(tracked, NOBODY, work)
    assert "launcher_run_id" not in tracked.get_run(work).data.tags


def test_a_lock_is_held_once_and_is_below_the_home(workplace: Path) -> None:
    with lock_of("a"), pytest.raises(Timeout):
        lock_of("a").acquire(timeout=0)
    with lock_of("a"), lock_of("b"):
        assert (workplace / "home" / "locks").is_dir()


def test_a_run_whose_process_is_gone_becomes_killed(tracked: MlflowClient, experiment: str) -> None:
    gone = opened(tracked, experiment, **circumstances())
    sweep(tracked, {experiment})
    assert status(tracked, gone) == "KILLED"


def test_a_run_whose_process_works_goes_on(tracked: MlflowClient, experiment: str) -> None:
    busy = opened(tracked, experiment, **circumstances())
    with lock_of(busy):
        sweep(tracked, {experiment})
    assert status(tracked, busy) == "RUNNING"


def test_a_launcher_is_swept_after_its_process_and_not_before(tracked: MlflowClient, experiment: str) -> None:
    launcher = opened(tracked, experiment)
    with held(tracked, Launcher(launcher, experiment)):
        sweep(tracked, {experiment})
        assert status(tracked, launcher) == "RUNNING"
    sweep(tracked, {experiment})
    assert status(tracked, launcher) == "KILLED"


def test_two_processes_of_one_launcher_do_not_wait_for_each_other(tracked: MlflowClient, experiment: str) -> None:
    launcher = Launcher(opened(tracked, experiment), experiment)
    with held(tracked, launcher), held(tracked, launcher):
        sweep(tracked, {experiment})
    assert launcher.run_id is not None
    assert status(tracked, launcher.run_id) == "RUNNING"


@pytest.mark.parametrize(
    "tags", [{}, {"host": "another machine"}, {"home": "of another project"}], ids=["unmarked", "host", "home"]
)
def test_a_run_whose_process_cannot_be_seen_from_here_is_left_alone(
    tracked: MlflowClient, experiment: str, tags: dict[str, str]
) -> None:
    unseen = opened(tracked, experiment, **({**circumstances(), **tags} if tags else {}))
    sweep(tracked, {experiment})
    assert status(tracked, unseen) == "RUNNING"


def test_what_ended_keeps_its_status_and_other_experiments_are_not_looked_at(
    tracked: MlflowClient, experiment: str
) -> None:
    failed = opened(tracked, experiment, **circumstances())
    tracked.set_terminated(failed, "FAILED")
    elsewhere = opened(tracked, "0", **circumstances())
    sweep(tracked, {experiment})
    assert (status(tracked, failed), status(tracked, elsewhere)) == ("FAILED", "RUNNING")


def test_circumstances_tell_no_path(workplace: Path) -> None:
    assert set(circumstances()) == {"host", "home"}
    assert str(workplace) not in str(circumstances())
    assert "/" not in circumstances()["home"]
