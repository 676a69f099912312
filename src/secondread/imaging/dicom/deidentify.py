"""A DICOM image without what identifies its patient: the basic profile of PS3.15 Annex E, and tags by an allow-list."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO

import numpy as np
from dicognito.anonymizer import Anonymizer
from dicognito.datetimeanonymizer import DateTimeAnonymizer
from dicognito.element_anonymizer import ElementAnonymizer
from dicognito.randomizer import Randomizer
from dicognito.uianonymizer import UIAnonymizer
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from secondread.errors import ImageRejected
from secondread.imaging.codestream import without_comments
from secondread.imaging.dicom.burned_in import burned_in_text
from secondread.imaging.dicom.deflate import inflate
from secondread.imaging.dicom.kept import kept
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.read import discreet, read_dicom
from secondread.imaging.dicom.write import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from secondread.imaging.picture import Picture

METHODS = (f"dicognito {version('dicognito')}", "Second Read: allow-list of tags and values")
# Type 2: they must be there, also without a value.
_EMPTY = (
    *("AccessionNumber", "Manufacturer", "PatientBirthDate", "PositionReferenceIndicator", "ReferringPhysicianName"),
    "StudyID",
)
_OFTEN_EMPTY = ("InstanceNumber", "PatientSex", "SeriesNumber", "StudyDate", "StudyTime")
_LEAST_DAYS, _MOST_DAYS = 365, 3650  # that a patient's dates are moved into the past
# PS3.16 CID 7050: what was done, and which options of PS3.15 Annex E.3 were taken.
_PROFILE = (
    codes.cid7050.BasicApplicationConfidentialityProfile,
    codes.cid7050.RetainLongitudinalTemporalInformationModifiedDatesOption,
    codes.cid7050.RetainPatientCharacteristicsOption,
)


@dataclass(frozen=True)
class Deidentified:
    """A clean copy.

    Args:
        data: the file.
        patient, study, series, instance: who and what it is now; parts of a path that says nothing else.
        burned_in: why text is suspected in the pixels; "" where it is not.
    """

    data: bytes
    patient: str
    study: str
    series: str
    instance: str
    burned_in: str


def deidentify(data: bytes, secret: bytes) -> Deidentified:
    """Copy one image without what identifies its patient; equal arguments give an equal copy.

    The copy has the same pixel values, which is checked, the same transfer syntax, unless that was deflated, and new
    UIDs, the same for the same old ones. Dates go into the past, as far for each of a patient's files.

    Args:
        data: a file that `limits.check` has let pass.
        secret: without it nobody finds a patient from the copy.
    Raises:
        ImageRejected: as `read_dicom` does; also `no_uid`, `private_class`, `overlay` or `not_equal`.
    """
    picture = read_dicom(data)
    with leniently(), discreet():
        dcm = dcmread(BytesIO(inflate(data)))
        _refuse_graphics(dcm)
        clean = kept(dcm)
        if "SOPInstanceUID" not in clean:
            raise ImageRejected("no_uid", "SOP Instance UID (0008,0018) is absent, so that the copy would have no name")
        clean.SOPClassUID = _public_class(dcm)
        clean.file_meta = FileMetaDataset()
        clean.file_meta.TransferSyntaxUID = dcm.file_meta.TransferSyntaxUID
        _set_pixels(clean, dcm)
        burned_in = burned_in_text(dcm, picture)
        patient = _keyed(secret, "patient", str(dcm.get("PatientID") or "").strip())[:32]
        _rename(clean, patient, secret)
        clean.PatientIdentityRemoved = "NO" if burned_in else "YES"  # PS3.3 C.7.1.1
        written = _written(clean)
    _check_equal(read_dicom(written), picture)
    study, series, instance = (
        _keyed(secret, "path", str(clean.get(f"{name}InstanceUID") or ""))[:16] for name in ("Study", "Series", "SOP")
    )
    return Deidentified(written, patient, study, series, instance, burned_in)


class _Keyed(Randomizer):
    """New identifiers that only the holder of the secret can tie to the old ones; dicognito's own is an MD5."""

    def __init__(self, secret: bytes) -> None:
        super().__init__("")
        self._secret = secret

    def to_int(self, original_value: str) -> int:
        """128 bits of HMAC-SHA256."""
        return int(_keyed(self._secret, "uid", original_value.strip())[:32], 16)


