"""Listing files that nothing labels, and saying which study each is part of."""

import io
import os
from pathlib import Path

import pytest

from secondread.data.phantom.write import phantom_image
from secondread.data.unlabelled import Listed, Place, folder_files, listed, places_of, read_listing, write_listing
from secondread.errors import ImageRejected
from secondread.imaging.dicom.read import Header
from secondread.storage import open_folder
from secondread.tasks import load_task


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def paths_of(root: Path, apart: Path) -> list[str]:
    return [file.path for file in folder_files(open_folder(root), apart)]


def place_of(root: Path, file: Listed) -> Place | ImageRejected:
    [place] = places_of([file], open_folder(root), [file.path])
    return place


def test_every_file_of_any_name_and_depth_is_listed_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/c/1.2.840.113", "b/x.PNG", "a/IM0001", "z.txt", "b/.hidden", "__MACOSX/x.png"):
        put(tmp_path / name)
    assert paths_of(tmp_path, tmp_path / "out") == ["z.txt", "a/IM0001", "b/x.PNG", "b/c/1.2.840.113"]


def test_the_folder_of_answers_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "out" / "slices.csv")
    assert paths_of(tmp_path, tmp_path / "out") == ["a.png"]


def test_a_folder_of_answers_within_the_source_is_left_out_however_both_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "source" / "deep" / "out" / "slices.csv")
    put(tmp_path / "source" / "deep" / "outer.png")
    (tmp_path / "link").symlink_to(tmp_path / "source", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for root in (Path("source"), Path("link"), tmp_path / "link"):
        assert paths_of(root, Path("source/deep/../deep/out")) == ["deep/outer.png"]


def test_what_is_gone_is_listed_as_empty_and_what_is_no_plain_file_without_a_size(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"alpha")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    files = list(listed(open_folder(tmp_path), ["link.png", "gone.png", "a.png"]))
    assert [(file.path, file.size) for file in files] == [("link.png", None), ("gone.png", 0), ("a.png", 5)]
    assert [isinstance(place_of(tmp_path, file), ImageRejected) for file in files] == [True, True, False]


def test_links_and_pipes_are_named_but_never_opened(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "secret.png")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    files = {file.path: file for file in folder_files(open_folder(tmp_path), tmp_path / "out")}
    assert set(files) == {"pipe.dcm", "link", "elsewhere/secret.png"}
    for path in ("pipe.dcm", "link"):
        refused = place_of(tmp_path, files[path])
        assert isinstance(refused, ImageRejected)
        assert refused.rule == "not_regular"


def test_a_listing_is_read_as_it_was_written_whatever_bytes_a_name_holds() -> None:
    files = [
        Listed(os.fsdecode(b"Andr\xe9\n.png"), 5, "7"),
        Listed("link", None),
        Listed("b.dcm", 9, "8", Place("study", "series", 1.5)),
    ]
    out = io.StringIO()
    count, digest = write_listing(files, out)
    assert count == 3
    assert list(read_listing(io.StringIO(out.getvalue()))) == files
    changed = [files[0]._replace(version="8"), *files[1:]]
    assert write_listing(changed, io.StringIO())[1] != digest
    assert write_listing([], io.StringIO())[0] == 0


def test_a_dicom_file_names_its_study_and_a_picture_has_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "a" / "slice", phantom_image(load_task("hemorrhage"), seed=0))
    put(tmp_path / "a" / "b" / "slice.png", b"\x89PNG")
    put(tmp_path / "top.png", b"\x89PNG")
    places = {file.path: place_of(tmp_path, file) for file in folder_files(open_folder(tmp_path), tmp_path / "out")}
    dicom = places["a/slice"]
    assert isinstance(dicom, Place)
    assert (dicom.study[:3], dicom.series[:3], dicom.folder) == ("ID_", "ID_", False)  # as RSNA's files name them
    assert dicom.order is not None
    assert places["a/b/slice.png"] == Place("a/b", folder=True)
    assert places["top.png"] == Place(".", folder=True)


def test_a_series_whose_study_is_not_told_is_a_study_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {
        "a": Header("p", "", "series", "sop", "CT", "", "", 2.0, (0, 0, 1)),
        "b": Header("", "", "", "", "CT", "", "", 2.0, (0, 0, 1)),
    }
    monkeypatch.setattr("secondread.data.unlabelled.headers_of", lambda root, paths: [headers[path] for path in paths])
    assert place_of(tmp_path, Listed("a", 5)) == Place("series", "series", 2.0)
    assert place_of(tmp_path, Listed("b", 5)) == Place(".", "", 2.0, folder=True)


def test_a_file_that_is_too_large_or_gone_is_not_opened(tmp_path: Path) -> None:
    for file, rule in ((Listed("a.dcm", 1 << 40), "too_large"), (Listed("gone.dcm", 5), "unreadable")):
        refused = place_of(tmp_path, file)
        assert isinstance(refused, ImageRejected)
        assert refused.rule == rule


def test_what_a_store_knows_is_not_read_again(tmp_path: Path) -> None:
    place = Place("study", "series", 3.0)
    assert place_of(tmp_path, Listed("not there", 5, "", place)) == place


@pytest.mark.parametrize("damage", [b"", b"DICM"])
def test_a_file_that_is_no_dicom_is_a_picture_until_the_model_says_otherwise(tmp_path: Path, damage: bytes) -> None:
    put(tmp_path / "x", damage)
    assert place_of(tmp_path, Listed("x", len(damage))) == Place(".", folder=True)


def test_a_file_whose_path_is_too_long_for_the_system_is_listed_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deepest = tmp_path
    for _ in range((4000 - len(str(tmp_path))) // 201):  # PATH_MAX is 4,096
        deepest = deepest / ("d" * 200)
        deepest.mkdir()
    with monkeypatch.context() as inside:
        inside.chdir(deepest)
        put(Path("n" * 250 + ".png"))
    (file,) = folder_files(open_folder(tmp_path), tmp_path / "out")
    refused = place_of(tmp_path, file)
    assert isinstance(refused, ImageRejected)
    assert refused.rule == "unreadable"
