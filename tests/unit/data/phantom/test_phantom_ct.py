"""Synthetic heads: textbook anatomy, no shortcut to the label, and a lesion that pixels give away."""

import csv
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from secondread.data.phantom.bleeds import BLEEDS, draw_bleeding, draw_bleeds
from secondread.data.phantom.ct import CtSeries, draw_series
from secondread.data.phantom.head import Anatomy, Head, draw_anatomy, draw_head
from secondread.data.phantom.texture import Field
from secondread.data.phantom.write import write_phantom
from secondread.tasks import load_task

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class CtSet:
    """A written data set, a row a slice."""

    patients: NDArray[np.str_]
    labels: dict[str, NDArray[np.int64]]
    features: dict[str, NDArray[np.float64]]
    thumbnails: NDArray[np.float32]


@pytest.fixture(scope="module")
def ct_set(tmp_path_factory: pytest.TempPathFactory) -> CtSet:
    root = tmp_path_factory.mktemp("ct") / "set"
    write_phantom(root, load_task("hemorrhage"), patients=32, seed=0)
    shown: dict[str, dict[str, int]] = defaultdict(dict)
    for row in csv.DictReader((root / "stage_2_train.csv").read_text().splitlines()):
        name, kind = row["ID"].rsplit("_", 1)
        shown[name][kind] = int(row["Label"])
    names = sorted(shown)
    rows = [_describe(root / "stage_2_train" / f"{name}.dcm") for name in names]
    return CtSet(
        patients=np.array([row[0] for row in rows]),
        labels={kind: np.array([shown[name][kind] for name in names]) for kind in ("any", *BLEEDS)},
        features={key: np.array([row[1][key] for row in rows]) for key in rows[0][1]},
        thumbnails=np.array([row[2] for row in rows]),
    )


def _describe(path: Path) -> tuple[str, dict[str, float], Field]:
    """A file's patient, what a glance at it tells, and its 32x32 thumbnail in the brain window."""
    with warnings.catch_warnings(action="ignore"):  # RSNA's ids are no valid UIDs
        dcm = pydicom.dcmread(path)
        hounsfield = dcm.pixel_array.astype(np.float32) + float(dcm.RescaleIntercept)
    brain = np.clip(hounsfield, 0, 80)
    features = {
        "mean": hounsfield.mean(),
        "median": np.median(hounsfield),
        "std": hounsfield.std(),
        "maximum": hounsfield.max(),
        "minimum": hounsfield.min(),
        "mean in the brain window": brain.mean(),
        "std in the brain window": brain.std(),
        "pixels in the head": np.count_nonzero(hounsfield > -300),
        "file length": path.stat().st_size,
        "rows": dcm.Rows,
        "columns": dcm.Columns,
        "bits": dcm.BitsStored,
        "spacing": dcm.PixelSpacing[0],
        "thickness": dcm.SliceThickness,
        "instance": dcm.InstanceNumber,
        "x": dcm.ImagePositionPatient[0],
        "z": dcm.ImagePositionPatient[2],
        "lesion": _largest_bright_spot(hounsfield),
    }
    thumbnail = cv2.resize(brain, (32, 32), interpolation=cv2.INTER_AREA).ravel()
    return str(dcm.PatientID), {key: float(value) for key, value in features.items()}, thumbnail


def _largest_bright_spot(hounsfield: Field) -> float:
    """Pixels of the largest connected spot of 52-95 HU inside the skull, as a radiologist's eye would catch it."""
    smooth = cv2.GaussianBlur(cv2.medianBlur(hounsfield, 3), (0, 0), 1.0)
    skull = cv2.morphologyEx((smooth > 250).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outside = skull.copy()
    cv2.floodFill(outside, None, (0, 0), 1)
    inside = ((skull == 0) & (outside == 0) & (smooth < 150)).astype(np.uint8)
    bright = ((smooth > 52) & (smooth < 95)).astype(np.uint8) * cv2.erode(inside, np.ones((5, 5), np.uint8))
    spots = cv2.connectedComponentsWithStats(cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))[2]
    return float(spots[1:, cv2.CC_STAT_AREA].max(initial=0))


def test_no_single_glance_tells_bleeding_from_healthy(ct_set: CtSet) -> None:
    aurocs = {
        name: float(roc_auc_score(ct_set.labels["any"], values))
        for name, values in ct_set.features.items()
        if name != "lesion"
    }
    assert {name: auroc for name, auroc in aurocs.items() if not 0.25 <= auroc <= 0.75} == {}


def test_the_bleed_itself_tells_bleeding_from_healthy(ct_set: CtSet) -> None:
    assert roc_auc_score(ct_set.labels["any"], ct_set.features["lesion"]) > 0.85


@pytest.mark.parametrize("kind", BLEEDS)
def test_every_kind_of_bleed_is_common_enough_to_learn(ct_set: CtSet, kind: str) -> None:
    bleeding = set(ct_set.patients[ct_set.labels["any"] == 1])
    having = set(ct_set.patients[ct_set.labels[kind] == 1])
    assert len(having) >= 0.08 * len(bleeding)


