"""Every figure of a test, with its interval, from the table of predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.evaluation.calibration import BINS, calibration_gaps
from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import (
    Estimate,
    FloatArray,
    IntArray,
    clustered_bootstrap,
    delong_interval,
    percentile_interval,
)
from secondread.evaluation.operating_points import HALF
from secondread.evaluation.ranking import Ranking, auroc, average_precision, divide

Thresholds = Mapping[str, float | FloatArray]

_COLUMNS = 4 + BINS  # rows known, log loss, the prior's log loss, squared error, calibration gaps

# Keras' own floor: a saturated float32 sigmoid costs 16 and not infinity, in training as here.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class Answers:
    """What was true and what was said for one label, of the images where it is known.

    Args:
        rows: positions of these images in the table, shape (n,).
        truth: 0 or 1, shape (n,).
        probabilities: shape (n,).
        patients: patient keys, shape (n,).
    """

    rows: IntArray
    truth: FloatArray
    probabilities: FloatArray
    patients: NDArray[np.object_]

    @classmethod
    def of(cls, frame: pd.DataFrame, label: str) -> "Answers":
        """Take `label_<label>`, `probability_<label>` and `patient_key` from a table of predictions; NaN is unknown."""
        truth = frame[f"label_{label}"].to_numpy(np.float64)
        rows = np.flatnonzero(~np.isnan(truth))
        probabilities = frame[f"probability_{label}"].to_numpy(np.float64)
        return cls(rows, truth[rows], probabilities[rows], frame["patient_key"].to_numpy(object)[rows])

    @property
    def has_both_classes(self) -> bool:
        """Whether a ranking can be judged."""
        return 0 < int(self.truth.sum()) < len(self.truth)

    def decided(self, threshold: float | FloatArray) -> Confusion:
        """Count decisions at a threshold, or at one a row of the table (as `cross_fitted` gives them)."""
        applied = threshold[self.rows] if isinstance(threshold, np.ndarray) else threshold
        return Confusion.count(self.truth, self.probabilities >= applied, self.patients)


def evaluate(
    frame: pd.DataFrame,
    labels: Sequence[str],
    primary: str,
    thresholds: Thresholds,
    prior: Mapping[str, float],
    seed: int,
) -> dict[str, float]:
    """Measure predictions.

    `auroc`, `average_precision`, `sensitivity`, `specificity`, `precision`, `f1`, `accuracy` (at the given thresholds),
    the same five with `_at_half` (at .5), `log_loss`, `skill`, `brier` and `ece` belong to the primary label; another
    label's carry its name, `auroc_subdural`. `weighted_log_loss` (RSNA 2019: the primary label counts double) and, with
    several labels, `auroc_macro` belong to all. Each has a 95% interval: `auroc_low`, `auroc_subdural_low`,
    `accuracy_at_half_high`. AUROC's is DeLong's and those of decisions are Wilson's, both by patient; the rest resample
    patients.

    Args:
        frame: a row per image: `patient_key`, `label_<label>` (1, 0, NaN unknown), `probability_<label>`.
        labels: those that the model answers.
        primary: the label without a suffix.
        thresholds: per label one threshold, or one per row, shape (n,).
        prior: per label the share of positive training images, which is what `skill` is measured against.
        seed: of the resamples; equal seeds give equal figures.
    Returns:
        name to value; what the rows leave undefined, such as the AUROC of a single class, is left out.
    """
    answers = {label: Answers.of(frame, label) for label in labels}
    estimates: dict[str, Estimate] = {}
    for label, answer in answers.items():
        suffix = "" if label == primary else f"_{label}"
        if answer.has_both_classes:
            estimates[f"auroc{suffix}"] = delong_interval(answer.truth, answer.probabilities, answer.patients)
        for name, threshold in (("", thresholds[label]), ("_at_half", HALF)):
            found = answer.decided(threshold).estimates()
            estimates |= {f"{metric}{name}{suffix}": estimate for metric, estimate in found.items()}
    estimates |= _resampled(frame, {label: a for label, a in answers.items() if len(a.rows)}, primary, prior, seed)
    return _named(estimates)


def evaluate_point(
    frame: pd.DataFrame, labels: Sequence[str], primary: str, thresholds: Thresholds, name: str
) -> dict[str, float]:
    """Sensitivity and specificity at a point: `sensitivity_at_<name>` and its bounds, named as by `evaluate`.

    Args:
        frame: as `evaluate` takes it.
        labels: those that the model answers.
        primary: the label without a suffix.
        thresholds: of the point, as `evaluate` takes them.
        name: the operating point's.
    """
    estimates: dict[str, Estimate] = {}
    for label in labels:
        found = Answers.of(frame, label).decided(thresholds[label]).estimates()
        suffix = f"_at_{name}" + ("" if label == primary else f"_{label}")
        estimates |= {
            f"{metric}{suffix}": found[metric] for metric in ("sensitivity", "specificity") if metric in found
        }
    return _named(estimates)


def _named(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    return {
        f"{name}{bound}": float(value)
        for name, estimate in estimates.items()
        for bound, value in zip(("", "_low", "_high"), estimate, strict=True)
    }


def log_losses(truth: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Cross-entropy of each row in nats, probabilities held 1e-7 away from 0 and 1."""
    safe = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return -np.where(truth == 1, np.log(safe), np.log1p(-safe))


