"""Two models on the same images or studies: their curves, their differences, and where they decide otherwise."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from secondread.evaluation.comparison import Difference, Paired
from secondread.evaluation.figures.style import (
    BLUE,
    INK,
    MUTED,
    VERMILION,
    legend_below,
    square_figure,
    styled,
    unit_square,
)
from secondread.evaluation.intervals import FloatArray, delong_interval
from secondread.evaluation.ranking import Ranking
from secondread.evaluation.wording import readable, with_interval

_NAMES = {"auroc": "AUROC"}
_MINUS = "\N{MINUS SIGN}"
_CHECK, _CROSS = "\N{CHECK MARK}", "\N{BALLOT X}"


@styled
def paired_roc(paired: Paired, names: tuple[str, str]) -> Figure:
    """Draw both ROC curves with their AUROC (DeLong, by patient) and mark where each model decides.

    Args:
        paired: with both classes.
        names: the champion's and the challenger's.
    """
    figure, axes = square_figure()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    lines = (
        (names[0], paired.champion, paired.champion_positive, BLUE, "-", "o"),
        (names[1], paired.challenger, paired.challenger_positive, VERMILION, (0, (5, 1.5)), "D"),
    )
    for name, probabilities, positive, color, style, marker in lines:
        counted = Ranking.of(paired.truth, probabilities).counts()
        true, false = (np.append(0, counts[0] / counts[0, -1]) for counts in counted)
        area = with_interval(delong_interval(paired.truth, probabilities, paired.patients))
        axes.plot(false, true, color=color, linestyle=style, label=f"{name}\nAUROC {area}")
        _mark(axes, paired.truth, positive, color, marker)
    unit_square(axes, f"1 {_MINUS} specificity", "Sensitivity")
    axes.set_title(f"ROC curves on the same {len(paired.truth):,}: {_counts(paired.truth)}")
    legend_below(figure)
    return figure


def _mark(axes: Axes, truth: FloatArray, positive: NDArray[np.bool_], color: str, marker: str) -> None:
    sensitivity, alarms = float(positive[truth == 1].mean()), float(positive[truth == 0].mean())
    axes.plot(
        alarms,
        sensitivity,
        marker,
        color=color,
        markersize=9 if marker == "o" else 8,
        markeredgecolor="white",
        markeredgewidth=1.5,
        zorder=5,
        clip_on=False,
        label=f"decides: sensitivity {sensitivity:.3f}, specificity {1 - alarms:.3f}",
    )


def _counts(truth: FloatArray) -> str:
    return f"{int(truth.sum()):,} with the label, {int((1 - truth).sum()):,} without"


@styled
def differences(found: Sequence[tuple[Difference, float | None]]) -> Figure:
    """Draw each difference with its interval, and the bound that it must stay above.

    Args:
        found: differences, at least one, each with its margin of non-inferiority; None where superiority is asked.
    """
    figure = Figure(figsize=(9.0, 2.1 + 0.62 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for row, (difference, margin) in enumerate(found):
        _row(axes, row, difference, margin)
    _legend_of_rows(axes)
    axes.set(ylim=(len(found) - 0.5, -0.5), yticks=range(len(found)))
    axes.set_yticklabels([_measure(difference) for difference, _ in found])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value, 3)))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set(xlabel="Difference: above 0 the challenger is better", title="Challenger against champion")
    legend_below(figure)
    return figure


def _row(axes: Axes, row: int, found: Difference, margin: float | None) -> None:
    holds = found.superior() if margin is None else found.non_inferior(margin)
    color = BLUE if holds else VERMILION
    reach = [[found.difference - found.low], [found.high - found.difference]]
    axes.errorbar(
        found.difference,
        row,
        xerr=reach,
        color=color,
        marker="o" if holds else "X",
        markersize=8,
        elinewidth=2,
        capsize=4,
    )
    bound = 0.0 if margin is None else -margin
    axes.plot([bound, bound], [row - 0.3, row + 0.3], color=INK, linewidth=2.5, zorder=1)
    asked = "superior" if margin is None else f"not worse by {margin:g}"
    said = (
        f"{_CHECK if holds else _CROSS} {_signed(found.difference, 3)} "
        f"({_signed(found.low, 3)} to {_signed(found.high, 3)})\n{asked}, {found.confidence:.1%} interval"
    )
    axes.text(1.02, row, said, transform=axes.get_yaxis_transform(), color=color, size=9, va="center", linespacing=1.4)


def _legend_of_rows(axes: Axes) -> None:
    axes.errorbar([], [], xerr=[], color=BLUE, marker="o", markersize=8, elinewidth=2, capsize=4, label="holds")
    axes.errorbar([], [], xerr=[], color=VERMILION, marker="X", markersize=8, elinewidth=2, capsize=4, label="fails")
    axes.plot([], [], color=INK, linewidth=2.5, label="the whole interval must lie to the right of this")


def _measure(found: Difference) -> str:
    name = _NAMES.get(found.measure, readable(found.measure))
    return f"{name}\n{found.champion:.3f} \N{RIGHTWARDS ARROW} {found.challenger:.3f}"


def _signed(value: float, places: int) -> str:
    rounded = f"{abs(value):.{places}f}"
    sign = "" if float(rounded) == 0 else "+" if value > 0 else _MINUS
    return sign + rounded


@styled
def agreement(paired: Paired, names: tuple[str, str]) -> Figure:
    """Draw how often both models decide alike, a table for rows with the label and one for those without.

    Args:
        paired: both models' decisions.
        names: the champion's and the challenger's.
    """
    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    kinds = (("With the label", paired.truth == 1, True), ("Without the label", paired.truth == 0, False))
    for axes, (title, rows, present) in zip(figure.subplots(1, 2), kinds, strict=True):
        _table(axes, paired.champion_positive[rows], paired.challenger_positive[rows], present)
        axes.set(xlabel=f"Called by\n{names[1]}", ylabel=f"Called by\n{names[0]}")
        axes.set_title(f"{title}: {int(rows.sum()):,}")
    return figure


def _table(axes: Axes, champion: NDArray[np.bool_], challenger: NDArray[np.bool_], present: bool) -> None:
    """Rows are the champion's decisions, columns the challenger's; where they differ, who is right."""
    counts = np.array([[np.sum((champion == one) & (challenger == other)) for other in (0, 1)] for one in (0, 1)])
    shares = counts / max(counts.sum(), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
    for (one, other), count in np.ndenumerate(counts):
        color = "white" if shares[one, other] > 0.65 else INK
        axes.text(other, one, f"{count:,}", ha="center", va="bottom", color=color, size=18, weight="bold")
        said = f"{shares[one, other]:.1%}\n{_who(bool(one) == present, bool(other) == present)}"
        axes.text(other, one + 0.05, said, ha="center", va="top", color=color, size=9.5, linespacing=1.4)
    axes.set(xticks=[0, 1], yticks=[0, 1])
    axes.set_xticklabels(["absent", "present"])
    axes.set_yticklabels(["absent", "present"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _who(champion: bool, challenger: bool) -> str:
    """Which of the two is right."""
    if champion == challenger:
        return "both right" if champion else "both wrong"
    return "champion right" if champion else "challenger right"
