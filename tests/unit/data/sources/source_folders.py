"""A small folder of every layout, with synthetic images: two patients with and two without the primary label."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from secondread.config import Unit, Window
from secondread.imaging.dicom.write import write_ct, write_xray

SUBTYPES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")


@dataclass(frozen=True)
class Folder:
    """What the contract suite must know about a layout.

    Args:
        table: the label table that the layout has, relative to the root.
        image: an image of the folder, relative to the root.
        label: the first label in the table as (text of its row, the same with another value), to damage it.
    """

    write: Callable[[Path], None]
    task: str
    unit: Unit
    image: str
    table: str | None = None
    label: tuple[str, str] | None = None


def write_picture(path: Path, seed: int = 0) -> None:
    """A 64x64 gray noise JPEG or PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    assert cv2.imwrite(str(path), pixels)


def write_ct_slice(path: Path, patient: str, height: float = 0.0, seed: int = 0, sex: str = "", age: str = "") -> None:
    """A 64x64 CT slice at a height in mm, of a patient whose sex and age it may say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        write_ct(
            np.random.default_rng(seed).integers(-1000, 1000, (64, 64)).astype(np.int16),
            patient_id=patient,
            study_uid=f"{patient}-study",
            series_uid=f"{patient}-series",
            sop_uid=path.stem,
            instance=1,
            position=(0.0, 0.0, height),
            spacing=(0.5, 0.5),
            thickness=5.0,
            sex=sex,
            age=age,
        )
    )


def write_xray_image(path: Path, patient: str, seed: int = 0) -> None:
    """A 64x64 X-ray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        write_xray(
            np.random.default_rng(seed).integers(0, 4096, (64, 64)).astype(np.uint16),
            patient_id=patient,
            study_uid="study",
            series_uid="series",
            sop_uid=path.stem,
            bits=12,
            photometric="MONOCHROME2",
            window=Window(center=2048, width=4096),
        )
    )


def write_kermany(root: Path) -> None:
    """`chest_xray`: train, test and val, with one unknown name."""
    for number, path in enumerate(
        [
            "train/NORMAL/IM-0115-0001.jpeg",
            "train/PNEUMONIA/person1_bacteria_1.jpeg",
            "train/PNEUMONIA/person1_virus_2.jpeg",
            "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
            "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
            "test/NORMAL/NORMAL2-IM-0115-0001.jpeg",
            "test/PNEUMONIA/person1_virus_6.jpeg",
        ]
    ):
        write_picture(root / path, number)


def write_head_ct(root: Path) -> None:
    """`head_ct`: four slices."""
    for number in range(4):
        write_picture(root / f"head_ct/head_ct/{number:03d}.png", number)
    (root / "labels.csv").write_text("id, hemorrhage\n0,1\n1,1\n2,0\n3,0\n")


def write_ct_ich(root: Path, rows: Sequence[str] = ()) -> None:
    """`ct_ich`: four patients of two slices."""
    header = "PatientNumber,SliceNumber,Intraventricular,Intraparenchymal,Subarachnoid,Epidural,Subdural,No_Hemorrhage"
    lines = [header + ",Fracture_Yes_No"]
    for patient in (49, 50, 51, 52):
        for slice_ in (1, 2):
            write_picture(root / f"Patients_CT/{patient:03d}/brain/{slice_}.jpg", patient * slice_)
            lines.append(f"{patient},{slice_},0,0,0,1,0,0,0" if patient < 51 else f"{patient},{slice_},0,0,0,0,0,1,0")
    (root / "hemorrhage_diagnosis.csv").write_text("\n".join([*lines, *rows]) + "\n", encoding="utf-8-sig")


def write_rsna_hemorrhage(root: Path) -> None:
    """`rsna_hemorrhage`: four patients of a slice; two have a subdural hematoma."""
    lines = ["ID,Label"]
    for number in range(4):
        write_ct_slice(root / f"stage_2_train/ID_00000000{number}.dcm", f"ID_p{number}", 5.0 * number, number)
        present = int(number < 2)
        lines += [f"ID_00000000{number}_{name},{present if name == 'subdural' else 0}" for name in SUBTYPES]
        lines.append(f"ID_00000000{number}_any,{present}")
    (root / "stage_2_train.csv").write_text("\n".join(lines) + "\n")


def write_rsna_pneumonia(root: Path) -> None:
    """`rsna_pneumonia`: four images; the first has two boxes."""
    for number in range(4):
        write_xray_image(root / f"stage_2_train_images/0000-{number}.dcm", f"0000-{number}", number)
    (root / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\n0000-0,1,1,9,9,1\n0000-0,30,1,9,9,1\n0000-1,5,5,9,9,1\n"
        "0000-2,,,,,0\n0000-3,,,,,0\n"
    )


def write_class_folders(root: Path) -> None:
    """`class_folders`: pictures of head CTs."""
    for number, path in enumerate(["Normal/a.png", "Normal/b.png", "Hemorrhage/c.png", "Hemorrhage/d.png"]):
        write_picture(root / path, number)


def write_table(root: Path) -> None:
    """`table`: a CSV beside pictures."""
    for number in range(4):
        write_picture(root / f"images/{number}.png", number)
    (root / "mine.csv").write_text(
        "path,any,patient,split,order\nimages/0.png,1,p0,train,1\nimages/1.png,1,p1,test,2\n"
        "images/2.png,0,p2,train,3\nimages/3.png,0,p3,test,\n"
    )


FOLDERS = {
    "chest_xray": Folder(write_kermany, "pneumonia", "display", "train/NORMAL/IM-0115-0001.jpeg"),
    "head_ct": Folder(
        write_head_ct, "hemorrhage", "display", "head_ct/head_ct/001.png", "labels.csv", ("1,1\n", "1,2\n")
    ),
    "ct_ich": Folder(
        write_ct_ich,
        "hemorrhage",
        "display",
        "Patients_CT/049/brain/2.jpg",
        "hemorrhage_diagnosis.csv",
        ("49,2,0,0,0,1,0,0,0", "49,2,0,0,0,1,0,2,0"),
    ),
    "rsna_hemorrhage": Folder(
        write_rsna_hemorrhage,
        "hemorrhage",
        "HU",
        "stage_2_train/ID_000000001.dcm",
        "stage_2_train.csv",
        ("ID_000000000_intraparenchymal,0", "ID_000000000_intraparenchymal,2"),
    ),
    "rsna_pneumonia": Folder(
        write_rsna_pneumonia,
        "pneumonia",
        "display",
        "stage_2_train_images/0000-1.dcm",
        "stage_2_train_labels.csv",
        ("30,1,9,9,1\n", "30,1,9,9,2\n"),
    ),
    "class_folders": Folder(write_class_folders, "hemorrhage", "display", "Normal/b.png"),
    "table": Folder(
        write_table, "hemorrhage", "display", "images/1.png", "mine.csv", ("images/1.png,1", "images/1.png,2")
    ),
}
