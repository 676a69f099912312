"""The page about a data set: what is in it, in numbers and pictures, in one file that needs nothing else."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.data.intensities import Channel, spread
from secondread.data.prepare import Prepared
from secondread.data.statistics import Statistics, statistics
from secondread.errors import SCOPE_RULES
from secondread.evaluation.figures.style import BLUE, ORANGE, VERMILION
from secondread.report.page import Picture, environment, picture
from secondread.tasks import Task

PAGE = "statistics.html"
_COLORS = {"train": BLUE, "val": ORANGE, "test": VERMILION}
_MINUS = "\N{MINUS SIGN}"
_EXAMPLES = 8  # a class
_SIDE = 192  # pixels: sharp at twice the size that a page shows it at
_WIDTH, _HEIGHT = 720, 180  # of a drawing, in its own units
_MOST_BARS = 40
_SMOOTH = 9  # gray levels
_EDGE = 16  # levels at either end, where compressed black would dwarf everything; what is higher is cut off


class Class(NamedTuple):
    """Images that have something in common, and some of them."""

    name: str
    images: int
    pictures: Sequence[Picture]


def data_set_page(task: Task, data: Prepared) -> str:
    """Write the page of a data set.

    Example images are the stored pixels, without a name; no key of a patient, study or series is on the page.

    Returns:
        one HTML page without scripts; equal data give equal bytes.
    """
    found = statistics(data.manifest, data.pixels, data.preprocess, data.put_aside)
    pages = environment(Path(__file__).parent)
    pages.filters |= {"share": share, "readable": readable}
    page: str = pages.get_template("data_set.html.jinja").render(
        task=task,
        data=data,
        found=found,
        colors=_COLORS,
        splits=data.report.counts.to_dict("records"),
        patients=data.manifest["patient_key"].nunique(),
        positive=float(data.manifest[f"label_{task.primary}"].mean()),
        matrix=_matrix(found),
        drawings=[_drawing(channel) for channel in found.intensities.channels],
        series=_bars(found),
        aside=[(rule, rule in SCOPE_RULES, count) for rule, count in found.put_aside.items()],
        copies=_copies(data, found),
        classes=list(_classes(task, data)),
        facts=_facts(data),
    )
    return page


def readable(name: str) -> str:
    """A label's name as one reads it."""
    return name.replace("_", " ")


