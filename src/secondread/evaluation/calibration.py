"""Do probabilities mean what they say, and the map that makes them: chosen on val, kept in the bundle."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from secondread.evaluation.intervals import FloatArray, IntArray

Method = Literal["none", "temperature", "platt", "isotonic"]

BINS = 10
_METHODS: tuple[Method, ...] = get_args(Method)  # the simplest first
_CLOSEST = 2.0**-53  # a probability of float64 can come no closer to 1
_FOLDS = 5
_REPEATS = 3
_TAIL = 0.01  # how much a logit still counts beyond the knots, so that isotonic regression ties no two images there
_FEWEST_PATIENTS = 3  # with, and without the label; every other fold then still has two of them to learn from


class Calibration(BaseModel):
    """A rising map from the network's probability to one that means what it says.

    Args:
        slope: of the logit, for `temperature` (its temperature is 1 / slope) and `platt`.
        intercept: added to the scaled logit, for `platt`.
        knots: logits between which `isotonic` is linear, rising; beyond them it hardly rises.
        values: the probabilities at the knots, rising, neither 0 nor 1.
        log_losses: by method, what it was chosen by: log loss in nats, cross-validated by patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    log_losses: dict[str, float] = {}

    @model_validator(mode="after")
    def _rises(self) -> "Calibration":
        if self.slope <= 0:
            raise ValueError(f"slope {self.slope} turns the order of the answers around")
        if len(self.knots) != len(self.values) or (self.method == "isotonic") != bool(self.knots):
            raise ValueError(f"{self.method} with {len(self.knots)} knots and {len(self.values)} values")
        if (np.diff([0, *self.values, 1]) <= 0).any() or (np.diff(self.knots) <= 0).any():
            raise ValueError("knots and values must rise")
        return self

    def apply(self, probabilities: ArrayLike) -> FloatArray:
        """Calibrate probabilities of any shape; `none` gives them back bit for bit."""
        given = np.asarray(probabilities, np.float64)
        if self.method == "none":
            return given
        if self.method == "isotonic":
            logits = log_odds(given)
            beyond = logits - np.clip(logits, self.knots[0], self.knots[-1])
            return np.asarray(expit(logit(np.interp(logits, self.knots, self.values)) + _TAIL * beyond), np.float64)
        return np.asarray(expit(self.slope * log_odds(given) + self.intercept), np.float64)


def log_odds(probabilities: ArrayLike) -> FloatArray:
    """Logits of probabilities; those of 0 and 1 are finite, about 37 from 0."""
    return np.asarray(logit(np.clip(probabilities, _CLOSEST, 1 - _CLOSEST)), np.float64)


def choose_calibration(truth: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, seed: int) -> Calibration:
    """Choose how one label's probabilities are calibrated, by log loss cross-validated by patient.

    Of the methods whose loss is within one standard error of the lowest (of the paired difference, by patient), it is
    the simplest, fitted to all rows. Where a class is missing or has too few patients, nothing is learned.

    Args:
        truth: 1, 0 or NaN for unknown, shape (n,).
        probabilities: the network's, of images that it did not learn from, shape (n,).
        patients: patient keys, shape (n,).
        seed: of the folds.
    Source: Platt, Advances in Large Margin Classifiers (1999), for the targets; Guo et al., ICML 2017 (temperature);
        Oron and Flournoy, Statistics in Biopharmaceutical Research 9 (2017) 258 (centered isotonic regression).
    """
    present = np.asarray(truth, np.float64)
    known = ~np.isnan(present)
    present, scores = present[known], log_odds(probabilities)[known]
    owners = pd.factorize(np.asarray(patients, dtype=object)[known])[0].astype(np.int64)
    positive, negative = np.unique(owners[present == 1]), np.unique(owners[present == 0])
    if min(len(positive), len(negative)) < _FEWEST_PATIENTS:
        return Calibration(method="none")
    losses = {method: np.zeros(len(present)) for method in _METHODS}
    for left_out in _folds(owners, positive, seed):
        for method, total in losses.items():
            fitted = _fitted(method, present[~left_out], scores[~left_out])
            total[left_out] += _losses(fitted, present[left_out], scores[left_out]) / _REPEATS
    found = _fitted(_simplest(losses, owners), present, scores)
    return found.model_copy(update={"log_losses": {method: float(each.mean()) for method, each in losses.items()}})


def cross_calibrated(
    truth: ArrayLike, probabilities: ArrayLike, patients: ArrayLike, folds: ArrayLike, seed: int
) -> FloatArray:
    """Calibrate each row of a cross-validation by what is learned from the rows outside its own fold.

    Args:
        truth: 1, 0 or NaN, shape (n,).
        probabilities: out of fold, shape (n,).
        patients: patient keys, shape (n,).
        folds: the fold in which a row was left out, shape (n,).
        seed: of the folds within.
    Returns:
        shape (n,).
    """
    present, scores = np.asarray(truth, np.float64), np.asarray(probabilities, np.float64)
    keys, fold = np.asarray(patients, dtype=object), np.asarray(folds)
    calibrated = np.empty(len(scores))
    for left_out in np.unique(fold):
        others = fold != left_out
        calibration = choose_calibration(present[others], scores[others], keys[others], seed)
        calibrated[~others] = calibration.apply(scores[~others])
    return calibrated


