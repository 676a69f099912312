"""A trial: trains, measures on val, tells its worker, and never looks at test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from secondread.config import RunConfig, load_config
from secondread.data.manifest import manifest_digest
from secondread.data.prepare import prepare
from secondread.data.store import StoreDescription
from secondread.errors import ConfigError
from secondread.storage import sha256_of
from secondread.training import train
from tuning import trial_training
from tuning.objective import measure
from tuning.trial_process import LOG, TrialOrder, TrialProcess
from tuning.trial_training import carry_out

TRIAL = [sys.executable, "-c", "from tuning.trial import run_trial; run_trial()"]
SETTINGS = {"model": "slice_mlp", "preprocess.size": 16, "train.epochs": 3, "execution.workers": 1}


@pytest.fixture(scope="module")
def store(phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of small synthetic CT slices, divided already; copy it before you change it."""
    home = tmp_path_factory.mktemp("home")
    config = load_config("hemorrhage", {**SETTINGS, "data": str(phantom_source("hemorrhage"))})
    prepare(config, home, say=lambda line: None)
    (found,) = (home / "stores").iterdir()
    return found


@pytest.fixture
def order(store: Path, workplace: Path) -> "Callable[..., TrialOrder]":
    """A function from settings and what else an order says to an order."""

    def make(settings: dict[str, object] | None = None, **said: Any) -> TrialOrder:
        config = load_config("hemorrhage", {"data": str(store), **SETTINGS, **(settings or {})})
        given = {"config": config, "objectives": ("auroc",), "folder": workplace / "trial", **said}
        return TrialOrder.model_validate(given)

    return make


Make = Callable[..., TrialOrder]


