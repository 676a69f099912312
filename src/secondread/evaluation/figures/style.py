"""One look for every figure: readable at 800 pixels, printable, and told apart by every kind of eye."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, Protocol

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Okabe and Ito's palette, which keeps apart under every common colour blindness (jfly.uni-koeln.de/color).
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, MUTED, FAINT = "#1B1F24", "#5B6570", "#DDE2E7"
PIXELS_AN_INCH = 200

_RC: Any = {  # matplotlib's own type lists every key that exists
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib, so figures look alike everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "white",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.dpi": PIXELS_AN_INCH,
    "image.interpolation": "antialiased",
}

Parameters = ParamSpec("Parameters")


class Pixels(Protocol):
    """Images by position, uint8 of shape (height, width, channels): an array or a store."""

    def __getitem__(self, position: int, /) -> NDArray[np.uint8]: ...


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Let a drawing function work in the shared style and leave matplotlib's own settings untouched."""

    @wraps(draw)
    def inner(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with rc_context(_RC):
            return draw(*args, **kwargs)

    return inner


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Let both axes run from 0 to 1, with a little room so that a line along the edge is seen whole."""
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xticks=ticks, yticks=ticks, xlabel=x, ylabel=y)
    axes.set_aspect("equal")


def square_figure() -> tuple[Figure, Axes]:
    """A figure for one square plot with room for a legend below."""
    figure = Figure(figsize=(6.4, 7.4), layout="constrained")
    return figure, figure.subplots()


def legend_below(figure: Figure) -> None:
    """Put the legend, where there is one, where no curve can run through it."""
    if any(axes.get_legend_handles_labels()[0] for axes in figure.axes):
        figure.legend(loc="outside lower center", alignment="left")