def _keyed(secret: bytes, purpose: str, text: str) -> str:
    """HMAC-SHA256 in hexadecimal; a patient's is that of `data.patient_key`."""
    message = text if purpose == "patient" else f"{purpose} {text}"
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()


def _rename(clean: Dataset, patient: str, secret: bytes) -> None:
    """Give the copy its new names, and say what was done (PS3.15 E.2, PS3.3 C.12.1.1)."""
    clean.PatientID = clean.PatientName = patient
    for keyword in _EMPTY:
        setattr(clean, keyword, "")
    for keyword in _OFTEN_EMPTY:
        clean.setdefault(keyword, None)
    random = _Keyed(secret)
    days = _LEAST_DAYS + random.to_int(f"days of {patient}") % (_MOST_DAYS - _LEAST_DAYS)
    anonymizer = Anonymizer(seed=_keyed(secret, "seed", ""))
    anonymizer.add_element_handler(_KeepsName())
    anonymizer.add_element_handler(UIAnonymizer(random))
    anonymizer.add_element_handler(DateTimeAnonymizer(-24 * days))
    anonymizer.anonymize(clean)
    clean.DeidentificationMethod = list(METHODS)
    clean.DeidentificationMethodCodeSequence = [_item(code) for code in _PROFILE]
    clean.LongitudinalTemporalInformationModified = "MODIFIED"


class _KeepsName(ElementAnonymizer):
    """The patient is named already, and what is empty stays so."""

    def __call__(self, dataset: Dataset, data_element: DataElement) -> bool:
        """Leave nothing to the handlers that follow."""
        return data_element.keyword in ("PatientID", "PatientName", *_EMPTY)

    def describe_actions(self) -> Iterator[str]:
        """None is done."""
        return iter(())


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _public_class(dcm: Dataset) -> UID:
    uid = UID(str(dcm.get("SOPClassUID") or ""))
    if uid.is_private or uid.name == uid:
        raise ImageRejected("private_class", "SOP Class UID (0008,0016) is none of the standard's")
    return uid


def _refuse_graphics(dcm: Dataset) -> None:
    """Overlays are left out, but one in the unused bits of the pixels would stay (PS3.3 C.9.2.1, retired)."""
    if any(dcm.get((group, 0x0102)) and dcm[group, 0x0102].value for group in range(0x6000, 0x6020, 2)):
        raise ImageRejected("overlay", "graphics lie in unused bits of the pixels: Overlay Bit Position (60xx,0102)")


def _set_pixels(clean: Dataset, dcm: Dataset) -> None:
    """Copy the pixels, without what follows them and without comments of a codestream."""
    pixels = dcm["PixelData"]
    value = pixels.value
    if pixels.is_undefined_length:
        (frame,) = generate_frames(value, number_of_frames=1)
        value = encapsulate([without_comments(frame)])
    else:
        length = dcm.Rows * dcm.Columns * dcm.SamplesPerPixel * dcm.BitsAllocated // 8
        if dcm.PhotometricInterpretation == "YBR_FULL_422":
            length = length * 2 // 3
        value = value[:length] + b"\0" * (length % 2)
    clean["PixelData"] = DataElement("PixelData", pixels.VR, value, is_undefined_length=pixels.is_undefined_length)


def _written(clean: Dataset) -> bytes:
    clean.preamble = bytes(128)
    clean.file_meta.MediaStorageSOPClassUID = clean.SOPClassUID
    clean.file_meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    clean.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    clean.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = BytesIO()
    clean.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _check_equal(copy: Picture, picture: Picture) -> None:
    same = copy.unit == picture.unit and np.array_equal(copy.values, picture.values, equal_nan=True)
    if not same:
        raise ImageRejected("not_equal", "without what had to go, the pixels would mean something else")
