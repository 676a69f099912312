"""Sources that name their patients in folders, files, links, tables and in every file's content."""

import os
import shutil
from pathlib import Path

import pandas as pd
from bad_files.neighbours import neighbours
from bad_files.sound import PICTURES, xray

from planted.dicom import broken, plant, plant_behind
from planted.pictures import plant_jpeg, plant_png
from planted.words import BIRTH_DATE, CYRILLIC, DIGITS, LETTERS, number, uid, word
from secondread.imaging.dicom.read import read_header

SOUND = 40  # images of `write_table_source` that can be used


def plant_phantom(phantom: Path, root: Path) -> Path:
    """Copy a phantom and let its files name their patients, beside others that cannot be used; give the copy."""
    shutil.copytree(phantom, root)
    for path in sorted(root.rglob("*.dcm")):
        header = read_header(path.read_bytes())
        series, instance = (
            uid("phantom") + str(int.from_bytes(told.encode()[-6:])) for told in (header.series_uid, header.sop_uid)
        )
        patient = f"{LETTERS}-{header.patient_id}"
        path.write_bytes(plant(path.read_bytes(), patient, series + ".1", series, instance))
    for path in sorted(root.rglob("*.jpeg")):
        path.write_bytes(plant_jpeg(path.read_bytes()))
    for path in sorted(root.rglob("*.png")):
        path.write_bytes(plant_png(path.read_bytes()))
    for path in sorted(root.rglob("person*")):  # Kermany's name of a patient, which the image's mask has too
        path.rename(path.with_name(path.name.replace("person", f"person{DIGITS}")))
    folder = next(path for path in (root / "stage_2_train", root / "train" / "NORMAL") if path.is_dir())
    plant_useless(folder)
    return root


def plant_useless(folder: Path) -> None:
    """Write files that are put aside, whatever the layout."""
    (folder / f"{word('cut JPEG')} {CYRILLIC}.jpeg").write_bytes(plant_jpeg(PICTURES["jpeg"])[:-200])
    (folder / f"{word('no image')}.dcm").write_text(word("text in no image"))
    (folder / f"{word('notes')}.txt").write_text(word("text in notes"))
    (folder / f"{word('empty')}.png").touch()
    (folder / f".{word('hidden')}.dcm").write_bytes(plant(xray()))


def plant_irregular(folder: Path) -> None:
    """Write what is no plain file: a link, a pipe, a folder that bears an image's name, a name that is no text."""
    (folder / os.fsdecode(word("not UTF-8").encode() + b"\xe9.dcm")).write_bytes(plant(xray()))
    (folder / f"{word('link')}.dcm").symlink_to(folder / f"{word('target of a link')}.dcm")
    os.mkfifo(folder / f"{word('pipe')}.dcm")
    inside = folder / f"{word('folder')} {CYRILLIC}.dcm"
    inside.mkdir()
    (inside / f"{word('file in a folder')}.dcm").write_bytes(plant(xray()))


def write_table_source(root: Path) -> Path:
    """Write a table of your own over files of every format, sound ones, broken ones and none; give the folder."""
    folder = root / f"{word('patients folder')}, {CYRILLIC} 胸部" / word("second folder")
    folder.mkdir(parents=True)
    rows = []
    for place, (name, data) in enumerate(neighbours(SOUND)):
        path = folder / f"{word(f'sound file {place % 4}')} {place:02d} %s {name}"
        path.write_bytes(_planted(name, data, place))
        rows.append(_row(path.relative_to(root).as_posix(), place))
    for place, (what, data) in enumerate(broken(xray()).items()):
        path = folder / f"{word(f'broken {what}')}.dcm"
        path.write_bytes(data)
        rows.append(_row(path.relative_to(root).as_posix(), place))
    missing = [f"{word('missing file')}.dcm", f"../{word('outside')}.dcm", f"/{word('absolute path')}.dcm", "."]
    missing += [f"{word('a very long name')}" * 100]
    rows += [_row(path, place) for place, path in enumerate(missing)]
    plant_useless(folder)
    plant_irregular(folder)
    rows += [_row(path.relative_to(root).as_posix(), 0) for path in sorted(folder.glob("*")) if _can_be_named(path)]
    table = pd.DataFrame(rows).drop_duplicates("path")
    table.to_csv(root / f"{word('table')}.csv", index=False)
    (root / f"{word('other table')}.csv").write_text(f"{word('its column')},b\n{word('its cell')},2\n")
    (root / f"{word('no table')}.csv").write_bytes(b"\xff\xfe" + word("text in no table").encode("utf-16-le"))
    return root


def _planted(name: str, data: bytes, place: int) -> bytes:
    if name.endswith(".png"):
        return plant_png(data)
    if name.endswith(".jpg"):
        return plant_jpeg(data)
    patient, study = f"{word('PatientID')}{place}", uid("StudyInstanceUID") + str(place)
    planted = plant(data, patient, study, uid("SeriesInstanceUID") + str(place), uid("SOPInstanceUID") + str(place))
    return plant_behind(planted) if place % 8 == 0 else planted


def _row(path: str, place: int) -> dict[str, str]:
    return {
        "path": path,
        "pneumonia": str(place // 4 % 2),
        "patient": f"{word('patient of the table')} {place}",
        "study": f"{number('study of the table')}{place}",
        "series": f"{word('series of the table')} {place}",
        "sex": word("sex of the table"),
        "age": word("age of the table"),
        "Name": f"{word('name in the table')}, {CYRILLIC}",
        "MRN": f"{number('MRN in the table')}{place}",
        "born": BIRTH_DATE,
        word("column of the table"): "",
    }


def _can_be_named(path: Path) -> bool:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return False
    return not path.is_dir() and not path.name.startswith(".") and path.suffix != ".txt"
