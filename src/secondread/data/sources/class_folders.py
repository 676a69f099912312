"""Folders named by class, at any depth: `Normal/`, `Hemorrhage/`, perhaps inside `train/`, `val/` and `test/`."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import pandas as pd

from secondread.config import WINDOWS
from secondread.data.sources.headers import with_headers
from secondread.data.sources.index import Index, make_index, unit_of
from secondread.data.sources.listing import list_files, subfolders, without_label
from secondread.errors import SourceError
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
# Names as `_plain` leaves them. What a folder says is present; a folder of absence says so of the primary label.
_PRESENT: Mapping[str, Mapping[str, str]] = {
    "hemorrhage": {
        "hemorrhage": "any",
        "hemorrhagic": "any",
        "haemorrhage": "any",
        "haemorrhagic": "any",
        "ich": "any",
        **{name: name for name in _SUBTYPES},
    },
    "pneumonia": {"pneumonia": "pneumonia", "bacterialpneumonia": "pneumonia", "viralpneumonia": "pneumonia"},
}
_ABSENT = {"normal", "negative", "healthy"}
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_DEPTH = 4


class ClassFolders:
    """A file's class is the nearest class-named folder above it; a folder below that one is a patient."""

    layout = "class_folders"
    tasks = ("hemorrhage", "pneumonia")

    def recognises(self, root: Folder) -> str | None:
        """At least one folder named as a class of any task."""
        names = _class_names(root)
        return f"folders named {', '.join(sorted(names))}" if names else None

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        _refuse_other_task(root, task)
        listing = list_files(root)
        described = {path: _describe(path, task) for path in listing.regular}
        rows = pd.DataFrame([row for row in described.values() if row], columns=["path", "patient", "split", "label"])
        rows["label_" + task.primary] = (rows["label"] != "").astype("float64")
        for label in set(rows["label"]) & set(task.labels):
            rows.loc[rows["label"] == label, f"label_{label}"] = 1.0
        unlabelled = without_label([path for path, row in described.items() if row is None])
        rows, rejected = with_headers(rows, root, workers)
        window = WINDOWS["brain"] if task.name == "hemorrhage" else None
        aside = [listing.put_aside(), unlabelled, *rejected]
        return make_index(self.layout, root, task, rows, aside, [], unit=unit_of(rows), display_window=window)


def _describe(path: str, task: Task) -> tuple[str, str, str, str] | None:
    """Path, patient, split and the label that is present ("" for none); None below no class folder."""
    folders = PurePosixPath(path).parts[:-1]
    meanings = [_meaning(folder, task.name) for folder in folders]
    named = [depth for depth, meaning in enumerate(meanings) if meaning is not None]
    if not named:
        return None
    splits = [_SPLITS[folder.lower()] for folder in folders if folder.lower() in _SPLITS]
    below = [folder for folder in folders[named[-1] + 1 :] if folder.lower() not in _SPLITS]
    return path, "/".join(below), splits[-1] if splits else "", meanings[named[-1]] or ""


def _meaning(folder: str, task: str) -> str | None:
    """The label that a folder's name says is present, "" when it says that none is, None when it says nothing."""
    name, present = _plain(folder), _PRESENT[task]
    if name in present:
        return present[name]
    without = re.sub("^(non|not|no)", "", name)
    return "" if name in _ABSENT or (without != name and present.get(without) in ("any", task)) else None


def _plain(folder: str) -> str:
    return re.sub("[^a-z]", "", folder.lower())


def _class_names(root: Folder) -> set[str]:
    """Plain names of the class folders down to some depth, of any task."""
    names: set[str] = set()
    level = [""]
    for _ in range(_DEPTH):
        below = [path for folder in level for path in subfolders(root, folder).values()]
        found = {path.rpartition("/")[2] for path in below}
        names |= {_plain(name) for name in found if any(_meaning(name, task) is not None for task in _PRESENT)}
        level = below
    return names


def _refuse_other_task(root: Folder, task: Task) -> None:
    names = _class_names(root)
    others = sorted(name for name in names if _meaning(name, task.name) is None)
    if others or not names:
        raise SourceError(
            f"{root}: its class folders are named {', '.join(sorted(names)) or 'nothing known'}, which is not for "
            f"{task.name}; use the other task, or folders named normal and {' or '.join(_PRESENT[task.name])}"
        )
