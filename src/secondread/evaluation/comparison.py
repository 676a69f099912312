"""Two models on the same images: whether one is better, or at least not worse, and how sure that is."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from secondread.evaluation.intervals import (
    FloatArray,
    IntArray,
    auroc_components,
    clustered_bootstrap,
    independent_trials,
    owners,
    quantile,
    repeats,
    variance_by_patient,
)
from secondread.evaluation.metrics import Thresholds, log_losses

Measure = Literal["auroc", "sensitivity", "specificity", "accuracy", "log_loss"]

_ROUNDING = 1e-9  # a smaller share of a difference is no variance


@dataclass(frozen=True)
class Paired:
    """What two models said about the same rows, images or studies, whose label is known.

    Args:
        truth: 0 or 1, shape (n,).
        champion: its probabilities, shape (n,).
        challenger: its probabilities, shape (n,).
        champion_positive: its decisions, shape (n,).
        challenger_positive: its decisions, shape (n,).
        patients: patient keys, shape (n,); rows with none ("") are patients of their own.
    """

    truth: FloatArray
    champion: FloatArray
    challenger: FloatArray
    champion_positive: NDArray[np.bool_]
    challenger_positive: NDArray[np.bool_]
    patients: NDArray[np.object_]


@dataclass(frozen=True)
class Difference:
    """How much better the challenger is; above 0 speaks for it, whatever the measure.

    Args:
        champion: its figure.
        low: of the difference's two-sided interval.
        confidence: of that interval; `low` alone is a one-sided bound with error (1 - confidence) / 2.
        test: the name of the statistical test.
    """

    measure: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float
    test: str
    standard_error: float

    def superior(self) -> bool:
        """Whether the challenger is better."""
        return self.low > 0

    def non_inferior(self, margin: float) -> bool:
        """Whether the challenger is not worse by the margin, in the measure's unit, or more."""
        return self.low > -margin


def pair(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    label: str,
    champion_thresholds: Thresholds,
    challenger_thresholds: Thresholds,
    key: str = "image_key",
) -> Paired:
    """Join two tables of predictions by key; rows of one table only, or whose label is unknown, are left out.

    Args:
        champion: `patient_key`, `label_<label>`, `probability_<label>` and the key, a row an image or study.
        challenger: the same; the truth and the patients are read from the champion's.
        label: which to compare.
        champion_thresholds: of its decisions, as `evaluate` takes them.
        challenger_thresholds: of its own decisions.
        key: `image_key`, or `study_key` of tables of studies.
    """
    truth, patients = f"label_{label}", "patient_key"
    own = _keyed(champion, key).assign(truth=champion[truth], patients=champion[patients])
    own = own.assign(**_said("champion", champion, label, champion_thresholds))
    other = _keyed(challenger, key).assign(**_said("challenger", challenger, label, challenger_thresholds))
    rows = own.merge(other, on=["key", "copy"], validate="one_to_one")
    rows = rows[rows["truth"].notna()]
    return Paired(
        rows["truth"].to_numpy(np.float64),
        rows["champion"].to_numpy(np.float64),
        rows["challenger"].to_numpy(np.float64),
        rows["champion_positive"].to_numpy(bool),
        rows["challenger_positive"].to_numpy(bool),
        rows["patients"].to_numpy(object),
    )


def _keyed(table: pd.DataFrame, key: str) -> pd.DataFrame:
    # Equal files have equal keys; both models answer each as often, and alike.
    return pd.DataFrame({"key": table[key], "copy": table.groupby(key).cumcount()})


def _said(name: str, table: pd.DataFrame, label: str, thresholds: Thresholds) -> dict[str, pd.Series]:
    probabilities = table[f"probability_{label}"]
    return {name: probabilities, f"{name}_positive": probabilities >= thresholds[label]}


def spent_alpha(alpha: float, met: int) -> float:
    """The error allowed to a challenger of a champion that met others before: over all that ever come, alpha at most.

    Args:
        alpha: of all challenges of one champion together.
        met: how many it was compared with before.
    Source: the sum of 1 / k^2 is pi^2 / 6; Foster and Stine, JRSS B 70 (2008) 429, for spending alpha in a sequence.
    """
    return float(alpha * 6 / (np.pi * (met + 1)) ** 2)


