"""Where a probability becomes a decision. Thresholds are chosen on val, or on the other folds."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit, logit

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import Estimate, FloatArray, clustered_bootstrap
from secondread.evaluation.ranking import Ranking

HALF = 0.5
_SMALLEST = 1e-7  # float32 cannot tell a sigmoid closer to 1 than this


class OperatingPoint(BaseModel):
    """A threshold and what was measured with it on the images that it was chosen on.

    Args:
        threshold: a probability from here upward is positive.
        sensitivity: with its Wilson interval; None, like the specificity, where no image allows to measure it.
        positives: images with the label that it was measured on.
        fallback: nothing could be chosen (one class only, or one probability for all), so the threshold is .5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str
    name: str
    threshold: float = Field(ge=0, le=1)
    sensitivity: float | None
    sensitivity_low: float | None
    sensitivity_high: float | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None
    positives: int = Field(ge=0)
    negatives: int = Field(ge=0)
    fallback: bool = False


def balanced(label: str, truth: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, seed: int) -> OperatingPoint:
    """Choose the Youden-optimal threshold, averaged in logits over resamples of patients.

    Args:
        label: the label's name.
        truth: 1, 0 or NaN for unknown, shape (n,).
        probabilities: shape (n,).
        patients: patient keys, shape (n,).
        seed: of the resamples.
    Source: Youden, Cancer 3 (1950) 32; Fluss et al., Biometrical Journal 47 (2005) 458.
    """
    present, scores = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    known = ~np.isnan(present)
    threshold = _mean_threshold(present[known], scores[known], np.asarray(patients, dtype=object)[known], seed)
    return _measured(label, "balanced", present, scores, threshold)


def cross_fitted(
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    folds: ArrayLike,
    seed: int,
) -> FloatArray:
    """Give each row of a cross-validation the `balanced` threshold of the rows outside its own fold.

    Args:
        truth: 1, 0 or NaN, shape (n,).
        probabilities: out-of-fold probabilities, shape (n,).
        patients: patient keys, shape (n,).
        folds: the fold in which a row was left out, shape (n,).
        seed: of the resamples.
    Returns:
        a threshold a row, shape (n,), as `evaluate` and the figures take it.
    """
    present, scores = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    keys, fold = np.asarray(patients, dtype=object), np.asarray(folds)
    thresholds = np.empty(len(scores))
    for left_out in np.unique(fold):
        others = fold != left_out
        point = balanced("", present[others], scores[others], keys[others], seed)
        thresholds[~others] = point.threshold
    return thresholds


def decide(probabilities: ArrayLike, point: OperatingPoint) -> NDArray[np.bool_]:
    """True where a probability reaches the operating point's threshold."""
    return np.asarray(probabilities, np.float64) >= point.threshold


def _measured(
    label: str, name: str, truth: FloatArray, probabilities: FloatArray, threshold: float | None
) -> OperatingPoint:
    applied = HALF if threshold is None else threshold
    counted = Confusion.count(truth, probabilities >= applied)
    found = counted.estimates()
    sensitivity, specificity = _or_none(found.get("sensitivity")), _or_none(found.get("specificity"))
    return OperatingPoint(
        label=label,
        name=name,
        threshold=applied,
        sensitivity=sensitivity[0],
        sensitivity_low=sensitivity[1],
        sensitivity_high=sensitivity[2],
        specificity=specificity[0],
        specificity_low=specificity[1],
        specificity_high=specificity[2],
        positives=counted.positives,
        negatives=counted.negatives,
        fallback=threshold is None,
    )


def _or_none(estimate: Estimate | None) -> tuple[float, float, float] | tuple[None, None, None]:
    return (None, None, None) if estimate is None else estimate


def _mean_threshold(
    truth: FloatArray, probabilities: FloatArray, patients: NDArray[np.object_], seed: int
) -> float | None:
    """The mean over resamples of the middle of the best thresholds, or None where none can be chosen."""
    if len(np.unique(truth)) < 2 or len(np.unique(probabilities)) < 2:
        return None
    ranking = Ranking.of(truth, probabilities)

    def best(weights: FloatArray) -> FloatArray:
        return _middle_of_the_best(ranking, weights)[:, None]

    thresholds = clustered_bootstrap(patients, best, seed)
    # A single patient with both classes is every resample; a patient a class may be drawn alone.
    defined = thresholds[~np.isnan(thresholds)]
    return float(expit(defined.mean())) if len(defined) else None


def _middle_of_the_best(ranking: Ranking, weights: FloatArray) -> FloatArray:
    """The logit in the middle of all thresholds with the largest Youden index, shape (resamples,).

    A threshold between two neighbouring probabilities decides alike wherever it lies, and so do neighbouring gaps whose
    row was not drawn: the best thresholds are whole stretches, and the mean over them is weighted by their lengths.
    """
    true, false = ranking.counts(weights)
    positives, negatives = true[:, -1:], false[:, -1:]
    # Scaled by positives x negatives the index is made of whole numbers, so that equal ones compare equal.
    youden = (true * negatives - false * positives)[:, :-1]
    logits = logit(np.clip(ranking.cuts, _SMALLEST, 1 - _SMALLEST))
    # Probabilities that only differ beyond the clip still need some length, or their gap could never be chosen.
    lengths = np.maximum(logits[:-1] - logits[1:], 1e-9)
    stretches = (youden == youden.max(axis=1, keepdims=True)) * lengths
    middle = (stretches @ ((logits[:-1] + logits[1:]) / 2)) / stretches.sum(axis=1)
    return np.where((positives * negatives)[:, 0] > 0, middle, np.nan)
