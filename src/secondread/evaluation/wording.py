"""How figures and reports put numbers and names into words."""

from typing import Literal

import numpy as np

from secondread.evaluation.intervals import Estimate, FloatArray

Counted = Literal["images", "studies"]  # what a row of predictions is


def readable(name: str) -> str:
    """A label's or metric's name as one reads it."""
    return name.replace("_", " ")


def with_interval(estimate: Estimate) -> str:
    """An estimate with its 95% interval, as papers print it."""
    return f"{estimate.value:.3f} ({estimate.low:.3f}\N{EN DASH}{estimate.high:.3f})"


def threshold_text(threshold: float | FloatArray) -> str:
    """A threshold as a legend prints it; one a row comes from cross-validation."""
    return "cross-fitted threshold" if isinstance(threshold, np.ndarray) else f"threshold {threshold:.3f}"
