"""How often a model answers what: the distribution of its probabilities where no truth is known."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from secondread.evaluation.figures.style import BLUE, VERMILION, legend_below, styled
from secondread.evaluation.intervals import FloatArray
from secondread.evaluation.wording import readable

_BARS = np.linspace(0, 1, 41)


@styled
def distribution(probabilities: Mapping[str, FloatArray], thresholds: Mapping[str, float], of: str) -> Figure:
    """Draw a histogram a label, its bars above the threshold in the colour of alarm.

    Args:
        probabilities: by label, each of shape (n,).
        thresholds: by label; a probability from here upward is positive.
        of: what is counted, such as "Images".
    """
    figure = Figure(figsize=(6.4, 1.2 + 2.2 * len(probabilities)), layout="constrained")
    grid = figure.subplots(len(probabilities), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, answered) in zip(grid, probabilities.items(), strict=True):
        threshold = thresholds[label]
        sides = ((answered < threshold, "below", BLUE), (answered >= threshold, "positive", VERMILION))
        counts = [np.histogram(answered[side], _BARS)[0] for side, _, _ in sides]
        for (side, name, color), height, bottom in zip(sides, counts, (0, counts[0]), strict=True):
            named = f"{name}: {np.sum(side):,} {of.lower()}" if len(probabilities) == 1 else None
            axes.bar(
                _BARS[:-1], height, np.diff(_BARS), bottom, align="edge", color=color, edgecolor="white", label=named
            )
        axes.axvline(threshold, color=VERMILION, linewidth=1, linestyle=(0, (4, 4)))
        axes.set(xlim=(-0.015, 1.015), ylabel=of)
        axes.set_title(f"{readable(label)}: {np.mean(answered >= threshold):.1%} positive, from {threshold:.3g}")
    grid[-1].set_xlabel("Predicted probability")
    legend_below(figure)
    return figure
