"""Train and measure one trial, on val or on folds of the patients that learn; test rows are dropped unseen."""

import os
import re
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.config import RunConfig
from secondread.data.prepare import Prepared, prepare
from secondread.data.split import fold_by_patient
from secondread.data.subset import positive_fraction
from secondread.errors import SecondReadError
from secondread.storage import write_aside
from secondread.tasks import Task, load_task
from secondread.tracking.home import home
from secondread.training import Images, Trained, answered_labels, predict, train
from tuning.objective import measure, measure_answers, refuse_unmeasurable
from tuning.trial_process import TrialOrder

MayGoOn = Callable[[dict[str, object]], bool]
_TRAINING = "training"
_OUT_OF_MEMORY = ("ResourceExhaustedError", "OutOfMemoryError")  # TensorFlow's and PyTorch's names
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/])/[^\s:;,'\"]+")


class _Stopped(Exception):
    """The worker has seen enough."""


@dataclass
class _Place:
    """How far a trial has come: epochs that are finished, all folds' together, and those of this training."""

    epochs: int = 0
    here: int = 0


@dataclass(frozen=True)
class _Fit:
    """One trained network's figures.

    Args:
        values: one an objective.
        metrics: of the best epoch, and what the kept network answers.
    """

    values: tuple[float, ...]
    metrics: dict[str, float]
    epochs: int


def carry_out(order: TrialOrder, may_go_on: MayGoOn) -> dict[str, object]:
    """Do a trial to its end, whatever that is.

    Args:
        may_go_on: told every epoch, or every fold, as `TrialProcess` says; false ends the trial there.
    Returns:
        the last message: `done`, `stopped` or `failed`.
    """
    place = _Place()
    try:
        fits = (_on_folds if order.folds else _on_val)(order, may_go_on, place)
        return {
            "done": {
                "values": np.mean([fit.values for fit in fits], axis=0).tolist(),
                "metrics": _mean([fit.metrics for fit in fits]),
                "epochs": sum(fit.epochs for fit in fits),
            }
        }
    except _Stopped as stopped:
        return {"stopped": stopped.args[0]}
    except Exception as error:
        # Whatever is wrong with this trial, the search goes on with others; the log says all of it.
        traceback.print_exc()
        return {"failed": _reason(error, place), "kind": type(error).__name__, "epochs": place.epochs}


def _reason(error: Exception, place: _Place) -> str:
    """Say what went wrong without a path, which may be a person's own."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or names & set(_OUT_OF_MEMORY) or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory in epoch {place.here + 1}; use smaller batches, images or networks"
    if isinstance(error, SecondReadError):
        return _ABSOLUTE_PATH.sub("[path]", str(error))
    return f"{type(error).__name__} in epoch {place.here + 1}; the trial's log.txt says more"


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {str(name): float(value) for name, value in pd.DataFrame(rows).mean().items()}


def _on_val(order: TrialOrder, may_go_on: MayGoOn, place: _Place) -> list[_Fit]:
    data = _prepared(order.config)

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        place.epochs = place.here = epoch
        if not may_go_on({"epoch": epoch, "values": values}):
            raise _Stopped(epoch)

    labels = answered_labels(load_task(order.config.task), order.config, data.manifest)
    return [_fit(order, data, labels, "", on_epoch)]


def _on_folds(order: TrialOrder, may_go_on: MayGoOn, place: _Place) -> list[_Fit]:
    """Train once a fold and measure what was left out; the means so far are told after each."""
    config, fraction = order.config, order.config.data.positive_fraction
    task = load_task(config.task)
    # What is measured keeps its own share of positive images: only what learns is drawn anew.
    data = _prepared(config.model_copy(update={"data": config.data.model_copy(update={"positive_fraction": None})}))
    pool = fold_by_patient(data.manifest, order.folds, order.seed)
    labels = answered_labels(task, config, pool.assign(split="train"))

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        place.here = epoch

    fits: list[_Fit] = []
    for fold in range(order.folds):
        place.here = 0
        divided = pool.assign(split=np.where(pool["fold"] == fold, "val", "train"))
        if fraction is not None:
            divided = positive_fraction(divided, fraction, task.primary, config.data.seed)
        fits.append(_fit(order, replace(data, manifest=divided), labels, f"fold-{fold}", on_epoch))
        place.epochs += fits[-1].epochs
        means = _mean([fit.metrics for fit in fits])
        if not may_go_on({"fold": fold + 1, "values": means}):
            raise _Stopped(fold + 1)
    return fits


def _prepared(config: RunConfig) -> Prepared:
    """The images of a run without its test rows: nothing that follows can look at them."""
    data = prepare(config, home())
    data.report.refuse(config.data.acknowledge_leaks)
    return replace(data, manifest=data.manifest[data.manifest["split"] != "test"].reset_index(drop=True))


def _fit(
    order: TrialOrder,
    data: Prepared,
    labels: Sequence[str],
    part: str,
    on_epoch: Callable[[int, dict[str, float]], None],
) -> _Fit:
    config, task = order.config, load_task(order.config.task)
    split = data.manifest["split"]
    table = data.manifest[split == "val"].reset_index(drop=True)
    refuse_unmeasurable(order.objectives, table, task.primary)
    training, validation = Images.of(data, split == "train", labels), Images.of(data, split == "val", labels)
    folder = order.folder / part / _TRAINING
    if order.continues_folder is not None:
        _continue(order.continues_folder / part / _TRAINING, folder)

    def answers(probabilities: npt.NDArray[np.float64]) -> dict[str, float]:
        found = measure_answers(_answered(table, labels, probabilities), labels, task.primary)
        return {f"objective/{name}": value for name, value in found.items() if name in order.objectives}

    trained = train(config, training, validation, folder, on_epoch, until=order.epochs, measure=answers)
    answered = _answered(table, labels, predict(trained.model, validation, config.preprocess.channels))
    return _figures(order, trained, answered, labels, task)


def _answered(table: pd.DataFrame, labels: Sequence[str], probabilities: npt.NDArray[np.float64]) -> pd.DataFrame:
    return table.assign(**{f"probability_{label}": probabilities[:, place] for place, label in enumerate(labels)})


def _figures(order: TrialOrder, trained: Trained, answered: pd.DataFrame, labels: Sequence[str], task: Task) -> _Fit:
    values = measure(order.objectives, answered, labels, task.primary, trained.model)
    best: dict[Any, float] = trained.history.filter(like="val/").iloc[trained.best_epoch - 1].to_dict()
    metrics = {str(name): float(value) for name, value in best.items()} | {"best/epoch": float(trained.best_epoch)}
    metrics |= {f"objective/{name}": value for name, value in zip(order.objectives, values, strict=True)}
    return _Fit(values, metrics, len(trained.history))


def _continue(source: Path, folder: Path) -> None:
    """Begin with another trial's training, unless this one has begun; its files never change, so links will do."""
    if source.is_dir() and not folder.exists():
        with write_aside(folder) as aside:
            shutil.copytree(source, aside, copy_function=_link, ignore=shutil.ignore_patterns(".*"))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)
