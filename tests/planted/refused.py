"""Sources that are refused, each because of something that names a patient."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from bad_files.neighbours import neighbours
from bad_files.sound import PICTURES, xray

from planted.dicom import broken, plant
from planted.pictures import plant_png
from planted.words import CYRILLIC, number, word

Write = Callable[[Path], None]
_IMAGE = f"{word('refused image')}.png"
_NAME = f'"{word("cell")}, {CYRILLIC}"'
_SLICES = "PatientNumber,SliceNumber,No_Hemorrhage"


def _table(head: str, *rows: str) -> Write:
    """Write a label table, and the one image that all of its rows may be about."""

    def write(root: Path) -> None:
        (root / f"{word('refused image')}.png").write_bytes(plant_png(PICTURES["png"]))
        (root / f"{word('refused table')}.csv").write_text("\n".join([head, *rows]).replace("IMAGE", _IMAGE) + "\n")

    return write


def _named_table(name: str, head: str, *rows: str) -> Write:
    def write(root: Path) -> None:
        (root / name).write_text("\n".join([head, *rows]) + "\n")

    return write


def _only_broken(root: Path) -> None:
    (root / "normal" / f"{word('refused patient')} {CYRILLIC}").mkdir(parents=True)
    files = broken(xray())
    for what in ("RescaleSlope", "Rows", "PhotometricInterpretation", "cut in the pixels", "no header"):
        (root / "normal" / f"{word('refused patient')} {CYRILLIC}" / f"{word(what)}.dcm").write_bytes(files[what])


def _one_patient(root: Path) -> None:
    """Too few to divide."""
    for name in ("normal", "pneumonia"):
        (root / name / word("refused patient")).mkdir(parents=True)
        (root / name / word("refused patient") / f"{word('refused file')}.dcm").write_bytes(plant(xray()))


def _folders_of_nothing(root: Path) -> None:
    (root / f"{word('refused patient')}, {CYRILLIC}").mkdir()
    (root / f"{word('refused patient')}, {CYRILLIC}" / f"{word('refused file')}.dcm").write_bytes(plant(xray()))


def _other_classes(root: Path) -> None:
    (root / "Hemorrhage" / word("refused patient")).mkdir(parents=True)
    (root / "Hemorrhage" / word("refused patient") / f"{word('refused file')}.dcm").write_bytes(plant(xray()))


def _deep(root: Path) -> None:
    """Folders in folders until no path can name the last: 4,096 bytes are the most (limits.h, PATH_MAX)."""
    (root / "normal").mkdir()
    here = Path.cwd()
    os.chdir(root / "normal")
    try:
        for _ in range(22):
            Path(word("deep folder") * 22).mkdir()
            os.chdir(word("deep folder") * 22)
    finally:
        os.chdir(here)


REFUSED: Mapping[str, Mapping[str, Write]] = {
    "pneumonia": {
        "a name for a label": _table("path,pneumonia", "IMAGE,1", f"IMAGE,{_NAME}"),
        "a number for a label": _table("path,pneumonia", f"IMAGE,{number('cell')}"),
        "a name for a split": _table("path,pneumonia,split", f"IMAGE,1,{_NAME}"),
        "a name for an order": _table("path,pneumonia,order", f"IMAGE,1,{_NAME}"),
        "columns of the other task": _table(f"path,subdural,{word('refused column')},{CYRILLIC}", "IMAGE,1,2,3"),
        "one column twice": _table(f"path,pneumonia,{word('column')},{word('column')}", "IMAGE,1,2,3"),
        "a row too long": _table("path,pneumonia", "IMAGE,1", f"IMAGE,1,{_NAME},{word('more')}"),
        "a quote without end": _table("path,pneumonia", "IMAGE,1", f'IMAGE,"{word("cell")}'),
        "rows that contradict": _table("path,pneumonia,patient", f"IMAGE,1,{word('cell')}", f"IMAGE,0,{word('cell')}"),
        "no row": _table("path,pneumonia"),
        "only missing files": _table("path,pneumonia", f"{word('missing')}/{CYRILLIC}.png,1"),
        "only broken files": _only_broken,
        "one patient": _one_patient,
        "no layout": _folders_of_nothing,
        "classes of the other task": _other_classes,
        "folders too deep": _deep,
    },
    "hemorrhage": {
        "a name for a patient's number": _named_table("hemorrhage_diagnosis.csv", _SLICES, f"{_NAME},1,1"),
        "a name for a slice's number": _named_table("hemorrhage_diagnosis.csv", _SLICES, f"1,{_NAME},1"),
        "a name for an id": _named_table("labels.csv", "id,hemorrhage", f"{_NAME},1"),
        "a name for a diagnosis": _named_table("labels.csv", "id,hemorrhage", f"1,{_NAME}"),
    },
}


def write_leaking_source(root: Path) -> None:
    """A patient in every split, and no pneumonia in test: both stop a training."""
    rows = [f"path,pneumonia,split,patient,{word('refused column')}"]
    for place, (name, data) in enumerate(neighbours(12)):
        path = root / f"{word('image in two splits')} {place} {name}"
        path.write_bytes(plant(data, word("leaking patient")) if name.endswith(".dcm") else data)
        split = ("train", "val", "test")[place % 3]
        rows.append(f"{path.name},{int(split != 'test' and place % 2)},{split},{word('leaking patient')},{CYRILLIC}")
    (root / f"{word('leaking table')}.csv").write_text("\n".join(rows) + "\n")
