"""Which thresholds decided on measured images: the bundle's, or those that other folds chose."""

from collections.abc import Sequence

import pandas as pd

from secondread.bundle import BundleDescription
from secondread.evaluation.metrics import Thresholds
from secondread.evaluation.operating_points import BALANCED, OperatingPoint, cross_fitted

SEED = 0  # of the resamples behind operating points, and of the folds behind calibrations


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
    return row_thresholds(predictions_test, tuple(description.points(name).values()))


def row_thresholds(table: pd.DataFrame, points: Sequence[OperatingPoint]) -> Thresholds:
    """The points' thresholds by label; where the rows have folds, those that the other folds' rows choose.

    Args:
        table: a row an image or a study: `patient_key`, `fold`, `label_<label>`, `probability_<label>`.
        points: one a label.
    """
    if table["fold"].isna().any():
        return {point.label: point.threshold for point in points}
    return {
        point.label: cross_fitted(
            table[f"label_{point.label}"],
            table[f"probability_{point.label}"],
            table["patient_key"],
            table["fold"],
            SEED,
            point.name,
            point.target,
        )
        for point in points
    }
