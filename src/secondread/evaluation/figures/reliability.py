"""The reliability diagram: of images given 80%, are 80% positive?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.calibration import calibration_error, quantile_bins
from secondread.evaluation.figures.style import BLUE, MUTED, VERMILION, legend_below, styled
from secondread.evaluation.intervals import owners, share_interval
from secondread.evaluation.metrics import Answers, log_losses
from secondread.evaluation.wording import Counted, readable

_BARS = np.linspace(0, 1, 41)
_DONE = {
    "none": "left as they are",
    "temperature": "temperature scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic regression",
}


@styled
def reliability(frame: pd.DataFrame, label: str, of: Counted = "images") -> Figure:
    """Draw the positive share of each bin of equally many rows (Wilson), over a histogram of the probabilities.

    Args:
        frame: predictions, as `evaluate` takes them.
        label: the label to draw.
        of: what a row is.
    """
    answer = Answers.of(frame, label)
    figure = Figure(figsize=(6.4, 7.8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1]})
    _diagonal(above)
    if len(answer.rows):
        gap = calibration_error(answer.truth, answer.probabilities)
        _bins(above, answer, of, f": ECE {gap:.3f}")
    _histogram(below, answer, of)
    above.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), ylabel="Share with the label present")
    above.set_title(f"Reliability: {readable(label)}" + ("" if of == "images" else ", whole studies"))
    below.set(xlabel="Predicted probability", ylabel=of.capitalize())
    legend_below(figure)
    return figure


@styled
def reliability_before_after(before: pd.DataFrame, after: pd.DataFrame, label: str, method: str) -> Figure:
    """Draw the reliability of the network's own probabilities beside that of the calibrated ones.

    Args:
        before: predictions, as `evaluate` takes them, with the network's own probabilities.
        after: the same, calibrated.
        label: the label to draw.
        method: how they were calibrated; `none` leaves them.
    """
    figure = Figure(figsize=(10.4, 7.4), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True, sharey="row", gridspec_kw={"height_ratios": [3.2, 1]})
    names = ("Before", f"After: {_DONE[method]}")
    for column, (name, frame) in enumerate(zip(names, (before, after), strict=True)):
        answer = Answers.of(frame, label)
        above, below = grid[:, column]
        _diagonal(above)
        if len(answer.rows):
            _bins(above, answer, "images", "")
            gap = calibration_error(answer.truth, answer.probabilities)
            loss = log_losses(answer.truth, answer.probabilities).mean()
            above.text(0.03, 0.97, f"ECE {gap:.3f}\nlog loss {loss:.3f}", transform=above.transAxes, va="top")
        _histogram(below, answer, "images")
        above.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015))
        above.set_title(name)
        below.set(xlabel="Predicted probability")
    grid[0, 0].set(ylabel="Share with the label present")
    grid[1, 0].set(ylabel="Images")
    figure.suptitle(f"Calibration: {readable(label)}", x=0.01, ha="left", weight="bold")
    shown = [grid[row, 0].get_legend_handles_labels() for row in (0, 1)]
    figure.legend(shown[0][0] + shown[1][0], shown[0][1] + shown[1][1], loc="outside lower center", ncols=2)
    return figure


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="perfect calibration")


def _bins(axes: Axes, answer: Answers, of: Counted, said: str) -> None:
    bins = quantile_bins(answer.probabilities)
    groups = [bins == number for number in np.unique(bins)]
    means = np.array([answer.probabilities[group].mean() for group in groups])
    found = [share_interval(answer.truth[group], owners(answer.patients[group])) for group in groups]
    shares, bounds = np.array([each.value for each in found]), np.array([each[1:] for each in found])
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
        label=f"{len(groups)} bins of equally many {of}, with 95% intervals{said}",
    )


def _histogram(axes: Axes, answer: Answers, of: Counted) -> None:
    """Positive rows upward, negative ones downward."""
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
            label=f"{name}: {np.sum(answer.truth == value):,} {of}",
        )
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.yaxis.set_major_formatter(lambda height, _: f"{abs(height):,.0f}")