class Worker:
    """Hears every message; stops the trial at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def __call__(self, message: dict[str, Any]) -> bool:
        self.heard.append(json.loads(json.dumps(message)))
        return message.get("epoch", message.get("fold")) != self._stop_at

    @property
    def places(self) -> list[int]:
        return [int(message.get("epoch") or message["fold"]) for message in self.heard]


def done(message: dict[str, Any]) -> dict[str, Any]:
    assert "done" in message, message
    found: dict[str, Any] = message["done"]
    return found


def curve(worker: Worker) -> list[float]:
    return [message["values"]["val/loss"] for message in worker.heard]


def test_a_trial_tells_each_epoch_and_measures_the_best_on_val(order: Make) -> None:
    worker = Worker()
    asked = order(objectives=("auroc", "log_loss", "parameters", "latency"))
    ended = done(carry_out(asked, worker))
    assert worker.places == [1, 2, 3]
    best = int(np.argmin(curve(worker))) + 1 if asked.config.train.best == "val/loss" else 3
    assert ended["metrics"]["best/epoch"] == best
    values = worker.heard[best - 1]["values"]
    assert ended["values"][:2] == pytest.approx([values["objective/auroc"], values["objective/log_loss"]], rel=1e-4)
    assert ended["metrics"]["objective/auroc"] == ended["values"][0]
    assert ended["metrics"]["val/loss"] == values["val/loss"]
    # 16 * 16 pixels, then 256, 128, 64 units and one answer
    assert ended["values"][2] == 257 * 256 + 257 * 128 + 129 * 64 + 65
    assert 0.01 < ended["values"][3] < 1000
    assert ended["epochs"] == 3


def test_a_trial_that_is_taken_over_goes_on_from_its_last_epoch(order: Make, workplace: Path) -> None:
    whole = Worker()
    undisturbed = done(carry_out(order(folder=workplace / "whole"), whole))
    assert carry_out(order(), Worker(stop_at=2)) == {"stopped": 2}
    second = Worker()
    taken_over = done(carry_out(order(), second))
    assert second.places == [2, 3]  # the second again: whoever died may not have come to it
    assert curve(second) == pytest.approx(curve(whole)[1:], rel=1e-3)
    assert taken_over["values"] == pytest.approx(undisturbed["values"], rel=1e-3)
    # once more, when only the last message was lost
    third = Worker()
    assert done(carry_out(order(), third))["values"] == taken_over["values"]
    assert third.places == [3]


def test_a_trial_of_fewer_epochs_learns_at_the_rate_of_all_and_another_goes_on_with_it(
    order: Make, workplace: Path
) -> None:
    settings = {"train.schedule": "cosine"}
    whole, short, longer = Worker(), Worker(), Worker()
    carry_out(order(settings, folder=workplace / "whole"), whole)
    ended = done(carry_out(order(settings, epochs=2), short))
    assert (short.places, ended["epochs"]) == ([1, 2], 2)
    before = {path: path.read_bytes() for path in (workplace / "trial").rglob("*.*") if path.name != LOG}
    continued = order(settings, folder=workplace / "next", continues_folder=workplace / "trial")
    carry_out(continued, longer)
    assert longer.places == [2, 3]
    assert curve(short) + curve(longer)[1:] == pytest.approx(curve(whole), rel=1e-3)
    assert before == {path: path.read_bytes() for path in before}  # the other trial can still be continued
    again = Worker()
    carry_out(continued, again)
    assert again.places == [3]


def test_a_trial_whose_predecessor_is_gone_begins_anew(order: Make, workplace: Path) -> None:
    worker = Worker()
    done(carry_out(order({"train.epochs": 1}, continues_folder=workplace / "nowhere"), worker))
    assert worker.places == [1]


def test_on_folds_every_patient_is_measured_once_and_the_value_is_the_mean(
    order: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[pd.DataFrame] = []

    def noted(names: Any, table: pd.DataFrame, *rest: Any) -> tuple[float, ...]:
        measured.append(table)
        return measure(names, table, *rest)

    monkeypatch.setattr("tuning.trial_training.measure", noted)
    worker = Worker()
    asked = order({"train.epochs": 1}, folds=2)
    ended = done(carry_out(asked, worker))
    assert worker.places == [1, 2]
    patients = [set(table["patient_key"]) for table in measured]
    assert not patients[0] & patients[1]
    assert not (patients[0] | patients[1]) & patients_of_test(asked)
    values = [measure(("auroc",), table, ("any",), "any", None)[0] for table in measured]
    assert ended["values"] == pytest.approx([np.mean(values)])
    # what is told after a fold is the mean so far
    assert [message["values"]["objective/auroc"] for message in worker.heard] == pytest.approx(
        [values[0], np.mean(values)]
    )
    assert ended["epochs"] == 2


def patients_of_test(order: TrialOrder) -> set[str]:
    """Patients of test."""
    manifest = prepare(order.config, Path("home"), say=lambda line: None).manifest
    return set(manifest.loc[manifest["split"] == "test", "patient_key"])


@pytest.mark.slow
def test_folds_are_alike_in_every_trial_of_a_search_and_measure_all_images_whatever_learns(
    order: Make, monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    seen: list[list[str]] = []

    def noted(names: Any, table: pd.DataFrame, *rest: Any) -> tuple[float, ...]:
        seen.append(list(table["image_key"]))
        return measure(names, table, *rest)

    monkeypatch.setattr("tuning.trial_training.measure", noted)
    learned: list[int] = []

    def counted(config: RunConfig, training: Any, *rest: Any, **others: Any) -> Any:
        learned.append(len(training.rows))
        return train(config, training, *rest, **others)

    monkeypatch.setattr("tuning.trial_training.train", counted)
    for number, fraction in enumerate((None, 0.6)):
        settings = {"train.epochs": 1, "data.positive_fraction": fraction, "train.seed": number}
        done(carry_out(order(settings, folds=2, seed=5, folder=workplace / str(number)), Worker()))
    assert seen[:2] == seen[2:]
    assert sum(learned[2:]) < sum(learned[:2])


@pytest.mark.slow
def test_a_trial_on_folds_can_be_stopped_and_taken_over(order: Make) -> None:
    asked = order({"train.epochs": 2}, folds=3)
    assert carry_out(asked, Worker(stop_at=2)) == {"stopped": 2}
    worker = Worker()
    assert done(carry_out(asked, worker))["epochs"] == 6
    assert worker.places == [1, 2, 3]


def with_given_splits(store: Path, copy: Path, *, poisoned: bool) -> Path:
    """Copy a store; its splits are now its source's own, so that no label decides where an image goes.

    Args:
        poisoned: turn the pixels and labels of every test image round.
    """
    shutil.copytree(store, copy)
    description = StoreDescription.model_validate_json((copy / "store.json").read_text())
    manifest = pd.read_parquet(copy / "manifest.parquet").assign(given=True)
    tested = (manifest["split"] == "test").to_numpy()
    assert 5 < tested.sum() < len(tested)
    shards, first = [], 0
    for shard in description.shards:
        path = copy / "shards" / shard.file
        pixels, mine = np.load(path), tested[first : first + shard.rows]
        first += shard.rows
        if poisoned:
            pixels[mine] = 255 - pixels[mine]
            np.save(path, pixels)
        shards.append(shard.model_copy(update={"digest": sha256_of(path.read_bytes())}))
    if poisoned:
        labels = [column for column in manifest if str(column).startswith("label_")]
        manifest.loc[tested, labels] = 1 - manifest.loc[tested, labels]
    manifest.to_parquet(copy / "manifest.parquet")
    changed = description.model_copy(update={"shards": tuple(shards), "manifest_digest": manifest_digest(manifest)})
    (copy / "store.json").write_text(changed.model_dump_json())
    return copy


@pytest.mark.parametrize("folds", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_poisoned_test_images_change_nothing(order: Make, store: Path, workplace: Path, folds: int) -> None:
    ended = []
    for poisoned in (False, True):
        path = with_given_splits(store, workplace / f"store-{poisoned}", poisoned=poisoned)
        worker = Worker()
        asked = order(
            {"data": str(path), "train.epochs": 2, "data.class_weights": True},
            objectives=("auroc", "average_precision", "log_loss", "weighted_log_loss"),
            folds=folds,
            folder=workplace / f"trial-{poisoned}",
        )
        result = done(carry_out(asked, worker))
        told = [value for each in worker.heard for name, value in each["values"].items() if name != "train/seconds"]
        ended.append([*told, *result["values"], *result["metrics"].values()])
    assert ended[0] == pytest.approx(ended[1], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "reason", "kind"),
    [
        (
            {"train.learning_rate": 3e38, "train.optimizer": "sgd"},
            "the loss is not finite in epoch 1; lower train.learning_rate",
            "TrainingError",
        ),
        (
            {"model": "window_cnn", "preprocess.size": 16},
            "[path]: its images have another channels, windows than model window_cnn asks for; run",
            "StoreError",
        ),
        (
            {"model.weights": "/somebodys/own.weights.h5"},
            "model.weights=/somebodys/own.weights.h5: there is no such file",
            "ConfigError",
        ),
    ],
)
def test_a_trial_that_cannot_learn_fails_and_says_why(
    settings: dict[str, object], reason: str, kind: str, order: Make
) -> None:
    failed = carry_out(order(settings), Worker())
    assert str(failed["failed"]).startswith(reason.replace("/somebodys/own.weights.h5", "[path]"))
    assert (failed["kind"], failed["epochs"]) == (kind, 0)


class ResourceExhaustedError(Exception):
    """As TensorFlow names it."""


def test_out_of_memory_names_the_epoch(order: Make) -> None:
    def fail(message: dict[str, Any]) -> bool:
        raise MemoryError

    failed = carry_out(order(), fail)
    assert failed["failed"] == "out of memory in epoch 2; use smaller batches, images or networks"
    assert failed["epochs"] == 1


@pytest.mark.parametrize("error", [ResourceExhaustedError("OOM when allocating"), RuntimeError("RESOURCE_EXHAUSTED:")])
def test_out_of_memory_is_known_by_the_names_that_backends_give_it(
    order: Make, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("tuning.trial_training.train", full)
    assert str(carry_out(order(), Worker())["failed"]).startswith("out of memory in epoch 1; ")


def test_another_error_is_named_without_what_it_holds(order: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("patient 7")

    monkeypatch.setattr("tuning.trial_training.train", broken)
    assert carry_out(order(), Worker())["failed"] == "KeyError in epoch 1; the trial's log.txt says more"


def test_val_of_one_class_fails_before_anything_is_trained(order: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trial_training._prepared

    def healthy(config: RunConfig) -> Any:
        data = whole(config)
        manifest = data.manifest
        data.manifest.loc[manifest["split"] == "val", "label_any"] = 0.0
        return data

    monkeypatch.setattr(trial_training, "_prepared", healthy)
    worker = Worker()
    failed = carry_out(order(), worker)
    assert str(failed["failed"]).startswith("val has not both images with and without any, and auroc needs both")
    assert worker.heard == []


# The same through a process.


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that a test starts in another folder find this checkout."""
    root = Path(__file__).resolve().parents[3]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(root / "src"), str(root))))


