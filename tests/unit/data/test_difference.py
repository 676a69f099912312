"""Two stores compared: each kind of change is told, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import pandas as pd
import pytest

from secondread.config import DataSettings, PreprocessSettings
from secondread.data.difference import difference
from secondread.data.sources.detect import open_source
from secondread.data.store import Store, build_store
from secondread.errors import StoreError
from secondread.imaging.preprocess import Preprocess
from secondread.steps.diff import diff
from secondread.tasks import load_task

TASK = load_task("pneumonia")
SECRET = b"a secret of the tests"
Row = tuple[str, str, object, str]
# Ten pictures of five patients: six train, two val, two test.
ROWS: list[Row] = [
    (f"{number}.png", f"patient {number // 2}", number % 2, "train" if number < 6 else "val" if number < 8 else "test")
    for number in range(10)
]


class Make(Protocol):
    """Builds a store of some rows."""

    def __call__(self, name: str, rows: list[Row], secret: bytes = SECRET, size: int = 16) -> Store: ...


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(12):
        assert cv2.imwrite(str(root / f"{number}.png"), random.integers(0, 256, (64, 64), np.uint8))
    return root


@pytest.fixture
def make(pictures: Path, tmp_path: Path) -> Make:
    def made(name: str, rows: list[Row], secret: bytes = SECRET, size: int = 16) -> Store:
        table = pictures / "labels.csv"
        pd.DataFrame(rows, columns=["path", "patient", "pneumonia", "split"]).to_csv(table, index=False)
        index = open_source(table, TASK, workers=1)
        form = Preprocess.build(TASK, PreprocessSettings(size=size), index.unit, index.display_window)
        return build_store(index, TASK.name, form, DataSettings(), tmp_path / name, secret, 1)

    return made


def changed(place: int, row: Row) -> list[Row]:
    return [*ROWS[:place], row, *ROWS[place + 1 :]]


@pytest.mark.parametrize("secret", [SECRET, b"another secret of the tests"])
def test_a_store_is_the_same_as_itself_whatever_the_secret(make: Make, secret: bytes) -> None:
    found = difference(make("before", ROWS), make("after", ROWS, secret))
    assert found.same
    assert found.counts("images") == {"came": 0, "went": 0, "changed": 0, "kept": 10}
    assert found.counts("patients") == {"came": 0, "went": 0, "changed": 0, "kept": 5}
    assert found.patients_by == ("key" if secret == SECRET else "images")


@pytest.mark.parametrize("secret", [SECRET, b"another secret of the tests"])
def test_images_and_patients_come_and_go(make: Make, secret: bytes) -> None:
    # Patient 0 goes with two images, one of patient 1 goes, one of a sixth patient comes.
    after = [*ROWS[3:], ("10.png", "patient 5", 1, "train")]
    found = difference(make("before", ROWS), make("after", [*after], secret))
    assert not found.same
    assert found.counts("images") == {"came": 1, "went": 3, "changed": 0, "kept": 7}
    assert found.counts("patients") == {"came": 1, "went": 1, "changed": 0, "kept": 4}
    came, *gone = found.images.itertuples()
    assert (came.change, came.split_after, came.label_pneumonia_after) == ("came", "train", 1)
    assert [came.patient_key_after] == found.patients["patient_key_after"].dropna().tolist()
    assert {row.change for row in gone} == {"went"}
    assert found.patients["images_before"].tolist() == [0, 2]


def test_a_label_that_changed_is_told_with_what_it_was(make: Make) -> None:
    found = difference(make("before", ROWS), make("after", changed(2, ("2.png", "patient 1", 1, "train"))))
    assert found.labels == {"pneumonia": {"absent to present": 1}}
    assert found.counts("images") == {"came": 0, "went": 0, "changed": 1, "kept": 9}
    [row] = found.images.itertuples()
    assert (row.what, row.label_pneumonia_before, row.label_pneumonia_after) == ("labels", 0, 1)
    assert found.counts("patients")["kept"] == 5


def test_an_image_that_moved_to_another_split_is_told(make: Make) -> None:
    moved: list[Row] = [
        *ROWS[:6],
        *((path, patient, label, "train") for path, patient, label, _ in ROWS[6:8]),
        *ROWS[8:],
    ]
    kept_val: Row = ("11.png", "patient 6", 1, "val")
    found = difference(make("before", [*ROWS, kept_val]), make("after", [*moved, kept_val]))
    assert found.splits == {"val to train": 2}
    assert found.images["what"].tolist() == ["split", "split"]


@pytest.mark.parametrize("secret", [SECRET, b"another secret of the tests"])
def test_an_image_that_was_given_to_another_patient_is_told(make: Make, secret: bytes) -> None:
    found = difference(make("before", ROWS), make("after", changed(1, ("1.png", "patient 1", 1, "train")), secret))
    assert "patient" in set(found.images["what"])
    assert found.summary()["changed"]["patient"] == (1 if secret == SECRET else 4)  # by images, 0 and 1 are one now


def test_other_preprocessing_of_the_same_images_is_a_difference(make: Make) -> None:
    found = difference(make("before", ROWS), make("after", ROWS, size=24))
    assert found.preprocess == {"size": (16, 24)}
    assert found.images.empty
    assert not found.same


def test_copies_of_one_file_are_paired_one_by_one(make: Make, pictures: Path) -> None:
    copy = pictures / "copy.png"
    copy.write_bytes((pictures / "0.png").read_bytes())
    twice: list[Row] = [*ROWS, ("copy.png", "patient 0", 0, "train")]
    assert difference(make("twice", twice), make("again", twice)).same
    found = difference(make("before", ROWS), make("after", twice))
    assert found.counts("images") == {"came": 1, "went": 0, "changed": 0, "kept": 10}
    assert found.counts("patients")["kept"] == 5


def test_stores_of_two_tasks_cannot_be_compared(make: Make) -> None:
    store = make("before", ROWS)
    other = replace(store, description=store.description.model_copy(update={"task": "hemorrhage"}))
    with pytest.raises(StoreError, match="compare stores of one task"):
        difference(store, other)


def test_the_step_writes_what_it_prints_and_names_no_file(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("before", ROWS)
    make("after", ROWS[2:])
    assert not diff(tmp_path / "before", tmp_path / "after", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "images     came 0, went 2, changed 0, kept 8" in printed
    assert "patients   came 0, went 1, changed 0, kept 4; compared by patient key" in printed
    summary = json.loads((tmp_path / "out" / "difference.json").read_text())
    assert summary["images"] == {"came": 0, "went": 2, "changed": 0, "kept": 8}
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert ".png" not in written
    assert "patient 0" not in written
    assert len(pd.read_csv(tmp_path / "out" / "images.csv")) == 2
    assert diff(tmp_path / "before", tmp_path / "before", None)
    assert "the same images, patients, labels, splits and preprocessing" in capsys.readouterr().out
