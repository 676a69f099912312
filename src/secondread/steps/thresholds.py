"""Which thresholds decide: chosen when a model is trained, and found again for its measured images and studies."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from secondread.bundle import BundleDescription
from secondread.config import RunConfig
from secondread.evaluation.metrics import Thresholds
from secondread.evaluation.operating_points import BALANCED, OperatingPoint, choose_point, cross_fitted

SEED = 0  # of the resamples behind operating points, and of the folds behind calibrations


def choose_points(table: pd.DataFrame, labels: Sequence[str], config: RunConfig) -> Iterator[OperatingPoint]:
    """Choose every operating point of every label.

    Args:
        table: calibrated answers to images or studies that the network did not learn from: `patient_key`,
            `label_<label>`, `probability_<label>`.
        config: says which points there are besides `balanced`, and what they shall reach.
    """
    targets: dict[str, float | None] = {BALANCED: None, **config.operating_points.model_dump()}
    for name, target in targets.items():
        for label in labels:
            truth, probability = table[f"label_{label}"], table[f"probability_{label}"]
            yield choose_point(label, name, target, truth, probability, table["patient_key"], SEED)


def thresholds_of(predictions_test: pd.DataFrame, description: BundleDescription, name: str = BALANCED) -> Thresholds:
    """The thresholds of an operating point for a run's test predictions.

    Args:
        predictions_test: rows of `predictions.parquet` with the split `test`; those of a cross-validation have a fold.
        description: the run's bundle.
    Returns:
        by label a threshold, or one a row where the rows have folds.
    Raises:
        BundleError: the model has no operating point of that name.
    """
    return _row_thresholds(predictions_test, description.points(name))


def study_thresholds_of(studies_test: pd.DataFrame, description: BundleDescription, name: str = BALANCED) -> Thresholds:
    """As `thresholds_of`, of rows of `studies.parquet`; without study rules there are none."""
    return _row_thresholds(studies_test, description.study_points(name))


def every_threshold(table: pd.DataFrame, points: Sequence[OperatingPoint]) -> dict[str, Thresholds]:
    """By name of an operating point its thresholds for the rows of a table, as `thresholds_of` would give them."""
    names = dict.fromkeys(point.name for point in points)
    return {name: _row_thresholds(table, {p.label: p for p in points if p.name == name}) for name in names}


def _row_thresholds(table: pd.DataFrame, points: Mapping[str, OperatingPoint]) -> Thresholds:
    if table["fold"].isna().any():
        return {label: point.threshold for label, point in points.items()}
    return {
        label: cross_fitted(
            table[f"label_{label}"],
            table[f"probability_{label}"],
            table["patient_key"],
            table["fold"],
            SEED,
            point.name,
            point.target,
        )
        for label, point in points.items()
    }
