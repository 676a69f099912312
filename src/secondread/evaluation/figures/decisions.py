"""Marks of the operating points on a curve."""

from collections.abc import Callable, Mapping

from matplotlib.axes import Axes

from secondread.evaluation.intervals import Estimate, FloatArray
from secondread.evaluation.metrics import Answers
from secondread.evaluation.operating_points import HALF
from secondread.evaluation.wording import threshold_text

Place = Callable[[Mapping[str, Estimate]], tuple[float, float, str]]


def mark_decisions(axes: Axes, answer: Answers, threshold: float | FloatArray, color: str, place: Place) -> None:
    """Mark where `balanced` and .5 decide, each with a line in the legend.

    Args:
        axes: what is drawn on.
        answer: one label's rows.
        threshold: of `balanced`.
        color: the curve's.
        place: maps estimates to a position and the words for it; a KeyError says that there is none.
    """
    for name, marker, applied in (("balanced", "o", threshold), ("half", "D", HALF)):
        _mark(axes, answer, applied, color, place, marker, f"{name}, {threshold_text(applied)}")


def mark_balanced(axes: Axes, answer: Answers, threshold: float | FloatArray, color: str, place: Place) -> None:
    """Mark where `balanced` decides on one of many curves, without a line of its own in the legend."""
    _mark(axes, answer, threshold, color, place, "o", None)


def _mark(
    axes: Axes,
    answer: Answers,
    threshold: float | FloatArray,
    color: str,
    place: Place,
    marker: str,
    name: str | None,
) -> None:
    try:
        x, y, words = place(answer.decided(threshold).estimates())
    except KeyError:  # nothing was called positive, so there is no precision to draw
        return
    solid = marker == "o"
    axes.plot(
        x,
        y,
        marker,
        markersize=9 if solid else 7,
        markerfacecolor=color if solid else "white",
        markeredgecolor="white" if solid else color,
        markeredgewidth=1.5,
        zorder=5,
        clip_on=False,
        label=None if name is None else f"{name}: {words}",
    )
