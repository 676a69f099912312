"""RSNA Intracranial Hemorrhage Detection 2019: `ID_<hex>_<subtype>,Label` rows and a folder of `ID_<hex>.dcm`.

Source: kaggle.com/c/rsna-intracranial-hemorrhage-detection. Some rows are repeated; series are ordered by position.
"""

import re
from pathlib import PurePosixPath

import pandas as pd

from secondread.data.sources.headers import with_headers
from secondread.data.sources.index import Index, make_index
from secondread.data.sources.label_csv import columns_of, csv_files, drop_repeats, first_lines, read_table
from secondread.data.sources.labels import read_labels
from secondread.data.sources.listing import file_names, list_files, put_aside, subfolders, without_label
from secondread.errors import SourceError
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_ROW = re.compile(r"ID_\w+_(any|epidural|intraparenchymal|intraventricular|subarachnoid|subdural)", re.IGNORECASE)
_TRAIN_TABLES = ("stage_2_train.csv", "stage_1_train.csv")


class RsnaHemorrhage:
    """Six rows a slice; whose slice it is stands in the DICOM header."""

    layout = "rsna_hemorrhage"
    tasks = ("hemorrhage",)

    def recognises(self, root: Folder) -> str | None:
        """A table of `ID,Label` whose ids end in a label's name, beside a folder of DICOM files."""
        table = _table(root)
        if table is None or _folder(root, table) is None:
            return None
        return "a table of ID_<slice>_<label>,Label and a folder of DICOM files"

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        table = _table(root)
        folder = _folder(root, table) if table else None
        assert table is not None, "index follows recognises"
        assert folder is not None, "index follows recognises"
        labels = _pivot(read_table(root, table), root)
        listing = list_files(root, folder)
        files = {PurePosixPath(path).stem: path for path in listing.regular if path.lower().endswith(".dcm")}
        found = labels["slice"].isin(files.keys())
        missing = put_aside(
            [f"{name}.dcm" for name in labels.loc[~found, "slice"]], "missing_file", "the table's slice has no file"
        )
        labelled = labels[found].assign(path=labels.loc[found, "slice"].map(files))
        used = set(labelled["path"])
        unlabelled = without_label([path for path in listing.regular if path not in used])
        rows, rejected = with_headers(labelled, root, workers)
        aside = [listing.put_aside(), missing, unlabelled, *rejected]
        return make_index(self.layout, root, task, rows, aside, [], unit="HU")


def _pivot(table: pd.DataFrame, root: Folder) -> pd.DataFrame:
    """One row a slice, a column a label; the index is the slice's first line."""
    ids = table["id"]
    wrong = ~ids.str.fullmatch(_ROW.pattern, flags=re.IGNORECASE)
    if wrong.any():
        raise SourceError(
            f"{root}: row {table.index[int(wrong.to_numpy().argmax())]} of the label table has no id of the form "
            f"ID_<slice>_<label> ({int(wrong.sum())} such rows); correct or remove it"
        )
    parts = ids.str.rsplit("_", n=1, expand=True)
    long = pd.DataFrame(
        {
            "line": table.index,
            "slice": parts[0],
            "label": "label_" + parts[1].str.lower(),
            "value": read_labels(table["label"], f"{root}: Label"),
        }
    )
    lines = long.groupby("slice")["line"].min()
    said = drop_repeats(long[["slice", "label", "value"]], ["slice", "label"], root)
    wide = said.pivot(index="slice", columns="label", values="value").rename_axis(columns=None)
    return wide.reset_index().set_axis(lines[wide.index].to_numpy(), axis=0)


def _table(root: Folder) -> str | None:
    """The training labels: Kaggle's by name, otherwise the only table of that form."""
    tables = [path for path in csv_files(root) if _has_rows(root, path)]
    named = [path for name in _TRAIN_TABLES for path in tables if path.lower() == name]
    if named:
        return named[0]
    return tables[0] if len(tables) == 1 else None


def _has_rows(root: Folder, table: str) -> bool:
    if columns_of(root, table) != ["id", "label"]:
        return False
    second = [*first_lines(root, table), "", ""][1]
    return _ROW.fullmatch(second.split(",")[0].strip()) is not None


def _folder(root: Folder, table: str) -> str | None:
    """The folder named as the table, otherwise the only one with DICOM files."""
    folders = subfolders(root)
    named = PurePosixPath(table).stem.lower()
    if named in folders:
        return folders[named]
    dicom = [path for path in folders.values() if any(name.lower().endswith(".dcm") for name in file_names(root, path))]
    return dicom[0] if len(dicom) == 1 else None
