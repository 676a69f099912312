"""What would make a figure untrue: the same patient or picture in two splits, or a class without images."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from secondread.data.manifest import label_columns
from secondread.errors import AuditError

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
