"""Folders named by class: names, depth, splits, patients."""

from pathlib import Path

import pytest
from source_folders import write_ct_slice, write_picture

from secondread.data.sources.detect import open_source
from secondread.errors import SourceError
from secondread.tasks import load_task

CT, XRAY = load_task("hemorrhage"), load_task("pneumonia")


@pytest.mark.parametrize(
    "absent", ["Normal", "NORMAL", "No_Hemorrhage", "no hemorrhage", "Non-Hemorrhagic", "negative"]
)
@pytest.mark.parametrize("present", ["Hemorrhage", "hemorrhagic", "ICH", "Haemorrhage"])
def test_names_of_classes_match_whatever_their_case(tmp_path: Path, absent: str, present: str) -> None:
    write_picture(tmp_path / absent / "a.png", 0)
    write_picture(tmp_path / present / "b.png", 1)
    entries = open_source(tmp_path, CT).entries
    assert dict(zip(entries["path"].str[-5:], entries["label_any"], strict=True)) == {"a.png": 0, "b.png": 1}


def test_a_subtype_says_any_and_leaves_the_others_unknown(tmp_path: Path) -> None:
    write_picture(tmp_path / "Hemorrhage/Epidural/a.png")
    write_picture(tmp_path / "Normal/b.png")
    first = open_source(tmp_path, CT).entries.iloc[0]
    assert (first["label_any"], first["label_epidural"]) == (1, 1)
    assert first[["label_subdural", "label_intraventricular"]].isna().all()


def test_split_folders_are_kept_above_and_below_the_class(tmp_path: Path) -> None:
    for path in ["Train/Normal/a.png", "normal/validation/b.png", "data/testing/Pneumonia/c.png", "pneumonia/d.png"]:
        write_picture(tmp_path / path)
    entries = open_source(tmp_path, XRAY).entries
    assert dict(zip(entries["path"].str[-5:], entries["split"], strict=True)) == {
        "a.png": "train",
        "b.png": "val",
        "c.png": "test",
        "d.png": "",
    }


def test_a_folder_below_the_class_is_a_patient(tmp_path: Path) -> None:
    for path in ["Normal/p1/a.png", "Normal/p1/b.png", "Hemorrhage/train/p2/c.png", "Hemorrhage/d.png"]:
        write_picture(tmp_path / path)
    patients = open_source(tmp_path, CT).entries.set_index("path")["patient"].to_dict()
    assert patients == {
        "Normal/p1/a.png": "p1",
        "Normal/p1/b.png": "p1",
        "Hemorrhage/train/p2/c.png": "p2",
        "Hemorrhage/d.png": "",
    }


def test_ct_dicom_has_hounsfield_units_and_the_headers_patient(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "Normal/a.dcm", "P1", 5.0)
    write_ct_slice(tmp_path / "Hemorrhage/b", "P2", 10.0)
    index = open_source(tmp_path, CT, workers=1)
    assert index.unit == "HU"
    assert index.entries[["patient", "order"]].to_numpy().tolist() == [["P2", 10.0], ["P1", 5.0]]


def test_dicom_among_pictures_is_of_unit_display(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "Normal/a.dcm", "P1")
    write_picture(tmp_path / "Hemorrhage/b.png")
    assert open_source(tmp_path, CT, workers=1).unit == "display"


def test_a_picture_named_as_dicom_is_left_to_be_judged_by_its_content(tmp_path: Path) -> None:
    write_picture(tmp_path / "Normal/a.png")
    (tmp_path / "Normal/a.png").rename(tmp_path / "Normal/a.dcm")
    write_ct_slice(tmp_path / "Hemorrhage/b.dcm", "P1")
    index = open_source(tmp_path, CT, workers=1)
    assert index.unit == "display"
    assert index.entries["patient"].tolist() == ["P1", ""]


def test_images_outside_the_class_folders_are_put_aside(tmp_path: Path) -> None:
    for path in ["Normal/a.png", "Hemorrhage/b.png", "c.png", "unsorted/d.png"]:
        write_picture(tmp_path / path)
    assert open_source(tmp_path, CT).put_aside[["path", "rule"]].to_numpy().tolist() == [
        ["c.png", "no_label"],
        ["unsorted/d.png", "no_label"],
    ]


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "Normal").mkdir()
    (tmp_path / "Hemorrhage").mkdir()
    with pytest.raises(SourceError, match="holds no labelled image"):
        open_source(tmp_path, CT)


def test_classes_of_the_other_task_are_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "NORMAL/a.png")
    write_picture(tmp_path / "PNEUMONIA/b.png")
    with pytest.raises(SourceError, match=r"named normal, pneumonia, which is not for hemorrhage"):
        open_source(tmp_path, CT)