class _Statistics:
    """The figures of many resamples at once: weights of shape (resamples, n) to values of shape (resamples, names).

    Means over rows, all labels' together, are one matrix product of the weights with `_columns`.
    """

    def __init__(self, answers: Mapping[str, Answers], images: int, primary: str, prior: Mapping[str, float]) -> None:
        self._answers = list(answers.values())
        self._rankings = [Ranking.of(answer.truth, answer.probabilities) for answer in self._answers]
        self._columns = np.zeros((images, 2 + len(answers) * _COLUMNS))
        self.names = ["weighted_log_loss", "auroc_macro"]
        for place, (label, answer) in enumerate(answers.items()):
            losses = log_losses(answer.truth, answer.probabilities)
            counts = 2.0 if label == primary else 1.0
            self._columns[answer.rows, 0] += counts * losses
            self._columns[answer.rows, 1] += counts
            start = 2 + place * _COLUMNS
            self._columns[answer.rows, start : start + _COLUMNS] = np.column_stack(
                [
                    np.ones(len(losses)),
                    losses,
                    log_losses(answer.truth, np.full(len(losses), prior[label])),
                    (answer.probabilities - answer.truth) ** 2,
                    calibration_gaps(answer.truth, answer.probabilities),
                ]
            )
            suffix = "" if label == primary else f"_{label}"
            self.names += [f"{name}{suffix}" for name in ("average_precision", "log_loss", "skill", "brier", "ece")]

    def __call__(self, weights: FloatArray) -> FloatArray:
        sums = weights @ self._columns
        areas, values = [], []
        for place, (answer, ranking) in enumerate(zip(self._answers, self._rankings, strict=True)):
            true, false = ranking.counts(weights[:, answer.rows])
            areas.append(auroc(true, false))
            own = sums[:, 2 + place * _COLUMNS : 2 + (place + 1) * _COLUMNS]
            values += [average_precision(true, false), *_means(own)]
        return np.column_stack([divide(sums[:, 0], sums[:, 1]), _macro(areas), *values])


def _means(sums: FloatArray) -> list[FloatArray]:
    """Log loss, skill, Brier score and calibration error from the sums of one label's columns."""
    known, losses, prior_losses, squares = sums[:, :4].T
    gaps = np.abs(sums[:, 4:]).sum(axis=1)
    return [divide(losses, known), 1 - divide(losses, prior_losses), divide(squares, known), divide(gaps, known)]


def _macro(areas: Sequence[FloatArray]) -> FloatArray:
    """The mean over the labels that have both classes; NaN for a single label, which is no mean."""
    stacked = np.column_stack(areas)
    if stacked.shape[1] == 1:
        return np.full(len(stacked), np.nan)
    defined = ~np.isnan(stacked)
    return divide(np.where(defined, stacked, 0).sum(axis=1), defined.sum(axis=1))


def _resampled(
    frame: pd.DataFrame, answers: Mapping[str, Answers], primary: str, prior: Mapping[str, float], seed: int
) -> dict[str, Estimate]:
    """The figures whose intervals come from resampling patients."""
    if not answers:
        return {}
    statistics = _Statistics(answers, len(frame), primary, prior)
    values = statistics(np.ones((1, len(frame))))[0]
    samples = clustered_bootstrap(frame["patient_key"], statistics, seed)
    # Drawing again adds noise, and noise only ever widens calibration gaps: their spread is kept, their shift is not.
    shifted = [place for place, name in enumerate(statistics.names) if name.startswith("ece")]
    samples[:, shifted] = np.clip(
        samples[:, shifted] - np.nanmedian(samples[:, shifted], axis=0) + values[shifted], 0, 1
    )
    bounds = zip(statistics.names, values, *percentile_interval(samples), strict=True)
    return {name: Estimate(value, low, high) for name, value, low, high in bounds if not np.isnan(value)}
