"""The confusion matrix as a heat map."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.figures.style import INK, readable, styled, threshold_text
from secondread.evaluation.metrics import Answers, Thresholds


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
    size = (6.0, 6.2) if len(labels) == 1 else (3.3 * columns, 3.7 * rows)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, label in zip(grid, labels, strict=False):
        counted = Answers.of(frame, label).decided(thresholds[label])
        _matrix(axes, counted, 22 if len(labels) == 1 else 14)
        found = [f"{readable(label)}, {name}", threshold_text(thresholds[label])]
        axes.set_title("\n".join(found))
    for axes in grid[len(labels) :]:
        axes.set_axis_off()
    return figure


def _matrix(axes: Axes, counted: Confusion, size: float) -> None:
    """Rows are the truth, columns the decision; color and percentages are shares of a row."""
    counts = np.array(
        [
            [counted.true_negatives, counted.false_positives],
            [counted.false_negatives, counted.true_positives],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.6 else INK
        axes.text(column, row, f"{count:,}\n", ha="center", va="center", color=color, size=size, weight="bold")
        axes.text(column, row, f"\n{shares[row, column]:.1%}", ha="center", va="center", color=color, size=size * 0.55)
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="Called", ylabel="Truth")
    axes.set_xticklabels(["absent", "present"])
    axes.set_yticklabels(["absent", "present"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