def test_about_45_of_100_patients_and_a_quarter_to_two_fifths_of_slices_bleed(ct_set: CtSet) -> None:
    bleeding = set(ct_set.patients[ct_set.labels["any"] == 1])
    assert len(bleeding) == 14  # .45 * 32 = 14.4
    assert 0.25 < ct_set.labels["any"].mean() < 0.4


def test_slices_of_different_patients_are_no_near_duplicates(ct_set: CtSet) -> None:
    centered = ct_set.thumbnails - ct_set.thumbnails.mean(axis=1, keepdims=True)
    centered /= np.linalg.norm(centered, axis=1, keepdims=True)
    foreign = ct_set.patients[:, None] != ct_set.patients[None, :]
    assert (centered @ centered.T)[foreign].max() < 0.99


def test_patients_differ_in_their_number_of_slices(ct_set: CtSet) -> None:
    assert len(set(np.unique(ct_set.patients, return_counts=True)[1].tolist())) >= 4


def _series(kind: str | None, seed: int = 0) -> CtSeries:
    return draw_series(np.random.default_rng(seed), frozenset({kind} if kind else ()))


@pytest.mark.parametrize("kind", BLEEDS)
def test_acute_blood_has_its_hounsfield_units(kind: str) -> None:
    blood = [shown.hounsfield[_core(shown.mask)] for seed in range(2) for shown in _series(kind, seed).slices]
    assert 52 < np.median(np.concatenate(blood)) < 85


def _core(mask: Mask) -> NDArray[np.bool_]:
    """The middle of a lesion, where the blur of its edges does not reach."""
    core: NDArray[np.bool_] = ndimage.binary_erosion(mask > 0, iterations=1)
    return core


def test_air_bone_and_brain_have_their_hounsfield_units() -> None:
    shown = _series(None).slices[5].hounsfield
    middle = shown[108:148, 108:148]
    assert abs(float(np.median(shown[-20:, :20])) + 1000) < 10
    assert 600 < np.percentile(shown[shown > 300], 75) < 1800
    assert 22 < np.median(middle) < 44


def test_ventricles_hold_fluid_and_gray_matter_is_denser_than_white() -> None:
    head = draw_head(np.random.default_rng(1), shift=0.0)
    inside = draw_anatomy(head, 12.0, np.zeros(1440, np.float32))
    assert 0 <= inside.hounsfield[inside.ventricles > 0.99].mean() <= 15
    assert 37 <= head.gray <= 41
    assert 25 <= head.white <= 32.5


def test_a_bleed_spans_only_some_slices_of_most_patients(ct_set: CtSet) -> None:
    shares = [ct_set.labels["any"][ct_set.patients == patient].mean() for patient in np.unique(ct_set.patients)]
    bleeding = np.array([share for share in shares if share > 0])
    assert np.mean(bleeding < 1) >= 0.8


def test_a_healthy_patient_has_no_mask() -> None:
    assert not any(shown.mask.any() for shown in _series(None).slices)


def _largest(kind: str, seed: int) -> tuple[Head, Anatomy, Mask]:
    """The slice that shows most of one patient's bleed."""
    rng = np.random.default_rng(seed)
    bleeds = draw_bleeds(rng, frozenset({kind}), -16.0, 56.0)
    head = draw_head(rng, bleeds.shift)
    drawn = [draw_bleeding(head, bleeds, float(z)) for z in range(-16, 56, 6)]
    inside, mask = max(drawn, key=lambda pair: int(np.count_nonzero(pair[1])))
    return head, inside, (mask >> BLEEDS.index(kind) & 1).astype(np.uint8)


def _arc(head: Head, mask: Mask) -> float:
    """Share of the whole turn about the middle of the head that a lesion takes up."""
    return len(np.unique(head.grid.angle[mask == 1])) / 1440


@pytest.mark.parametrize("seed", range(3))
def test_epidural_is_a_lens_and_subdural_a_crescent_against_the_skull(seed: int) -> None:
    shapes = {}
    for kind in ("epidural", "subdural"):
        head, inside, mask = _largest(kind, seed)
        depth = inside.depth[mask == 1]
        assert depth.min() < 1.5
        shapes[kind] = depth.max() / _arc(head, mask)
    assert shapes["epidural"] > 1.5 * shapes["subdural"]


@pytest.mark.parametrize("seed", range(3))
def test_intraparenchymal_is_one_lump_inside_the_brain(seed: int) -> None:
    _, inside, mask = _largest("intraparenchymal", seed)
    assert inside.depth[mask == 1].min() > 2
    assert ndimage.label(mask)[1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_intraventricular_stays_in_the_ventricles_and_subarachnoid_in_the_spaces(seed: int) -> None:
    _, inside, mask = _largest("intraventricular", seed)
    assert inside.ventricles[mask == 1].min() > 0.5
    _, inside, mask = _largest("subarachnoid", seed)
    assert inside.spaces[mask == 1].min() > 0.5


def test_the_burned_in_mark_shows_in_a_wide_window_only() -> None:
    corner = _series(None).slices[5].hounsfield[:20, :70]
    assert corner.max() < -150  # black at 40/380, the widest of the named windows
    assert np.count_nonzero(corner > -700) > 100
