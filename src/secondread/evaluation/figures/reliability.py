"""The reliability diagram: of images given 80%, are 80% positive?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.calibration import calibration_error, quantile_bins
from secondread.evaluation.figures.style import BLUE, MUTED, VERMILION, legend_below, styled
from secondread.evaluation.intervals import wilson_interval
from secondread.evaluation.metrics import Answers
from secondread.evaluation.wording import readable

_BARS = np.linspace(0, 1, 41)


@styled
def reliability(frame: pd.DataFrame, label: str) -> Figure:
    """Draw the positive share of each bin of equally many images (Wilson), over a histogram of the probabilities.

    Args:
        frame: predictions, as `evaluate` takes them.
        label: the label to draw.
    """
    answer = Answers.of(frame, label)
    figure = Figure(figsize=(6.4, 7.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1]})
    above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="perfect calibration")
    if len(answer.rows):
        _bins(above, answer)
    _histogram(below, answer)
    above.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), ylabel="Share with the label present")
    above.set_title(f"Reliability: {readable(label)}")
    below.set(xlabel="Predicted probability", ylabel="Images")
    legend_below(figure)
    return figure


def _bins(axes: Axes, answer: Answers) -> None:
    bins = quantile_bins(answer.probabilities)
    groups = [bins == number for number in np.unique(bins)]
    means = np.array([answer.probabilities[group].mean() for group in groups])
    shares = np.array([answer.truth[group].mean() for group in groups])
    bounds = np.array([wilson_interval(answer.truth[group].sum(), group.sum()) for group in groups])
    gap = calibration_error(answer.truth, answer.probabilities)
    axes.errorbar(
        means,
        shares,
        yerr=np.abs(bounds.T - shares),
        color=BLUE,
        marker="o",
        markersize=6,
        linewidth=1.4,
        elinewidth=1.2,
        capsize=3,
        clip_on=False,
        label=f"{len(groups)} bins of equally many images, with 95% intervals: ECE {gap:.3f}",
    )


def _histogram(axes: Axes, answer: Answers) -> None:
    """Positive images upward, negative ones downward."""
    sides = ((1, "present", VERMILION, 1), (0, "absent", BLUE, -1))
    for value, name, color, direction in sides:
        heights = np.histogram(answer.probabilities[answer.truth == value], _BARS)[0] * direction
        axes.bar(
            _BARS[:-1],
            heights,
            np.diff(_BARS),
            align="edge",
            color=color,
            edgecolor="white",
            label=f"{name}: {np.sum(answer.truth == value):,} images",
        )
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda height, _: f"{abs(height):,.0f}")
