"""RSNA 2019: six rows a slice, some repeated; series ordered by position."""

from pathlib import Path

import pytest
from source_folders import SUBTYPES, write_ct_slice, write_rsna_hemorrhage

from secondread.data.sources.detect import open_source
from secondread.errors import SourceError
from secondread.tasks import load_task

TASK = load_task("hemorrhage")


def append(root: Path, *rows: str) -> None:
    with (root / "stage_2_train.csv").open("a") as table:
        table.write("".join(row + "\n" for row in rows))


def test_rows_of_a_slice_become_its_labels(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    entries = open_source(tmp_path, TASK, workers=1).entries
    assert entries["label_any"].tolist() == entries["label_subdural"].tolist() == [1, 1, 0, 0]
    assert entries["label_epidural"].tolist() == [0, 0, 0, 0]


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    before = open_source(tmp_path, TASK, workers=1).entries
    append(tmp_path, "ID_000000000_any,1", "ID_000000000_subdural,1")
    assert open_source(tmp_path, TASK, workers=1).entries.equals(before)


def test_repeated_rows_that_differ_are_refused_with_both_rows(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    append(tmp_path, "ID_000000000_any,0")
    # Line 1 is the header, lines 2 to 6 the subtypes of the first slice, line 7 its `any`; 6 rows for each of 4 slices.
    with pytest.raises(SourceError, match=r"rows 7 and 26 of the label table contradict each other"):
        open_source(tmp_path, TASK, workers=1)


def test_patient_series_and_order_come_from_the_header(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    write_ct_slice(tmp_path / "stage_2_train/ID_0000000aa.dcm", "ID_p0", height=-5.0, seed=9)
    append(tmp_path, *(f"ID_0000000aa_{name},0" for name in ("any", *SUBTYPES)))
    entries = open_source(tmp_path, TASK, workers=1).entries
    series = entries[entries["patient"] == "ID_p0"]
    assert series["series"].unique().tolist() == ["ID_p0-series"]
    assert series.sort_values("order")["path"].str[-6:].tolist() == ["aa.dcm", "00.dcm"]


def test_headers_are_read_alike_by_several_processes(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    assert open_source(tmp_path, TASK, workers=2).entries.equals(open_source(tmp_path, TASK, workers=1).entries)


def test_a_damaged_file_is_put_aside_and_its_neighbours_are_not(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    damaged = tmp_path / "stage_2_train/ID_000000003.dcm"
    damaged.write_bytes(damaged.read_bytes()[:140])
    index = open_source(tmp_path, TASK, workers=1)
    assert len(index.entries) == 3
    assert index.put_aside[["path", "rule"]].to_numpy().tolist() == [["stage_2_train/ID_000000003.dcm", "dicom"]]


def test_stage_1_and_other_names_are_read_too(tmp_path: Path) -> None:
    for name in ("stage_1_train", "mine"):
        root = tmp_path / name
        write_rsna_hemorrhage(root)
        (root / "stage_2_train.csv").rename(root / f"{name}.csv")
        (root / "stage_2_train").rename(root / "slices")
        assert len(open_source(root, TASK, workers=1).entries) == 4


def test_the_challenges_sample_submission_is_not_taken_for_labels(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    (tmp_path / "stage_2_sample_submission.csv").write_text("ID,Label\nID_00000000f_any,0.5\n")
    write_ct_slice(tmp_path / "stage_2_test/ID_00000000f.dcm", "ID_p9")
    index = open_source(tmp_path, TASK, workers=1)
    assert len(index.entries) == 4
    assert index.put_aside.empty


def test_a_missing_any_follows_from_the_subtypes(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    table = tmp_path / "stage_2_train.csv"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if "_any" not in line))
    assert open_source(tmp_path, TASK, workers=1).entries["label_any"].tolist() == [1, 1, 0, 0]


def test_an_id_of_no_known_form_is_refused_with_its_row(tmp_path: Path) -> None:
    write_rsna_hemorrhage(tmp_path)
    append(tmp_path, "ID_000000000_fracture,0")
    with pytest.raises(SourceError, match=r"row 26 of the label table has no id of the form"):
        open_source(tmp_path, TASK, workers=1)
