"""Two objectives against each other, and the trials that no other one beats in both."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from secondread.evaluation.figures.style import BLUE, INK, VERMILION, legend_below, styled
from tuning.figures.marks import nothing, value_axis
from tuning.findings import Findings
from tuning.wording import objective_name

_NAMED = 12  # trials on the front, so that their numbers do not run into each other
_DECADES = 20.0  # ratio of largest to smallest from which an axis is logarithmic


@styled
def pareto(findings: Findings, first: int = 0, second: int = 1) -> Figure:
    """Draw measured trials by two objectives, and the front of those that none beats in both.

    Args:
        first: index of the objective on the y axis.
        second: index of the objective on the x axis.
    """
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axes = figure.subplots()
    names = [objective_name(findings.objectives[place]) for place in (first, second)]
    axes.set_title(f"{names[0]} against {names[1]}")
    if not findings.finished:
        nothing(axes, "no trial was measured")
        return figure
    points = {record.trial.number: record.outcome.values for record in findings.finished}
    low, high = value_axis(axes, [values[first] for values in points.values()], findings.directions[first])
    axes.plot(
        [values[second] for values in points.values()],
        [min(max(values[first], low), high) for values in points.values()],
        "o",
        color=BLUE,
        alpha=0.45,
        markeredgecolor="none",
        markersize=6,
        label=f"measured trials ({len(points)})",
    )
    front = sorted(
        (points[record.trial.number][second], points[record.trial.number][first], record.trial.number)
        for record in findings.front
    )
    across, up, _ = zip(*front, strict=True)
    label = f"none is better in {'both' if len(findings.objectives) == 2 else 'all'} ({len(front)})"
    style = "steps-post" if findings.directions[second] == "minimize" else "steps-pre"
    axes.plot(
        across, up, "-o", drawstyle=style, color=VERMILION, markersize=8, markeredgecolor="white", label=label, zorder=3
    )
    _name(axes, front)
    if min(across) > 0 and max(values[second] for values in points.values()) > _DECADES * min(across):
        axes.set_xscale("log")
    axes.set(xlabel=_axis(findings, second), ylabel=_axis(findings, first))
    legend_below(figure)
    return figure


def _name(axes: Axes, front: list[tuple[float, float, int]]) -> None:
    every = -(-len(front) // _NAMED)
    for across, up, number in front[::every]:
        axes.annotate(
            f"{number}", (across, up), xytext=(7, -9), textcoords="offset points", size=8.5, color=INK, zorder=4
        )


def _axis(findings: Findings, objective: int) -> str:
    better = "up" if findings.directions[objective] == "maximize" else "down"
    side = {"up": "more", "down": "less"}[better]
    return f"{objective_name(findings.objectives[objective])} ({side} is better)"
