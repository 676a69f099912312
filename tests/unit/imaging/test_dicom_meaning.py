"""What stored bits mean where a file is unlike the common ones: each branch by numbers that can be derived by hand."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from test_dicom_read import changed, ct, rule_of, xray

from secondread.errors import OutOfScope
from secondread.imaging.dicom.read import read_dicom

LEVELS = (np.arange(64 * 80).reshape(64, 80) % 4096).astype(np.uint16)
TWELVE_BITS = {"BitsStored": 12, "PixelRepresentation": 0, "RescaleIntercept": -1024}


def lut(first: int, entries: list[int], **more: object) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS", [len(entries), first, 16])
    item.add_new("LUTData", "US", entries)
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_a_value_at_the_upper_end_of_its_cell_is_taken_from_there() -> None:
    cells = (LEVELS << 4 | 7).astype("<u2")  # what stands below the value is not part of it
    values = read_dicom(changed(ct(), HighBit=15, PixelData=cells.tobytes(), **TWELVE_BITS)).values
    np.testing.assert_array_equal(values, LEVELS.astype(np.int32) - 1024)


def test_what_stands_above_a_value_is_no_part_of_it() -> None:
    cells = (LEVELS | 0xA000).astype("<u2")
    values = read_dicom(changed(ct(), HighBit=11, PixelData=cells.tobytes(), **TWELVE_BITS)).values
    np.testing.assert_array_equal(values, LEVELS.astype(np.int32) - 1024)


def test_bits_that_do_not_fit_their_cell_are_refused() -> None:
    assert rule_of(changed(ct(), BitsStored=12, HighBit=10)) == "bits"


def test_padding_without_a_sign_is_read_as_the_pixels_are() -> None:
    stored = np.full((64, 80), 40, "<i2")
    stored[:, 0], stored[:, 1] = -2000, 41
    dcm = ct()
    dcm.PixelData = stored.tobytes()
    dcm.add_new("PixelPaddingValue", "US", 63536)  # -2000 + 65536
    picture = read_dicom(changed(dcm, RescaleIntercept=0))
    assert picture.padding is not None
    assert picture.padding.sum() == 64
    assert picture.values[0, :3].tolist() == [-1024, 41, 40]


def test_a_ct_without_a_line_may_have_a_table_of_hounsfield_units() -> None:
    entries = [number * 2 for number in range(6000)]
    dcm = ct()
    dcm.ModalityLUTSequence = lut(0, entries, ModalityLUTType="HU")
    values = read_dicom(changed(dcm, RescaleSlope=None, RescaleIntercept=None)).values
    assert values[0, :3].tolist() == [0, 2, 4]


def test_a_ct_with_a_table_of_another_unit_is_refused() -> None:
    dcm = ct()
    dcm.ModalityLUTSequence = lut(0, [1, 2, 3], ModalityLUTType="OD")
    assert rule_of(changed(dcm, RescaleSlope=None, RescaleIntercept=None)) == "rescale"


def test_a_ct_that_says_another_unit_is_out_of_scope() -> None:
    with pytest.raises(OutOfScope) as caught:
        read_dicom(changed(ct(), RescaleType="MGML"))
    assert caught.value.rule == "unit"


def test_a_window_that_shows_nothing_is_refused() -> None:
    assert rule_of(changed(xray(), WindowCenter=60000, WindowWidth=10)) == "window"


@pytest.mark.parametrize(
    ("photometric", "pixel", "gray"),
    [
        ("RGB", (255, 0, 0), 76),  # .299 of 255 (ITU-R BT.601)
        ("RGB", (0, 255, 0), 150),
        ("RGB", (90, 90, 90), 90),
    ],
)
def test_a_colour_x_ray_is_seen_by_its_luma(photometric: str, pixel: tuple[int, int, int], gray: int) -> None:
    image = np.zeros((64, 80, 3), np.uint8)
    image[:, 40:] = pixel
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": photometric}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    values = read_dicom(changed(xray(), PixelData=image.tobytes(), **colour, **bits)).values
    assert (values[0, 0], values[0, 79]) == (0, gray)


def test_a_colour_picture_of_a_ct_is_a_secondary_capture() -> None:
    image = np.zeros((64, 80, 3), np.uint8)
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    assert rule_of(changed(ct(), PixelData=image.tobytes(), **colour, **bits)) == "secondary_capture"
