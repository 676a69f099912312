"""The precision-recall curve: how many alarms are true, as more of the sick are found."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.figures.decisions import mark_balanced, mark_decisions
from secondread.evaluation.figures.style import INK, SERIES, legend_below, square_figure, styled, unit_square
from secondread.evaluation.intervals import Estimate, FloatArray, clustered_bootstrap, percentile_interval
from secondread.evaluation.metrics import Answers, Thresholds
from secondread.evaluation.ranking import Ranking, average_precision
from secondread.evaluation.wording import readable, with_interval


@styled
def precision_recall(frame: pd.DataFrame, labels: Sequence[str], thresholds: Thresholds, seed: int) -> Figure:
    """Draw every label's curve with its average precision (resampled by patient), over its prevalence.

    Args:
        frame: predictions, as `evaluate` takes them.
        labels: those to draw; one without both classes is left out.
        thresholds: of the `balanced` operating point, as `evaluate` takes them.
        seed: of the resamples.
    """
    figure, axes = square_figure()
    for color, label in zip(cycle(SERIES), labels, strict=False):
        answer = Answers.of(frame, label)
        if not answer.has_both_classes:
            continue
        ranking = Ranking.of(answer.truth, answer.probabilities)
        area = with_interval(_average_precision(frame, answer, ranking, seed))
        _curve(axes, ranking, color, f"{readable(label)}: average precision {area}")
        prevalence = float(answer.truth.mean())
        name = f"prevalence {prevalence:.3f}: precision of guessing" if len(labels) == 1 else None
        axes.axhline(prevalence, color=color, linewidth=1, linestyle=(0, (4, 4)), label=name)
        mark = mark_decisions if len(labels) == 1 else mark_balanced
        mark(axes, answer, thresholds[label], color, _place)
    if len(labels) > 1:
        axes.plot([], [], color=INK, linewidth=1, linestyle=(0, (4, 4)), label="prevalence")
        axes.plot([], [], "o", color=INK, label="balanced operating point")
    unit_square(axes, "Recall (sensitivity)", "Precision")
    axes.set_title(f"Precision and recall: {readable(labels[0])}" if len(labels) == 1 else "Precision and recall")
    legend_below(figure)
    return figure


def _place(found: Mapping[str, Estimate]) -> tuple[float, float, str]:
    recall, precision = found["sensitivity"].value, found["precision"].value
    return recall, precision, f"recall {recall:.3f}, precision {precision:.3f}"


def _curve(axes: Axes, ranking: Ranking, color: str, name: str) -> None:
    true, false = (counts[0] for counts in ranking.counts())
    recall, precision = true / true[-1], true / (true + false)
    # Steps, because between two thresholds precision is not linear; their area is the average precision.
    steps = np.append(0, recall), np.append(precision[0], precision)
    axes.step(*steps, where="pre", color=color, label=name)


def _average_precision(frame: pd.DataFrame, answer: Answers, ranking: Ranking, seed: int) -> Estimate:
    def statistic(weights: FloatArray) -> FloatArray:
        return average_precision(*ranking.counts(weights))[:, None]

    samples = clustered_bootstrap(frame["patient_key"].iloc[answer.rows], statistic, seed)
    low, high = percentile_interval(samples)
    return Estimate(float(average_precision(*ranking.counts())[0]), float(low[0]), float(high[0]))
