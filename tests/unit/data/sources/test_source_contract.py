"""What every source keeps, whatever its layout."""

import os
import re
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from source_folders import FOLDERS, Folder, write_picture

from secondread.data.manifest import subgroup_columns
from secondread.data.sources.detect import SOURCES, open_source
from secondread.data.sources.index import Index
from secondread.errors import SourceError
from secondread.tasks import load_task

LAYOUTS = sorted(FOLDERS)
WITH_TABLE = [layout for layout in LAYOUTS if FOLDERS[layout].table]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "source"


def open_folder(layout: str, root: Path) -> Index:
    folder = FOLDERS[layout]
    folder.write(root)
    return open_source(root, load_task(folder.task), workers=1)


def rules(index: Index) -> dict[str, int]:
    return {str(rule): int(count) for rule, count in index.put_aside["rule"].value_counts().items()}


def change_table(folder: Folder, root: Path, before: str, after: str) -> None:
    assert folder.table is not None
    table = root / folder.table
    text = table.read_text()
    assert before in text
    table.write_text(text.replace(before, after, 1))


def test_every_source_is_under_the_contract() -> None:
    assert sorted(source.layout for source in SOURCES) == LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_recognised_and_reported(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    assert index.layout == layout
    assert index.report[0].startswith(f"{layout}: ")
    assert any("images (" in line for line in index.report)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_can_be_named(layout: str, root: Path) -> None:
    assert open_folder(layout, root).entries.equals(
        open_source(root, load_task(FOLDERS[layout].task), layout, workers=1).entries
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_entries_have_the_columns_types_and_order_of_an_index(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    task = load_task(FOLDERS[layout].task)
    entries = index.entries
    known = ["path", "patient", "study", "series", "order", "split", *task.label_columns]
    subgroups = subgroup_columns(entries)
    assert list(entries) == [*known, *subgroups]
    assert (entries[subgroups] != "").any().all()
    texts = entries[["path", "patient", "study", "series", "split", *subgroups]].to_numpy().ravel()
    assert all(isinstance(text, str) for text in texts)
    assert all(entries[name].dtype == np.float64 for name in ("order", *task.label_columns))
    assert list(entries["path"]) == sorted(entries["path"])
    assert entries["path"].is_unique
    assert entries["split"].isin(["", "train", "val", "test"]).all()
    assert list(index.put_aside) == ["path", "rule", "reason"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_paths_are_posix_and_relative_to_the_root(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    assert index.root.address == str(root)
    assert all((root / path).is_file() and not PurePosixPath(path).is_absolute() for path in index.entries["path"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_classes_are_found_and_nothing_is_put_aside(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    primary = index.entries[f"label_{load_task(FOLDERS[layout].task).primary}"]
    assert set(primary) == {0.0, 1.0}
    assert rules(index) == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_ct_dicom_has_hounsfield_units(layout: str, root: Path) -> None:
    assert open_folder(layout, root).unit == FOLDERS[layout].unit


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_of_ct_say_which_window_they_were_made_with(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    expected = FOLDERS[layout].task == "hemorrhage" and index.unit == "display"
    assert (index.display_window is not None) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copied_folder_gives_the_same_entries(layout: str, root: Path, tmp_path: Path) -> None:
    index = open_folder(layout, root)
    copy = shutil.copytree(root, tmp_path / "copy")
    assert index.entries.equals(open_source(copy, load_task(FOLDERS[layout].task), workers=1).entries)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_other_task_is_refused_with_the_next_step(layout: str, root: Path) -> None:
    FOLDERS[layout].write(root)
    other = "pneumonia" if FOLDERS[layout].task == "hemorrhage" else "hemorrhage"
    with pytest.raises(SourceError, match=rf"{re.escape(str(root))}: .*{other}.*; (use|name) "):
        open_source(root, load_task(other), workers=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_links_are_put_aside_and_never_followed(layout: str, root: Path, tmp_path: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    image = root / folder.image
    elsewhere = tmp_path / image.name
    image.rename(elsewhere)
    image.symlink_to(elsewhere)
    index = open_source(root, load_task(folder.task), workers=1)
    assert folder.image not in set(index.entries["path"])
    assert "not_regular" in set(index.put_aside.loc[index.put_aside["path"] == folder.image, "rule"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipe_is_put_aside_and_not_waited_for(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    (root / folder.image).unlink()
    os.mkfifo(root / folder.image)
    assert "not_regular" in rules(open_source(root, load_task(folder.task), workers=1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_leftovers_of_archives_and_systems_are_no_images(layout: str, root: Path) -> None:
    entries = open_folder(layout, root).entries
    image = Path(FOLDERS[layout].image)
    for leftover in (root / "__MACOSX" / image, root / image.parent / f"._{image.name}", root / "masks" / image.name):
        write_picture(leftover.with_suffix(".jpg"))
    (root / image.parent / "Thumbs.db").touch()
    index = open_source(root, load_task(FOLDERS[layout].task), workers=1)
    assert index.entries.equals(entries)
    assert rules(index) == {}


@pytest.mark.parametrize("layout", WITH_TABLE)
def test_a_file_without_a_label_is_put_aside(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    extra = Path(folder.image).with_name("unlabelled.png")
    write_picture(root / extra)
    index = open_source(root, load_task(folder.task), workers=1)
    assert rules(index) == {"no_label": 1}
    assert index.put_aside["path"].tolist() == [extra.as_posix()]


@pytest.mark.parametrize("layout", WITH_TABLE)
def test_a_label_without_a_file_is_put_aside(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    (root / folder.image).unlink()
    index = open_source(root, load_task(folder.task), workers=1)
    assert rules(index) == {"missing_file": 1}
    assert index.put_aside["path"].map(lambda path: Path(path).suffix).tolist() == [Path(folder.image).suffix]


@pytest.mark.parametrize("layout", WITH_TABLE)
def test_labels_without_any_file_are_refused(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    for path in root.rglob("*"):
        if path.suffix in {".jpg", ".png", ".dcm"}:
            path.unlink()
    with pytest.raises(SourceError, match="holds no labelled image"):
        open_source(root, load_task(folder.task), layout, workers=1)


@pytest.mark.parametrize("layout", WITH_TABLE)
def test_another_label_than_0_1_or_unknown_is_refused_with_row_value_and_next_step(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    assert folder.label is not None
    change_table(folder, root, *folder.label)
    with pytest.raises(
        SourceError, match=r"row 3 says neither 1 nor 0 .*; write 1 for present, 0 for absent, or leave it empty"
    ):
        open_source(root, load_task(folder.task), workers=1)


@pytest.mark.parametrize("layout", WITH_TABLE)
def test_a_table_that_is_no_text_is_refused(layout: str, root: Path) -> None:
    folder = FOLDERS[layout]
    folder.write(root)
    assert folder.table is not None
    with (root / folder.table).open("ab") as table:
        table.write(b"\xff\xfe\x00,1\n")
    with pytest.raises(SourceError, match=re.escape(str(root))):
        open_source(root, load_task(folder.task), workers=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neither_report_nor_error_names_a_file_below_the_root(layout: str, root: Path) -> None:
    index = open_folder(layout, root)
    said = " ".join(index.report)
    (root / FOLDERS[layout].image).unlink()
    said += " ".join(open_source(root, load_task(FOLDERS[layout].task), workers=1).report)
    assert not any(PurePosixPath(path).name in said for path in index.entries["path"])


def test_a_missing_folder_is_refused(root: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no such folder or file; check the path behind `data`"):
        open_source(root, load_task("pneumonia"))


def test_an_empty_folder_is_refused(root: Path) -> None:
    root.mkdir()
    with pytest.raises(SourceError, match=r"the folder is empty; check"):
        open_source(root, load_task("pneumonia"))


def test_a_folder_of_unsorted_images_is_refused_with_what_would_work(root: Path) -> None:
    write_picture(root / "a.png")
    with pytest.raises(SourceError, match=r"no known layout fits .*; arrange the images in folders named by class"):
        open_source(root, load_task("pneumonia"))


def test_an_unknown_layout_is_refused_with_those_that_exist(root: Path) -> None:
    root.mkdir()
    with pytest.raises(SourceError, match=r"data.layout=dicomdir: .*use auto or one of head_ct, ct_ich"):
        open_source(root, load_task("pneumonia"), "dicomdir")


def test_a_layout_that_does_not_fit_is_refused(root: Path) -> None:
    FOLDERS["head_ct"].write(root)
    with pytest.raises(SourceError, match=r"it does not have the layout ct_ich; use data.layout=auto"):
        open_source(root, load_task("hemorrhage"), "ct_ich")
