"""Sheets of images under headings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from secondread.evaluation.figures.style import FAINT, INK, MUTED

# Inches; a sheet is as wide as a page and as long as its images need.
_WIDTH, _MARGIN, _GAP = 9.0, 0.25, 0.12
_TITLE, _HEADING, _CAPTION = 0.32, 0.5, 0.3


@dataclass(frozen=True)
class Tile:
    """One image, the words below it, and the color of its frame."""

    image: NDArray[Any]
    caption: str
    color: str = FAINT


@dataclass(frozen=True)
class Section:
    """Images that belong together, and what they are; a section without images says so."""

    heading: str
    note: str
    tiles: Sequence[Tile]


def sheet(title: str, sections: Sequence[Section], columns: int, note: str = "") -> Figure:
    """Lay sections out below each other, a given number of images in a row; a note stands below the title."""
    side = (_WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) / columns
    heights = [_HEADING + -(-len(section.tiles) // columns) * (side + _CAPTION) for section in sections]
    above = _MARGIN + _TITLE * (2 if note else 1)
    height = above + sum(heights) + _MARGIN
    figure = Figure(figsize=(_WIDTH, height))
    figure.text(_MARGIN / _WIDTH, 1 - _MARGIN / height, title, size=13, weight="bold", va="top")
    figure.text(_MARGIN / _WIDTH, 1 - (_MARGIN + _TITLE) / height, note, size=9.5, color=MUTED, va="top")
    top = above
    for section, tall in zip(sections, heights, strict=True):
        baseline = 1 - (top + _HEADING - 0.12) / height
        heading = figure.text(_MARGIN / _WIDTH, baseline, section.heading, size=10.5, weight="bold")
        after = heading.get_window_extent().x1 / figure.bbox.width
        figure.text(after + 0.012, baseline, section.note, size=9.5, color=MUTED)
        for place, tile in enumerate(section.tiles):
            row, column = divmod(place, columns)
            left = _MARGIN + column * (side + _GAP)
            bottom = height - top - _HEADING - row * (side + _CAPTION) - side
            axes = figure.add_axes((left / _WIDTH, bottom / height, side / _WIDTH, side / height))
            show(axes, tile.image, tile.color)
            axes.set_xlabel(tile.caption, size=8.5, labelpad=4, color=INK)
        top += tall
    return figure


def show(axes: Axes, image: NDArray[Any], color: str = FAINT) -> None:
    """Draw one image in a frame: uint8 as it is, anything else from its darkest to its brightest value.

    Args:
        axes: what is drawn on.
        image: shape (height, width), or with 1 or 3 channels behind; three equal channels are gray.
        color: the frame's.
    """
    flat = gray(image) if image.ndim == 3 and not _is_colored(image) else image
    low, high = (0, 255) if flat.dtype == np.uint8 else (flat.min(), flat.max())
    axes.imshow(flat, cmap="gray", vmin=low, vmax=high)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set(visible=True, color=color, linewidth=0.8 if color == FAINT else 3)


def gray(image: NDArray[Any]) -> NDArray[Any]:
    """The first channel, which of a stack of windows is the one that a reader would look at first."""
    return image if image.ndim == 2 else image[..., 0]


def _is_colored(image: NDArray[Any]) -> bool:
    return image.shape[-1] == 3 and bool((image[..., :1] != image).any())
