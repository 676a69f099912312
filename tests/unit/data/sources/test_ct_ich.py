"""ct_ich: a byte-order mark, padded folders, rows without an image, outlines beside the slices."""

from pathlib import Path

import pytest
from source_folders import write_ct_ich, write_picture

from secondread.config import Window
from secondread.data.sources.detect import open_source
from secondread.errors import SourceError
from secondread.tasks import load_task

TASK = load_task("hemorrhage")


def test_any_is_what_is_not_no_hemorrhage(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    assert entries[["label_any", "label_epidural", "label_subdural"]].drop_duplicates().to_numpy().tolist() == [
        [1, 1, 0],
        [0, 0, 0],
    ]


def test_slices_of_a_folder_are_one_patient_in_slice_order(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    assert entries.groupby("patient").size().tolist() == [2, 2, 2, 2]
    assert entries["order"].tolist() == [1, 2] * 4


def test_a_patients_series_is_a_study_of_its_own(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    assert entries["study"].tolist() == entries["series"].tolist() == entries["patient"].tolist()


def test_a_row_without_an_image_is_put_aside(tmp_path: Path) -> None:
    write_ct_ich(tmp_path, rows=["52,9,0,0,0,0,0,1,0"])
    index = open_source(tmp_path, TASK)
    assert len(index.entries) == 8
    assert index.put_aside[["path", "rule"]].to_numpy().tolist() == [["Patients_CT/052/brain/9.jpg", "missing_file"]]


def test_outlines_and_bone_windows_are_no_slices(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    write_picture(tmp_path / "Patients_CT/049/brain/1_HGE_Seg.jpg")
    write_picture(tmp_path / "Patients_CT/049/bone/1.jpg")
    index = open_source(tmp_path, TASK)
    assert len(index.entries) == 8
    assert index.put_aside.empty


def test_a_subtype_without_any_is_refused_with_its_row(tmp_path: Path) -> None:
    write_ct_ich(tmp_path, rows=["52,1,1,0,0,0,0,1,0"])
    table = tmp_path / "hemorrhage_diagnosis.csv"
    table.write_text(table.read_text().replace("52,1,0,0,0,0,0,1,0\n", "", 1))
    with pytest.raises(SourceError, match=r"row 9: `any` is 0 but one of .* is 1 \(1 such rows\)"):
        open_source(tmp_path, TASK)


def test_its_window_is_40_120(tmp_path: Path) -> None:
    write_ct_ich(tmp_path)
    assert open_source(tmp_path, TASK).display_window == Window(center=40, width=120)


def test_the_public_data_has_its_published_counts(shared: Path) -> None:
    index = open_source(shared / "data" / "ct_ich", TASK)
    assert len(index.entries) == 2471
    assert index.entries["patient"].nunique() == 82
    assert index.put_aside["rule"].tolist() == ["missing_file"] * 30
    assert index.entries[list(TASK.label_columns)].sum().astype(int).tolist() == [303, 166, 66, 23, 17, 56]
