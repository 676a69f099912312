"""A map lies where it belongs on the picture, in colours and units that can be worked out by hand."""

import io
import subprocess
import sys
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from secondread.explanation.overlay import Heading, amounts, overlay, png, sheet, strongest, tinted
from secondread.imaging.preprocess import Preprocess

HEADING = Heading("pneumonia", 0.873, "grad_cam", "not checked when this model was logged")
GRAY = 100
FULL_RED, FULL_BLUE = (184, 51, 51), (48, 94, 201)  # .35 x 100 + .65 x (230, 25, 25), or x (20, 90, 255)
WIDE, TALL = (512, 1024), (1024, 512)  # eight times (64, 128) and (128, 64)


def preprocess(aspect: Literal["squash", "keep"]) -> Preprocess:
    return Preprocess(unit="display", size=128, channels=1, aspect=aspect, modalities=("DX",))


def one_cell(row: int, column: int, amount: float = 1.0) -> npt.NDArray[np.float32]:
    found = np.zeros((128, 128), np.float32)
    found[row, column] = amount
    return found


def drawn(
    shape: tuple[int, int], aspect: Literal["squash", "keep"], found: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """The part of an overlay on a gray picture that holds the picture: between the words and the bar."""
    whole = overlay(np.full(shape, GRAY, np.uint8), found, preprocess(aspect), HEADING)
    assert whole.shape[1] == shape[1]
    letter = max(14, shape[1] // 40)
    top = round(4.8 * letter)  # three lines
    return whole[top : top + shape[0]]


def box(coloured: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last row, first and last column."""
    rows, columns = np.flatnonzero(coloured.any(axis=1)), np.flatnonzero(coloured.any(axis=0))
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.mark.parametrize(
    ("shape", "aspect", "cell", "middle"),
    [
        (WIDE, "squash", (10, 20), (42, 164)),  # a cell is 4 rows by 8 columns: from row 40 and column 160
        (TALL, "squash", (10, 20), (84, 82)),
        (WIDE, "keep", (42, 20), (84, 164)),  # a cell is 8 by 8; 32 rows of black lie above
        (TALL, "keep", (10, 52), (84, 164)),  # 32 columns of black lie to the left
    ],
)
def test_a_cell_lies_over_the_pixels_it_was_made_of(
    shape: tuple[int, int], aspect: Literal["squash", "keep"], cell: tuple[int, int], middle: tuple[int, int]
) -> None:
    picture = drawn(shape, aspect, one_cell(*cell))
    red = picture[..., 0] > picture[..., 2]
    high, wide = (8, 8) if aspect == "keep" else (shape[0] // 128, shape[1] // 128)
    top, bottom, left, right = box(red)
    assert ((top + bottom + 1) / 2, (left + right + 1) / 2) == middle
    # A straight line falls to 0 at the neighbours' middles, so it is seen over less than two cells.
    assert high <= bottom - top + 1 <= 2 * high
    assert wide <= right - left + 1 <= 2 * wide
    assert (picture[~red] == GRAY).all()


def test_what_lies_on_the_padding_is_cut_off() -> None:
    for shape, cell in ((WIDE, (10, 20)), (WIDE, (110, 20)), (TALL, (20, 10)), (TALL, (20, 110))):
        assert (drawn(shape, "keep", one_cell(*cell)) == GRAY).all()


def test_red_speaks_for_blue_against_and_nothing_leaves_the_picture_as_it_is() -> None:
    picture = np.full((1, 4), GRAY, np.uint8)
    found = tinted(picture, np.array([[2.0, -3.0, 0.0, 1.0]], np.float32), scale=2.0)
    for place, color in enumerate((FULL_RED, FULL_BLUE)):
        assert found[0, place].tolist() == pytest.approx(color, abs=1)
    assert (found[0, 2] == GRAY).all()
    assert found[0, 3].tolist() == pytest.approx((142, 76, 76), abs=1)  # half as opaque
    assert (tinted(picture, np.zeros((1, 4), np.float32), scale=0.0) == GRAY).all()


def test_few_extreme_cells_do_not_pale_the_others_and_noise_does_not_look_like_a_spot() -> None:
    found = np.ones((128, 128), np.float32)
    found[0, :10] = -8  # 10 of 16,384
    assert strongest(found) == 1
    assert strongest(found * 0.001 + one_cell(3, 3, -7.0)) == pytest.approx(0.7, rel=0.001)
    assert strongest(np.zeros((4, 4), np.float32)) == 0


@pytest.mark.parametrize(("aspect", "percent"), [("keep", 81.92), ("squash", 163.84)])
def test_a_percent_of_the_picture_is_a_percent_of_the_cells_that_hold_it(
    aspect: Literal["squash", "keep"], percent: float
) -> None:
    """A map of ones adds 64 x 128 logits to a picture that is padded to twice its height, and a hundredth a percent."""
    found = amounts(np.ones((128, 128), np.float32), preprocess(aspect), *WIDE)
    assert found.shape == ((64, 128) if aspect == "keep" else (128, 128))
    assert found == pytest.approx(np.full(found.shape, percent))


def test_a_picture_smaller_than_its_words_keeps_its_own_pixels() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    whole = overlay(
        shown, np.zeros((128, 128), np.float32), preprocess("keep"), HEADING._replace(note="a long note " * 20)
    )
    assert whole.shape[1] == 384
    top = round(4.8 * 14)
    np.testing.assert_array_equal(whole[top : top + 64, 152:232], np.repeat(shown[..., None], 3, axis=2))


def test_a_sheet_has_a_row_a_label_and_the_picture_as_it_is_beside() -> None:
    shown = np.full((512, 512), GRAY, np.uint8)
    one = overlay(shown, one_cell(5, 5), preprocess("keep"), HEADING)
    two = sheet(shown, [(one_cell(5, 5), HEADING), (one_cell(9, 9), HEADING)], preprocess("keep"), ("image 1a2b", ""))
    assert two.shape == (2 * one.shape[0], 2 * one.shape[1] + 8, 3)
    np.testing.assert_array_equal(two[: one.shape[0], -one.shape[1] :], one)
    left = two[: one.shape[0], : one.shape[1]]
    assert (left[67 : 67 + 512] == GRAY).all()


def test_a_file_holds_the_colours_that_were_drawn() -> None:
    picture = overlay(np.full((64, 64), GRAY, np.uint8), one_cell(64, 64), preprocess("keep"), HEADING)
    read = cv2.imdecode(np.frombuffer(png(picture), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read, picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (382, 385), (2048, 2048)])
def test_every_reader_finds_the_same_pixels_in_a_file(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    file = png(picture)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB), picture)
    with Image.open(io.BytesIO(file)) as read:
        assert (read.format, read.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(read), picture)
    with Image.open(io.BytesIO(file)) as read:
        read.verify()  # its checksums


def test_drawing_needs_neither_a_network_nor_a_tracking_store() -> None:
    held = "{'keras', 'tensorflow', 'mlflow', 'matplotlib'} & set(sys.modules)"
    heavy = f"import sys, secondread.explanation.overlay; print({held})"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