def compare(measure: Measure, paired: Paired, alpha: float, seed: int) -> Difference:
    """Compare two models, in pairs and by patient.

    AUROC by DeLong's test, decisions by McNemar's with Tango's score interval, log loss by a bootstrap of patients: by
    its standard error, because quantiles of resamples do not reach as far as a spent alpha asks. Where a patient has
    several rows they count as one cluster, and bounds are Student's, with the patients' degrees of freedom. Where all
    patients differ alike, the difference is weighed as if one more had shown the opposite.

    Args:
        measure: `sensitivity`, `specificity` and `accuracy` are those of the decisions.
        paired: with both classes for `auroc`, and the class that is measured for `sensitivity` and `specificity`.
        alpha: one-sided error of each bound; the interval's confidence is 1 - 2 alpha.
        seed: of the bootstrap.
    Raises:
        ValueError: a class that the measure needs has no row.
    Source: DeLong et al., Biometrics 44 (1988) 837; Obuchowski, Biometrics 53 (1997) 567, for AUROC by patient; Tango,
        Statistics in Medicine 17 (1998) 891; Obuchowski, Statistics in Medicine 17 (1998) 1495, and Rao and Scott,
        Biometrics 48 (1992) 577, for decisions by patient; Field and Welsh, JRSS B 69 (2007) 369, for the bootstrap.
    """
    if measure == "auroc":
        return _auroc(paired, alpha)
    if measure == "log_loss":
        return _log_loss(paired, alpha, seed)
    return _decisions(measure, paired, alpha)


def _auroc(paired: Paired, alpha: float) -> Difference:
    before = auroc_components(paired.truth, paired.champion)
    after = auroc_components(paired.truth, paired.challenger)
    cluster, positive = owners(paired.patients), paired.truth == 1
    own, other = cluster[positive], cluster[~positive]
    fewest = min(len(np.unique(own)), len(np.unique(other)))
    areas = float(before[0].mean()), float(after[0].mean())
    variance = variance_by_patient(after[0] - before[0], after[1] - before[1], own, other)
    error = float(np.sqrt(variance)) if fewest > 1 else 1.0
    found = _symmetric("auroc", areas, areas[1] - areas[0], error, alpha, cluster, fewest)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0), test=_named("paired DeLong", cluster))


def _log_loss(paired: Paired, alpha: float, seed: int) -> Difference:
    before, after = log_losses(paired.truth, paired.champion), log_losses(paired.truth, paired.challenger)
    better, cluster = before - after, owners(paired.patients)

    def mean(weights: FloatArray) -> FloatArray:
        return np.asarray((weights @ better) / weights.sum(axis=1), np.float64)[:, None]

    error = float(clustered_bootstrap(paired.patients, mean, seed).std(ddof=1))
    losses = float(before.mean()), float(after.mean())
    found = _symmetric("log_loss", losses, losses[0] - losses[1], error, alpha, cluster, len(np.unique(cluster)))
    return replace(found, test=_named("bootstrap", cluster))


def _symmetric(
    measure: Measure,
    figures: tuple[float, float],
    value: float,
    error: float,
    alpha: float,
    cluster: IntArray,
    patients: int,
) -> Difference:
    """An interval around a difference from its standard error."""
    if error < _ROUNDING * abs(value):  # as if one more patient had shown the opposite of what all others did
        error = 2 * abs(value) / (patients + 1)
    reach = quantile(alpha, cluster, patients) * error
    return Difference(measure, *figures, value, value - reach, value + reach, 1 - 2 * alpha, "", error)


def _decisions(measure: Measure, paired: Paired, alpha: float) -> Difference:
    present = paired.truth == 1
    counted = {"sensitivity": present, "specificity": ~present}.get(measure, np.full(len(present), True))
    if not counted.any():
        raise ValueError(f"{measure} needs rows {'with' if measure == 'sensitivity' else 'without'} the label")
    before = (paired.champion_positive == present)[counted].astype(np.float64)
    after = (paired.challenger_positive == present)[counted].astype(np.float64)
    cluster = owners(paired.patients[counted])
    gained, lost = float(np.mean(after > before)), float(np.mean(after < before))
    trials = independent_trials(after - before, cluster)
    bound = quantile(alpha, cluster, len(np.unique(cluster)))
    return Difference(
        measure,
        float(before.mean()),
        float(after.mean()),
        gained - lost,
        -_highest_difference(lost, gained, trials, bound),
        _highest_difference(gained, lost, trials, bound),
        1 - 2 * alpha,
        _named("McNemar, score interval", cluster),
        float(np.sqrt(max(gained + lost - (gained - lost) ** 2, 0.0) / trials)),
    )


def _highest_difference(gained: float, lost: float, trials: float, bound: float) -> float:
    """The upper end of Tango's score interval of a difference between paired shares.

    Args:
        gained: share of rows that only the challenger decided rightly.
        lost: share of rows that only the champion decided rightly.
        trials: how many independent rows there are.
        bound: the quantile of the interval.
    """

    def excess(difference: float) -> float:
        slack = (2 - gained + lost) * difference - gained - lost
        likely = (np.sqrt(slack**2 + 8 * lost * difference * (1 - difference)) - slack) / 4
        variance = max((2 * likely + difference * (1 - difference)) / trials, 0.0)
        return float(difference - (gained - lost) - bound * np.sqrt(variance))

    # At the difference itself equal decisions have no variance, which is no end of their interval.
    lowest = gained - lost + 1e-12
    return float(brentq(excess, lowest, 1.0)) if lowest < 1 else 1.0


def _named(test: str, cluster: IntArray) -> str:
    return f"{test}, by patient" if repeats(cluster) else test
