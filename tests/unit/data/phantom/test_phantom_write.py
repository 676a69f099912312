"""Writing synthetic data sets: public layouts, equal bytes, all or nothing."""

import csv
import io
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from secondread.data.phantom import write
from secondread.data.phantom.bleeds import BLEEDS
from secondread.data.phantom.write import phantom_image, write_phantom
from secondread.data.sources.subgroups import age_band, sex_of
from secondread.errors import ConfigError
from secondread.imaging.dicom.read import read_header
from secondread.storage import sha256_of
from secondread.tasks import Task, load_task

TASKS = ("hemorrhage", "pneumonia")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("written")
    for task in TASKS:
        write_phantom(root / task, load_task(task), patients=6, seed=3, workers=1)
    return lambda task: root / task


def _contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): sha256_of(path.read_bytes()) for path in files}


def _pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def _rows(root: Path) -> list[tuple[str, str, int]]:
    table = csv.DictReader((root / "stage_2_train.csv").read_text().splitlines())
    return [(row["ID"][:12], row["ID"][13:], int(row["Label"])) for row in table]


@pytest.mark.parametrize("task", TASKS)
def test_two_workers_write_the_bytes_that_one_writes(task: str, written: Callable[[str], Path], tmp_path: Path) -> None:
    write_phantom(tmp_path / "again", load_task(task), patients=6, seed=3, workers=2)
    assert _contents(tmp_path / "again") == _contents(written(task))


@pytest.mark.parametrize("task", TASKS)
def test_another_seed_draws_other_patients(task: str) -> None:
    assert phantom_image(load_task(task), 1) == phantom_image(load_task(task), 1)
    assert phantom_image(load_task(task), 1) != phantom_image(load_task(task), 2)


def test_rsna_has_six_rows_a_slice_and_some_of_them_twice(written: Callable[[str], Path]) -> None:
    rows = _rows(written("hemorrhage"))
    times = Counter((name, kind) for name, kind, _ in rows)
    names = {name for name, _ in times}
    assert {path.stem for path in written("hemorrhage").glob("stage_2_train/*.dcm")} == names
    assert set(times) == {(name, kind) for name in names for kind in (*BLEEDS, "any")}
    assert set(times.values()) == {1, 2}
    assert all(re.fullmatch(r"ID_[0-9a-f]{9}", name) for name in names)


def test_rsna_labels_are_what_the_masks_hold(written: Callable[[str], Path]) -> None:
    shown: dict[str, dict[str, int]] = defaultdict(dict)
    for name, kind, label in _rows(written("hemorrhage")):
        shown[name][kind] = label
    for name, labels in shown.items():
        path = written("hemorrhage") / "masks" / f"{name}.png"
        mask = _pixels(path) if path.exists() else np.zeros((1, 1), np.uint8)
        assert labels == {
            "any": int(mask.any()),
            **{kind: int((mask >> bit & 1).any()) for bit, kind in enumerate(BLEEDS)},
        }


def test_rsna_slices_of_a_patient_share_a_series_and_say_that_they_are_synthetic(
    written: Callable[[str], Path],
) -> None:
    heights = defaultdict(list)
    for path in written("hemorrhage").glob("stage_2_train/*.dcm"):
        with warnings.catch_warnings(action="ignore"):  # RSNA's ids are no valid UIDs
            dcm = pydicom.dcmread(path, stop_before_pixels=True)
            heights[(dcm.PatientID, dcm.SeriesInstanceUID)].append(float(dcm.ImagePositionPatient[2]))
            assert dcm.SOPInstanceUID == path.stem
        assert "SYNTHETIC" in str(dcm.PatientName)
    assert {patient for patient, _ in heights} == {f"PHANTOM-{number:04d}" for number in range(30_001, 30_007)}
    assert len(heights) == 6
    assert all(len(set(positions)) == len(positions) >= 9 for positions in heights.values())


