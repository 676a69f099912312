"""What a de-identified copy keeps of a header; whatever is not named here is left out, private elements and all.

An element is kept only where its value cannot be a text of somebody's: a number, a date that is shifted afterwards, a
UID that is replaced afterwards, or a word of the standard's.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.valuerep import IS, DSfloat

from secondread.imaging.dicom.scope import BODY_PARTS

Kept: TypeAlias = Callable[[Any], Any]  # a value to what is kept of it; None leaves it out

_NUMBERS = """
    AcquisitionMatrix AcquisitionNumber BitsAllocated BitsStored BluePaletteColorLookupTableData
    BluePaletteColorLookupTableDescriptor Columns DistanceSourceToDetector DistanceSourceToPatient Exposure ExposureTime
    GantryDetectorTilt GreenPaletteColorLookupTableData GreenPaletteColorLookupTableDescriptor HighBit
    ImageOrientationPatient ImagePositionPatient ImagerPixelSpacing ImagesInAcquisition InstanceNumber KVP
    LargestImagePixelValue LUTData LUTDescriptor LossyImageCompressionRatio NumberOfFrames PixelAspectRatio
    PixelPaddingRangeLimit PixelPaddingValue PixelRepresentation PixelSpacing PlanarConfiguration ReconstructionDiameter
    RedPaletteColorLookupTableData RedPaletteColorLookupTableDescriptor RescaleIntercept RescaleSlope Rows
    SamplesPerPixel SeriesNumber SliceLocation SliceThickness SmallestImagePixelValue SpacingBetweenSlices WindowCenter
    WindowWidth XRayTubeCurrent
"""
_DATES = """
    AcquisitionDate AcquisitionTime ContentDate ContentTime SeriesDate SeriesTime StudyDate StudyTime
"""
IDENTIFIERS = ("FrameOfReferenceUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
WORDS: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "BodyPartExamined": " ".join(BODY_PARTS),
        "BurnedInAnnotation": "YES NO",
        "ImageLaterality": "R L U B",
        "ImageType": "ORIGINAL DERIVED PRIMARY SECONDARY AXIAL LOCALIZER REFORMATTED MPR OTHER",
        "Laterality": "R L",
        "LossyImageCompression": "00 01",
        "LossyImageCompressionMethod": "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15",
        "Modality": "CT CR DX",
        "ModalityLUTType": "HU US OD Z_EFF HU_MOD",
        "PatientOrientation": "A P L R H F AL AR AH AF PL PR PH PF LA LP LH LF RA RP RH RF HA HP HL HR FA FP FL FR",
        "PatientPosition": "HFS HFP HFDR HFDL FFS FFP FFDR FFDL",
        "PatientSex": "M F O",
        "PixelIntensityRelationship": "LIN LOG DISP",
        "PresentationLUTShape": "IDENTITY INVERSE",
        "RescaleType": "HU US OD Z_EFF HU_MOD",
        "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID",
        "ViewPosition": "AP PA LL RL LLD RLD LLO RLO LATERAL LAT",
    }.items()
} | {  # words of two
    "PhotometricInterpretation": frozenset(
        ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
    ),
    "PresentationIntentType": frozenset(("FOR PRESENTATION", "FOR PROCESSING")),
}
NUMBERS, DATES = _NUMBERS.split(), _DATES.split()
TABLES = ("ModalityLUTSequence", "VOILUTSequence")  # of an item, what is kept is of this list too
_LOOKUP_TABLES = {"LUTData": "LUTDescriptor"} | {
    f"{colour}PaletteColorLookupTableData": f"{colour}PaletteColorLookupTableDescriptor"
    for colour in ("Red", "Green", "Blue")
}
_MOST = 1e6  # that an image may measure or count
_OLDEST = 89  # an age above it tells who somebody is (HIPAA safe harbour); PS3.15 leaves it to the sender


def kept(dcm: Dataset) -> Dataset:
    """A new header of what may be kept, and without pixels."""
    clean = Dataset()
    for keyword, of_value in _KEPT.items():
        element = dcm.get_item(keyword)
        found = None if element is None else _value(dcm, keyword, of_value)
        if found is not None:
            clean[keyword] = DataElement(keyword, dcm[keyword].VR, found)
    for data, descriptor in _LOOKUP_TABLES.items():
        if data in clean:
            _cut(clean, data, descriptor)
    for keyword in TABLES:
        if dcm.get(keyword):
            setattr(clean, keyword, Items(kept(item) for item in dcm[keyword].value))
    return clean


def _cut(clean: Dataset, data: str, descriptor: str) -> None:
    """Leave out what lies behind the entries of a table, and a table that says not how many it has (PS3.3 C.11.1)."""
    described = clean.get(descriptor)
    if not described:
        del clean[data]
    else:
        entries = described[0] or 65_536
        clean[data].value = clean[data].value[: 2 * entries if isinstance(clean[data].value, bytes) else entries]


def _value(dcm: Dataset, keyword: str, of_value: Kept) -> Any:
    """What is kept of an element, which must be of the kind and the number of values that the standard says."""
    element = dcm[keyword]
    many = dictionary_VM(element.tag)
    if element.VR not in dictionary_VR(element.tag).split(" or ") or element.is_empty:
        return None
    return of_value(element.value) if not many.isdigit() or int(many) == element.VM else None


def _numbers(value: Any) -> Any:
    """Numbers, also those that DICOM writes as texts, and tables of them."""
    if isinstance(value, bytes | int | float) and not isinstance(value, IS | DSfloat):
        return value
    texts = [str(each) for each in value] if isinstance(value, MultiValue | list) else [str(value)]
    return value if all(_is_measure(text) for text in texts) else None


def _is_measure(text: str) -> bool:
    """Whether a text is a number, and not so large that it may be an identifier or a date."""
    return bool(re.fullmatch(r"[-+]?[0-9.]{1,16}([eE][-+]?[0-9]{1,3})?", text)) and abs(float(text)) < _MOST


def _date(value: Any) -> str | None:
    return _parsed(str(value), "%Y%m%d", 8)


def _time(value: Any) -> str | None:
    """Hours, minutes and seconds: fractions of a second are a fingerprint."""
    return _parsed(str(value)[:6], "%H%M%S", 6)


def _parsed(text: str, form: str, length: int) -> str | None:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return None
    return text if len(text) == length and text.isascii() and text.isdigit() else None


def _identifier(value: Any) -> str | None:
    return str(value) or None


def _age(value: Any) -> str | None:
    if not re.fullmatch(r"[0-9]{3}[DWMY]", str(value)):
        return None
    return f"{_OLDEST + 1:03d}Y" if str(value).endswith("Y") and int(str(value)[:3]) > _OLDEST else str(value)


def _among(words: frozenset[str]) -> Kept:
    def of_value(value: Any) -> Any:
        if not isinstance(value, MultiValue):
            return str(value) if str(value) in words else None
        return [str(each) if str(each) in words else "OTHER" for each in value] if "OTHER" in words else _all(value)

    def _all(value: MultiValue[Any]) -> list[str] | None:
        texts = [str(each) for each in value]
        return texts if words.issuperset(texts) else None

    return of_value


_KEPT: Mapping[str, Kept] = {
    **dict.fromkeys(NUMBERS, _numbers),
    **{name: _date if name.endswith("Date") else _time for name in DATES},
    **dict.fromkeys(IDENTIFIERS, _identifier),
    **{name: _among(words) for name, words in WORDS.items()},
    "PatientAge": _age,
}
