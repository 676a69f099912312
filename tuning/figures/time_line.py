"""Which worker tried what, when."""

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from secondread.evaluation.figures.style import MUTED, styled
from tuning.engine import Status
from tuning.figures.marks import COLORS, nothing
from tuning.findings import Done, Findings
from tuning.wording import STATUS_NAMES

_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "seconds"))
_WIDE = 0.03  # of the axis: a bar that holds its number


@styled
def time_line(findings: Findings, now: float) -> Figure:
    """Draw each trial as a bar from its beginning to its end, a row a worker, colored by what became of it.

    Args:
        now: seconds since 1970; trials that run reach to it.
    """
    workers = sorted({_worker(findings, record.trial.number) for record in findings.records}, key=_natural)
    figure = Figure(figsize=(8.4, 1.7 + 0.42 * max(len(workers), 1)), layout="constrained")
    axes = figure.subplots()
    axes.set_title("Trials by worker")
    if not findings.records:
        nothing(axes, "no trial was begun")
        return figure
    first = min(record.began for record in findings.records)
    span = max((record.ended or now) for record in findings.records) - first
    size, unit = next(((size, unit) for size, unit in _UNITS if span >= 1.5 * size), _UNITS[-1])
    for record in findings.records:
        begin, length = (record.began - first) / size, ((record.ended or now) - record.began) / size
        row = workers.index(_worker(findings, record.trial.number))
        axes.barh(row, length, left=begin, height=0.62, color=COLORS[record.outcome.status], edgecolor="white")
        if length * size >= _WIDE * span:
            axes.text(
                begin + length / 2, row, str(record.trial.number), ha="center", va="center", size=7.5, color="white"
            )
    axes.set(yticks=range(len(workers)), ylim=(len(workers) - 0.5, -0.5), xlabel=unit.capitalize())
    axes.set_yticklabels([worker or "unknown" for worker in workers], color=MUTED)
    axes.set_xlim(0, max(span / size, 1e-9))
    axes.grid(axis="y", visible=False)
    seen = [status for status in Status if findings.of(status)]
    patches = [Patch(color=COLORS[status], label=STATUS_NAMES[status]) for status in seen]
    figure.legend(handles=patches, loc="outside lower center", ncols=4)
    return figure


def _worker(findings: Findings, number: int) -> str:
    return findings.done.get(number, Done()).worker


def _natural(worker: str) -> tuple[int, str]:
    """`worker 10` after `worker 9`."""
    return len(worker), worker
