"""What the model got right and wrong, and where it hesitated."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import logit

from secondread.evaluation.figures.style import GREEN, VERMILION, Pixels, styled
from secondread.evaluation.figures.tiles import Section, Tile, gray, sheet
from secondread.evaluation.intervals import FloatArray
from secondread.evaluation.metrics import Answers
from secondread.evaluation.wording import readable, threshold_text

_COLUMNS, _COLUMNS_EXPLAINED = 6, 4  # larger, and fewer: some methods take seconds an image
_SMALLEST = 1e-7


@styled
def right_and_wrong(
    frame: pd.DataFrame, pixels: Pixels, label: str, threshold: float | FloatArray, explained_by: str = ""
) -> Figure:
    """Draw the most confident right and wrong decisions and the most uncertain ones, green and red framed.

    Args:
        frame: predictions, as `evaluate` takes them.
        pixels: images by row of the frame.
        label: the label that was decided.
        threshold: one, or one a row of the frame.
        explained_by: the method whose colours are on the images, which are RGB then; "" for images as they are.
    """
    answer = Answers.of(frame, label)
    applied = np.broadcast_to(threshold, len(frame))[answer.rows]
    # How far in logits a probability lies from its threshold, because .999 and .99 differ more than .5 and .51.
    margin = _logits(answer.probabilities) - _logits(applied)
    present, called = answer.truth == 1, answer.probabilities >= applied
    groups = (
        ("Missed: present, called absent", present & ~called, margin),
        ("False alarms: absent, called present", ~present & called, -margin),
        ("Found: present, called present", present & called, -margin),
        ("Cleared: absent, called absent", ~present & ~called, margin),
        ("Most uncertain: closest to the threshold", np.ones(len(present), bool), np.abs(margin)),
    )

    def tile(place: int) -> Tile:
        right = present[place] == called[place]
        words = f"{'present' if present[place] else 'absent'}, {answer.probabilities[place]:.3f} "
        mark = "\N{CHECK MARK}" if right else "\N{BALLOT X}"
        image = pixels[int(answer.rows[place])]
        return Tile(image if explained_by else gray(image), words + mark, GREEN if right else VERMILION)

    columns = _COLUMNS_EXPLAINED if explained_by else _COLUMNS
    sections = [_section(heading, group, order, tile, columns) for heading, group, order in groups]
    title = f"{readable(label)}: truth and probability, {threshold_text(threshold)}"
    why = f"Red speaks for it, blue against it, by {explained_by}; each image has a scale of its own."
    return sheet(title, sections, columns, why if explained_by else "")


def _section(
    heading: str, group: NDArray[np.bool_], order: FloatArray, tile: Callable[[int], Tile], columns: int
) -> Section:
    """The first images of a group in rising order."""
    members = np.flatnonzero(group)
    first = members[np.argsort(order[members], kind="stable")][:columns]
    return Section(
        heading,
        f"{len(members):,} of {len(group):,} images",
        [tile(int(place)) for place in first],
    )


def _logits(probabilities: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)))
