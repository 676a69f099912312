"""What every source answers: an index of its images, with labels, patients and what was put aside."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from secondread.config import Unit, Window
from secondread.data.manifest import subgroup_columns
from secondread.data.sources.labels import complete_labels
from secondread.data.sources.listing import put_aside as put_aside_rows
from secondread.errors import SourceError
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_TEXT_COLUMNS = ("path", "patient", "study", "series", "split")


@dataclass(frozen=True)
class Index:
    """A source's images before any of them is decoded.

    Args:
        layout: the source's name.
        root: the folder that paths are relative to.
        entries: a row per image: path (posix), patient, study, series (as the source writes them, "" unknown; a
            series of unknown study is one of its own), order (of a slice in its series, NaN unknown), split (`train`,
            `val` or `test` where the source gives it, or ""), then a `label_<label>` column per label of the task (1,
            0, NaN unknown), then a `subgroup_<name>` column (text, "" unknown) per subgroup that the source knows of
            any image. Sorted by path.
        put_aside: a row per file or label that is not used: path, rule, reason.
        unit: HU when every image is a CT DICOM, display otherwise.
        display_window: what a CT DICOM sent to a model of unit display is shown with.
        report: what was recognised, a line each; never names a file or folder below the root.
    """

    layout: str
    root: Folder
    entries: pd.DataFrame
    put_aside: pd.DataFrame
    unit: Unit
    display_window: Window | None
    report: tuple[str, ...]


class Source(Protocol):
    """Knows one public layout; adding one is one file and one line in `detect.py`."""

    @property
    def layout(self) -> str:
        """The name behind `data.layout`."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that it has labels for."""

    def recognises(self, root: Folder) -> str | None:
        """Say why `root` is this layout, or None when it is not. Quick, whatever the number of files."""

    def index(self, root: Folder, task: Task, workers: Workers) -> Index:
        """Index the images of `root`; `workers` read DICOM headers.

        Raises:
            SourceError: a label table is damaged, or no image has a label.
        """


def make_index(
    layout: str,
    root: Folder,
    task: Task,
    rows: pd.DataFrame,
    put_aside: list[pd.DataFrame],
    report: list[str],
    unit: Unit = "display",
    display_window: Window | None = None,
) -> Index:
    """Complete a source's rows to an index.

    Args:
        rows: `path` and whichever other columns of `Index.entries` the source knows; the frame's index is the line of
            the label table, which errors name.
        report: the source's own lines; counts are added.
    Raises:
        SourceError: no row is left, or labels contradict each other.
    """
    labels = complete_labels(rows, task, str(root))
    labelled = labels.notna().any(axis=1)
    silent = put_aside_rows(list(rows.loc[~labelled, "path"]), "no_label", "every label of this file is unknown")
    aside = pd.concat([silent, *put_aside], ignore_index=True)
    if not labelled.any():
        raise SourceError(
            f"{root}: read as {layout}, it holds no labelled image ({len(aside)} files or labels put aside); "
            "check that the folder is complete"
        )
    entries = _complete(rows[labelled], labels[labelled])
    lines = (*report, *_counts(entries, task), *_aside_counts(aside))
    return Index(layout, root, entries, aside, unit, display_window, lines)


def unit_of(rows: pd.DataFrame) -> Unit:
    """HU when every image is a CT DICOM by `modality`, which `headers.with_headers` reads."""
    return "HU" if len(rows) and (rows["modality"] == "CT").all() else "display"


def _complete(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, pd.Series] = {
        name: rows[name].astype(str) if name in rows else pd.Series("", rows.index, dtype=str) for name in _TEXT_COLUMNS
    }
    # A series whose study is not told is a study of its own.
    columns["study"] = columns["study"].where(columns["study"] != "", columns["series"])
    columns["order"] = rows["order"].astype(np.float64) if "order" in rows else pd.Series(np.nan, rows.index)
    entries = pd.DataFrame(columns)[["path", "patient", "study", "series", "order", "split"]]
    return (
        pd.concat([entries, labels, _known_subgroups(rows)], axis=1)
        .sort_values("path", kind="stable")
        .reset_index(drop=True)
    )


def _known_subgroups(rows: pd.DataFrame) -> pd.DataFrame:
    subgroups = rows[subgroup_columns(rows)].fillna("").astype(str)
    return subgroups.loc[:, (subgroups != "").any()]


def _counts(entries: pd.DataFrame, task: Task) -> list[str]:
    primary = entries[f"label_{task.primary}"]
    splits = {str(split): len(rows) for split, rows in entries.groupby("split") if split}
    given = f"; given splits: {', '.join(f'{name} {count:,}' for name, count in splits.items())}" if splits else ""
    patients = entries.loc[entries["patient"] != "", "patient"].nunique()
    subgroups = ", ".join(column.removeprefix("subgroup_") for column in subgroup_columns(entries))
    return [
        f"{len(entries):,} images ({int((primary == 1).sum()):,} with {task.primary}, "
        f"{int((primary == 0).sum()):,} without, {int(primary.isna().sum()):,} unknown), "
        f"{f'{patients:,} patients' if patients else 'patients unknown: every image counts as one'}{given}",
        *([f"subgroups known: {subgroups}"] if subgroups else []),
    ]


def _aside_counts(aside: pd.DataFrame) -> list[str]:
    if aside.empty:
        return []
    counts = aside["rule"].value_counts()
    return ["put aside: " + ", ".join(f"{count:,} {rule}" for rule, count in counts.items())]
