"""What came, went or changed between two stores: patients, images, labels, splits and preprocessing; by keys alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from secondread.data.manifest import label_columns
from secondread.data.store import Store
from secondread.errors import StoreError

PatientsBy = Literal["key", "images"]
_SIDES = ("before", "after")
_ROW = ["image_key", "number"]


@dataclass(frozen=True)
class Side:
    """One of the two stores: its versions and sizes."""

    manifest_digest: str
    store_digest: str
    images: int
    patients: int
    put_aside: Mapping[str, int]  # files by rule


@dataclass(frozen=True)
class Difference:
    """What is not the same in two stores.

    Args:
        patients_by: `key` where both stores were made with one secret; `images` where they were not: the keys of a
            patient differ then, and patients are the same who share an image.
        images: a row per image that came, went or changed: image_key, change, what (of a changed one: `labels`,
            `split`, `patient`, separated by blanks), then patient_key, split and each label before and after.
        patients: a row per patient that came, went or changed (has images of a patient who was another): key and number
            of images before and after.
        kept: images that are in both and the same, and such patients.
        labels: by label, how many images changed from what to what.
        splits: how many images changed from what to what.
        preprocess: by setting, its value before and after.
    """

    before: Side
    after: Side
    patients_by: PatientsBy
    images: pd.DataFrame
    patients: pd.DataFrame
    kept: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    splits: Mapping[str, int]
    preprocess: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        """Whether a training would see the same."""
        return self.images.empty and self.patients.empty and not self.preprocess

    def counts(self, of: Literal["images", "patients"]) -> dict[str, int]:
        """How many came, went, changed and stayed."""
        table = self.images if of == "images" else self.patients
        found = table["change"].value_counts()
        return {change: int(found.get(change, 0)) for change in ("came", "went", "changed")} | {"kept": self.kept[of]}

    def summary(self) -> dict[str, Any]:
        """Everything but the rows, for JSON."""
        what = self.images["what"].str.split().explode().value_counts()
        return {
            "format": 1,
            "same": self.same,
            "before": vars(self.before),
            "after": vars(self.after),
            "images": self.counts("images"),
            "changed": {name: int(what.get(name, 0)) for name in ("labels", "split", "patient")},
            "patients_by": self.patients_by,
            "patients": self.counts("patients"),
            "labels": self.labels,
            "splits": self.splits,
            "preprocess": {name: dict(zip(_SIDES, values, strict=True)) for name, values in self.preprocess.items()},
        }


def difference(before: Store, after: Store) -> Difference:
    """Compare two stores of one task.

    Raises:
        StoreError: they are for different tasks.
    """
    if before.description.task != after.description.task:
        raise StoreError(
            f"{before.folder} is a store for {before.description.task}, {after.folder} one for "
            f"{after.description.task}; compare stores of one task"
        )
    labels = sorted({*label_columns(before.manifest), *label_columns(after.manifest)})
    both = _rows(before.manifest, labels).merge(
        _rows(after.manifest, labels), on=_ROW, how="outer", suffixes=("_before", "_after"), indicator="change"
    )
    both["change"] = both["change"].astype(str).map({"left_only": "went", "right_only": "came", "both": "kept"})
    by: PatientsBy = "key" if before.secret_digest == after.secret_digest else "images"
    patients = _patients(both, by)
    changes = _changes(both, labels, patients)
    both["what"] = [" ".join(name for name, changed in changes.items() if changed[row]) for row in range(len(both))]
    both["change"] = both["change"].mask(both["what"] != "", "changed")
    columns = [f"{name}_{side}" for name in ("patient_key", "split", *labels) for side in _SIDES]
    ordered = both.sort_values(["change", *_ROW], kind="stable")
    images = ordered.loc[ordered["change"] != "kept", ["image_key", "change", "what", *columns]]
    return Difference(
        _side(before),
        _side(after),
        by,
        images.reset_index(drop=True),
        patients[patients["change"] != "kept"].reset_index(drop=True),
        {"images": int((both["change"] == "kept").sum()), "patients": int((patients["change"] == "kept").sum())},
        {label.removeprefix("label_"): moves for label in labels if (moves := _label_moves(both, label))},
        _moves(both["split_before"], both["split_after"], changes["split"]),
        _preprocess(before, after),
    )


def _side(store: Store) -> Side:
    manifest = store.manifest
    aside = store.put_aside()["rule"].value_counts()
    return Side(
        store.manifest_digest,
        store.store_digest,
        len(manifest),
        manifest["patient_key"].nunique(),
        {str(rule): int(count) for rule, count in sorted(aside.items())},
    )


def _rows(manifest: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Rows that can be paired: copies of one file are numbered, those that are alike in both stores alike."""
    columns = ["image_key", "split", *label_columns(manifest), "patient_key"]
    rows = manifest[columns].sort_values(columns, kind="stable").reset_index(drop=True)
    rows["number"] = rows.groupby("image_key").cumcount()
    return rows.reindex(columns=[*_ROW, "patient_key", "split", *labels])


