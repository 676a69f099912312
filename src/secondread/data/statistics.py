"""A data set in numbers: labels that occur together, intensities, duplicates, subgroups, series, what was put aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from secondread.data.intensities import Intensities, intensities
from secondread.data.manifest import label_columns, shareable, subgroup_columns
from secondread.data.store import Pixels
from secondread.imaging.preprocess import Preprocess

_FAR = 1.5  # spacings between two neighbours, from which on a slice is missing
_SAME = 0.01  # mm: two slices in one place, however their positions were rounded
_EXAMPLES, _SHOWN = 6, 16


@dataclass(frozen=True)
class Duplicates:
    """Near duplicates: groups of at least two images that are alike.

    Args:
        sizes: how many groups there are of each size, in ascending order.
        across_patients: groups that hold images of several patients.
        across_splits: groups that lie in several splits.
        examples: positions in the manifest of the images of some groups, 16 at most each; those across splits
            or patients come first.
    """

    images: int
    groups: int
    sizes: Mapping[int, int]
    across_patients: int
    across_splits: int
    examples: Sequence[Sequence[int]]


@dataclass(frozen=True)
class SeriesLengths:
    """Series whose slices have a place.

    Args:
        lengths: how many series there are of each number of slices, in ascending order.
        gaps: series in which neighbours are further apart than one and a half of the series' spacing.
        repeats: series in which two slices lie in one place.
        unplaced: images of a series that have no place in it, or lie in another plane than the others.
    """

    count: int
    lengths: Mapping[int, int]
    gaps: int
    repeats: int
    unplaced: int

    def text(self) -> str:
        """Tell it in a line that names no series."""
        said = [f"{self.count:,} series of {min(self.lengths):,} to {max(self.lengths):,} slices"]
        said += [f"{self.gaps:,} with a gap between slices"] * (self.gaps > 0)
        said += [f"{self.repeats:,} with two slices in one place"] * (self.repeats > 0)
        said += [f"{self.unplaced:,} image{'s' * (self.unplaced > 1)} without a place in theirs"] * (self.unplaced > 0)
        return "; ".join(said)


@dataclass(frozen=True)
class Statistics:
    """What a data set is made of; nothing in it names a patient, a file or a folder.

    Args:
        together: by label and label, how many images have both; the diagonal is each label alone or not.
        none: images that have no label at all, all of them known.
        subgroups: a row per value of a subgroup: subgroup, value ("" unknown), patients, images, positive (share with
            the primary label among the known, NaN where none is); small ones are part of the unknown.
        put_aside: files by rule, the most frequent first.
        series: None where no image has a place in a series.
    """

    studies: int
    together: pd.DataFrame
    none: int
    intensities: Intensities
    duplicates: Duplicates
    subgroups: pd.DataFrame
    put_aside: Mapping[str, int]
    series: SeriesLengths | None


def statistics(
    manifest: pd.DataFrame, pixels: Pixels, preprocess: Preprocess, put_aside: Mapping[str, int]
) -> Statistics:
    """Count a data set.

    Args:
        manifest: split; `row` is an image's place in `pixels`, which is its own row where there is no such column.
        put_aside: files that are no images of the set, by rule.
    """
    truth = manifest[label_columns(manifest)]
    names = [str(column).removeprefix("label_") for column in truth]
    present = (truth == 1).to_numpy(np.int64)
    return Statistics(
        manifest.loc[manifest["study_key"] != "", "study_key"].nunique(),
        pd.DataFrame(present.T @ present, names, names),
        int((truth == 0).all(axis=1).sum()),
        intensities(manifest, pixels, preprocess),
        _duplicates(manifest),
        _subgroups(manifest),
        dict(sorted(put_aside.items(), key=lambda item: (-item[1], item[0]))),
        series_lengths(manifest),
    )


def _duplicates(manifest: pd.DataFrame) -> Duplicates:
    copies = manifest.reset_index(drop=True)
    copies = copies[copies["group"].duplicated(keep=False)]
    groups = copies.groupby("group")
    found = pd.DataFrame(
        {"splits": groups["split"].nunique(), "patients": groups["patient_key"].nunique(), "images": groups.size()}
    ).sort_values(["splits", "patients", "images"], ascending=False, kind="stable")
    sizes = found["images"].value_counts().sort_index()
    return Duplicates(
        len(copies),
        len(found),
        _numbers(sizes),
        int((found["patients"] > 1).sum()),
        int((found["splits"] > 1).sum()),
        [[int(row) for row in copies.index[copies["group"] == group][:_SHOWN]] for group in found.index[:_EXAMPLES]],
    )


def _subgroups(manifest: pd.DataFrame) -> pd.DataFrame:
    shared = shareable(manifest)
    primary = label_columns(manifest)[0]
    rows = [
        {
            "subgroup": column.removeprefix("subgroup_"),
            "value": value,
            "patients": part["patient_key"].nunique(),
            "images": len(part),
            "positive": part[primary].mean(),
        }
        for column in subgroup_columns(shared)
        for value, part in sorted(shared.groupby(column), key=lambda item: (item[0] == "", item[0]))
    ]
    return pd.DataFrame(rows, columns=["subgroup", "value", "patients", "images", "positive"])


def series_lengths(manifest: pd.DataFrame) -> SeriesLengths | None:
    """Count series with their gaps and repeats; None where no image has a place in one."""
    in_series = manifest[manifest["series_key"] != ""]
    placed = in_series[in_series["order"].notna()]
    if placed.empty:
        return None
    ordered = placed.sort_values(["series_key", "order"], kind="stable")
    steps = ordered.groupby("series_key")["order"].diff()
    is_same = steps <= _SAME
    # Repeats are no steps: a series that was stored twice has a gap nowhere.
    spacing = steps.where(~is_same).groupby(ordered["series_key"]).transform("median")
    far = (steps > _FAR * spacing).groupby(ordered["series_key"]).any()
    same = is_same.groupby(ordered["series_key"]).any()
    lengths = ordered.groupby("series_key").size().value_counts().sort_index()
    return SeriesLengths(
        len(far),
        _numbers(lengths),
        int(far.sum()),
        int(same.sum()),
        len(in_series) - len(placed),
    )


def _numbers(counts: pd.Series) -> dict[int, int]:
    return dict(zip(counts.index.astype(int).tolist(), counts.astype(int).tolist(), strict=True))
