"""Kermany's chest X-rays: whose image, which split, counted once."""

import shutil
from pathlib import Path

import pytest
from source_folders import write_kermany, write_picture

from secondread.data.manifest import make_manifest
from secondread.data.sources.detect import open_source
from secondread.data.sources.kermany import patient_of
from secondread.data.split import split_by_patient
from secondread.tasks import load_task

TASK = load_task("pneumonia")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("person1_bacteria_1.jpeg", "train"), ("person1_bacteria_2.jpeg", "train")),
        (("person447_virus_921.jpeg", "train"), ("person447_virus_921_1.jpeg", "train")),
        (("IM-0011-0001.jpeg", "test"), ("IM-0011-0001-0002.jpeg", "test")),
        (("NORMAL2-IM-0030-0001.jpeg", "test"), ("NORMAL2-IM-0030-0002.jpeg", "test")),
    ],
)
def test_these_names_are_one_patient(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert patient_of(*first) == patient_of(*second) != ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("person1_bacteria_1.jpeg", "train"), ("person1_virus_1.jpeg", "train")),
        (("person1_virus_1.jpeg", "train"), ("person1_virus_1.jpeg", "test")),
        (("IM-0115-0001.jpeg", "train"), ("NORMAL2-IM-0115-0001.jpeg", "train")),
        (("person1_virus_1.jpeg", "train"), ("person11_virus_1.jpeg", "train")),
    ],
)
def test_these_names_are_two_patients(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert patient_of(*first) != patient_of(*second)


def test_a_name_that_is_not_kermanys_tells_no_patient() -> None:
    assert patient_of("scan.jpeg", "train") == ""


def test_val_joins_train_and_test_is_kept(tmp_path: Path) -> None:
    write_kermany(tmp_path / "chest_xray")
    index = open_source(tmp_path / "chest_xray", TASK)
    assert index.entries["split"].value_counts().to_dict() == {"train": 5, "test": 2}
    assert "the official val of 2 images joins train; a val is drawn by patient" in index.report


def test_the_zips_second_copy_is_counted_once(tmp_path: Path) -> None:
    root = tmp_path / "archive" / "chest_xray"
    write_kermany(root)
    shutil.copytree(root, tmp_path / "copy")
    shutil.copytree(tmp_path / "copy", root / "chest_xray")
    write_picture(root / "__MACOSX" / "train" / "NORMAL" / "._IM-0115-0001.jpeg.png")
    index = open_source(root, TASK)
    assert len(index.entries) == 7
    assert "counted once" in index.report[0]
    assert index.put_aside.empty


def test_the_zips_folder_around_the_layout_is_looked_into(tmp_path: Path) -> None:
    write_kermany(tmp_path / "archive" / "chest_xray")
    index = open_source(tmp_path / "archive", TASK)
    assert len(index.entries) == 7
    assert index.entries["path"].str.startswith("chest_xray/").all()


def test_class_folders_match_whatever_their_case(tmp_path: Path) -> None:
    write_picture(tmp_path / "Train" / "Normal" / "IM-0001-0001.jpeg")
    write_picture(tmp_path / "Train" / "pneumonia" / "person1_virus_1.jpeg")
    assert open_source(tmp_path, TASK).entries["label_pneumonia"].tolist() == [0.0, 1.0]


def test_one_split_alone_has_no_given_split_and_the_same_patients(tmp_path: Path) -> None:
    write_kermany(tmp_path)
    whole = open_source(tmp_path, TASK).entries
    alone = open_source(tmp_path / "test", TASK).entries
    assert (alone["split"] == "").all()
    assert set(alone["patient"]) == set(whole.loc[whole["split"] == "test", "patient"])


def test_images_outside_the_class_folders_are_put_aside(tmp_path: Path) -> None:
    write_kermany(tmp_path)
    write_picture(tmp_path / "train" / "loose.jpeg")
    (tmp_path / "train" / "notes.txt").touch()
    index = open_source(tmp_path, TASK)
    assert index.put_aside[["path", "rule"]].to_numpy().tolist() == [["train/loose.jpeg", "no_label"]]


def test_the_public_data_has_its_published_counts(shared: Path) -> None:
    index = open_source(shared / "data" / "chest_xray", TASK)
    counts = index.entries.groupby(["split", "label_pneumonia"]).size().to_dict()
    assert counts == {("train", 0): 1349, ("train", 1): 3883, ("test", 0): 234, ("test", 1): 390}
    assert (index.entries["patient"] != "").all()
    by_split = index.entries.groupby("patient")["split"].nunique()
    assert by_split.max() == 1


def test_a_val_is_drawn_from_train_by_patient_and_the_official_test_stays(tmp_path: Path) -> None:
    for number in range(20):
        write_picture(tmp_path / f"train/NORMAL/IM-{number:04d}-0001.jpeg", number)
        write_picture(tmp_path / f"train/PNEUMONIA/person{number}_virus_1.jpeg", 100 + number)
    write_picture(tmp_path / "test/NORMAL/IM-9999-0001.jpeg", 200)
    entries = open_source(tmp_path, TASK).entries
    entries = entries.assign(image_key=[f"{number:064d}" for number in range(len(entries))])
    manifest = make_manifest(entries, entries.index.to_numpy(), b"secret")
    split = split_by_patient(manifest, 0.15, 0.2, seed=0)
    assert split["split"].value_counts().to_dict() == {"train": 34, "val": 6, "test": 1}
