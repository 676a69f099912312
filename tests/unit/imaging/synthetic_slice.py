"""One slice by a formula, small enough to encode in every transfer syntax."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.write import write_ct


def hounsfield() -> NDArray[np.int16]:
    """Air, a skull and a brain with a dark and a bright spot in it: shape (64, 64), -1000 to 1500 HU."""
    rows, columns = np.mgrid[-32:32, -32:32]
    reach = rows**2 + 2 * columns**2
    brain = 30 + (rows * columns) % 11 - 25 * (rows**2 + columns**2 < 30) + 40 * ((rows - 9) ** 2 + columns**2 < 20)
    skull = 1500 - abs(reach - 850) * 3
    drawn: NDArray[np.int16] = np.select([reach < 750, reach < 950], [brain, skull], -1000).astype(np.int16)
    return drawn


def unsigned() -> Dataset:
    """The slice in 12 unsigned bits, whose zero is -1024 HU."""
    dcm = _dataset()
    dcm.BitsStored, dcm.HighBit, dcm.PixelRepresentation = 12, 11, 0
    dcm.PixelData = (hounsfield() + 1024).astype("<u2").tobytes()
    return dcm


def signed() -> Dataset:
    """The slice in 16 signed bits that are Hounsfield units already."""
    dcm = _dataset()
    dcm.RescaleIntercept = 0
    dcm.PixelData = hounsfield().astype("<i2").tobytes()
    return dcm


def saved(dcm: Dataset) -> bytes:
    """The file's bytes."""
    buffer = BytesIO()
    with leniently():
        dcm.save_as(buffer)
    return buffer.getvalue()


def high_throughput(name: str) -> bytes:
    """A codestream of the slice's 12 unsigned bits, made by OpenJPH, which nothing that is installed here can do."""
    return (Path(__file__).parent / "htj2k" / name).read_bytes()


def _dataset() -> Dataset:
    ids = {"patient_id": "SECRET", "study_uid": "2.25.11", "series_uid": "2.25.12", "sop_uid": "2.25.13"}
    data = write_ct(hounsfield(), instance=1, position=(0.0, 0.0, 0.0), spacing=(1.0, 1.0), thickness=5.0, **ids)
    return dcmread(BytesIO(data))
