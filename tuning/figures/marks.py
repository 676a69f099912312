"""How every figure of a search marks trials by what has become of them, and bounds an axis of objectives."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from secondread.evaluation.figures.style import BLUE, MUTED, ORANGE, SKY, VERMILION
from tuning.engine import Status
from tuning.settings import Direction

COLORS = {Status.FINISHED: BLUE, Status.PRUNED: ORANGE, Status.FAILED: VERMILION, Status.RUNNING: SKY}
MARKERS = {Status.FINISHED: "o", Status.PRUNED: "v", Status.FAILED: "X", Status.RUNNING: "s"}
NAMES = {
    Status.FINISHED: "measured",
    Status.PRUNED: "pruned: last value",
    Status.FAILED: "failed",
    Status.RUNNING: "running: last value",
}
_WORST = 0.1  # share of trials that may lie beyond the axis, at its edge


def value_axis(axes: Axes, values: Sequence[float], direction: Direction) -> tuple[float, float]:
    """Bound the y axis so that a few very bad trials do not flatten the good ones; returns the bounds."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if not len(finite):
        axes.set_ylim(0, 1)
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    middle = float(np.quantile(finite, _WORST if direction == "maximize" else 1 - _WORST))
    good = high if direction == "maximize" else low
    reach = 2 * abs(good - middle)
    low, high = (max(low, good - reach), high) if direction == "maximize" else (low, min(high, good + reach))
    room = 0.06 * (high - low) or 0.01 * max(abs(high), 1e-3)
    axes.set_ylim(low - room, high + room)
    return low, high


def nothing(axes: Axes, said: str) -> None:
    """Say in the middle of an empty plot why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color=MUTED)
