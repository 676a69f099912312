"""Kermany chest X-rays: `chest_xray/{train,val,test}/{NORMAL,PNEUMONIA}`.

Source: Kermany, Zhang, Goldbaum, Mendeley Data, doi:10.17632/rscbjbr9sj.2, and its copy on Kaggle, whose zip nests a
second whole copy in `chest_xray/chest_xray` beside `__MACOSX`.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pandas as pd

from secondread.data.sources.index import Index, make_index
from secondread.data.sources.listing import file_names, list_files, subfolders, without_label
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task

_CLASSES = {"normal": 0.0, "pneumonia": 1.0}
# The 16 images of val were cut from train on Kaggle and continue its numbering; they are too few to choose by.
_SPLITS = {"train": "train", "val": "train", "test": "test"}
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
_NORMAL = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+", re.IGNORECASE)
_DEPTH = 2


class Kermany:
    """The official split: test is kept, val joins train."""

    layout = "chest_xray"
    tasks = ("pneumonia",)

    def recognises(self, root: Folder) -> str | None:
        """Folders NORMAL or PNEUMONIA, perhaps inside train, val and test, with files named as Kermany's are."""
        base = _base(root)
        if base is None:
            return None
        splits = ", ".join(name for name in _SPLITS if name in subfolders(root, base))
        copies = " (the nested copy is counted once)" if _base_below(root, base) else ""
        return f"Kermany's file names in NORMAL and PNEUMONIA folders{f' of {splits}' if splits else ''}{copies}"

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        base = _base(root)
        assert base is not None, "index follows recognises"
        # A split given alone, such as chest_xray/test, names its patients as the whole does.
        alone = _SPLITS.get(root.name.lower(), "")
        rows, aside, report = [], [], []
        for folder, split in _split_folders(root, base):
            listing = list_files(root, folder)
            found, unlabelled = _rows(listing.regular, len(PurePosixPath(folder).parts), split, split or alone)
            rows.append(found)
            aside += [listing.put_aside(), without_label(unlabelled)]
            if PurePosixPath(folder).name.lower() == "val":
                report.append(f"the official val of {len(found)} images joins train; a val is drawn by patient")
        return make_index(self.layout, root, task, pd.concat(rows, ignore_index=True), aside, report)


def patient_of(name: str, split: str) -> str:
    """The patient that a file name tells.

    `personN` restarts between train and test and between bacteria and virus, so both belong to the patient; the numbers
    of NORMAL files go on from train to test, and `IM-N` and `NORMAL2-IM-N` are different people.

    Args:
        name: a file name, such as `person80_virus_150.jpeg`.
        split: `train` (also for val, which was cut from it) or `test`; "" when folders do not tell.
    Returns:
        A patient id, or "" when the name tells none.
    """
    person, normal = _PERSON.match(name), _NORMAL.match(name)
    if person:
        return f"{split}-{person[1]}-{person[2]}".lower()
    return normal[1].lower() if normal else ""


def cause_of(name: str) -> str:
    """Which germ a file name tells, `bacteria` or `virus`; "" of a normal chest."""
    person = _PERSON.match(name)
    return person[2].lower() if person else ""


def _rows(paths: tuple[str, ...], depth: int, split: str, namespace: str) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the files in class folders, which lie `depth` folders below the root, and the other files."""
    parts = [(path, PurePosixPath(path).parts) for path in paths]
    labelled = [(path, part) for path, part in parts if len(part) > depth + 1 and part[depth].lower() in _CLASSES]
    rows = pd.DataFrame(
        {
            "path": [path for path, _ in labelled],
            "patient": [patient_of(part[-1], namespace) for _, part in labelled],
            "split": split,
            "subgroup_cause": [cause_of(part[-1]) for _, part in labelled],
            "label_pneumonia": [_CLASSES[part[depth].lower()] for _, part in labelled],
        }
    )
    known = set(rows["path"])
    return rows, [path for path in paths if path not in known]


def _split_folders(root: Folder, base: str) -> Iterator[tuple[str, str]]:
    folders = subfolders(root, base)
    splits = [(folders[name], split) for name, split in _SPLITS.items() if name in folders]
    yield from splits or [(base, "")]


def _base(root: Folder) -> str | None:
    """The shallowest folder that has the layout, so that nested copies are counted once."""
    return "" if _is_base(root, "") else _base_below(root, "")


def _base_below(root: Folder, base: str) -> str | None:
    level = [base]
    for _ in range(_DEPTH):
        level = [folder for parent in level for name, folder in subfolders(root, parent).items() if name not in _SPLITS]
        for folder in level:
            if _is_base(root, folder):
                return folder
    return None


def _is_base(root: Folder, folder: str) -> bool:
    classes = [
        path
        for part, _ in _split_folders(root, folder)
        for name, path in subfolders(root, part).items()
        if name in _CLASSES
    ]
    return any(patient_of(name, "") for path in classes for name in file_names(root, path))