def test_rsna_slices_tell_one_sex_and_one_age_a_patient(written: Callable[[str], Path]) -> None:
    said = defaultdict(set)
    for path in written("hemorrhage").glob("stage_2_train/*.dcm"):
        header = read_header(path.read_bytes())
        said[header.patient_id].add((sex_of(header.sex), age_band(header.age)))
    assert all(len(told) == 1 and "" not in next(iter(told)) for told in said.values())
    assert len({sex for told in said.values() for sex, _ in told}) == 2
    assert len({band for told in said.values() for _, band in told}) > 1


def test_kermany_has_its_folders_and_names(written: Callable[[str], Path]) -> None:
    names = defaultdict(list)
    for path in written("pneumonia").glob("*/*/*.jpeg"):
        names[path.parent.name].append(path.name)
    assert set(names) == {"NORMAL", "PNEUMONIA"}
    assert all(re.fullmatch(r"(NORMAL2-)?IM-\d{4,}-\d{4}\.jpeg", name) for name in names["NORMAL"])
    assert all(re.fullmatch(r"person\d+_(bacteria|virus)_\d+\.jpeg", name) for name in names["PNEUMONIA"])


def test_kermany_has_both_classes_in_every_split_and_a_patient_in_one(written: Callable[[str], Path]) -> None:
    places, images = defaultdict(set), Counter[str]()
    for path in written("pneumonia").glob("*/*/*.jpeg"):
        patient = re.sub(r"[_-]\d+$", "", path.stem)
        places[patient].add((path.parents[1].name, path.parent.name))
        images[patient] += 1
    assert {place for found in places.values() for place in found} == {
        (split, folder) for split in ("train", "val", "test") for folder in ("NORMAL", "PNEUMONIA")
    }
    assert all(len(found) == 1 for found in places.values())
    assert max(images.values()) > 1


def test_every_pneumonia_has_a_mask_of_its_size_and_no_normal_has(written: Callable[[str], Path]) -> None:
    root = written("pneumonia")
    for path in root.glob("*/*/*.jpeg"):
        mask = root / "masks" / f"{path.stem}.png"
        assert mask.exists() == (path.parent.name == "PNEUMONIA")
        if mask.exists():
            assert _pixels(mask).shape == _pixels(path).shape


def test_an_xray_says_in_the_file_that_it_is_synthetic() -> None:
    picture = Image.open(io.BytesIO(phantom_image(load_task("pneumonia"), 0)))
    assert picture.mode == "L"
    assert b"synthetic" in picture.info["comment"]


def test_an_example_slice_shows_a_bleed_of_55_to_85_hounsfield_units() -> None:
    with warnings.catch_warnings(action="ignore"):
        dcm = pydicom.dcmread(io.BytesIO(phantom_image(load_task("hemorrhage"), 1)))
        hounsfield = dcm.pixel_array.astype(int) + int(dcm.RescaleIntercept)
    assert hounsfield.shape == (256, 256)
    assert np.count_nonzero((hounsfield > 55) & (hounsfield < 85)) > 100


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(write, "draw_xrays", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_phantom(tmp_path / "set", load_task("pneumonia"), patients=3, seed=0, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", TASKS)
def test_two_patients_are_one_of_each_class_and_one_is_refused(task: str, tmp_path: Path) -> None:
    write_phantom(tmp_path / "set", load_task(task), patients=2, seed=0, workers=1)
    assert any((tmp_path / "set" / "masks").iterdir())
    with pytest.raises(ConfigError, match="2 or more"):
        write_phantom(tmp_path / "one", load_task(task), patients=1, seed=0, workers=1)


def test_a_task_without_a_phantom_is_named_with_the_next_step(tmp_path: Path) -> None:
    stroke: Task = load_task("hemorrhage").model_copy(update={"name": "stroke"})
    with pytest.raises(ConfigError, match=r"task=stroke: no phantom .*data=PATH"):
        write_phantom(tmp_path / "set", stroke, patients=4, seed=0, workers=1)
