"""What would make a figure untrue: the same patient or picture in two splits, or a class without images."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from secondread.data.manifest import label_columns
from secondread.errors import AuditError

CORRELATION = 0.99
# Below one gray level of deviation a picture is blank, such as air above the head; blank slices of many patients are
# alike without being copies.
_BLANK = 1.0
_BLOCK = 2048
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class AuditReport:
    """What the audit found.

    Args:
        counts: a row per split: images, patients, and for each label images with, without and of unknown label.
        duplicates: images that are a near duplicate of another.
        missing: a sentence per class without images.
        leaks: a sentence per kind of leak between splits.
    """

    counts: pd.DataFrame
    duplicates: int
    missing: tuple[str, ...]
    leaks: tuple[str, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that stops training."""
        return self.missing + self.leaks

    def refuse(self, acknowledge_leaks: bool) -> None:
        """Stop training on problems.

        Args:
            acknowledge_leaks: the user has read about the leaks and goes on; missing classes still stop.
        Raises:
            AuditError: lists the problems.
        """
        problems = self.missing if acknowledge_leaks else self.problems
        if problems:
            raise AuditError("the data cannot be trained on:\n- " + "\n- ".join(problems))

    def to_frame(self) -> pd.DataFrame:
        """The counts, for a table that is logged."""
        return self.counts

    def text(self) -> str:
        """The whole report as plain text."""
        found = [f"- {problem}" for problem in self.problems] or ["no problem found"]
        duplicates = f"{self.duplicates:,} images are near duplicates of another (correlation of 32x32 gray >= .99)"
        return "\n".join([self.counts.to_string(index=False), "", duplicates, *found]) + "\n"


def near_duplicate_groups(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group images that are near duplicates: Pearson correlation of their thumbnails >= .99, and chains of such.

    Measured on real data, it needs no second check: in chest_xray (5,856) it finds the 34 pairs of equal bytes and no
    other, none across train and test; in head_ct (200) the three known pairs; in ct_ich (2,471 slices) 151 pairs, every
    one inside one patient. A blank image is alone.

    Args:
        thumbnails: gray, shape (n, 32, 32).
    Returns:
        Group of each image, shape (n,), numbered by first appearance.
    """
    count = len(thumbnails)
    groups = np.arange(count)
    for first in range(0, count, _BLOCK):
        rows = _standardised(thumbnails[first : first + _BLOCK])
        for second in range(first, count, _BLOCK):
            columns = rows if second == first else _standardised(thumbnails[second : second + _BLOCK])
            left, right = np.nonzero(rows @ columns.T >= CORRELATION)
            distinct = left + first != right + second
            if distinct.any():
                groups = _merged(groups, groups[left[distinct] + first], groups[right[distinct] + second])
    return pd.factorize(groups)[0].astype(np.int64)


def join_groups(
    groups: NDArray[np.int64],
    thumbnails: NDArray[np.uint8],
    others: NDArray[np.int64],
    other_thumbnails: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Number the groups of two sets of images together, joining those between which there is a near duplicate.

    Args:
        groups: of the first set, shape (n,), from `near_duplicate_groups`.
        thumbnails: of the first set, shape (n, 32, 32).
        others: of the second set, shape (m,).
        other_thumbnails: of the second set, shape (m, 32, 32).
    Returns:
        Group of each image of the first set, then of the second, shape (n + m,), numbered by first appearance.
    """
    count = len(groups)
    joined = pd.factorize(np.concatenate([groups, others + groups.max(initial=-1) + 1]))[0].astype(np.int64)
    for first in range(0, count, _BLOCK):
        rows = _standardised(thumbnails[first : first + _BLOCK])
        for second in range(0, len(others), _BLOCK):
            columns = _standardised(other_thumbnails[second : second + _BLOCK])
            left, right = np.nonzero(rows @ columns.T >= CORRELATION)
            if left.size:
                joined = _merged(joined, joined[left + first], joined[right + count + second])
    return pd.factorize(joined)[0].astype(np.int64)


def audit(manifest: pd.DataFrame) -> AuditReport:
    """Examine a manifest that is split.

    Missing classes are those of the primary label, the first; the other labels are counted.
    """
    labels = label_columns(manifest)
    splits = [split for split in _SPLITS if (manifest["split"] == split).any()]
    counts = pd.DataFrame([_count(manifest[manifest["split"] == split], split, labels) for split in splits])
    copies = manifest["group"].duplicated(keep=False)
    return AuditReport(
        counts,
        int(copies.sum()),
        tuple(_missing(counts, labels[0])),
        tuple(_leaks(manifest, "patient_key", "patients"))
        + tuple(_leaks(manifest, "group", "groups of near duplicates")),
    )


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows whose dot products are correlations, shape (n, pixels); a blank image's is zero."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    blank = norm < _BLANK * np.sqrt(rows.shape[1])
    standardised: NDArray[np.float32] = np.where(blank, 0, rows / np.maximum(norm, _BLANK)).astype(np.float32)
    return standardised


def _merged(groups: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(groups), len(groups)))
    component = connected_components(links, directed=False)[1]
    merged: NDArray[np.int64] = component[groups].astype(np.int64)
    return merged


def _count(rows: pd.DataFrame, split: str, labels: list[str]) -> dict[str, object]:
    counted: dict[str, object] = {"split": split, "images": len(rows), "patients": rows["patient_key"].nunique()}
    for column in labels:
        label = column.removeprefix("label_")
        counted[label] = int((rows[column] == 1).sum())
        counted[f"no {label}"] = int((rows[column] == 0).sum())
        counted[f"{label} unknown"] = int(rows[column].isna().sum())
    return counted


def _missing(counts: pd.DataFrame, column: str) -> Iterator[str]:
    label = column.removeprefix("label_")
    for _, row in counts.iterrows():
        for title, what in ((label, f"with {label}"), (f"no {label}", f"without {label}")):
            if row[title] == 0:
                yield f"{row['split']} has no image {what} among {row['images']:,}; add images of that class"


def _leaks(manifest: pd.DataFrame, column: str, what: str) -> Iterator[str]:
    """One sentence for each pair of splits that share a patient or a group of near duplicates."""
    images = manifest.groupby([column, "split"]).size().unstack(fill_value=0)
    splits = [split for split in _SPLITS if split in images]
    for first, second in combinations(splits, 2):
        crossing = images[(images[first] > 0) & (images[second] > 0)]
        if len(crossing):
            yield (
                f"{len(crossing):,} {what} in both {first} ({int(crossing[first].sum()):,} images) and {second} "
                f"({int(crossing[second].sum()):,}); correct the given split, or go on with data.acknowledge_leaks=true"
            )
