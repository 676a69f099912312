"""head_ct: a header with a space, ids without zeros, one known label."""

from pathlib import Path

import pytest
from source_folders import write_head_ct, write_picture

from secondread.data.sources.detect import open_source
from secondread.errors import SourceError
from secondread.tasks import load_task

TASK = load_task("hemorrhage")


def test_ids_without_zeros_find_files_with_zeros(tmp_path: Path) -> None:
    write_head_ct(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    assert dict(zip(entries["path"].str[-7:], entries["label_any"], strict=True)) == {
        "000.png": 1,
        "001.png": 1,
        "002.png": 0,
        "003.png": 0,
    }


def test_without_hemorrhage_every_subtype_is_absent_and_with_it_unknown(tmp_path: Path) -> None:
    write_head_ct(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    subtypes = entries[[column for column in TASK.label_columns if column != "label_any"]]
    assert (subtypes[entries["label_any"] == 0] == 0).all(axis=None)
    assert subtypes[entries["label_any"] == 1].isna().all(axis=None)


def test_an_unknown_label_is_put_aside(tmp_path: Path) -> None:
    write_head_ct(tmp_path)
    (tmp_path / "labels.csv").write_text("id, hemorrhage\n0,1\n1,\n2,0\n3,0\n")
    index = open_source(tmp_path, TASK)
    assert index.put_aside[["path", "rule"]].to_numpy().tolist() == [["head_ct/head_ct/001.png", "no_label"]]


def test_a_second_copy_of_an_image_is_not_counted(tmp_path: Path) -> None:
    write_head_ct(tmp_path)
    write_picture(tmp_path / "000.png")
    index = open_source(tmp_path, TASK)
    assert "000.png" in set(index.entries["path"])
    assert index.put_aside["path"].tolist() == ["head_ct/head_ct/000.png"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,1\n0,0\n", r"rows 2 and 3 of the label table contradict each other"),
        ("0,1\nx7,0\n", r"id: row 3 has no whole number"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    write_head_ct(tmp_path)
    (tmp_path / "labels.csv").write_text("id, hemorrhage\n" + rows)
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path, TASK)


def test_the_public_data_has_its_published_counts(shared: Path) -> None:
    index = open_source(shared / "data" / "head_ct", TASK)
    assert index.entries["label_any"].value_counts().to_dict() == {1: 100, 0: 100}
    assert index.put_aside.empty
