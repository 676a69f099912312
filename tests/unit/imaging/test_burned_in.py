"""A line of letters in an image is suspected; an image, or a mark of the side, is not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from secondread.imaging.dicom.burned_in import looks_written
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.picture import UInt8Image

LINE = "MUSTERMANN Erika 12.03.1956"


@pytest.fixture(params=["hemorrhage", "pneumonia"])
def images(request: pytest.FixtureRequest, phantom_source: Callable[[str], Path]) -> list[UInt8Image]:
    root = phantom_source(request.param)
    if request.param == "pneumonia":
        files = sorted((root / "train").rglob("*.jpeg"))[:40]
        return [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8) for path in files]
    return [in_window(path) for path in sorted(root.rglob("*.dcm"))[:40]]


def in_window(path: Path) -> UInt8Image:
    hounsfield = read_dicom(path.read_bytes()).values
    return np.clip((hounsfield.astype(np.float32) + 40) * 255 / 120, 0, 255).astype(np.uint8)


def with_text(image: UInt8Image, text: str, row: float) -> UInt8Image:
    written = image.copy()
    height = image.shape[0]
    place = (height // 20, int(row * height))
    cv2.putText(written, text, place, cv2.FONT_HERSHEY_SIMPLEX, height / 500, 255, 1 + height // 400, cv2.LINE_AA)
    return written


def test_few_images_look_written_and_most_with_a_line_of_text_do(images: list[UInt8Image]) -> None:
    assert np.mean([looks_written(image) for image in images]) <= 0.05
    for row in (0.06, 0.95):
        # White on white is not seen, nor read.
        assert np.mean([looks_written(with_text(image, LINE, row)) for image in images]) >= 0.7


def test_a_mark_of_the_side_is_no_line(images: list[UInt8Image]) -> None:
    assert np.mean([looks_written(with_text(image, "R", 0.06)) for image in images]) <= 0.05
