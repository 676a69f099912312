"""A table of one's own: columns, paths, splits."""

from pathlib import Path

import numpy as np
import pytest
from source_folders import write_ct_slice, write_picture, write_table

from secondread.data.sources.detect import open_source
from secondread.errors import SourceError
from secondread.tasks import load_task

TASK = load_task("hemorrhage")


def write_rows(root: Path, text: str, pictures: int = 3) -> Path:
    for number in range(pictures):
        write_picture(root / f"{number}.png", number)
    table = root / "mine.csv"
    table.write_text(text)
    return table


def test_the_table_itself_can_be_the_source(tmp_path: Path) -> None:
    write_table(tmp_path)
    index = open_source(tmp_path / "mine.csv", TASK)
    assert index.root.address == str(tmp_path)
    assert index.entries.equals(open_source(tmp_path, TASK).entries)


def test_patient_split_and_order_are_kept(tmp_path: Path) -> None:
    write_table(tmp_path)
    entries = open_source(tmp_path, TASK).entries
    assert entries["patient"].tolist() == ["p0", "p1", "p2", "p3"]
    assert entries["split"].tolist() == ["train", "test", "train", "test"]
    np.testing.assert_array_equal(entries["order"], [1, 2, 3, np.nan])


def test_label_columns_may_have_the_prefix_and_unknown_values(tmp_path: Path) -> None:
    table = write_rows(tmp_path, "Path, label_any ,Epidural\n0.png,1,\n1.png,,1\n2.png,0,0\n")
    entries = open_source(table, TASK).entries
    np.testing.assert_array_equal(entries["label_any"], [1, 1, 0])
    np.testing.assert_array_equal(entries["label_epidural"], [np.nan, 1, 0])


def test_paths_outside_the_tables_folder_are_put_aside(tmp_path: Path) -> None:
    write_picture(tmp_path / "out.png")
    table = write_rows(tmp_path / "in", f"path,any\n0.png,1\n1.png,0\n../out.png,1\n{tmp_path}/out.png,0\n")
    index = open_source(table, TASK)
    assert len(index.entries) == 2
    assert index.put_aside["rule"].tolist() == ["outside", "outside"]


def test_a_path_to_a_folder_or_too_long_a_path_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    table = write_rows(tmp_path, f"path,any\n0.png,1\n1.png,0\nfolder,1\n{'x' * 5000},1\n")
    assert open_source(table, TASK).put_aside["rule"].tolist() == ["missing_file", "missing_file"]


def test_the_header_fills_what_the_table_leaves_out(tmp_path: Path) -> None:
    write_ct_slice(tmp_path / "a.dcm", "P1", 5.0)
    write_ct_slice(tmp_path / "b.dcm", "P2", 7.0)
    (tmp_path / "mine.csv").write_text("path,any,patient\na.dcm,1,mine\nb.dcm,0,\n")
    index = open_source(tmp_path, TASK, workers=1)
    assert index.unit == "HU"
    assert index.entries[["patient", "series", "order"]].to_numpy().tolist() == [
        ["mine", "P1-series", 5.0],
        ["P2", "P2-series", 7.0],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,any\n0.png,1\n0.png,0\n", r"rows 2 and 3 of the label table contradict"),
        ("path,any,split\n0.png,1,train\n1.png,0,tset\n", r"split: row 3 says something else; write train, val, test"),
        ("path,any,order\n0.png,1,first\n", r"order: row 2 says something else; write a number"),
        ("path,any,any\n0.png,1,0\n", r"names a column twice"),
        ("path,any,epidural\n0.png,0,1\n", r"row 2: `any` is 0 but one of epidural, .* is 1"),
        ("path,any\n0.png,1\n\n1.png,7\n", r"row 4 says neither"),
        ("path,any\n0.png,1,1,1\n1.png,0,0,0\n", r"no whole UTF-8 CSV"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    table = write_rows(tmp_path, text)
    with pytest.raises(SourceError, match=message):
        open_source(table, TASK)


def test_a_table_without_a_label_of_the_task_is_refused_with_its_labels(tmp_path: Path) -> None:
    table = write_rows(tmp_path, "path,pneumonia\n0.png,1\n")
    with pytest.raises(
        SourceError,
        match=r"none of the table's 2 columns is a label of hemorrhage; name one of them any or epidural or",
    ):
        open_source(table, TASK)


def test_two_tables_are_no_table(tmp_path: Path) -> None:
    table = write_rows(tmp_path, "path,any\n0.png,1\n")
    (tmp_path / "other.csv").write_text(table.read_text())
    with pytest.raises(SourceError, match="no known layout fits"):
        open_source(tmp_path, TASK)