def heard(process: TrialProcess, stop_at: int | None = None) -> Iterator[dict[str, Any]]:
    for message in process:
        yield message
        if "epoch" in message or "fold" in message:
            process.answer("stop" if message.get("epoch") == stop_at else "go")


@pytest.mark.usefixtures("outside")
def test_a_trials_process_answers_on_its_pipe_and_prints_into_its_log(order: Make) -> None:
    look = "print(sorted({'mlflow', 'optuna', 'keras_tuner'} & set(sys.modules)))"
    asked = order()
    with TrialProcess.start(asked, [*TRIAL[:2], f"{TRIAL[2]}; import sys; {look}"]) as process:
        messages = list(heard(process))
    assert [message.get("epoch") for message in messages] == [1, 2, 3, None]
    assert len(done(messages[-1])["values"]) == 1
    assert process.returncode == 0
    printed = (asked.folder / LOG).read_text()
    assert "epoch 3/3" in printed
    assert '"epoch"' not in printed
    assert printed.splitlines()[-1] == "[]"  # hundreds of trials: none of these is loaded


@pytest.mark.usefixtures("outside")
def test_a_killed_trial_says_no_last_word_and_a_second_process_goes_on(order: Make) -> None:
    with TrialProcess.start(order(), TRIAL) as process:
        first = next(iter(process))
        os.kill(process.pid, signal.SIGKILL)
        assert list(process) == []
        process.answer("go")  # to nobody, and without an error
        assert process.returncode == -signal.SIGKILL
    assert first["epoch"] == 1
    with TrialProcess.start(order(), TRIAL) as process:
        messages = list(heard(process, stop_at=2))
        assert process.returncode == 0
    assert [message.get("epoch") for message in messages] == [1, 2, None]
    assert messages[-1] == {"stopped": 2}


