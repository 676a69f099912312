"""How far a figure can be trusted: 95% intervals, by patient, of proportions, AUROC, and anything else."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import norm, rankdata, t

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]

RESAMPLES = 1000
_TAIL = 0.025  # beyond each bound of a 95% interval
_Z = 1.959963984540054  # the standard normal's quantile there
_CELLS_AT_ONCE = 2_000_000  # weights held in memory, 16 MB


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


def wilson_interval(successes: float, trials: float) -> Interval:
    """Interval of a proportion of independent trials, by score.

    Source: Wilson, JASA 22 (1927) 209.
    """
    if trials <= 0:
        raise ValueError(f"a proportion needs at least one trial. Received: {trials}")
    share, square = successes / trials, _Z**2
    center = (share + square / (2 * trials)) / (1 + square / trials)
    half = _Z / (1 + square / trials) * float(np.sqrt(share * (1 - share) / trials + square / (4 * trials**2)))
    # Rounding must not push a bound past the share itself, as it does at 0 and 1.
    return Interval(max(0.0, min(center - half, share)), min(1.0, max(center + half, share)))


def independent_trials(values: FloatArray, owner: IntArray) -> float:
    """How many independent rows would tell as much about the mean value; at most all. Of equal rows, the patients.

    Args:
        values: any number a row, shape (n,).
        owner: the patient's number, shape (n,), from `owners`.
    Source: Rao and Scott, Biometrics 48 (1992) 577.
    """
    rows, patients = len(values), len(np.unique(owner))
    apart = values - values.mean()
    if patients < 2 or not apart.any():
        return float(patients)
    sums = np.bincount(owner, apart).astype(np.float64)
    inflation = unbiased_product(sums, sums, patients) / unbiased_product(apart, apart, rows)
    return float(rows / max(inflation, 1.0))


def unbiased_product(one: FloatArray, other: FloatArray, count: int) -> float:
    """The sum of products of centered parts of `count` clusters, free of the bias that their own mean brings."""
    return float(one @ other) * count / (count - 1)


def quantile(tail: float, owner: IntArray, patients: int) -> float:
    """How many standard errors a bound is away: the normal's quantile, or Student's where patients repeat.

    Args:
        tail: the error beyond the bound.
        owner: the patient's number of each row, shape (n,), from `owners`.
        patients: how many the estimate rests on.
    """
    return float(t.ppf(1 - tail, max(patients - 1, 1)) if repeats(owner) else norm.ppf(1 - tail))


def repeats(owner: IntArray) -> bool:
    """Whether a patient has several rows; shape (n,), from `owners`."""
    return len(np.unique(owner)) < len(owner)


def share_interval(right: FloatArray, owner: IntArray) -> Estimate:
    """The share of rows that are right, with Wilson's interval by patient.

    Args:
        right: 0 or 1, shape (n,), at least one row.
        owner: the patient's number, shape (n,), from `owners`.
    Source: Korn and Graubard, Survey Methodology 24 (1998) 193: independent trials, fewer for Student's quantile.
    """
    trials, value = float(len(right)), float(right.mean())
    if repeats(owner):
        trials = independent_trials(right, owner) * (_Z / quantile(_TAIL, owner, len(np.unique(owner)))) ** 2
    return Estimate(value, *wilson_interval(value * trials, trials))


def mean_interval(values: FloatArray, owner: IntArray) -> Estimate:
    """The mean of a number a row, with Student's interval by patient; without end where there is one patient.

    Args:
        values: any number a row, shape (n,), at least one row.
        owner: the patient's number, shape (n,), from `owners`.
    """
    value, patients = float(values.mean()), len(np.unique(owner))
    if patients < 2:
        return Estimate(value, -np.inf, np.inf)
    sums = np.bincount(owner, values - value).astype(np.float64)
    error = float(np.sqrt(unbiased_product(sums, sums, patients))) / len(values)
    half = float(t.ppf(1 - _TAIL, patients - 1)) * error
    return Estimate(value, value - half, value + half)


def auroc_variance(
    truth: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None
) -> tuple[float, float]:
    """AUROC and the variance of its estimate, from mid-ranks in O(n log n).

    Args:
        truth: 0 or 1, shape (n,), both present.
        probabilities: any score that rises with the label, shape (n,).
        patients: patient keys, shape (n,); None counts every row as a patient of its own.
    Returns:
        AUROC with ties counted half, and DeLong's variance, by patient; NaN when a class has one patient only.
    Source: DeLong et al., Biometrics 44 (1988) 837; Sun and Xu, IEEE Signal Processing Letters 21 (2014) 1389;
        Obuchowski, Biometrics 53 (1997) 567, by patient.
    """
    beaten, beating = auroc_components(truth, probabilities)
    positive = np.asarray(truth, np.float64) == 1
    owner = np.arange(len(positive)) if patients is None else owners(patients)
    return float(beaten.mean()), variance_by_patient(beaten, beating, owner[positive], owner[~positive])


def variance_by_patient(above: FloatArray, below: FloatArray, own: IntArray, other: IntArray) -> float:
    """Variance of an AUROC, or of a difference between two, from each row's part in it.

    Args:
        above: of positive rows, shape (p,).
        below: of negative rows, shape (q,).
        own: the patient's number of each positive row, shape (p,).
        other: of each negative row, shape (q,).
    Returns:
        NaN when a class has one patient only.
    """
    if min(len(np.unique(own)), len(np.unique(other))) < 2:
        return float("nan")
    patients = max(own.max(), other.max()) + 1
    ill = np.bincount(own, above - above.mean(), patients) / len(above)
    well = np.bincount(other, below - below.mean(), patients) / len(below)
    variance = (
        unbiased_product(ill, ill, len(np.unique(own)))
        + unbiased_product(well, well, len(np.unique(other)))
        + 2 * unbiased_product(ill, well, len(np.union1d(own, other)))
    )
    return max(variance, 0.0)


def auroc_components(truth: ArrayLike, probabilities: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """What each row adds to the AUROC: both means are the AUROC.

    Args:
        truth: 0 or 1, shape (n,), both present.
        probabilities: any score that rises with the label, shape (n,).
    Returns:
        for each positive row, in order, the share of negatives that it beats, ties counted half; for each negative row
        the share of positives that beat it.
    """
    positive = np.asarray(truth, np.float64) == 1
    scores = np.asarray(probabilities, np.float64)
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        raise ValueError(f"AUROC needs both classes. Received: {len(above)} positive, {len(below)} negative")
    together = rankdata(np.concatenate([above, below]))
    beaten = (together[: len(above)] - rankdata(above)) / len(below)
    return beaten, 1 - (together[len(above) :] - rankdata(below)) / len(above)


def delong_interval(truth: ArrayLike, probabilities: ArrayLike, patients: ArrayLike | None = None) -> Estimate:
    """AUROC with DeLong's interval by patient, symmetric in logits so that it never leaves [0, 1].

    A perfect ranking, or a class with one patient, has no DeLong variance. There the interval is Wilson's with the
    patients of the class that has fewer as the trials: a share of the other class beaten varies at most as much as a
    coin with the same mean.

    Args:
        truth: 0 or 1, shape (n,), both present.
        probabilities: shape (n,).
        patients: patient keys, shape (n,); None counts every row as a patient of its own.
    Source: Pepe, The Statistical Evaluation of Medical Tests (2003), 5.2.4, for the logits.
    """
    value, variance = auroc_variance(truth, probabilities, patients)
    positive = np.asarray(truth, np.float64) == 1
    owner = np.arange(len(positive)) if patients is None else owners(patients)
    fewer = min(len(np.unique(owner[side])) for side in (positive, ~positive))
    if not 0 < value < 1 or not variance > 0:
        return Estimate(value, *wilson_interval(value * fewer, fewer))
    half = quantile(_TAIL, owner, fewer) * np.sqrt(variance) / (value * (1 - value))
    return Estimate(value, float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def owners(patients: ArrayLike) -> IntArray:
    """Number the patients from 0, shape (n,); rows with none ("" or null) are patients of their own."""
    keys = pd.Series(np.asarray(patients, dtype=object))
    unknown = keys.isna() | (keys == "")
    owner = pd.factorize(keys.where(~unknown))[0].astype(np.int64)  # -1 where unknown
    owner[unknown] = owner.max(initial=-1) + 1 + np.arange(unknown.sum())
    return owner


def clustered_bootstrap(patients: ArrayLike, statistic: Statistic, seed: int, resamples: int = RESAMPLES) -> FloatArray:
    """Compute statistics on resamples of whole patients, drawn with replacement.

    Args:
        patients: a patient key a row; rows with none ("" or null) are patients of their own.
        statistic: maps how often each row was drawn, shape (resamples, n), to values, shape (resamples, k).
        seed: equal seeds draw equal patients.
        resamples: how many.
    Returns:
        shape (resamples, k), NaN where a resample leaves the statistic undefined.
    Source: Field and Welsh, JRSS B 69 (2007) 369 (the cluster bootstrap).
    """
    owner = owners(patients)
    count = int(owner.max()) + 1
    generator = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(owner))
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate([statistic(_drawn(generator, size, count)[:, owner]) for size in sizes])


def percentile_interval(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The middle 95% of each column, shape (resamples, k); NaN for a column without a defined value."""
    low, high = np.full(samples.shape[1], np.nan), np.full(samples.shape[1], np.nan)
    for column, values in enumerate(samples.T):
        defined = values[~np.isnan(values)]
        if len(defined):
            low[column], high[column] = np.quantile(defined, [0.025, 0.975])
    return low, high


def _drawn(generator: np.random.Generator, resamples: int, patients: int) -> FloatArray:
    """How often each patient was drawn, shape (resamples, patients)."""
    picks = generator.integers(patients, size=(resamples, patients))
    picks += np.arange(resamples)[:, None] * patients
    return np.bincount(picks.ravel(), minlength=resamples * patients).reshape(resamples, patients).astype(np.float64)
