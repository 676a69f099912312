"""Write phantom images as minimal valid DICOM; equal input gives equal bytes."""

from collections.abc import Sequence
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from secondread.config import Window
from secondread.imaging.dicom.leniency import leniently

# PS3.5 B.2: a UUID as a UID. Fixed, as is the version, so that a new pydicom does not change the bytes.
IMPLEMENTATION_UID = UID("2.25.240379165713906486236171034279427305719")
IMPLEMENTATION_VERSION = "SECONDREAD_1"
_INTERCEPT = -1024  # HU of the stored value 0 (PS3.3 C.8.2.1), as in RSNA 2019


def write_ct(
    hounsfield: NDArray[np.int16],
    *,
    patient_id: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    instance: int,
    position: tuple[float, float, float],
    spacing: tuple[float, float],
    thickness: float,
    sex: str = "",
    age: str = "",
) -> bytes:
    """Make one axial CT slice as a DICOM file, as RSNA's 2019 challenge holds them.

    Args:
        hounsfield: shape (height, width), from -1024 to 31743 HU.
        sop_uid: may be an id that is no valid UID, such as `ID_000012eaf`.
        instance: InstanceNumber (0020,0013).
        position: ImagePositionPatient (0020,0032), mm.
        spacing: PixelSpacing (0028,0030), mm between rows and between columns.
        thickness: SliceThickness (0018,0050), mm.
        sex: PatientSex (0010,0040), M, F or O; "" leaves it out.
        age: PatientAge (0010,1010), such as 044Y; "" leaves it out.
    """
    dcm = _new_dataset(CTImageStorage, patient_id, study_uid, series_uid, sop_uid)
    if sex:
        dcm.PatientSex = sex
    if age:
        dcm.PatientAge = age
    dcm.Modality = "CT"
    dcm.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dcm.BodyPartExamined = "HEAD"
    dcm.InstanceNumber = instance
    dcm.ImagePositionPatient = _decimals(position)
    dcm.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dcm.PixelSpacing = _decimals(spacing)
    dcm.SliceThickness = round(thickness, 6)
    dcm.RescaleIntercept = _INTERCEPT
    dcm.RescaleSlope = 1
    dcm.RescaleType = "HU"
    _set_window(dcm, Window(center=40, width=80))
    _set_pixels(dcm, hounsfield - np.int16(_INTERCEPT), bits=16, photometric="MONOCHROME2")
    return _to_bytes(dcm)


def write_xray(
    pixels: NDArray[np.uint16],
    *,
    patient_id: str,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    bits: int,
    photometric: Literal["MONOCHROME1", "MONOCHROME2"],
    window: Window,
) -> bytes:
    """Make one frontal digital X-ray as a DICOM file.

    Args:
        pixels: stored values, shape (height, width), less than 2**bits.
        bits: BitsStored (0028,0101), 9 to 16.
        photometric: MONOCHROME1 shows the smallest value white.
        window: in stored values.
    """
    dcm = _new_dataset(DigitalXRayImageStorageForPresentation, patient_id, study_uid, series_uid, sop_uid)
    dcm.Modality = "DX"
    dcm.ImageType = ["DERIVED", "SECONDARY"]
    dcm.BodyPartExamined = "CHEST"
    dcm.ViewPosition = "PA"
    dcm.InstanceNumber = 1
    dcm.RescaleIntercept = 0
    dcm.RescaleSlope = 1
    dcm.RescaleType = "US"
    dcm.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    _set_window(dcm, window)
    _set_pixels(dcm, pixels, bits=bits, photometric=photometric)
    return _to_bytes(dcm)


def _new_dataset(sop_class: str, patient_id: str, study_uid: str, series_uid: str, sop_uid: str) -> Dataset:
    """Who and what, said to be synthetic wherever a viewer shows it."""
    with leniently():
        dcm = Dataset()
        dcm.SOPClassUID = sop_class
        dcm.SOPInstanceUID = sop_uid
        dcm.StudyInstanceUID = study_uid
        dcm.SeriesInstanceUID = series_uid
        dcm.PatientID = patient_id
        dcm.PatientName = "SYNTHETIC^PHANTOM"
        dcm.Manufacturer = "Second Read phantom"
        dcm.SeriesDescription = "SYNTHETIC, NOT A PATIENT"
        dcm.QualityControlImage = "YES"  # PS3.3 C.7.6.1: quality control or phantom image
        return dcm


def _decimals(numbers: Sequence[float]) -> list[float]:
    """Millimetres to six places: a decimal string (PS3.5 6.2, DS) has 16 characters at most."""
    return [round(number, 6) for number in numbers]


def _set_window(dcm: Dataset, window: Window) -> None:
    dcm.WindowCenter = window.center
    dcm.WindowWidth = window.width


def _set_pixels(dcm: Dataset, stored: NDArray[np.int16] | NDArray[np.uint16], bits: int, photometric: str) -> None:
    dcm.SamplesPerPixel = 1
    dcm.PhotometricInterpretation = photometric
    dcm.Rows, dcm.Columns = stored.shape
    dcm.BitsAllocated = 16
    dcm.BitsStored = bits
    dcm.HighBit = bits - 1
    dcm.PixelRepresentation = int(stored.dtype.kind == "i")
    dcm.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dcm["PixelData"].VR = "OW"


def _to_bytes(dcm: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    dcm.file_meta = meta
    buffer = BytesIO()
    with leniently():
        dcm.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
