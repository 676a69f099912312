"""Each parameter's values against the first objective."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.figures.style import VERMILION, styled
from tuning.engine import Record
from tuning.figures.marks import nothing, value_axis
from tuning.figures.scale import Scale
from tuning.findings import Findings
from tuning.space import Parameter
from tuning.wording import objective_name

_COLUMNS = 3
_MOST = 12  # panels
_SEED = 0  # of the jitter


@styled
def slices(findings: Findings) -> Figure:
    """Draw a panel a parameter, those that mattered first: each measured trial's value and objective.

    Later trials are darker, the best one is red.
    """
    drawn = sorted(findings.drawn, key=lambda parameter: -findings.importances.get(parameter.name, 0.0))[:_MOST]
    columns = min(_COLUMNS, max(len(drawn), 1))
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(max(3.2 * columns, 4.2), 2.75 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    figure.suptitle(
        "Measured trials, later ones darker, the best one in red", x=0.01, ha="left", size=11, weight="bold"
    )
    if not drawn or not findings.finished:
        nothing(grid[0][0], "no trial was measured")
    for axes, parameter in zip(grid.ravel(), drawn, strict=False):
        _panel(axes, findings, parameter)
    for axes in grid.ravel()[len(drawn) :]:
        axes.set_axis_off()
    values = [record.outcome.values[0] for record in findings.finished]
    if values and drawn:
        value_axis(grid[0][0], values, findings.directions[0])
        for row in grid:
            row[0].set_ylabel(objective_name(findings.objectives[0]))
    return figure


def _panel(axes: Axes, findings: Findings, parameter: Parameter) -> None:
    scale = Scale(parameter)
    trials = [record for record in findings.finished if parameter.name in record.trial.sampled]
    if trials:
        places = np.array([scale.place(record.trial.sampled[parameter.name]) for record in trials])
        if parameter.choices:  # trials of one label side by side
            places += np.random.default_rng(_SEED).uniform(-0.09, 0.09, len(places)) / max(
                len(parameter.choices) - 1, 1
            )
        values = [record.outcome.values[0] for record in trials]
        age = [record.trial.number for record in trials]
        axes.scatter(places, values, c=age, cmap="Blues", vmin=-len(findings.records) / 2, s=22, edgecolor="none")
        _best(axes, findings.best, trials, places)
    ticks = scale.ticks()
    axes.set_xticks([place for place, _ in ticks])
    axes.set_xticklabels([label.replace("_", "\n").replace(" ", "\n") for _, label in ticks], size=8)
    axes.set_xlim(-0.16, 1.16)
    axes.set_title(parameter.name, size=9.5)


def _best(axes: Axes, best: Record | None, trials: list[Record], places: npt.NDArray[np.float64]) -> None:
    if best is not None and best in trials:
        place = places[trials.index(best)]
        axes.plot(place, best.outcome.values[0], "o", color=VERMILION, markersize=8, markeredgecolor="white", zorder=4)
