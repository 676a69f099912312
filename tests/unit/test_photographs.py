"""A model of chest X-rays turns photographs away, whole or in part; no network is needed to see that."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from secondread.config import load_config
from secondread.data.phantom.write import phantom_image
from secondread.evaluation.scope import Scope, learn_scope
from secondread.imaging.appearance import appearance
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess
from secondread.tasks import load_task

TASK = load_task("pneumonia")
FORM = Preprocess.build(TASK, load_config("pneumonia", {}).preprocess, "display", None)
PATIENTS = 80  # two dozen know too little
CROPS = 20  # of each photograph


def looks(file: bytes) -> NDArray[np.float64]:
    return appearance(FORM.stored(FORM.pixels(file)))


def jpeg(pixels: UInt8Image) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels)[1])


def parts(photograph: UInt8Image) -> Iterator[UInt8Image]:
    """The whole of it, and squares of 128 pixels or more anywhere in it."""
    yield photograph
    height, width = photograph.shape[:2]
    chance = np.random.default_rng(0)
    for side in chance.integers(128, height, CROPS):
        top, left = chance.integers(0, height - side), chance.integers(0, width - side)
        yield photograph[top : top + side, left : left + side]


@pytest.fixture(scope="module")
def scope() -> Scope:
    """Learned from phantoms, a patient each."""
    patients = np.arange(PATIENTS)
    learned = patients < PATIENTS * 0.6
    known = np.stack([looks(phantom_image(TASK, seed)) for seed in range(PATIENTS)])
    scope = learn_scope(known, patients, learned, np.full(PATIENTS, -1))
    assert scope is not None
    return scope


@pytest.mark.parametrize("gray", [False, True])
def test_photographs_and_parts_of_them_are_out_of_scope(scope: Scope, gray: bool) -> None:
    colour = [part for image in load_sample_images().images for part in parts(image[..., ::-1])]
    pictures = [cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) for part in colour] if gray else colour
    inside = scope.holds(np.stack([looks(jpeg(picture)) for picture in pictures]))
    assert len(inside) == 2 * (1 + CROPS)
    assert not inside.any()


def test_most_other_patients_are_in_scope(scope: Scope) -> None:
    others = np.stack([looks(phantom_image(TASK, seed)) for seed in range(PATIENTS, PATIENTS + 20)])
    assert scope.holds(others).mean() >= 0.8