_WORKER = """
import sys
from pathlib import Path
from tuning.trial_process import TrialOrder, TrialProcess
process = TrialProcess.start(TrialOrder.model_validate_json(sys.argv[1]), sys.argv[2:])
print(process.pid, flush=True)
print(next(iter(process)), flush=True)  # and no answer
sys.stdin.read()
"""


@pytest.mark.parametrize("after_an_epoch", [False, True])
@pytest.mark.usefixtures("outside")
def test_a_trial_dies_with_its_worker(order: Make, after_an_epoch: bool) -> None:
    command = [sys.executable, "-c", _WORKER, order().model_dump_json(), *TRIAL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        trial = int(worker.stdout.readline())
        if after_an_epoch:
            assert "'epoch': 1" in worker.stdout.readline()
        worker.kill()
        worker.wait()
        deadline = time.monotonic() + 30
        while is_running(trial):
            assert time.monotonic() < deadline, "the trial outlived its worker"
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody may be there to bury it


def test_an_order_passes_through_json_as_it_is(order: Make) -> None:
    asked = order({"preprocess.windows": "40/80", "train.plateau": None}, folds=3, continues_folder=Path("other"))
    assert TrialOrder.model_validate_json(asked.model_dump_json()) == asked
    with pytest.raises(ConfigError):
        order({"train.epohcs": 3})
