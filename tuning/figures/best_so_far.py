"""Every trial's value, and the best one so far."""

from math import inf, nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from secondread.evaluation.figures.style import INK, VERMILION, styled
from tuning.engine import Record, Status
from tuning.figures.marks import COLORS, MARKERS, NAMES, value_axis
from tuning.findings import Findings, last_value
from tuning.wording import number as number_text
from tuning.wording import objective_name


@styled
def best_so_far(findings: Findings, objective: int = 0) -> Figure:
    """Draw each trial by its number and value, marked by what became of it, and the best one by then."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    shown = {record.trial.number: _value(record, objective) for record in findings.records}
    measured = {record.trial.number: record.outcome.values[objective] for record in findings.finished}
    low, high = value_axis(axes, list((measured or shown).values()), findings.directions[objective])
    for status in Status:
        numbers = [record.trial.number for record in findings.of(status)]
        if numbers:
            values = [
                min(max(shown[number], low), high) if shown[number] == shown[number] else low for number in numbers
            ]
            face = COLORS[status] if status in (Status.FINISHED, Status.FAILED) else "white"
            axes.plot(
                numbers,
                values,
                MARKERS[status],
                color=COLORS[status],
                markerfacecolor=face,
                markersize=6 if len(shown) < 60 else 4.5,
                alpha=0.9,
                clip_on=False,
                zorder=3,
                label=f"{NAMES[status]} ({len(numbers)})",
            )
    axes.set_title("No trial was measured")
    if measured:
        _steps(axes, findings, measured, objective)
    axes.set(xlabel="Trial", ylabel=objective_name(findings.objectives[objective]))
    axes.set_xlim(-0.6, max(shown, default=0) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def _steps(axes: Axes, findings: Findings, measured: dict[int, float], objective: int) -> None:
    better = max if findings.directions[objective] == "maximize" else min
    last = max(record.trial.number for record in findings.records)
    best = -inf if better is max else inf
    numbers, values = [], []
    for number in sorted(measured):
        best = better(best, measured[number])
        numbers.append(number)
        values.append(best)
    axes.step([*numbers, last], [*values, best], where="post", color=INK, linewidth=1.6, label="best so far", zorder=2)
    first = next(number for number, value in measured.items() if value == best)
    axes.plot(first, best, "o", color=VERMILION, markersize=9, markeredgecolor="white", clip_on=False, zorder=4)
    axes.set_title(f"Best so far: trial {first}, {objective_name(findings.objectives[objective])} {number_text(best)}")


def _value(record: Record, objective: int) -> float:
    """What is drawn of a trial: what was measured, or else what it reported last; NaN where there is neither."""
    if record.outcome.values:
        return record.outcome.values[objective]
    found = last_value(record) if objective == 0 else None
    return nan if found is None else found
