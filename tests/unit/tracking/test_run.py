"""`open_run`: one run for one work, continued when it was interrupted, and with its true status at the end."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from secondread.config import RunConfig, load_config
from secondread.errors import SourceError, TrackingError
from secondread.tracking import run as run_module
from secondread.tracking.git import GitState
from secondread.tracking.launcher import circumstances, lock_of
from secondread.tracking.run import Run, open_run

# A process that opens the run, does one epoch, and never ends by itself.
WORK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_run import Data, settings
from secondread.tracking.run import open_run
with open_run("train", settings(), Data) as (run, _):
    run.log_epoch({"train/loss": 1.0}, 1)
    (run.folder / "state").write_text("after epoch 1")
    print(run.id, flush=True)
    time.sleep(300)
"""
CONNECT = "from secondread.tracking.database import connect; print(len(connect().search_experiments()))"


@dataclass(frozen=True)
class Data:
    """What a run is about."""

    name: str = "chest_xray"
    manifest_digest: str = "m" * 64
    store_digest: str = "s" * 32


def settings(task: str = "pneumonia", **overrides: object) -> RunConfig:
    return load_config(task, {name.replace("__", "."): value for name, value in overrides.items()})


@contextmanager
def opened(
    step: str = "train", config: RunConfig | None = None, data: Data | None = None, **more: Any
) -> Iterator[Run]:
    with open_run(step, config or settings(), lambda: data or Data(), **more) as (run, _):
        yield run


def finished(**more: Any) -> Run:
    """A run from its beginning to its end."""
    with opened(**more) as run:
        return run


def interrupted(**more: Any) -> Run:
    """A run that ctrl-C ended."""
    made: list[Run] = []
    with pytest.raises(KeyboardInterrupt):
        stop_in(made, **more)
    return made[0]


def stop_in(made: list[Run], **more: Any) -> None:
    with opened(**more) as run:
        made.append(run)
        raise KeyboardInterrupt


def status(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.status)


def runs(client: MlflowClient, experiment: str = "pneumonia") -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def test_a_run_says_what_it_is_and_ends_finished(tracked: MlflowClient) -> None:
    run = finished()
    kept = tracked.get_run(run.id)
    assert (kept.info.status, kept.info.run_name, run.resumed) == ("FINISHED", "compact_resnet on chest_xray", False)
    assert tracked.get_experiment(kept.info.experiment_id).name == "pneumonia"
    told = {"step": "train", "task": "pneumonia", "model": "compact_resnet"}
    told |= {"manifest_digest": "m" * 64, "store_digest": "s" * 32}
    assert told.items() <= kept.data.tags.items()
    assert kept.data.params == {name: str(value) for name, value in settings().flat().items()}


def test_a_run_is_running_while_the_work_lasts(tracked: MlflowClient) -> None:
    with opened() as run:
        assert status(tracked, run.id) == "RUNNING"


def test_each_task_has_its_experiment_also_within_one_process(tracked: MlflowClient) -> None:
    finished()
    finished(config=settings("hemorrhage"))
    assert [len(runs(tracked, task)) for task in ("pneumonia", "hemorrhage")] == [1, 1]
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ


def test_a_deleted_experiment_is_brought_back_by_the_user_alone(tracked: MlflowClient) -> None:
    number = tracked.create_experiment("pneumonia")
    tracked.delete_experiment(number)
    with pytest.raises(TrackingError, match=f"deleted; bring it back with `mlflow experiments restore .* {number}`"):
        finished()


def test_the_data_is_an_input_named_by_layout_and_digest(tracked: MlflowClient) -> None:
    interrupted()
    run = finished()
    assert run.resumed
    [given] = tracked.get_run(run.id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("chest_xray", "m" * 36)
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "train")]


def test_no_path_but_the_typed_root_is_told(tracked: MlflowClient, workplace: Path) -> None:
    run = finished(config=settings(data="/clinic/DOE^JANE"))
    kept = tracked.get_run(run.id)
    assert [name for name, value in kept.data.params.items() if "/clinic" in value] == ["data.path"]
    [given] = kept.inputs.dataset_inputs
    told = [*kept.data.tags.values(), *kept.data.params.values()]
    told += [str(value) for value in given.dataset.to_dictionary().values()]
    assert not any(str(path) in text for text in told for path in (workplace, Path.home(), run_module.__file__))
    assert "/clinic" not in str(kept.data.tags) + str(given.dataset.to_dictionary())


