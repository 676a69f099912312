"""One image's way from the file to the network."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import NDArray

from secondread.evaluation.figures.style import MUTED, styled
from secondread.evaluation.figures.tiles import show

_COLUMNS = 3


@styled
def way(steps: Sequence[tuple[str, NDArray[Any]]]) -> Figure:
    """Draw every step of the preprocessing of one image, with its shape and its range of values.

    Args:
        steps: title and image, as `Preprocess.way` gives them.
    """
    columns = min(_COLUMNS, len(steps))
    rows = -(-len(steps) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, (title, image)) in enumerate(zip(grid, steps, strict=False), start=1):
        show(axes, image)
        axes.set_title(f"{number}  {title}")
        axes.set_xlabel(_caption(image), size=8.5, color=MUTED)
    for axes in grid[len(steps) :]:
        axes.set_axis_off()
    return figure


def _caption(image: NDArray[Any]) -> str:
    shape = " \N{MULTIPLICATION SIGN} ".join(str(length) for length in image.shape)
    values = f"from {image.min():.6g} to {image.max():.6g}".replace("-", "\N{MINUS SIGN}")
    return f"{shape} {image.dtype}\n{values}"
