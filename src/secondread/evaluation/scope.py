"""Which pictures look like those a model learned from; to the others it gives no probability."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import nct, norm

from secondread.evaluation.intervals import owners, wilson_interval

FloatArray = NDArray[np.float64]

FALSE_ALARMS = 0.02  # share of images of the right kind, each patient counting alike, that may be turned away
_ENOUGH_PATIENTS = 100  # fewer say too little of two in a hundred
_FEW_PATIENTS_ALARMS = 0.005  # by a normal tail, where they are fewer; the measured share is two to four times as large
_CONFIDENCE = 0.975  # that no more than this are
_FOLDS = 5
_SHRINKAGE = 0.05  # of the covariance towards equal variances: few images know little of 43 x 42 / 2 correlations
_FARTHEST = 10.0  # spreads; what is empty in nearly all images must not weigh beyond all else where it is not
_NARROWEST = 1e-3  # spread of a number that hardly varies


class Scope(BaseModel):
    """A cloud of appearances and how far from its middle an image may lie.

    Args:
        center: the mean of each number of an appearance.
        spread: its standard deviation.
        precision: inverse of the shrunk correlations, shape (43, 43).
        farthest: largest distance that is in scope, as `distances` gives it.
        images: that the distance was chosen on, and that were not learned from.
        patients: theirs.
        false_alarms: share of these images beyond the distance, each patient counting alike; 95% interval below.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    center: tuple[float, ...]
    spread: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    farthest: float
    images: int
    patients: int
    false_alarms: float
    false_alarms_low: float
    false_alarms_high: float

    @cached_property
    def _cloud(self) -> "_Cloud":
        return _Cloud(np.array(self.center), np.array(self.spread), np.array(self.precision))

    def holds(self, looks: FloatArray) -> NDArray[np.bool_]:
        """Tell which images are in scope.

        Args:
            looks: of `appearance`, shape (n, 43).
        Returns:
            shape (n,).
        """
        inside: NDArray[np.bool_] = self._cloud.distances(looks) <= self.farthest
        return inside


class _Cloud:
    """A normal distribution in standard units."""

    def __init__(self, center: FloatArray, spread: FloatArray, precision: FloatArray) -> None:
        self.center, self.spread, self.precision = center, spread, precision

    @classmethod
    def of(cls, looks: FloatArray) -> "_Cloud":
        """Learn it; shape (n, 43)."""
        center, spread = looks.mean(axis=0), looks.std(axis=0) + _NARROWEST
        standard = _clipped((looks - center) / spread)
        covariance = standard.T @ standard / len(looks)
        middle = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * middle
        return cls(center, spread, np.linalg.inv(shrunk + _NARROWEST * np.eye(len(shrunk))))

    def distances(self, looks: FloatArray) -> FloatArray:
        """Logarithm of the mean squared Mahalanobis distance, shape (n,): about 0 for what was learned from."""
        standard = _clipped((looks - self.center) / self.spread)
        squares = np.einsum("ij,jk,ik->i", standard, self.precision, standard) / len(self.center)
        return np.asarray(np.log(np.maximum(squares, _NARROWEST)), np.float64)


def learn_scope(looks: FloatArray, patients: ArrayLike, learned: NDArray[np.bool_], folds: ArrayLike) -> Scope | None:
    """Learn what images look like, and how far others of the same kind lie.

    Args:
        looks: of `appearance`, shape (n, 43).
        patients: a patient key a row.
        learned: the rows that the model learns from, shape (n,); all of them where there are folds.
        folds: of each row; those of a fold are measured by what the others look like. -1 throughout without folds:
            the rows that are not learned from are measured, and where these are of few patients all rows, in folds by
            patient, for one odd patient among ten would let any picture pass.
    Returns:
        None where there are fewer than two patients.
    """
    everyone = owners(patients)
    if len(np.unique(everyone)) < 2:
        return None
    divided = np.asarray(folds)
    if (divided < 0).all() and len(np.unique(everyone[~learned])) < _ENOUGH_PATIENTS:
        divided = everyone % _FOLDS
    distances, measured = _left_out(looks, learned, divided)
    owner = owners(np.asarray(patients, dtype=object)[measured])
    cloud = _Cloud.of(looks[learned])
    farthest = _farthest(distances, owner)
    by_patient = pd.Series(distances > farthest).groupby(owner).mean()
    low, high = wilson_interval(float(by_patient.sum()), len(by_patient))
    return Scope(
        center=_numbers(cloud.center),
        spread=_numbers(cloud.spread),
        precision=tuple(_numbers(row) for row in cloud.precision),
        farthest=farthest,
        images=len(distances),
        patients=len(by_patient),
        false_alarms=float(by_patient.mean()),
        false_alarms_low=low,
        false_alarms_high=high,
    )


def _left_out(
    looks: FloatArray, learned: NDArray[np.bool_], folds: NDArray[Any]
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Distances of rows from what others look like, and these rows' places."""
    parts = (
        [(learned, ~learned)] if (folds < 0).all() else [(folds != fold, folds == fold) for fold in np.unique(folds)]
    )
    found = [(_Cloud.of(looks[others]).distances(looks[rows]), np.flatnonzero(rows)) for others, rows in parts]
    return np.concatenate([distances for distances, _ in found]), np.concatenate([rows for _, rows in found])


def _farthest(distances: FloatArray, owner: NDArray[np.int64]) -> float:
    """The distance beyond which two in a hundred images of the right kind lie, each patient counting alike.

    Source, for few patients: a one-sided normal tolerance limit, Natrella, Experimental Statistics (1963), 2-13.
    """
    patients = len(np.unique(owner))
    weight = 1 / np.bincount(owner)[owner] / patients
    if patients >= _ENOUGH_PATIENTS:
        order = np.argsort(distances)
        place = int(np.searchsorted(np.cumsum(weight[order]), 1 - FALSE_ALARMS))
        return float(distances[order][min(place, len(distances) - 1)])
    middle = float(np.sum(weight * distances))
    spread = float(np.sqrt(np.sum(weight * (distances - middle) ** 2) * patients / (patients - 1)))
    root = patients**0.5
    spreads = float(nct.ppf(_CONFIDENCE, patients - 1, norm.ppf(1 - _FEW_PATIENTS_ALARMS) * root)) / float(root)
    return middle + spread * spreads


def _clipped(standard: FloatArray) -> FloatArray:
    return standard.clip(-_FARTHEST, _FARTHEST)


def _numbers(values: FloatArray) -> tuple[float, ...]:
    """Nine digits tell any two float32 apart, and keep the file small."""
    return tuple(float(f"{value:.9g}") for value in values)
