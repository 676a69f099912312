"""Which ways to explain a model's answers passed which checks."""

from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from secondread.evaluation.explanation import Explanation
from secondread.evaluation.figures.style import GREEN, INK, MUTED, VERMILION, styled
from secondread.evaluation.wording import readable

_SIGNS = {"at most": "\N{LESS-THAN OR EQUAL TO}", "at least": "\N{GREATER-THAN OR EQUAL TO}", "above": ">"}
_CHECKED, _CROSSED = "\N{CHECK MARK}", "\N{BALLOT X}"


@styled
def checks_figure(checks: pd.DataFrame, found: Explanation) -> Figure:
    """Draw a row a method and a column a question: the number, its interval, and whether it passed.

    Args:
        checks: of `explanation.check.table`.
        found: which method was chosen, and why.
    """
    methods, names = list(checks["method"].unique()), list(checks["name"].unique())
    figure = Figure(figsize=(2.2 + 1.5 * len(names), 1.7 + 0.62 * len(methods)), layout="constrained")
    axes = figure.subplots()
    cells = checks.set_index(["method", "name"])
    for row, method in enumerate(methods):
        for column, name in enumerate(names):
            _cell(axes, column, row, cells.loc[(method, name)])
    axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(methods) - 0.5, -0.5))
    axes.set_xticks(range(len(names)), [_heading(checks[checks["name"] == name].iloc[0]) for name in names])
    axes.set_yticks(range(len(methods)), [readable(name) for name in methods])
    for text, name in zip(axes.get_yticklabels(), methods, strict=True):
        text.set(color=INK, weight="bold" if name == found.method else "normal")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title("Which maps are to be believed", pad=14)
    axes.set_xlabel(fill(found.reason, 17 * len(names)), color=MUTED, loc="left")
    return figure


def _cell(axes: Axes, column: int, row: int, check: Any) -> None:
    if check["passed"] is None:
        axes.text(column, row, "not measured", ha="center", va="center", color=MUTED, size=8.5)
        return
    color, sign = (GREEN, _CHECKED) if check["passed"] else (VERMILION, _CROSSED)
    axes.add_patch(Rectangle((column - 0.46, row - 0.42), 0.92, 0.84, facecolor=color, alpha=0.12))
    axes.text(column, row - 0.06, f"{sign} {check['value']:.3g}", ha="center", va="bottom", color=color, weight="bold")
    interval = f"{check['low']:.3g} to {check['high']:.3g}"
    axes.text(column, row + 0.06, interval, ha="center", va="top", color=INK, size=8)


def _heading(check: Any) -> str:
    return f"{readable(check['name'])}\n{_SIGNS[check['asked']]} {check['bound']:g}"