def _changes(both: pd.DataFrame, labels: list[str], patients: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Of each row, whether its labels, split or patient changed."""
    kept = (both["change"] == "kept").to_numpy()
    other = np.zeros(len(both), bool)
    for label in labels:
        first, second = both[f"{label}_before"], both[f"{label}_after"]
        other |= ((first != second) & ~(first.isna() & second.isna())).to_numpy()
    moved = (both["split_before"] != both["split_after"]).to_numpy()
    same = patients[patients["change"] == "kept"]
    pairs = pd.MultiIndex.from_frame(same[["patient_key_before", "patient_key_after"]])
    stays = pd.MultiIndex.from_frame(both[["patient_key_before", "patient_key_after"]]).isin(pairs)
    return {"labels": kept & other, "split": kept & moved, "patient": kept & ~stays}


def _patients(both: pd.DataFrame, by: PatientsBy) -> pd.DataFrame:
    """Every patient of either store, with what became of them and how many images they have."""
    columns = [f"patient_key_{side}" for side in _SIDES]
    counts = {column: both[column].value_counts() for column in columns}
    found = _same_key(both, columns) if by == "key" else _shared_image(both, columns)
    before, after = (found[column].notna() for column in columns)
    torn, joined = (found[column].duplicated(keep=False) & found[column].notna() for column in columns)
    found["change"] = np.select([~before, ~after, torn | joined], ["came", "went", "changed"], "kept")
    for side, column in zip(_SIDES, columns, strict=True):
        found[f"images_{side}"] = found[column].map(counts[column]).fillna(0).astype(np.int64)
    return found.sort_values(["change", *columns], kind="stable")


def _same_key(both: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    keys = pd.Series(sorted({key for column in columns for key in both[column].dropna()}), dtype=object)
    return pd.DataFrame({column: keys.where(keys.isin(both[column]), None) for column in columns})


def _shared_image(both: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    shared = both.loc[both["change"] == "kept", columns].drop_duplicates()
    alone = [
        both.loc[both[column].notna() & ~both[column].isin(shared[column]), [column]].drop_duplicates()
        for column in columns
    ]
    return pd.concat([shared, *alone], ignore_index=True).reindex(columns=columns)


def _label_moves(both: pd.DataFrame, label: str) -> dict[str, int]:
    first, second = (both[f"{label}_{side}"].map({0.0: "absent", 1.0: "present"}).fillna("unknown") for side in _SIDES)
    return _moves(first, second, (both["change"].isin(["kept", "changed"]) & (first != second)).to_numpy())


def _moves(before: pd.Series, after: pd.Series, chosen: NDArray[np.bool_]) -> dict[str, int]:
    told = (before[chosen] + " to " + after[chosen]).value_counts()
    return {str(move): int(count) for move, count in sorted(told.items())}


def _preprocess(before: Store, after: Store) -> dict[str, tuple[Any, Any]]:
    first, second = (store.description.preprocess.model_dump(mode="json") for store in (before, after))
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}
