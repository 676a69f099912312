"""Phantom DICOM: valid, labelled synthetic, and byte for byte the same each time."""

import hashlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from secondread.config import Window
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import read_dicom, read_header
from secondread.imaging.dicom.write import write_ct, write_xray

RAMP = np.arange(64 * 80, dtype=np.int16).reshape(64, 80) - 1024
IDS: dict[str, str] = {
    "patient_id": "ID_0000aaaa",
    "study_uid": "ID_0000bbbb",
    "series_uid": "ID_0000cccc",
    "sop_uid": "ID_0000dddd",
}


def ct(**changes: Any) -> bytes:
    settings: dict[str, Any] = {
        "instance": 7,
        "position": (-120.0, -1 / 3, 12.5),
        "spacing": (0.5, 0.5),
        "thickness": 5,
    }
    return write_ct(RAMP, **(IDS | settings | changes))


def xray(**changes: Any) -> bytes:
    settings: dict[str, Any] = {"bits": 13, "photometric": "MONOCHROME2", "window": Window(center=2048, width=4096)}
    return write_xray((RAMP + 1024).astype(np.uint16), **(IDS | settings | changes))


def parsed(data: bytes) -> Dataset:
    with leniently():
        return dcmread(BytesIO(data))


@pytest.mark.parametrize("write", [ct, xray])
def test_ids_that_are_no_uids_come_back_as_they_were(write: Any) -> None:
    header = read_header(write())
    assert (header.patient_id, header.study_uid) == ("ID_0000aaaa", "ID_0000bbbb")
    assert (header.series_uid, header.sop_uid) == ("ID_0000cccc", "ID_0000dddd")


def test_sex_and_age_come_back_and_are_left_out_where_nobody_gives_them() -> None:
    told, untold = read_header(ct(sex="F", age="044Y")), read_header(ct())
    assert (told.sex, told.age) == ("F", "044Y")
    assert (untold.sex, untold.age) == ("", "")
    assert "PatientSex" not in parsed(ct())


def test_hounsfield_units_come_back_as_they_were() -> None:
    picture = read_dicom(ct())
    assert (picture.unit, picture.modality, str(picture.values.dtype)) == ("HU", "CT", "int16")
    assert np.array_equal(picture.values, RAMP)


def test_x_ray_pixels_come_back_as_they_were() -> None:
    picture = read_dicom(xray())
    assert (picture.unit, picture.modality, str(picture.values.dtype)) == ("display", "DX", "uint8")
    assert np.array_equal(picture.stored, RAMP + 1024)


@pytest.mark.parametrize("write", [ct, xray])
def test_equal_input_gives_equal_bytes(write: Any) -> None:
    assert write() == write()


def test_the_bytes_do_not_change_with_time_or_with_pydicom() -> None:
    digests = [hashlib.sha256(data).hexdigest()[:16] for data in (ct(), xray())]
    assert digests == ["e6e2dbbcd9a2d179", "47d1f7a900a87b22"]


@pytest.mark.parametrize("write", [ct, xray])
def test_a_viewer_shows_that_the_image_is_synthetic(write: Any) -> None:
    dcm = parsed(write())
    assert "SYNTHETIC" in str(dcm.PatientName)
    assert "SYNTHETIC" in dcm.SeriesDescription
    assert dcm.QualityControlImage == "YES"


@pytest.mark.parametrize("write", [ct, xray])
def test_valid_ids_make_a_file_that_pydicom_finds_nothing_wrong_with(write: Any) -> None:
    data = write(study_uid="2.25.1", series_uid="2.25.2", sop_uid="2.25.3")
    for element in dcmread(BytesIO(data)).iterall():  # pydicom would warn, and a warning is an error here
        assert element.value is not None