def share(value: float) -> str:
    """A part of a whole as people read it; what is not nothing is not called 0%."""
    if np.isnan(value):
        return "\N{EN DASH}"
    return "< 0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def _matrix(found: Statistics) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """By label: each label, how many images have both, and their share of the images that have the first."""
    return [
        (label, [(str(other), int(both), float(both / max(1, row[label]))) for other, both in row.items()])
        for label, row in ((str(label), row) for label, row in found.together.iterrows())
    ]


def _drawing(channel: Channel) -> dict[str, Any]:
    """A histogram as lines; black and white themselves, where windows clip, are told in numbers."""
    # Whole HU meet only some of 256 levels: a mean of neighbours shows how many pixels there are, not which levels.
    inner = channel.shares.iloc[:, 1:-1].T.rolling(_SMOOTH, center=True, min_periods=1).mean().T
    top = max(1.05 * float(inner.iloc[:, _EDGE:-_EDGE].to_numpy().max()), 1e-9)
    window = channel.window
    low, high = (None, None) if window is None else (window.center - window.width / 2, window.center + window.width / 2)
    return {
        "name": channel.name,
        "lines": {split: _line(row.to_numpy(np.float64) / top) for split, row in inner.iterrows()},
        "ticks": ["black", "mid gray", "white"]
        if window is None
        else [f"{v:g} HU".replace("-", _MINUS) for v in (low, window.center, high)],
        "rows": [
            {
                "split": split,
                "mean": f"{channel.mean[split]:.1f}",
                "black": float(channel.shares.loc[split, 0]),
                "white": float(channel.shares.loc[split, 255]),
                "shift": "" if place == 0 else f"{channel.shift[split]:.1f}",
            }
            for place, split in enumerate(channel.shares.index)
        ],
    }


def _line(heights: npt.NDArray[np.float64]) -> str:
    """Points of a polyline."""
    x = np.linspace(0, _WIDTH, len(heights))
    y = _HEIGHT * (1 - np.minimum(heights, 1))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _bars(found: Statistics) -> dict[str, Any] | None:
    """How many series there are of each length, as bars; many lengths share one."""
    if found.series is None:
        return None
    lengths = np.repeat(list(found.series.lengths), list(found.series.lengths.values()))
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // _MOST_BARS)
    starts = np.arange(low, high + 1, width)
    counts = np.histogram(lengths, [*starts, starts[-1] + width])[0]
    step = _WIDTH / len(starts)
    return {
        "low": low,
        "high": high,
        "median": f"{np.median(lengths):g}",
        "bars": [
            {
                "x": f"{place * step + step * 0.08:.1f}",
                "width": f"{step * 0.84:.1f}",
                "height": f"{count / counts.max() * (_HEIGHT - 20):.1f}",
                "y": f"{_HEIGHT - count / counts.max() * (_HEIGHT - 20):.1f}",
                "name": f"{start}" if width == 1 else f"{start} to {start + width - 1}",
                "count": int(count),
            }
            for place, (start, count) in enumerate(zip(starts, counts, strict=True))
        ],
    }


def _classes(task: Task, data: Prepared) -> Iterator[Class]:
    """Images without any label, then with each."""
    truth = data.manifest[list(task.label_columns)]
    none = f"no {readable(task.primary)}" if len(task.labels) == 1 else "no label"
    chosen = [(none, (truth == 0).any(axis=1) & ~(truth == 1).any(axis=1))]
    chosen += [(readable(label), truth[f"label_{label}"] == 1) for label in task.labels]
    for name, rows in chosen:
        if rows.any():
            places = spread(data.manifest, rows, _EXAMPLES)
            yield Class(name, int(rows.sum()), [_shown(data, int(place), name) for place in places])


def _copies(data: Prepared, found: Statistics) -> list[tuple[str, list[Picture]]]:
    """Some groups of near duplicates: where their images lie, and the two that are most alike."""
    pairs = []
    for rows in found.duplicates.examples:
        lie = _most_alike(data, data.manifest.iloc[list(rows)])
        splits = " and ".join(dict.fromkeys(lie["split"]))
        patients = "one patient" if lie["patient_key"].nunique() == 1 else "two patients"
        pairs.append((f"{patients}, {splits}", [_shown(data, int(row), "near duplicate") for row in lie["row"]]))
    return pairs


def _most_alike(data: Prepared, group: pd.DataFrame) -> pd.DataFrame:
    """The two of a group, which may be a chain, that are most alike: of two splits or patients, if it has them."""
    images = data.pixels.take(group["row"].to_numpy(np.int64))[..., 0].reshape(len(group), -1)
    alike = np.triu(np.nan_to_num(np.corrcoef(images)), 1) - np.tri(len(group))
    for column in ("split", "patient_key"):
        code = group[column].factorize()[0]
        apart = code[:, None] != code
        if apart.any():
            alike = np.where(apart, alike, alike - 2)
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    return group.iloc[[int(first), int(second)]]


def _shown(data: Prepared, place: int, name: str) -> Picture:
    """One stored image; of several windows the first."""
    image = np.ascontiguousarray(data.pixels.take(np.array([place]))[0, ..., 0])
    if max(image.shape) > _SIDE:
        image = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return picture(name, cv2.imencode(".png", image)[1].tobytes())


def _facts(data: Prepared) -> list[tuple[str, str]]:
    form = data.preprocess
    windows = ", ".join(f"{window.center:g}/{window.width:g}" for window in form.windows)
    return [
        ("layout", data.name),
        ("data set's version", data.manifest_digest),
        ("store's version", data.store_digest),
        ("stored as", f"{form.size}\N{MULTIPLICATION SIGN}{form.size} pixels, {form.aspect}"),
        ("unit", f"{form.unit}{f', windows {windows} (center/width)' if windows else ''}"),
    ]
