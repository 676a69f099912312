"""What a search seeks, measured on val by patient, or on the network itself."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.errors import AuditError
from secondread.evaluation.metrics import Answers, log_losses
from secondread.evaluation.ranking import Ranking, auroc, average_precision

Model = Any  # keras.Model, which ships no types
_WARM_UP, _TIMED = 5, 40


def measure(
    names: Sequence[str], table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model
) -> tuple[float, ...]:
    """Measure a trained network.

    `auroc` and `average_precision` are the primary label's, `log_loss` and `weighted_log_loss` (RSNA 2019: the primary
    label counts double) all answered labels'. Every patient counts alike: an image weighs one over the images of its
    patient for which the label is known. `latency` is in milliseconds for one image, `parameters` a count.

    Args:
        names: objectives, see `OBJECTIVES`.
        table: a row per image of val: `patient_key`, `label_<label>` (1, 0, NaN unknown), `probability_<label>`.
        labels: those that the model answers.
        model: answers images of shape (n, height, width, channels).
    Returns:
        one value a name; NaN where the rows leave it undefined, such as the AUROC of a single class.
    """
    known = {**_QUALITY, **_COST}
    return tuple(float(known[name](table, labels, primary, model)) for name in names)


def measure_answers(table: pd.DataFrame, labels: Sequence[str], primary: str) -> dict[str, float]:
    """Measure everything that answers alone tell, by name; arguments as of `measure`, and so are undefined values."""
    return {name: float(of(table, labels, primary, None)) for name, of in _QUALITY.items()}


def refuse_unmeasurable(names: Sequence[str], table: pd.DataFrame, primary: str) -> None:
    """Refuse images on which an objective has no value.

    Raises:
        AuditError: val lacks a class of the primary label.
    """
    classes = set(table[f"label_{primary}"].dropna().unique())
    ranked = [name for name in names if name in ("auroc", "average_precision")]
    if ranked and classes != {0.0, 1.0}:
        raise AuditError(
            f"val has not both images with and without {primary}, and {ranked[0]} needs both; add images, give val a "
            "larger share (data.val_fraction), or seek log_loss"
        )
    if not classes:
        raise AuditError(f"val has no image for which {primary} is known; add some")


def _weights(answers: Answers) -> npt.NDArray[np.float64]:
    """One over the images of each image's patient."""
    _, patient, images = np.unique(answers.patients, return_inverse=True, return_counts=True)
    weights: npt.NDArray[np.float64] = 1 / images[patient]
    return weights


def _auroc(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    return float(auroc(*_counts(table, primary))[0])


def _average_precision(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    return float(average_precision(*_counts(table, primary))[0])


def _counts(table: pd.DataFrame, label: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    answers = Answers.of(table, label)
    if not answers.has_both_classes:
        return np.zeros((1, 1)), np.zeros((1, 1))
    weights = _weights(answers)
    # As multiples of the smallest: the precision of less than one whole image is held for none.
    return Ranking.of(answers.truth, answers.probabilities).counts(weights[None, :] / weights.min())


def _log_loss(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    return _mean_loss(table, dict.fromkeys(labels, 1.0))


def _weighted_log_loss(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    return _mean_loss(table, dict.fromkeys(labels, 1.0) | {primary: 2.0})


def _mean_loss(table: pd.DataFrame, counts: Mapping[str, float]) -> float:
    """Mean over the labels of every patient, each of them weighing what `counts` says."""
    losses = weight = 0.0
    for label, times in counts.items():
        answers = Answers.of(table, label)
        own = times * _weights(answers)
        losses += float(own @ log_losses(answers.truth, answers.probabilities))
        weight += float(own.sum())
    return losses / weight if weight else math.nan


def _latency(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    """Median milliseconds of one image through the compiled network, warm."""
    image = np.random.default_rng(0).integers(0, 256, (1, *model.input_shape[1:]), np.uint8)
    took = []
    for _ in range(_WARM_UP + _TIMED):
        began = time.perf_counter()
        model.predict_on_batch(image)
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took[_WARM_UP:])


def _parameters(table: pd.DataFrame, labels: Sequence[str], primary: str, model: Model) -> float:
    return float(model.count_params())


_Objective = Callable[[pd.DataFrame, Sequence[str], str, Model], float]
_QUALITY: Mapping[str, _Objective] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "weighted_log_loss": _weighted_log_loss,
}
_COST: Mapping[str, _Objective] = {"latency": _latency, "parameters": _parameters}
