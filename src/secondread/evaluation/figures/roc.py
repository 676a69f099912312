"""The ROC curve: what sensitivity costs in false alarms."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.figures.decisions import mark_balanced, mark_decisions
from secondread.evaluation.figures.style import INK, MUTED, SERIES, legend_below, square_figure, styled, unit_square
from secondread.evaluation.intervals import (
    Estimate,
    FloatArray,
    clustered_bootstrap,
    delong_interval,
    percentile_interval,
)
from secondread.evaluation.metrics import Answers, Thresholds
from secondread.evaluation.ranking import Ranking
from secondread.evaluation.wording import Counted, readable, with_interval

_BAND_RESAMPLES = 400
_GRID = np.linspace(0, 1, 201)


@styled
def roc(
    frame: pd.DataFrame, labels: Sequence[str], thresholds: Thresholds, seed: int, of: Counted = "images"
) -> Figure:
    """Draw every label's curve with its AUROC (DeLong, by patient), and where its decisions lie.

    A single label also gets the band that holds 95% of resamples of patients at each rate of false alarms.

    Args:
        frame: predictions, as `evaluate` takes them.
        labels: those to draw; one without both classes is left out.
        thresholds: of the `balanced` operating point, as `evaluate` takes them.
        seed: of the resamples.
        of: what a row is.
    """
    figure, axes = square_figure()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for color, label in zip(cycle(SERIES), labels, strict=False):
        answer = Answers.of(frame, label)
        if not answer.has_both_classes:
            continue
        true, false = _rates(Ranking.of(answer.truth, answer.probabilities), np.ones((1, len(answer.rows))))
        area = with_interval(delong_interval(answer.truth, answer.probabilities, answer.patients))
        axes.plot(false[0], true[0], color=color, label=f"{readable(label)}: AUROC {area}")
        if len(labels) == 1:
            _band(axes, frame, answer, seed, color)
            mark_decisions(axes, answer, thresholds[label], color, _place)
        else:
            mark_balanced(axes, answer, thresholds[label], color, _place)
    if len(labels) > 1:
        axes.plot([], [], "o", color=INK, label="balanced operating point")
    unit_square(axes, "1 \N{MINUS SIGN} specificity", "Sensitivity")
    title = f"ROC curve: {readable(labels[0])}" if len(labels) == 1 else "ROC curves"
    axes.set_title(title if of == "images" else f"{title}, whole studies")
    legend_below(figure)
    return figure


def _place(found: Mapping[str, Estimate]) -> tuple[float, float, str]:
    sensitivity, specificity = found["sensitivity"].value, found["specificity"].value
    return 1 - specificity, sensitivity, f"sensitivity {sensitivity:.3f}, specificity {specificity:.3f}"


def _rates(ranking: Ranking, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Sensitivities and rates of false alarms from (0, 0) upward, shape (resamples, k + 1)."""
    true, false = (np.pad(counts, ((0, 0), (1, 0))) for counts in ranking.counts(weights))
    # A resample without one of the classes has no curve; NaN leaves it out of the band.
    positives, negatives = (np.where(counts[:, -1:] > 0, counts[:, -1:], np.nan) for counts in (true, false))
    return true / positives, false / negatives


def _band(axes: Axes, frame: pd.DataFrame, answer: Answers, seed: int, color: str) -> None:
    ranking = Ranking.of(answer.truth, answer.probabilities)

    def sensitivities(weights: FloatArray) -> FloatArray:
        pairs = zip(*_rates(ranking, weights), strict=True)
        return np.array([np.interp(_GRID, false, true) for true, false in pairs])

    samples = clustered_bootstrap(frame["patient_key"].iloc[answer.rows], sensitivities, seed, _BAND_RESAMPLES)
    low, high = percentile_interval(samples)
    axes.fill_between(_GRID, low, high, color=color, alpha=0.15, linewidth=0, label="95% of resamples of patients")
