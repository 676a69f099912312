"""The manifest: a row per image, with labels, patient, duplicate group and split; and the digest that versions it."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.data.patient_key import patient_key
from secondread.errors import SourceError

COLUMNS = ("image_key", "path", "patient_key", "study_key", "series_key", "order", "group", "split", "given")
_SHARED = ("image_key", "patient_key", "study_key", "series_key", "order", "split")
_FEWEST_PATIENTS = 5  # of a subgroup that is named: a smaller cell of a published table can identify someone


def label_columns(frame: pd.DataFrame) -> list[str]:
    """The label columns of entries or of a manifest, in the task's order: the primary label first."""
    return [column for column in frame.columns if column.startswith("label_")]


def subgroup_columns(frame: pd.DataFrame) -> list[str]:
    """The subgroup columns of entries or of a manifest, in alphabetical order; a source may know of none."""
    return sorted(column for column in frame.columns if column.startswith("subgroup_"))


def make_manifest(entries: pd.DataFrame, groups: NDArray[np.int64], secret: bytes) -> pd.DataFrame:
    """Make the manifest of a source's images, not yet split.

    Args:
        entries: rows of `Index.entries` with an `image_key` column.
        groups: near-duplicate group of each row, shape (n,), from `audit.near_duplicate_groups`.
        secret: from `patient_key.load_secret`.
    Returns:
        `COLUMNS`, then the label and the subgroup columns. An image of unknown patient is a patient of its own; unknown
        study and series have the key "". `given` says that the split is the source's own.
    Raises:
        SourceError: a label is other than 1, 0 and NaN.
    """
    check_labels(entries, label_columns(entries))
    manifest = pd.DataFrame(
        {
            "image_key": entries["image_key"].astype(str),
            "path": entries["path"].astype(str),
            "patient_key": _patient_keys(entries, secret),
            "study_key": _keys(entries["study"], "study", secret),
            "series_key": _keys(entries["series"], "series", secret),
            "order": entries["order"].astype(np.float64),
            "group": np.asarray(groups, np.int64),
            "split": entries["split"].astype(str),
            "given": entries["split"] != "",
        }
    )
    labels = entries[label_columns(entries)].astype(np.float64)
    subgroups = entries[subgroup_columns(entries)].astype(str)
    return pd.concat([manifest, labels, subgroups], axis=1).reset_index(drop=True)


def shareable(manifest: pd.DataFrame) -> pd.DataFrame:
    """What a run tells of its images: no path, and no subgroup of so few patients that it could point at one.

    Args:
        manifest: split; `fold` is -1 where it has none.
    Returns:
        image_key, patient_key, study_key, series_key, order, split, fold, label columns, subgroup columns; a row an
        image, in the manifest's order. A subgroup of fewer than 5 patients is "" (unknown), and so are the next larger
        ones until 5 patients are: who is the only unknown one could be told by what the others are.
    """
    fold = manifest["fold"] if "fold" in manifest else pd.Series(-1, manifest.index, dtype=np.int64)
    shared = manifest[list(_SHARED)].assign(fold=fold.astype(np.int64))
    subgroups = {column: _without_small(manifest, column) for column in subgroup_columns(manifest)}
    return pd.concat([shared, manifest[label_columns(manifest)]], axis=1).assign(**subgroups).reset_index(drop=True)


def _without_small(manifest: pd.DataFrame, column: str) -> pd.Series:
    named = manifest[column].fillna("").astype(str)
    patients = manifest["patient_key"].groupby(named).nunique().drop("", errors="ignore").sort_values(kind="stable")
    kept = set(patients[patients >= _FEWEST_PATIENTS].index)
    for value in patients.index:
        hidden = manifest.loc[~named.isin(kept), "patient_key"].nunique()
        if len(kept) == len(patients) or hidden >= _FEWEST_PATIENTS:
            break
        kept.discard(value)
    return named.where(named.isin(kept), "")


def check_labels(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse labels other than 1, 0 and NaN.

    Raises:
        SourceError: names the first row (from 0), the column and the value.
    """
    for column in columns:
        values = frame[column].to_numpy(np.float64)
        wrong = np.flatnonzero(~(np.isnan(values) | (values == 0) | (values == 1)))
        if wrong.size:
            raise SourceError(
                f"{column}: row {wrong[0]} is {values[wrong[0]]:g} ({wrong.size} such rows); "
                "a label is 1 present, 0 absent or NaN unknown"
            )


def manifest_digest(manifest: pd.DataFrame) -> str:
    """The data set's version: source bytes, labels, patients and split.

    The same images give the same digest whatever the secret, the row order and the folder: a patient enters as the
    smallest image key among its images.

    Returns:
        SHA-256 as 64 hexadecimal characters.
    """
    labels = label_columns(manifest)
    smallest = manifest.groupby("patient_key")["image_key"].transform("min")
    lines = manifest["image_key"] + " " + smallest + " " + manifest["split"]
    for column in labels:
        lines = lines + " " + manifest[column].map({0.0: "0", 1.0: "1"}).fillna("?")
    text = "\n".join([" ".join(labels), *sorted(lines)])
    return hashlib.sha256(text.encode()).hexdigest()


def _patient_keys(entries: pd.DataFrame, secret: bytes) -> pd.Series:
    """A prefix keeps an image key, which stands for an unknown patient, apart from every patient id."""
    known = entries["patient"].str.strip() != ""
    identity = entries["patient"].str.strip().where(known, "image " + entries["image_key"])
    keys = {text: patient_key(secret, text) for text in identity.unique()}
    return identity.map(keys).astype(str)


def _keys(texts: pd.Series, level: str, secret: bytes) -> pd.Series:
    keys = {text: patient_key(secret, f"{level} {text.strip()}") if text.strip() else "" for text in texts.unique()}
    return texts.map(keys).astype(str)
