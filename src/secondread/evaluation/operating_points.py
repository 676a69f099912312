"""Where a probability becomes a decision. Thresholds are chosen on val, or on the other folds."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from secondread.evaluation.calibration import log_odds
from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import Estimate, FloatArray, clustered_bootstrap
from secondread.evaluation.ranking import Ranking

BALANCED, HIGH_SENSITIVITY, HIGH_SPECIFICITY = "balanced", "high_sensitivity", "high_specificity"
HALF = 0.5
_BEYOND = 0.1  # how far, in logits, a threshold may lie below all probabilities or above them

# How good each threshold is: from true and false positives, shape (resamples, k + 1), and images with and without the
# label, shape (resamples, 1), to a value to be made large, -inf where the threshold is not to be taken.
_Worth = Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]


class OperatingPoint(BaseModel):
    """A threshold and what was measured with it on the images that it was chosen on.

    Args:
        threshold: a probability from here upward is positive.
        sensitivity: with its Wilson interval; None, like the specificity, where no image allows to measure it.
        positives: images with the label that it was measured on.
        target: the sensitivity or specificity that was asked for; None for `balanced`.
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
    target: float | None = None
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
    return _chosen(label, BALANCED, None, (_youden,), max, truth, probabilities, patients, seed)


def at_sensitivity(
    label: str,
    name: str,
    target: float,
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    seed: int,
) -> OperatingPoint:
    """Choose the threshold with the best specificity of those that find at least a share `target` of the label.

    It is the middle of all such thresholds, averaged in logits over resamples of patients as in `balanced`; where that
    mean misses the target on the images themselves, it is their own middle. Where `balanced` is the lower threshold, it
    is that one: a point of this name misses no more than `balanced` does.
    """

    def worth(true: FloatArray, false: FloatArray, positives: FloatArray, negatives: FloatArray) -> FloatArray:
        return np.where(_reaches(true, target, positives), -false, -np.inf)

    return _chosen(label, name, target, (worth, _youden), min, truth, probabilities, patients, seed)


def at_specificity(
    label: str,
    name: str,
    target: float,
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    seed: int,
) -> OperatingPoint:
    """Choose the threshold with the best sensitivity of those that clear at least a share `target` of what is free.

    As `at_sensitivity` otherwise.
    """

    def worth(true: FloatArray, false: FloatArray, positives: FloatArray, negatives: FloatArray) -> FloatArray:
        return np.where(_reaches(negatives - false, target, negatives), true, -np.inf)

    return _chosen(label, name, target, (worth, _youden), max, truth, probabilities, patients, seed)


def choose_point(
    label: str,
    name: str,
    target: float | None,
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    seed: int,
) -> OperatingPoint:
    """Choose the point of a name: `balanced`, which has no target, `high_sensitivity` or `high_specificity`."""
    if target is None:
        return balanced(label, truth, probabilities, patients, seed)
    chooser = {HIGH_SENSITIVITY: at_sensitivity, HIGH_SPECIFICITY: at_specificity}[name]
    return chooser(label, name, target, truth, probabilities, patients, seed)


def cross_fitted(
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    folds: ArrayLike,
    seed: int,
    name: str = BALANCED,
    target: float | None = None,
) -> FloatArray:
    """Give each row of a cross-validation the threshold that the rows outside its own fold choose.

    Args:
        truth: 1, 0 or NaN, shape (n,).
        probabilities: out-of-fold probabilities, shape (n,).
        patients: patient keys, shape (n,).
        folds: the fold in which a row was left out, shape (n,).
        seed: of the resamples.
        name: the operating point's, as `choose_point` takes it, with its target.
    Returns:
        a threshold a row, shape (n,), as `evaluate` and the figures take it.
    """
    present, scores = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    keys, fold = np.asarray(patients, dtype=object), np.asarray(folds)
    thresholds = np.empty(len(scores))
    for left_out in np.unique(fold):
        others = fold != left_out
        point = choose_point("", name, target, present[others], scores[others], keys[others], seed)
        thresholds[~others] = point.threshold
    return thresholds


def decide(probabilities: ArrayLike, point: OperatingPoint) -> NDArray[np.bool_]:
    """True where a probability reaches the operating point's threshold."""
    return np.asarray(probabilities, np.float64) >= point.threshold