def test_a_killed_process_is_continued_in_the_same_run(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tracked.create_run("0").info.run_id
    environment = {**os.environ, "MLFLOW_RUN_ID": launcher, "MLFLOW_EXPERIMENT_ID": "0"}
    command = [sys.executable, "-c", WORK, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        with pytest.raises(
            TrackingError, match=f"run {run_id} is doing exactly this work already; wait for it, or cha"
        ):
            finished()
        assert [status(tracked, run) for run in (run_id, launcher)] == ["RUNNING", "RUNNING"]
        process.send_signal(signal.SIGKILL)
    assert [status(tracked, run) for run in (run_id, launcher)] == ["RUNNING", "RUNNING"]
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    with opened() as run:
        assert (run.id, run.resumed) == (run_id, True)
        assert (run.folder / "state").read_text() == "after epoch 1"
        assert [status(tracked, run) for run in (run_id, launcher)] == ["RUNNING", "KILLED"]
        run.log_epoch({"train/loss": 2.0}, 1)
        run.log_epoch({"train/loss": 0.5}, 2)
    history = tracked.get_metric_history(run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5)]
    assert status(tracked, run_id) == "FINISHED"
    assert len(runs(tracked)) == 1


def test_a_killed_run_that_nobody_continues_does_not_stay_running(tracked: MlflowClient) -> None:
    finished()
    experiment = tracked.get_experiment_by_name("pneumonia").experiment_id
    gone = tracked.create_run(experiment, tags=circumstances()).info.run_id
    finished(config=settings(train__epochs=3))
    assert status(tracked, gone) == "KILLED"


def test_a_finished_run_is_never_continued_and_keeps_no_state(tracked: MlflowClient) -> None:
    first, second = finished(), finished()
    assert first.id != second.id
    assert not second.resumed
    assert not first.folder.exists()


@pytest.mark.parametrize(
    "other",
    [
        {"step": "evaluate"},
        {"config": settings(train__epochs=3)},
        {"config": settings(model="chest_cnn")},
        {"data": Data(manifest_digest="n" * 64)},
        {"data": Data(store_digest="t" * 32)},
        {"tags": {"split": "all"}},
    ],
    ids=["step", "setting", "model", "manifest", "store", "tags"],
)
def test_an_interrupted_run_is_continued_by_exactly_the_same_work(tracked: MlflowClient, other: dict[str, Any]) -> None:
    first = interrupted()
    assert finished(**other).id != first.id
    assert finished().id == first.id


def test_where_the_work_is_done_makes_no_other_run(tracked: MlflowClient) -> None:
    first = interrupted()
    assert finished(config=settings(execution__workers=2)).id == first.id


def test_an_interrupted_run_of_another_machine_or_home_is_not_continued(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = interrupted()
    monkeypatch.setenv("SECONDREAD_HOME", str(tmp_path / "elsewhere"))
    assert finished().id != first.id


def test_the_same_work_is_not_done_twice_at_once(tracked: MlflowClient) -> None:
    with opened() as run:
        with pytest.raises(TrackingError, match=f"run {run.id} is doing exactly this work already"):
            finished()
        finished(config=settings(train__epochs=3))
    assert status(tracked, run.id) == "FINISHED"


def test_of_two_equal_commands_at_the_same_moment_one_works(tracked: MlflowClient) -> None:
    both_ready, one_was_refused = threading.Barrier(2), threading.Event()
    refused: list[TrackingError] = []

    def ready() -> Data:
        both_ready.wait(60)
        return Data()

    def work() -> None:
        try:
            with open_run("train", settings(), ready):
                one_was_refused.wait(60)
        except TrackingError as error:
            refused.append(error)
            one_was_refused.set()

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(refused) == 1
    assert [run.info.status for run in runs(tracked)] == ["FINISHED"]


@pytest.fixture
def python_handlers() -> Iterator[None]:
    """Python's own handling of ctrl-C, which a shell switches off for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)], ids=["SIGTERM", "ctrl-C"]
)
def test_a_signal_ends_a_run_as_killed_and_the_same_command_continues_it(
    tracked: MlflowClient, number: signal.Signals, raised: type[BaseException], python_handlers: None
) -> None:
    handler = signal.getsignal(number)
    made: list[Run] = []

    def work() -> None:
        with opened() as run:
            made.append(run)
            (run.folder / "state").write_text("after epoch 1")
            signal.raise_signal(number)

    with pytest.raises(raised) as caught:
        work()
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 143  # 128 + 15, as a shell says it
    assert signal.getsignal(number) is handler
    assert status(tracked, made[0].id) == "KILLED"
    assert "error" in tracked.get_run(made[0].id).data.tags
    with opened() as run:
        assert (run.id, run.resumed) == (made[0].id, True)
        assert (run.folder / "state").read_text() == "after epoch 1"
        assert status(tracked, run.id) == "RUNNING"
    kept = tracked.get_run(run.id)
    assert kept.info.status == "FINISHED"
    assert "error" not in kept.data.tags


def test_an_error_ends_a_run_as_failed_and_it_is_kept(tracked: MlflowClient) -> None:
    made: list[Run] = []

    def work() -> None:
        with opened() as run:
            made.append(run)
            run.log_metrics({"train/loss": 1.0})
            raise ZeroDivisionError("by a patient's name")

    with pytest.raises(ZeroDivisionError):
        work()
    kept = tracked.get_run(made[0].id)
    assert (kept.info.status, kept.data.metrics, kept.data.tags["error"]) == (
        "FAILED",
        {"train/loss": 1.0},
        "ZeroDivisionError",
    )
    assert "patient's name" not in str(kept.to_dictionary())
    assert finished().id != made[0].id


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(SourceError("no images"), "FAILED"), (KeyboardInterrupt(), "KILLED")],
    ids=["error", "ctrl-C"],
)
def test_data_that_does_not_come_leaves_a_run_with_the_settings(
    tracked: MlflowClient, raised: BaseException, expected: str
) -> None:
    def prepare() -> Data:
        raise raised

    with pytest.raises(type(raised)), open_run("train", settings(data="nowhere"), prepare):
        pass
    [kept] = runs(tracked)
    assert (kept.info.status, kept.data.tags["error"]) == (expected, type(raised).__name__)
    assert (kept.data.params["data.path"], kept.data.tags["step"]) == ("nowhere", "train")


def test_a_child_is_below_its_parent_and_in_its_experiment(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    with opened() as parent:
        monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
        child = finished(step="fold", parent=parent, tags={"fold": "3"})
    kept = tracked.get_run(child.id)
    assert (kept.data.tags["mlflow.parentRunId"], kept.data.tags["fold"]) == (parent.id, "3")
    assert (kept.data.tags["step"], kept.info.experiment_id) == ("fold", parent.experiment_id)
    assert "mlflow.parentRunId" not in tracked.get_run(parent.id).data.tags


def test_a_failing_child_fails_its_parent(tracked: MlflowClient) -> None:
    def work() -> None:
        with opened() as parent, opened("fold", parent=parent):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert [run.info.status for run in runs(tracked)] == ["FAILED", "FAILED"]


def test_a_continued_parent_continues_its_own_children_also_finished_ones(tracked: MlflowClient) -> None:
    children: list[str] = []

    def work() -> None:
        with opened() as parent:
            children.append(finished(step="fold", parent=parent, tags={"fold": "0"}).id)
            with opened("fold", parent=parent, tags={"fold": "1"}) as second:
                children.append(second.id)
                raise KeyboardInterrupt

    def again() -> list[str]:
        with opened() as parent:
            return [finished(step="fold", parent=parent, tags={"fold": fold}).id for fold in "01"]

    with pytest.raises(KeyboardInterrupt):
        work()
    assert again() == children
    assert len(runs(tracked)) == 3
    assert set(again()).isdisjoint(children)  # of a new parent


def test_a_launchers_run_is_linked_and_never_adopted(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tracked.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", launcher)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    with opened() as run:
        assert "MLFLOW_RUN_ID" not in os.environ
        assert "MLFLOW_EXPERIMENT_ID" not in os.environ
    assert run.id != launcher
    assert tracked.get_experiment(run.experiment_id).name == "pneumonia"
    assert tracked.get_run(run.id).data.tags["launcher_run_id"] == launcher
    kept = tracked.get_run(launcher)
    assert (kept.data.tags["work_run_id"], kept.data.params, kept.info.status) == (run.id, {}, "RUNNING")


def test_a_launcher_whose_data_does_not_come_is_linked_to_the_failed_run(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tracked.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", launcher)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")

    def prepare() -> Data:
        raise SourceError("no images")

    with pytest.raises(SourceError), open_run("train", settings(), prepare):
        pass
    [failed] = runs(tracked)
    assert tracked.get_run(launcher).data.tags["work_run_id"] == failed.info.run_id


def test_a_launcher_that_was_killed_while_data_was_made_ready_is_swept(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tracked.create_run("0").info.run_id
    seen: list[bool] = []

    def prepare() -> Data:
        lock = lock_of(launcher)
        seen.append(lock.is_locked or Path(lock.lock_file).exists())
        seen.append("home" in tracked.get_run(launcher).data.tags)
        return Data()

    monkeypatch.setenv("MLFLOW_RUN_ID", launcher)
    with open_run("train", settings(), prepare):
        pass
    assert seen == [True, True]  # so its lock tells whether its process lives
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "0")
    finished()
    assert status(tracked, launcher) == "KILLED"


def test_the_experiment_behind_mlflow_run_is_kept(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tracked.create_experiment("mine")
    monkeypatch.setenv("MLFLOW_RUN_ID", tracked.create_run(mine).info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine)
    assert finished().experiment_id == mine
    assert tracked.get_experiment_by_name("pneumonia") is None


def test_the_experiment_of_the_environment_is_kept(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    finished()
    assert len(runs(tracked, "mine")) == 1


@pytest.mark.parametrize(
    ("state", "dirty", "files"),
    [(GitState("c" * 40, True, "-one\n+two\n"), "true", ["git.diff"]), (GitState("c" * 40, False, ""), "false", [])],
    ids=["dirty", "clean"],
)
def test_the_code_is_told_by_commit_and_difference(
    tracked: MlflowClient,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: GitState,
    dirty: str,
    files: list[str],
) -> None:
    monkeypatch.setattr(run_module, "git_state", lambda: state)
    run = finished()
    tags = tracked.get_run(run.id).data.tags
    assert (tags["git.commit"], tags["git.dirty"]) == ("c" * 40, dirty)
    assert [file.path for file in tracked.list_artifacts(run.id)] == files
    if files:
        assert artifact(workplace, run, "git.diff").read_text() == state.diff


def artifact(workplace: Path, run: Run, name: str) -> Path:
    return workplace / "mlruns" / run.experiment_id / run.id / "artifacts" / name


def test_more_than_a_thousand_metrics_are_logged_in_few_calls(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, metrics: Any = (), **more: Any) -> Any:
        sizes.append(len(metrics))
        return log_batch(self, run_id, metrics=metrics, **more)

    with opened() as run:
        monkeypatch.setattr(MlflowClient, "log_batch", counted)
        run.log_metrics({f"test/value_{number}": float(number) for number in range(1203)}, step=4)
        monkeypatch.undo()
        kept = tracked.get_run(run.id).data.metrics
    assert sizes == [500, 500, 203]
    assert kept == {f"test/value_{number}": float(number) for number in range(1203)}
    assert [metric.step for metric in tracked.get_metric_history(run.id, "test/value_7")] == [4]


def test_values_that_are_not_finite_are_left_out(tracked: MlflowClient) -> None:
    with opened() as run:
        run.log_metrics({"a": math.nan, "b": math.inf, "c": -math.inf, "d": -1.5, "e": 0.0})
        run.log_metrics({"a": math.nan})
        run.log_metrics({})
    assert tracked.get_run(run.id).data.metrics == {"d": -1.5, "e": 0.0}


def test_figures_texts_files_and_tags_are_found_by_their_names(tracked: MlflowClient, workplace: Path) -> None:
    (workplace / "bundle").mkdir()
    (workplace / "bundle" / "bundle.json").write_text("{}")
    (workplace / "table.csv").write_text("a\n1\n")
    with opened() as run:
        run.log_figure(Figure(), "roc")
        run.log_text("all well", "audit.txt")
        run.log_files(workplace / "bundle", "bundle")
        run.log_files(workplace / "table.csv")
        run.set_tags({"one": "1", "two": "2"})
    assert artifact(workplace, run, "figures/roc.png").read_bytes().startswith(b"\x89PNG")
    assert artifact(workplace, run, "audit.txt").read_text() == "all well"
    assert artifact(workplace, run, "bundle/bundle.json").exists()
    assert artifact(workplace, run, "table.csv").exists()
    assert {"one": "1", "two": "2"}.items() <= tracked.get_run(run.id).data.tags.items()


def test_four_processes_make_a_fresh_database_together(workplace: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", CONNECT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate() for process in started]
    assert [(process.returncode, out.strip()) for process, (out, _) in zip(started, said, strict=True)] == [
        (0, "1")
    ] * 4
    assert (workplace / "mlflow.db").stat().st_size > 0
