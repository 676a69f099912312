"""A file's bytes become model input, one way for training and serving."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from secondread.config import WINDOWS, PreprocessSettings, Window
from secondread.errors import ImageRejected
from secondread.imaging.dicom.write import write_ct, write_xray
from secondread.imaging.preprocess import Preprocess, thumbnail
from secondread.tasks import load_task

IDS: dict[str, Any] = {"patient_id": "P", "study_uid": "2.25.1", "series_uid": "2.25.2", "sop_uid": "2.25.3"}
THREE = (WINDOWS["brain"], WINDOWS["subdural"], WINDOWS["soft"])


def display(**changes: Any) -> Preprocess:
    settings: dict[str, Any] = {"unit": "display", "size": 64, "channels": 1, "modalities": ("CR", "DX")}
    return Preprocess(**(settings | changes))


def hounsfield(**changes: Any) -> Preprocess:
    settings: dict[str, Any] = {"unit": "HU", "size": 64, "channels": 3, "windows": THREE, "modalities": ("CT",)}
    return Preprocess(**(settings | changes))


def png(gray: NDArray[Any]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(gray.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def ct(values: NDArray[Any]) -> bytes:
    geometry: dict[str, Any] = {"position": (0.0, 0.0, 0.0), "spacing": (0.5, 0.5), "thickness": 5.0}
    return write_ct(values.astype(np.int16), instance=1, **geometry, **IDS)


def xray(pixels: NDArray[Any]) -> bytes:
    window = Window(center=128, width=256)
    return write_xray(pixels.astype(np.uint16), bits=12, photometric="MONOCHROME2", window=window, **IDS)


GRADIENT = np.add.outer(np.arange(64), np.arange(64))


def rule_of(preprocess: Preprocess, data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        preprocess.pixels(data)
    return caught.value.rule


def test_a_picture_of_the_models_size_passes_unchanged() -> None:
    pixels = display().pixels(png(GRADIENT))
    assert (str(pixels.dtype), pixels.shape) == ("uint8", (64, 64, 1))
    assert np.array_equal(pixels[..., 0], GRADIENT)


def test_shrinking_averages_areas() -> None:
    """Blocks of 2 x 3 pixels that hold 0, 60, 120, 30, 90, 0 have the mean 50."""
    block = np.array([[0, 60, 120], [30, 90, 0]])
    pixels = display(size=32).pixels(png(np.tile(block, (32, 32)) + np.eye(64, 96) * 6))
    assert pixels[5, 20, 0] == 50
    assert pixels[5, 3, 0] == 52  # two of its six pixels lie on the diagonal, and are brighter by 6


def test_areas_that_share_a_pixel_share_its_weight() -> None:
    """96 to 64: an output pixel covers one whole pixel and half of its neighbour, (0 + 90 / 2) / 1.5 = 30."""
    columns = np.tile([0, 90, 0], 32)
    pixels = display().pixels(png(np.tile(columns, (64, 1))))
    assert np.unique(pixels).tolist() == [30]


def test_enlarging_interpolates_and_adds_no_new_extremes() -> None:
    pixels = display(size=100).pixels(png(GRADIENT + 50))
    assert (pixels.min(), pixels.max()) == (50, 176)
    assert (np.diff(pixels[..., 0].astype(int), axis=1) >= 0).all()


def test_a_stripe_image_stretched_one_way_and_shrunk_the_other_keeps_its_mean() -> None:
    stripes = np.tile([0, 200], (64, 64))
    pixels = display(size=100).pixels(png(stripes))  # 64 rows enlarged, 128 columns shrunk
    assert abs(pixels.mean() - 100) < 1


@pytest.mark.parametrize(("rows", "columns"), [(64, 128), (128, 64)])
def test_keep_pads_the_short_side_with_black(rows: int, columns: int) -> None:
    pixels = display(aspect="keep").pixels(png(np.full((rows, columns), 200) + np.eye(rows, columns)))[..., 0]
    across = pixels.max(axis=int(rows < columns))
    assert [int(across[at]) for at in (0, 15, 16, 47, 48, 63)] == [0, 0, *across[[16, 47]], 0, 0]
    assert across[16:48].min() >= 200


def test_squash_leaves_no_padding() -> None:
    assert display().pixels(png(np.full((64, 128), 200) + np.eye(64, 128))).min() >= 200


def test_windows_come_before_resizing() -> None:
    """Air beside metal: the mean of -1000 and 1000 HU, 0, would be black; half black and half white is gray."""
    pixels = hounsfield(size=32, channels=1, windows=THREE[:1]).pixels(ct(np.tile([-1000, 1000], (64, 32))))
    assert np.unique(pixels).tolist() == [128]


def test_each_window_has_its_channel() -> None:
    values = np.full((64, 64), 100)
    values[0, 0] = 0
    # brain 0..79 is white; subdural -20..179: (100 - 79.5) / 199 + .5; soft -150..229: (100 - 39.5) / 379 + .5.
    assert hounsfield().pixels(ct(values))[9, 9].tolist() == [255, 154, 168]


def test_a_slice_that_is_black_through_the_windows_is_still_an_image() -> None:
    assert hounsfield().pixels(ct(GRADIENT - 1000)).max() == 0


def test_a_repeated_channel_is_stored_once() -> None:
    preprocess = display(channels=3)
    pixels = preprocess.pixels(png(GRADIENT))
    assert pixels.shape == (64, 64, 3)
    assert (preprocess.repeats, preprocess.stored_channels) == (True, 1)
    assert preprocess.stored(pixels).shape == (64, 64, 1)


def test_different_windows_are_all_stored() -> None:
    preprocess = hounsfield()
    assert (preprocess.repeats, preprocess.stored_channels) == (False, 3)


@given(arrays.arrays(np.uint8, (2, 4, 4, 1)), st.sampled_from([1, 3]))
def test_what_is_stored_expands_to_what_it_was(stored: NDArray[np.uint8], channels: int) -> None:
    preprocess = display(channels=channels)
    expanded = preprocess.expand(stored)
    assert expanded.shape == (2, 4, 4, channels)
    assert np.array_equal(preprocess.stored(expanded), stored)
    assert np.array_equal(preprocess.expand(preprocess.stored(expanded)), expanded)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_holds_what_its_images_are(channels: int) -> None:
    preprocess = display(channels=channels)
    images = [preprocess.pixels(png(picture)) for picture in (GRADIENT, GRADIENT.T, GRADIENT[::-1])]
    np.testing.assert_array_equal(preprocess.stack(images), np.stack(images))
    windowed = hounsfield().pixels(ct(GRADIENT))
    np.testing.assert_array_equal(hounsfield().stack([windowed, windowed]), np.stack([windowed, windowed]))


def test_an_x_ray_is_the_same_as_dicom_and_as_a_picture() -> None:
    assert np.array_equal(display().pixels(xray(GRADIENT)), display().pixels(png(GRADIENT)))


def test_a_ct_sent_to_a_display_model_is_shown_through_the_sources_window() -> None:
    preprocess = display(modalities=("CT",), display_window=Window(center=128, width=256))
    assert np.array_equal(preprocess.pixels(ct(GRADIENT))[..., 0], GRADIENT)


@pytest.mark.parametrize(
    ("rule", "preprocess", "data"),
    [
        ("unit", hounsfield(), png(GRADIENT)),
        ("unit", display(modalities=("CT",)), ct(GRADIENT)),
        ("unit", hounsfield(modalities=("CT", "DX")), xray(GRADIENT)),
        ("modality", hounsfield(), xray(GRADIENT)),
        ("modality", display(), ct(GRADIENT)),
        ("constant", display(), png(np.full((64, 64), 7))),
        ("format", display(), b"no image"),
        ("dimensions", display(), png(GRADIENT[:32])),
    ],
)
def test_what_does_not_fit_the_model_is_rejected(rule: str, preprocess: Preprocess, data: bytes) -> None:
    assert rule_of(preprocess, data) == rule


def test_the_way_of_a_ct_shows_every_stage() -> None:
    names, images = zip(*hounsfield(size=32).way(ct(GRADIENT)), strict=True)
    assert names == (
        "stored pixels",
        "Hounsfield units",
        "brain 40/80",
        "subdural 80/200",
        "soft 40/380",
        "model input",
    )
    assert np.array_equal(images[0], GRADIENT + 1024)
    assert np.array_equal(images[1], GRADIENT)
    assert images[-1].shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (png(GRADIENT), ["gray", "model input"]),
        (xray(GRADIENT), ["stored pixels", "display values", "model input"]),
    ],
)
def test_the_way_of_an_x_ray_ends_in_the_models_input(data: bytes, names: list[str]) -> None:
    way = display(channels=3).way(data)
    assert [name for name, _ in way] == names
    assert np.array_equal(way[-1][1], display(channels=3).pixels(data))


def test_a_person_sees_a_ct_at_its_own_size_through_the_first_window() -> None:
    values = np.full((96, 80), 40)
    values[:, 40:] = 80
    shown = hounsfield().display(ct(values))
    assert (str(shown.dtype), shown.shape) == ("uint8", (96, 80))
    assert np.unique(shown).tolist() == [129, 255]  # brain: LINEAR puts 40 half a unit above the middle


def test_a_person_sees_all_of_a_jpeg_of_which_a_small_model_reads_a_part() -> None:
    gray = np.tile(np.repeat(np.array([[0, 255]], np.uint8), 8, axis=1), (640, 40))
    file = BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=95)
    shown = display().display(file.getvalue())
    assert shown.shape == (640, 640)
    assert np.abs(shown.astype(int) - gray).max() < 8  # at an eighth of its size the stripes would be gray


def test_what_no_screen_shows_is_made_smaller_in_proportion() -> None:
    assert display().display(png(np.tile(GRADIENT, (64, 32)))).shape == (2048, 1024)


def test_a_window_of_ones_own_is_named_by_its_numbers() -> None:
    preprocess = display(modalities=("CT",), display_window=Window(center=40, width=120))
    assert [name for name, _ in preprocess.way(ct(GRADIENT))][2] == "window 40/120"


def test_the_configuration_the_source_and_the_task_make_a_preprocess() -> None:
    settings = PreprocessSettings(size=96, channels=3, windows=THREE, aspect="keep")
    task, shown = load_task("hemorrhage"), Window(center=40, width=120)
    hu = Preprocess.build(task, settings, "HU", shown)
    assert (hu.windows, hu.display_window, hu.modalities) == (THREE, None, ("CT",))
    pictures = Preprocess.build(task, settings, "display", shown)
    assert (pictures.windows, pictures.display_window, pictures.channels) == ((), shown, 3)
    assert (pictures.size, pictures.aspect) == (96, "keep")


@pytest.mark.parametrize("changes", [{"unit": "HU"}, {"windows": THREE[:1]}, {"channels": 5}, {"sise": 3}])
def test_a_preprocess_that_contradicts_itself_cannot_be_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        display(**changes)


def test_it_survives_the_bundle() -> None:
    preprocess = hounsfield()
    copy = Preprocess.model_validate_json(preprocess.model_dump_json())
    assert copy == preprocess
    assert copy.digest == preprocess.digest


@pytest.mark.parametrize("changes", [{"size": 65}, {"aspect": "keep"}, {"windows": THREE[::-1]}])
def test_every_setting_changes_the_digest(changes: dict[str, Any]) -> None:
    assert hounsfield(**changes).digest != hounsfield().digest


def test_a_thumbnail_is_the_mean_of_areas_and_channels() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:2, :2] = [30, 60, 90]
    pixels[2, 0] = 40  # a quarter of the block below: 10
    small = thumbnail(pixels)
    assert (str(small.dtype), small.shape) == ("uint8", (32, 32))
    assert [small[0, 0], small[1, 0], small[5, 5]] == [60, 10, 0]