def _youden(true: FloatArray, false: FloatArray, positives: FloatArray, negatives: FloatArray) -> FloatArray:
    # Scaled by positives x negatives the index is made of whole numbers, so that equal ones compare equal.
    youden = true * negatives - false * positives
    youden[:, [0, -1]] = -np.inf  # to call all images alike is no decision
    return youden


def _reaches(right: FloatArray, target: float, images: FloatArray) -> NDArray[np.bool_]:
    return right >= target * images - 1e-9  # .95 of 20 is 19, whatever a float says


def _chosen(
    label: str,
    name: str,
    target: float | None,
    worths: Sequence[_Worth],
    bound: Callable[[list[float]], float],
    truth: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    seed: int,
) -> OperatingPoint:
    """The point at the least or the largest (`bound`) of the thresholds that each worth chooses."""
    present, scores = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    known = ~np.isnan(present)
    keys = np.asarray(patients, dtype=object)
    found = [_mean_threshold(present[known], scores[known], keys[known], worth, seed) for worth in worths]
    thresholds = [threshold for threshold in found if threshold is not None]
    return _measured(label, name, target, present, scores, keys, bound(thresholds) if thresholds else None)


def _measured(
    label: str,
    name: str,
    target: float | None,
    truth: FloatArray,
    probabilities: FloatArray,
    patients: NDArray[np.object_],
    threshold: float | None,
) -> OperatingPoint:
    applied = HALF if threshold is None else threshold
    counted = Confusion.count(truth, probabilities >= applied, patients)
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
        target=target,
        fallback=threshold is None,
    )


def _or_none(estimate: Estimate | None) -> tuple[float, float, float] | tuple[None, None, None]:
    return (None, None, None) if estimate is None else estimate


def _mean_threshold(
    truth: FloatArray, probabilities: FloatArray, patients: NDArray[np.object_], worth: _Worth, seed: int
) -> float | None:
    """The mean over resamples of the middle of the best thresholds, or None where none can be chosen."""
    if len(np.unique(truth)) < 2 or len(np.unique(probabilities)) < 2:
        return None
    ranking = Ranking.of(truth, probabilities)

    def best(weights: FloatArray) -> FloatArray:
        return _middle_of_the_best(ranking, weights, worth)[:, None]

    thresholds = clustered_bootstrap(patients, best, seed)
    # A single patient with both classes is every resample; a patient a class may be drawn alone.
    defined = thresholds[~np.isnan(thresholds)]
    if not len(defined):
        return None
    threshold = float(expit(defined.mean()))
    once = np.ones((1, len(truth)))
    taken = _worths(ranking, once, worth)[0, np.searchsorted(-ranking.cuts, -threshold, side="right")]
    return threshold if taken > -np.inf else float(expit(_middle_of_the_best(ranking, once, worth)[0]))


def _worths(ranking: Ranking, weights: FloatArray, worth: _Worth) -> FloatArray:
    """The worth of a threshold above all cuts, between each two, and below all, shape (resamples, k + 1)."""
    true, false = (np.pad(counts, ((0, 0), (1, 0))) for counts in ranking.counts(weights))
    return worth(true, false, true[:, -1:], false[:, -1:])


def _middle_of_the_best(ranking: Ranking, weights: FloatArray, worth: _Worth) -> FloatArray:
    """The logit in the middle of all thresholds of the greatest worth, shape (resamples,).

    A threshold between two neighbouring probabilities decides alike wherever it lies, and so do neighbouring gaps whose
    row was not drawn: the best thresholds are whole stretches, and the mean over them is weighted by their lengths.
    """
    worths = _worths(ranking, weights, worth)
    logits = log_odds(ranking.cuts)
    edges = np.concatenate([[logits[0] + _BEYOND], logits, [logits[-1] - _BEYOND]])
    # Probabilities that only float64's last digits part still need some length, or their gap could never be chosen.
    lengths = np.maximum(edges[:-1] - edges[1:], 1e-9)
    stretches = (worths == worths.max(axis=1, keepdims=True)) * lengths
    middle = (stretches @ ((edges[:-1] + edges[1:]) / 2)) / stretches.sum(axis=1)
    drawn = weights[:, ranking.order] @ np.column_stack([ranking.positive, 1 - ranking.positive])
    return np.where(drawn.all(axis=1), middle, np.nan)
