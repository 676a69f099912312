"""Sample images of every class, from every split."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from secondread.evaluation.figures.style import Pixels, styled
from secondread.evaluation.figures.tiles import Section, Tile, gray, sheet
from secondread.evaluation.intervals import IntArray
from secondread.evaluation.wording import readable

_COLUMNS = 6
_ROWS = 7  # about as many rows of images as a screen shows


@styled
def gallery(manifest: pd.DataFrame, pixels: Pixels, labels: Sequence[str], seed: int) -> Figure:
    """Draw sample images a class: those without any label, then those with each.

    Args:
        manifest: a row per image, in the order of the pixels: `split`, `label_<label>`.
        pixels: images by row.
        labels: in order.
        seed: of the sample.
    """
    generator = np.random.default_rng(seed)
    classes = list(_classes(manifest, labels))
    rows = max(1, _ROWS // len(classes))
    sections = [_section(manifest, pixels, name, chosen, rows, generator) for name, chosen in classes]
    return sheet("Samples of every class", sections, _COLUMNS)


def _classes(manifest: pd.DataFrame, labels: Sequence[str]) -> Iterator[tuple[str, IntArray]]:
    truth = manifest[[f"label_{label}" for label in labels]].to_numpy(np.float64)
    absent, present = truth == 0, truth == 1
    none = readable(labels[0]) if len(labels) == 1 else "every known label"
    yield f"{none}: absent", np.flatnonzero(absent.any(axis=1) & ~present.any(axis=1))
    for label, known, with_it in zip(labels, (absent | present).any(axis=0), present.T, strict=True):
        if known:
            yield f"{readable(label)}: present", np.flatnonzero(with_it)


def _section(
    manifest: pd.DataFrame,
    pixels: Pixels,
    name: str,
    chosen: IntArray,
    rows: int,
    generator: np.random.Generator,
) -> Section:
    splits = manifest["split"].to_numpy()
    present = [split for split in ("train", "val", "test") if (splits == split).any()]
    counts = {split: chosen[splits[chosen] == split] for split in present}
    samples = {split: iter(generator.permutation(found)) for split, found in counts.items()}
    each = _COLUMNS // len(present)
    order = [split for _ in range(rows) for split in present for _ in range(each)]
    drawn = [(split, next(samples[split], None)) for split in order]
    tiles = [Tile(gray(pixels[int(row)]), split) for split, row in drawn if row is not None]
    return Section(name, ", ".join(f"{split} {len(found):,}" for split, found in counts.items()), tiles)
