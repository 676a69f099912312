"""A table of your own: a CSV with `path`, a column per label, and perhaps patient, study, series, split and order.

Labels are 1, 0 or empty for unknown; columns are named by label or `label_<label>`; paths are relative to the table.
`sex`, `age` (in years) and any column `subgroup_<name>` tell the subgroups that a model's figures are looked at for.
"""

from pathlib import PurePosixPath

import pandas as pd

from secondread.config import WINDOWS
from secondread.data.manifest import subgroup_columns
from secondread.data.sources.headers import with_headers
from secondread.data.sources.index import Index, make_index, unit_of
from secondread.data.sources.label_csv import columns_of, csv_files, drop_repeats, read_table
from secondread.data.sources.labels import read_labels
from secondread.data.sources.listing import list_files, put_aside, without_label
from secondread.data.sources.subgroups import age_band, sex_of
from secondread.errors import SourceError
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.storage.folder import Seen
from secondread.tasks import Task, load_task, task_names

_TEXTS = ("patient", "study", "series")
_COARSE = {"sex": sex_of, "age": age_band}
_SPLITS = {"": "", "train": "train", "val": "val", "validation": "val", "test": "test"}
_REASONS = {
    "missing_file": "the table's path is no file",
    "outside": "the table's path leaves the table's folder",
    "not_regular": "a link or device, not a plain file",
}


class Table:
    """The CSV itself, or a folder with exactly one CSV that has a `path` column."""

    layout = "table"
    tasks = ("hemorrhage", "pneumonia")

    def __init__(self, table: str | None = None) -> None:
        self._named = table

    def recognises(self, root: Folder) -> str | None:
        """A `path` column and a column of any task's label."""
        return "a table with the column path and columns of labels" if self._table(root) else None

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        table = self._table(root)
        assert table is not None, "index follows recognises"
        rows = drop_repeats(_read(root, table, task), ["path"], root)
        named = {PurePosixPath(path).as_posix() for path in rows["path"]}
        found = list_files(root).regular if self._named is None else ()
        judged = pd.Series(_judge(root, list(rows["path"])), rows.index, dtype=str)
        aside = [put_aside(list(rows.loc[judged == rule, "path"]), rule, reason) for rule, reason in _REASONS.items()]
        aside.append(without_label([path for path in found if path not in named]))
        rows, rejected = with_headers(rows[judged == ""], root, workers)
        window = WINDOWS["brain"] if task.name == "hemorrhage" else None
        aside += rejected
        return make_index(self.layout, root, task, rows, aside, [], unit=unit_of(rows), display_window=window)

    def _table(self, root: Folder) -> str | None:
        candidates = csv_files(root) if self._named is None else [self._named]
        tables = [path for path in candidates if _is_table(columns_of(root, path))]
        return tables[0] if len(tables) == 1 else None


def _read(root: Folder, table: str, task: Task) -> pd.DataFrame:
    read = read_table(root, table)
    columns = _label_columns(list(read.columns), task)
    if not columns:
        raise SourceError(
            f"{root}: none of the table's {len(read.columns)} columns is a label of {task.name}; "
            f"name one of them {' or '.join(task.labels)}"
        )
    rows = pd.DataFrame({"path": [PurePosixPath(path).as_posix() for path in read["path"]]}, read.index)
    for label, column in columns.items():
        rows[f"label_{label}"] = read_labels(read[column], f"{root}: {column}")
    for name in _TEXTS:
        if name in read:
            rows[name] = read[name]
    if "split" in read:
        rows["split"] = _splits(read["split"], root)
    if "order" in read:
        rows["order"] = _orders(read["order"], root)
    return rows.assign(**_subgroups(read))


def _subgroups(read: pd.DataFrame) -> dict[str, pd.Series]:
    """Subgroups as the table has them; sex and age no finer than sources tell them."""
    told = {name: read[name] for name in subgroup_columns(read)}
    for name, coarse in _COARSE.items():
        spelt = [column for column in (f"subgroup_{name}", name) if column in read]
        told |= {f"subgroup_{name}": read[column].map(coarse) for column in spelt[:1]}
    return told


def _splits(texts: pd.Series, root: Folder) -> pd.Series:
    splits = texts.str.lower().map(_SPLITS)
    _refuse(texts, splits.isna(), root, "split", "write train, val, test, or leave it empty")
    return splits.astype(str)


def _orders(texts: pd.Series, root: Folder) -> pd.Series:
    orders = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype("float64")
    _refuse(texts, orders.isna() & (texts != ""), root, "order", "write a number, or leave it empty")
    return orders


def _refuse(texts: pd.Series, wrong: pd.Series, root: Folder, column: str, step: str) -> None:
    if wrong.any():
        first = int(wrong.to_numpy().argmax())  # not quoted: where columns have shifted, it may be a name
        raise SourceError(f"{root}: {column}: row {texts.index[first]} says something else; {step}")


def _judge(root: Folder, paths: list[str]) -> list[str]:
    """The rule that puts each path aside, or ""."""
    inside = [not (path.startswith("/") or ".." in PurePosixPath(path).parts) for path in paths]
    looked_at = iter(root.look([path for path, is_inside in zip(paths, inside, strict=True) if is_inside]))
    return [_rule(next(looked_at)) if is_inside else "outside" for is_inside in inside]


def _rule(seen: Seen | None) -> str:
    if seen is None or seen.kind == "folder":
        return "missing_file"
    return "" if seen.kind == "file" else "not_regular"


def _label_columns(columns: list[str], task: Task) -> dict[str, str]:
    """The table's column of each label it has."""
    spelt = {label: [name for name in (label, f"label_{label}") if name in columns] for label in task.labels}
    return {label: names[0] for label, names in spelt.items() if names}


def _is_table(columns: list[str]) -> bool:
    return "path" in columns and any(_label_columns(columns, load_task(name)) for name in task_names())
