"""Every measured trial as one line through what was drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from secondread.evaluation.figures.style import INK, MUTED, VERMILION, styled
from tuning.engine import Record
from tuning.figures.marks import nothing
from tuning.figures.scale import Scale
from tuning.findings import Findings
from tuning.space import Parameter
from tuning.wording import number, objective_name, short_names

_MOST = 9  # parameters, so that their names can be read


@styled
def parallel_coordinates(findings: Findings) -> Figure:
    """Draw measured trials through the parameters that mattered most and their first objective, the best one on top.

    Better trials are darker; where a parameter's condition did not hold, the line passes below its axis.
    """
    chosen = _chosen(findings)
    figure = Figure(figsize=(max(6.0, 1.45 * (len(chosen) + 1)), 4.9), layout="constrained")
    axes = figure.subplots()
    trials = findings.order(findings.finished)
    axes.set_title("Measured trials, better ones darker, the best one in red")
    if not trials or not chosen:
        nothing(axes, "no trial was measured")
        return figure
    scales = [Scale(parameter) for parameter in chosen]
    goods = np.array([findings.goodness(trial)[0] for trial in trials])
    ranks = 1 - np.arange(len(trials)) / max(len(trials) - 1, 1)
    spread = float(np.ptp(goods))
    shades = colormaps["Blues"](0.15 + 0.8 * ranks**2)
    for place, trial in reversed(list(enumerate(trials))):
        heights = [scale.place(trial.trial.sampled.get(scale.name)) for scale in scales]
        heights.append((goods[place] - goods.min()) / spread if spread else 0.5)
        _line(axes, heights, VERMILION if place == 0 else shades[place], best=place == 0)
    for place, scale in enumerate(scales):
        _axis(axes, place, scale.ticks())
    _axis(axes, len(scales), _objective_ticks(findings, trials))
    names = short_names([parameter.name for parameter in chosen])
    labels = [names[parameter.name].replace("_", "\n") for parameter in chosen]
    axes.set_xticks(range(len(labels) + 1))
    axes.set_xticklabels([*labels, objective_name(findings.objectives[0])], color=INK, size=9)
    axes.set(xlim=(-0.35, len(scales) + 0.35), ylim=(-0.16, 1.06), yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _chosen(findings: Findings) -> list[Parameter]:
    drawn = findings.drawn
    by_share = sorted(drawn, key=lambda parameter: -findings.importances.get(parameter.name, 0.0))
    kept = {parameter.name for parameter in by_share[:_MOST]}
    return [parameter for parameter in drawn if parameter.name in kept]


def _line(axes: Axes, heights: Sequence[float], color: Any, *, best: bool) -> None:
    axes.plot(range(len(heights)), heights, color=color, linewidth=2.4 if best else 1.1, zorder=5 if best else 2)


def _axis(axes: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=1, zorder=3)
    for height, label in ticks:
        axes.plot([place - 0.03, place + 0.03], [height, height], color=MUTED, linewidth=1, zorder=3)
        written = axes.text(place + 0.06, height, label, size=8, va="center", color=INK, zorder=6)
        written.set_path_effects([withStroke(linewidth=3, foreground="white")])  # lines run below it


def _objective_ticks(findings: Findings, trials: Sequence[Record]) -> list[tuple[float, str]]:
    worst, best = trials[-1].outcome.values[0], trials[0].outcome.values[0]
    return [(0.5, number(best))] if worst == best else [(0.0, number(worst)), (1.0, number(best))]
