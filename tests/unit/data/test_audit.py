"""Leaks between splits, classes without images."""

import pytest
from data_frames import manifest_of

from secondread.data.audit import audit
from secondread.errors import AuditError

SPLITS = ["train", "train", "val", "val", "test", "test"]


def test_a_sound_manifest_has_no_problem() -> None:
    report = audit(manifest_of(list("abcdef"), [0, 1] * 3, SPLITS))
    assert report.problems == ()
    report.refuse(acknowledge_leaks=False)
    assert "no problem found" in report.text()


def test_images_patients_and_labels_are_counted_per_split() -> None:
    manifest = manifest_of(list("aacdef"), [0, 1, 0, 1, float("nan"), 1], SPLITS)
    row = audit(manifest).to_frame().set_index("split").loc["train"]
    assert row.to_dict() == {
        "images": 2,
        "patients": 1,
        "pneumonia": 1,
        "no pneumonia": 1,
        "pneumonia unknown": 0,
    }


def test_a_patient_in_two_splits_is_a_leak_that_can_be_acknowledged() -> None:
    report = audit(manifest_of(["a", "b", "c", "d", "a", "f"], [0, 1] * 3, SPLITS))
    assert report.leaks == (
        "1 patients in both train (1 images) and test (1); correct the given split, or go on with "
        "data.acknowledge_leaks=true",
    )
    report.refuse(acknowledge_leaks=True)
    with pytest.raises(AuditError, match="1 patients in both train"):
        report.refuse(acknowledge_leaks=False)


def test_a_duplicate_in_two_splits_is_a_leak() -> None:
    report = audit(manifest_of(list("abcdef"), [0, 1] * 3, SPLITS, groups=[0, 1, 2, 0, 4, 5]))
    assert [leak[:50] for leak in report.leaks] == ["1 groups of near duplicates in both train (1 image"]
    assert report.duplicates == 2


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 0, 0, 1, 0, 1], "train has no image with pneumonia among 2"),
        ([0, 1, 0, 1, 1, 1], "test has no image without pneumonia among 2"),
    ],
)
def test_a_missing_class_is_a_problem_that_no_flag_excuses(labels: list[float], problem: str) -> None:
    report = audit(manifest_of(list("abcdef"), labels, SPLITS))
    with pytest.raises(AuditError, match=problem):
        report.refuse(acknowledge_leaks=True)


def test_a_report_names_no_patient() -> None:
    manifest = manifest_of(["a", "b", "c", "d", "a", "f"], [0, 1] * 3, SPLITS)
    text = audit(manifest).text()
    assert not any(key in text for key in manifest["patient_key"])
