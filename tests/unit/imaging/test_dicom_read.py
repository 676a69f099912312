"""DICOM becomes Hounsfield units or display values, or is put aside by a rule that names no patient."""

import logging
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from secondread.config import Window
from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom, read_header
from secondread.imaging.dicom.write import write_ct, write_xray

IDS: dict[str, Any] = {
    "patient_id": "SECRET-NAME",
    "study_uid": "2.25.11",
    "series_uid": "2.25.12",
    "sop_uid": "2.25.13",
}
RAMP: NDArray[np.int16] = (np.arange(64 * 80, dtype=np.int16).reshape(64, 80) - 1024).copy()
LEVELS: NDArray[np.uint16] = (np.arange(64 * 80).reshape(64, 80) % 4096).astype(np.uint16)


def ct(hounsfield: NDArray[np.int16] = RAMP) -> Dataset:
    geometry: dict[str, Any] = {"position": (1.0, 2.0, 12.5), "spacing": (0.5, 0.5), "thickness": 5.0}
    return dcmread(BytesIO(write_ct(hounsfield, instance=1, **geometry, **IDS)))


def xray(pixels: NDArray[np.uint16] = LEVELS, photometric: Any = "MONOCHROME2") -> Dataset:
    window = Window(center=2048, width=4096)
    return dcmread(BytesIO(write_xray(pixels, bits=12, photometric=photometric, window=window, **IDS)))


def changed(dcm: Dataset, **attributes: Any) -> bytes:
    """The file with attributes set, or taken out where the value is None."""
    with leniently():
        for keyword, value in attributes.items():
            if value is None:
                delattr(dcm, keyword)
            else:
                setattr(dcm, keyword, value)
            if keyword.startswith("PixelPadding"):
                dcm[keyword].VR = "SS" if dcm.PixelRepresentation else "US"
        buffer = BytesIO()
        dcm.save_as(buffer)
        return buffer.getvalue()


def rule_of(data: bytes) -> str:
    with pytest.raises(ImageRejected) as caught:
        read_dicom(data)
    assert "SECRET" not in str(caught.value)
    return caught.value.rule


class TestHounsfieldUnits:
    def test_whole_numbers_stay_int16(self) -> None:
        values = read_dicom(changed(ct(), RescaleSlope=2, RescaleIntercept=-500)).values
        assert values.dtype == np.int16
        assert values[0, :3].tolist() == [-500, -498, -496]

    def test_fractions_become_float32(self) -> None:
        values = read_dicom(changed(ct(), RescaleSlope=0.5, RescaleIntercept=-10)).values
        assert values.dtype == np.float32
        assert values[0, :3].tolist() == [-10, -9.5, -9]

    def test_what_int16_cannot_hold_becomes_float32(self) -> None:
        values = read_dicom(changed(ct(), RescaleSlope=10, RescaleIntercept=0)).values
        assert values.dtype == np.float32
        assert values.max() == 5119 * 10

    def test_unsigned_values_of_16_bits_are_not_taken_for_negative_ones(self) -> None:
        stored = RAMP.astype(np.int32) + 41024
        dcm = ct()
        data = changed(dcm, PixelData=stored.astype("<u2").tobytes(), PixelRepresentation=0, RescaleIntercept=-41024)
        assert np.array_equal(read_dicom(data).values, RAMP)

    def test_rsna_files_of_12_bits_that_wrapped_are_mended(self) -> None:
        air_to_metal = np.linspace(-1000, 3071, 64 * 80).astype(np.int16).reshape(64, 80)
        wrapped = (air_to_metal % 4096).astype("<u2")
        bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
        data = changed(ct(), PixelData=wrapped.tobytes(), RescaleIntercept=0, **bits)
        assert np.array_equal(read_dicom(data).values, air_to_metal)

    def test_12_bits_with_an_offset_did_not_wrap(self) -> None:
        bits = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
        data = changed(ct(), PixelData=LEVELS.astype("<u2").tobytes(), RescaleIntercept=-1024, **bits)
        assert read_dicom(data).values.max() == 4095 - 1024

    @pytest.mark.parametrize("slope", [0, 101, "nan", "inf", None, ""])
    def test_a_slope_that_cannot_be_is_refused(self, slope: Any) -> None:
        assert rule_of(changed(ct(), RescaleSlope=slope)) == "rescale"

    @pytest.mark.parametrize("intercept", ["nan", "-inf", None])
    def test_an_intercept_that_cannot_be_is_refused(self, intercept: Any) -> None:
        assert rule_of(changed(ct(), RescaleIntercept=intercept)) == "rescale"

    def test_a_ct_without_rescale_is_not_in_hounsfield_units(self) -> None:
        assert rule_of(changed(ct(), RescaleSlope=None, RescaleIntercept=None)) == "rescale"

    def test_padding_is_darker_than_air(self) -> None:
        hounsfield = RAMP.copy()
        hounsfield[:10] = 2000
        picture = read_dicom(changed(ct(hounsfield), PixelPaddingValue=3024))
        assert picture.padding is not None
        assert picture.padding[:10].all()
        assert not picture.padding[10].any()
        assert np.unique(picture.values[:10]).tolist() == [-1024]
        assert np.array_equal(picture.values[10], RAMP[10])

    def test_padding_may_be_a_range(self) -> None:
        picture = read_dicom(changed(ct(), PixelPaddingValue=20, PixelPaddingRangeLimit=10))
        assert picture.padding is not None
        assert np.flatnonzero(picture.padding).tolist() == list(range(10, 21))

    def test_padding_that_does_not_occur_is_none(self) -> None:
        assert read_dicom(changed(ct(), PixelPaddingValue=-32768)).padding is None


