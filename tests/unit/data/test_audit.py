"""Near duplicates, leaks between splits, classes without images."""

import time

import numpy as np
import pytest
from data_frames import manifest_of
from numpy.typing import NDArray

from secondread.data import audit as audit_module
from secondread.data.audit import audit, near_duplicate_groups
from secondread.errors import AuditError

UInt8 = NDArray[np.uint8]
SPLITS = ["train", "train", "val", "val", "test", "test"]


def noise(count: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32), np.uint8)


def at_correlation(image: UInt8, correlation: float) -> UInt8:
    """An image of a given Pearson correlation with another: its standardised values mixed with orthogonal noise."""
    values = image.ravel().astype(np.float64)
    along = (values - values.mean()) / values.std()
    across = np.random.default_rng(1).normal(size=values.size)
    across -= across.mean() + along * (along @ across) / values.size
    mixed = correlation * along + np.sqrt(1 - correlation**2) * across / across.std()
    pixels: UInt8 = np.clip(mixed * 30 + 128, 0, 255).round().astype(np.uint8).reshape(32, 32)
    return pixels


def test_different_images_are_groups_of_their_own() -> None:
    assert near_duplicate_groups(noise(5)).tolist() == [0, 1, 2, 3, 4]


def test_copies_of_other_brightness_and_contrast_are_duplicates() -> None:
    image = noise(1)[0]
    brighter = (image * 0.5 + 60).round().astype(np.uint8)
    assert near_duplicate_groups(np.stack([image, noise(1, 7)[0], brighter])).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("correlation", "groups"), [(0.985, [0, 1]), (0.995, [0, 0])])
def test_the_limit_is_a_correlation_of_99_percent(correlation: float, groups: list[int]) -> None:
    image = noise(1)[0]
    assert near_duplicate_groups(np.stack([image, at_correlation(image, correlation)])).tolist() == groups


def test_a_chain_of_duplicates_is_one_group() -> None:
    first = noise(1)[0]
    second = at_correlation(first, 0.993)
    third = at_correlation(second, 0.993)
    groups = near_duplicate_groups(np.stack([third, noise(1, 3)[0], first, second]))
    assert groups.tolist() == [0, 1, 0, 0]


def test_blank_images_are_no_duplicates_of_each_other() -> None:
    blank = np.zeros((3, 32, 32), np.uint8)
    blank[1] = 200
    blank[2, 0, 0] = 9
    assert near_duplicate_groups(np.concatenate([blank, np.zeros_like(blank)])).tolist() == [0, 1, 2, 3, 4, 5]


def test_groups_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([noise(6), noise(6)[::-1]])
    monkeypatch.setattr(audit_module, "_BLOCK", 4)
    assert near_duplicate_groups(images).tolist() == [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]


def test_no_image_has_no_group() -> None:
    assert near_duplicate_groups(noise(0)).shape == (0,)


def test_six_thousand_images_take_seconds() -> None:
    start = time.perf_counter()
    near_duplicate_groups(noise(6000))
    assert time.perf_counter() - start < 30


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