def _folds(owners: IntArray, positive: IntArray, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Yield which rows are left out: folds of whole patients, those with the label dealt evenly; a few such draws."""
    generator = np.random.default_rng(seed)
    patients = np.arange(owners.max() + 1)
    has_label = np.isin(patients, positive)
    for _ in range(_REPEATS):
        dealt = np.concatenate([generator.permutation(patients[side]) for side in (has_label, ~has_label)])
        fold_of = np.empty(len(patients), np.int64)
        fold_of[dealt] = np.arange(len(patients)) % _FOLDS
        for fold in range(_FOLDS):
            yield fold_of[owners] == fold


def _losses(calibration: Calibration, truth: FloatArray, logits: FloatArray) -> FloatArray:
    """Cross-entropy of each row in nats, finite for every probability."""
    answered = log_odds(calibration.apply(expit(logits)))
    return np.logaddexp(0, answered) - truth * answered


def _simplest(losses: dict[Method, FloatArray], owners: IntArray) -> Method:
    best = min(losses.values(), key=np.mean)
    for method, each in losses.items():
        if (each - best).mean() <= _standard_error(each - best, owners):
            return method
    raise AssertionError("the best is within its own standard error")


def _standard_error(differences: FloatArray, owners: IntArray) -> float:
    """Of a mean over rows, whose patients are what is independent."""
    sums = np.bincount(owners, differences - differences.mean())
    return float(np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(differences))


def _fitted(method: Method, truth: FloatArray, logits: FloatArray) -> Calibration:
    """Fit a method to Platt's smoothed targets, so that a separable val gives finite slopes and no certainty.

    A fit that would turn the order of the answers around, or give one answer to all, is `none`.
    """
    positives, negatives = truth.sum(), len(truth) - truth.sum()
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    fits: dict[Method, Callable[[FloatArray, FloatArray], Calibration | None]] = {
        "none": lambda targets, logits: None,
        "temperature": _temperature,
        "platt": _platt,
        "isotonic": _centered_isotonic,
    }
    return fits[method](targets, logits) or Calibration(method="none")


def _temperature(targets: FloatArray, logits: FloatArray) -> Calibration | None:
    (slope,) = _logistic(targets, logits[:, None])
    return Calibration(method="temperature", slope=slope) if slope > 0 else None


def _platt(targets: FloatArray, logits: FloatArray) -> Calibration | None:
    slope, intercept = _logistic(targets, np.column_stack([logits, np.ones(len(logits))]))
    return Calibration(method="platt", slope=slope, intercept=intercept) if slope > 0 else None


def _logistic(targets: FloatArray, features: FloatArray) -> list[float]:
    """Weights of the features, shape (n, k), that make the cross-entropy to the targets least."""

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        answered = features @ weights
        gradient = features.T @ (expit(answered) - targets) / len(targets)
        return float((np.logaddexp(0, answered) - targets * answered).mean()), gradient

    start = np.eye(features.shape[1])[0]  # taking the logits as they are
    return [float(weight) for weight in minimize(loss, start, jac=True, method="BFGS").x]


def _centered_isotonic(targets: FloatArray, logits: FloatArray) -> Calibration | None:
    """Centered isotonic regression: each flat stretch is a knot at its mean logit, so that the map rises in between."""
    places, owner, counts = np.unique(logits, return_inverse=True, return_counts=True)
    pooled = isotonic_regression(np.bincount(owner, targets) / counts, weights=counts)
    # Neighbouring stretches may differ by rounding alone.
    stretches = np.cumsum(np.diff(pooled.x, prepend=pooled.x[0]) > 1e-9)
    images = np.bincount(stretches, counts)
    knots, values = (np.bincount(stretches, counts * each) / images for each in (places, pooled.x))
    return Calibration(method="isotonic", knots=tuple(knots), values=tuple(values)) if len(knots) > 1 else None


def quantile_bins(probabilities: ArrayLike, count: int = BINS) -> IntArray:
    """Number each row's bin, of bins that hold about equally many rows; equal probabilities share a bin.

    Returns:
        int64, shape (n,), from 0 without gaps, at most `count` bins.
    """
    values = np.asarray(probabilities, np.float64)
    inner = np.quantile(values, np.arange(1, count) / count, method="lower") if len(values) else values
    # side="left" keeps a value that equals an edge below it, so that a run of equal values is never parted.
    return np.unique(np.searchsorted(np.unique(inner), values, side="left"), return_inverse=True)[1].astype(np.int64)


def calibration_gaps(truth: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Each row's share of its bin's gap, such that the gaps' sums by bin, made positive and divided by n, are the ECE.

    Args:
        truth: 0 or 1, shape (n,).
        probabilities: shape (n,).
    Returns:
        truth minus probability in the column of the row's bin, 0 elsewhere, shape (n, bins).
    Source: Naeini et al., AAAI 2015, with bins of equal mass (Nixon et al., CVPR workshops 2019).
    """
    bins = quantile_bins(probabilities)
    return np.where(bins[:, None] == np.arange(BINS), (truth - probabilities)[:, None], 0.0)


def calibration_error(truth: FloatArray, probabilities: FloatArray) -> float:
    """The mean distance between a bin's positive share and its mean probability (ECE), weighted by images."""
    return float(np.abs(calibration_gaps(truth, probabilities).sum(axis=0)).sum() / len(truth))