class TestDisplay:
    def test_the_window_is_applied(self) -> None:
        shown = read_dicom(changed(xray(), WindowCenter=128, WindowWidth=256)).values
        assert shown.dtype == np.uint8
        assert np.array_equal(shown.ravel()[:256], np.arange(256))
        assert shown.ravel()[256:4096].min() == 255

    def test_the_first_of_several_windows_is_applied(self) -> None:
        several = changed(xray(), WindowCenter=[128, 2048], WindowWidth=[256, 4096])
        first = changed(xray(), WindowCenter=128, WindowWidth=256)
        assert np.array_equal(read_dicom(several).values, read_dicom(first).values)

    def test_monochrome1_is_inverted_once(self) -> None:
        bright = read_dicom(changed(xray())).values
        dark = read_dicom(changed(xray(photometric="MONOCHROME1"))).values
        assert np.array_equal(dark, 255 - bright)

    def test_without_a_window_the_range_of_the_image_is_shown(self) -> None:
        shown = read_dicom(changed(xray(LEVELS // 2 + 100), WindowCenter=None, WindowWidth=None)).values
        assert (shown.min(), shown.max()) == (0, 255)

    def test_padding_is_black_and_does_not_count_as_range(self) -> None:
        pixels = (LEVELS % 256 + 1000).astype(np.uint16)
        pixels[:10] = 4095
        data = changed(xray(pixels), WindowCenter=None, WindowWidth=None, PixelPaddingValue=4095)
        shown = read_dicom(data).values
        assert shown[:10].max() == 0
        assert np.array_equal(shown[10:], pixels[10:] - 1000)

    def test_padding_of_a_monochrome1_image_is_black_too(self) -> None:
        shown = read_dicom(changed(xray(photometric="MONOCHROME1"), PixelPaddingValue=0)).values
        assert shown[0, 0] == 0
        assert shown[0, 1] == 255

    def test_rescale_comes_before_the_window(self) -> None:
        data = changed(xray(), RescaleSlope=2, RescaleIntercept=100, WindowCenter=228, WindowWidth=256)
        # A stored 64 is 2 x 64 + 100 = 228; (228 - 227.5) / 255 + .5 is 128 / 255.
        assert read_dicom(data).values[0, 64] == 128

    @pytest.mark.parametrize(("function", "middle", "end"), [("LINEAR_EXACT", 128, 255), ("SIGMOID", 128, 225)])
    def test_other_window_functions_are_the_standards(self, function: str, middle: int, end: int) -> None:
        data = changed(xray(), WindowCenter=1000, WindowWidth=200, VOILUTFunction=function)
        shown = read_dicom(data).values.ravel()
        # At the center .5; half a width above it 1, or 1 / (1 + exp(-2)) = .881.
        assert [shown[1000], shown[1100]] == [middle, end]

    @pytest.mark.parametrize("entries", ["words", "bytes"])
    def test_a_voi_lut_wins_over_the_window(self, entries: str) -> None:
        lut = Dataset()
        lut.LUTDescriptor = [4, 100, 8]
        table = [0, 51, 102, 255]
        lut.LUTData = np.array(table, "<u2" if entries == "words" else np.uint8).tobytes()
        lut["LUTData"].VR = "OW"
        shown = read_dicom(changed(xray(), VOILUTSequence=Sequence([lut]))).values.ravel()
        assert shown[[0, 100, 101, 102, 103, 4000]].tolist() == [0, 0, 51, 102, 255, 255]

    def test_a_modality_lut_comes_before_the_window(self) -> None:
        lut = Dataset()
        lut.LUTDescriptor = [2, 10, 16]
        lut.ModalityLUTType = "OD"
        lut.LUTData = [0, 4095]
        lut["LUTData"].VR = "US"
        data = changed(xray(), ModalityLUTSequence=Sequence([lut]), RescaleSlope=None, RescaleIntercept=None)
        assert read_dicom(data).values.ravel()[[0, 10, 11, 4000]].tolist() == [0, 0, 255, 255]

    @pytest.mark.parametrize(("entries", "rule"), [([], "lut"), ([7, 7], "constant")])
    def test_a_modality_lut_that_shows_nothing_is_refused(self, entries: list[int], rule: str) -> None:
        lut = Dataset()
        lut.LUTDescriptor = [len(entries), 10, 16]
        lut.LUTData = np.array(entries, "<u2").tobytes()
        lut["LUTData"].VR = "OW"
        data = changed(xray(), ModalityLUTSequence=Sequence([lut]), WindowCenter=None, WindowWidth=None)
        assert rule_of(data) == rule

    @pytest.mark.parametrize("width", [0, 1, -5, "nan"])
    def test_a_window_that_cannot_be_is_refused(self, width: Any) -> None:
        assert rule_of(changed(xray(), WindowWidth=width)) == "window"

    def test_a_slope_without_intercept_is_refused(self) -> None:
        assert rule_of(changed(xray(), RescaleIntercept=None)) == "rescale"


def compressed(dcm: Dataset, codestream: bytes, syntax: uid.UID) -> bytes:
    dcm.PixelData = encapsulate([codestream])
    dcm.file_meta.TransferSyntaxUID = syntax
    return changed(dcm)


class TestCodestreams:
    def test_a_compressed_image_larger_than_the_header_says_is_never_decoded(self) -> None:
        codestream = bytearray(encode_array(RAMP))
        codestream[8:16] = codestream[24:32] = (60_000).to_bytes(4, "big") * 2  # Xsiz and Ysiz; of the tile as well
        assert rule_of(compressed(ct(), bytes(codestream), uid.JPEG2000Lossless)) == "codestream"

    def test_a_compressed_image_that_ends_early_is_refused(self) -> None:
        assert rule_of(compressed(ct(), encode_array(RAMP)[:-40], uid.JPEG2000Lossless)) == "truncated"

    def test_compressed_data_that_no_decoder_takes_are_refused(self) -> None:
        codestream = bytearray(encode_array(RAMP))
        style = codestream.index(b"\xff\x52")  # COD
        codestream[style + 4 : style + 14] = b"\xff" * 10
        assert rule_of(compressed(ct(), bytes(codestream), uid.JPEG2000Lossless)) == "decode"

    def test_a_deflated_file_that_grows_beyond_the_limit_is_refused_before_it_is_inflated(self) -> None:
        dcm = ct()
        dcm.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        data = changed(dcm)
        start = 144 + int.from_bytes(data[140:144], "little")
        bomb = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
        data = data[:start] + bomb.compress(bytes(65 * 2**20)) + bomb.flush()
        assert len(data) < 100_000
        assert rule_of(data) == "too_large"


class TestRules:
    @pytest.mark.parametrize(
        ("rule", "attributes"),
        [
            ("modality", {"Modality": "US"}),
            ("no_modality", {"Modality": None}),
            ("photometric", {"SamplesPerPixel": 3}),
            ("photometric", {"SamplesPerPixel": 3, "PhotometricInterpretation": "HSV"}),
            ("secondary_capture", {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}),
            ("secondary_capture", {"PhotometricInterpretation": "PALETTE COLOR"}),
            ("frames", {"NumberOfFrames": 2}),
            ("bits", {"BitsAllocated": 32}),
            ("no_pixels", {"PixelData": None}),
            ("dimensions", {"Rows": 60_000}),
            ("dimensions", {"Columns": 8}),
            ("decode", {"Rows": 128}),
            ("dicom", {"Rows": None}),
        ],
    )
    def test_every_rule_has_its_name(self, rule: str, attributes: dict[str, Any]) -> None:
        assert rule_of(changed(ct(), **attributes)) == rule

    def test_a_constant_image_is_refused(self) -> None:
        assert rule_of(changed(ct(np.full((64, 64), 40, np.int16)))) == "constant"

    def test_an_image_of_nothing_but_padding_is_refused(self) -> None:
        pixels = np.zeros((64, 64), np.uint16)
        assert rule_of(changed(xray(pixels), PixelPaddingValue=0)) == "constant"

    def test_an_image_that_is_constant_but_for_padding_is_refused(self) -> None:
        pixels = np.full((64, 64), 300, np.uint16)
        pixels[:5] = 0
        assert rule_of(changed(xray(pixels), PixelPaddingValue=0)) == "constant"

    @pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.5, 0.99])
    def test_a_file_that_ends_early_is_refused(self, share: float) -> None:
        data = changed(ct())
        assert rule_of(data[: int(len(data) * share)]) in ("dicom", "decode", "no_pixels", "no_modality")

    def test_text_where_a_number_belongs_is_refused_without_being_quoted(self) -> None:
        assert rule_of(changed(ct()).replace(b"-1024.0 ", b"SECRET! ")) == "rescale"
        assert rule_of(changed(ct(), NumberOfFrames=1).replace(b"IS\x02\x001 ", b"IS\x02\x00??")) == "dicom"

    @pytest.mark.parametrize("data", [b"", b"no DICOM", bytes(200), bytes(128) + b"DICM" + bytes(range(256))])
    def test_bytes_that_are_no_dicom_are_refused(self, data: bytes) -> None:
        with pytest.raises(ImageRejected):
            read_dicom(data)
        with pytest.raises(ImageRejected):
            read_header(data)

    def test_odd_values_pass_without_a_warning_or_a_log_line(self, caplog: pytest.LogCaptureFixture) -> None:
        odd: dict[str, Any] = {"SOPInstanceUID": "ID_SECRET", "PatientBirthDate": "SECRET", "PatientAge": "SECRET AGE"}
        with caplog.at_level(logging.DEBUG):
            assert read_dicom(changed(ct(), **odd)).unit == "HU"
            assert read_header(changed(ct(), **odd)).sop_uid == "ID_SECRET"
        assert "SECRET" not in caplog.text

    def test_pydicom_is_as_loud_as_before_afterwards(self) -> None:
        logger = logging.getLogger("pydicom")
        before = logger.disabled
        read_header(changed(ct()))
        assert logger.disabled == before


class TestHeader:
    def test_it_says_who_and_what(self) -> None:
        header = read_header(changed(ct(), PatientID=" padded "))
        assert (header.patient_id, header.study_uid, header.modality) == ("padded", "2.25.11", "CT")
        assert (header.series_uid, header.sop_uid) == ("2.25.12", "2.25.13")

    def test_slices_are_ordered_along_their_normal(self) -> None:
        assert read_header(changed(ct())).order == 12.5
        # Sagittal: rows run back, columns down; the normal, their cross product, is -x.
        sagittal = changed(ct(), ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        assert (read_header(sagittal).order, read_header(sagittal).normal) == (-1.0, (-1, 0, 0))

    def test_a_tilted_gantry_orders_slices_along_its_own_normal(self) -> None:
        # Columns run down and to the feet by 3-4-5: the normal is (0, .6, .8), so 10 mm of table are 8 mm of stack.
        tilt = [1, 0, 0, 0, 0.8, -0.6]
        places = [
            read_header(changed(ct(), ImageOrientationPatient=tilt, ImagePositionPatient=[0, 0, z])) for z in (0, 10)
        ]
        assert [header.order for header in places] == pytest.approx([0, 8])
        assert places[0].normal == pytest.approx((0, 0.6, 0.8))

    @pytest.mark.parametrize("position", [None, "", [1, 2]])
    def test_without_a_position_there_is_no_order(self, position: Any) -> None:
        assert np.isnan(read_header(changed(ct(), ImagePositionPatient=position)).order)

    def test_without_an_orientation_there_is_no_order(self) -> None:
        header = read_header(changed(ct(), ImageOrientationPatient=[1, 0, 0]))
        assert np.isnan([header.order, *header.normal]).all()

    def test_what_the_file_does_not_say_is_empty(self) -> None:
        header = read_header(changed(xray(), PatientID=None, StudyInstanceUID=None))
        assert (header.patient_id, header.study_uid) == ("", "")
        assert np.isnan(header.order)
