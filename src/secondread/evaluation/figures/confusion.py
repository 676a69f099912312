"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.figures.style import INK, MUTED, styled
from secondread.evaluation.intervals import FloatArray
from secondread.evaluation.metrics import Answers, Thresholds
from secondread.evaluation.wording import readable, threshold_text, with_interval


@styled
def confusion(frame: pd.DataFrame, labels: Sequence[str], thresholds: Thresholds, name: str) -> Figure:
    """Draw counts and their share of each true class, a matrix a label.

    Args:
        frame: predictions, as `evaluate` takes them.
        labels: those to draw.
        thresholds: as `evaluate` takes them.
        name: the operating point's, for the title.
    """
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    size = (6.4, 7.0) if len(labels) == 1 else (3.3 * columns, 3.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, label in zip(grid, labels, strict=False):
        counted = Answers.of(frame, label).decided(thresholds[label])
        _matrix(axes, counted, 22 if len(labels) == 1 else 15)
        axes.set_title(f"{readable(label)}, {name}", pad=36)
        axes.text(0, 1.02, _summary(counted, thresholds[label]), transform=axes.transAxes, color=MUTED, size=9)
    for axes in grid[len(labels) :]:
        axes.set_axis_off()
    return figure


def _summary(counted: Confusion, threshold: float | FloatArray) -> str:
    accuracy = counted.estimates().get("accuracy")
    said = "no image with a known label" if accuracy is None else f"accuracy {with_interval(accuracy)}"
    return f"{threshold_text(threshold)}\n{said}"


def _matrix(axes: Axes, counted: Confusion, size: float) -> None:
    """Rows are the truth, columns the decision; color and percentages are shares of a row."""
    counts = np.array(
        [
            [counted.true_negatives, counted.false_positives],
            [counted.false_negatives, counted.true_positives],
        ]
    )
    small = max(size * 0.55, 9.5)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.6 else INK
        axes.text(column, row, f"{count:,}", ha="center", va="bottom", color=color, size=size, weight="bold")
        share = f"{shares[row, column]:.1%}"
        axes.text(column, row + 0.04, share, ha="center", va="top", color=color, size=small)
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="Called", ylabel="Truth")
    axes.set_xticklabels(["absent", "present"])
    axes.set_yticklabels(["absent", "present"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
