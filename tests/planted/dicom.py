"""DICOM files that name their patient wherever the standard, a vendor or a mistake lets them."""

from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID

from planted.words import BIRTH_DATE, CYRILLIC, number, uid, word
from secondread.imaging.dicom.leniency import leniently

NAMES = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson"),
    *("ReferringPhysicianName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName"),
    *("RequestingPhysician", "PhysiciansOfRecord"),
)
TEXTS = (
    *("IssuerOfPatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "MilitaryRank"),
    *("EthnicGroup", "Occupation", "PatientComments", "AdditionalPatientHistory", "MedicalAlerts", "Allergies"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber"),
    *("DetectorID", "ProtocolName", "StudyDescription", "SeriesDescription", "ImageComments", "StudyID"),
    *("AdmittingDiagnosesDescription", "DerivationDescription", "AdmissionID", "CurrentPatientLocation"),
    *("RequestedProcedureDescription", "PerformedProcedureStepDescription", "Manufacturer", "ManufacturerModelName"),
    *(
        "SoftwareVersions",
        "WindowCenterWidthExplanation",
        "ContrastBolusAgent",
        "AcquisitionDeviceProcessingDescription",
    ),
)
# What a reader looks at, and may complain of.
_READ = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "PatientSex"),
    *("PatientAge", "BodyPartExamined", "ViewPosition", "PatientOrientation", "SliceThickness", "StudyInstanceUID"),
    *("SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "PixelSpacing"),
    *("PixelAspectRatio", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope", "RescaleType"),
    *("PresentationLUTShape", "LossyImageCompression", "RedPaletteColorLookupTableDescriptor", "ModalityLUTSequence"),
    *("VOILUTSequence", "AnatomicRegionSequence", "ViewCodeSequence", "SharedFunctionalGroupsSequence", "PixelData"),
)
_PRIVATE = 0x000B  # an odd group


def plant(file: bytes, patient: str = "", study: str = "", series: str = "", instance: str = "") -> bytes:
    """Name a patient in every place of a DICOM file, whose pixels stay.

    Args:
        patient, study, series, instance: what PatientID and the UIDs become; "" leaves them.
    """
    with leniently():
        dcm = dcmread(BytesIO(file), force=True)
        dcm.SpecificCharacterSet = "ISO_IR 192"
        for keyword in NAMES:
            setattr(dcm, keyword, f"{word(keyword)}^Änne={CYRILLIC}")
        for keyword in TEXTS:
            setattr(dcm, keyword, word(keyword))
        dcm.PatientBirthDate = BIRTH_DATE
        dcm.AccessionNumber = number("AccessionNumber")
        dcm.FrameOfReferenceUID = uid("FrameOfReferenceUID")
        dcm.DeviceUID = uid("DeviceUID")
        replaced = {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": series}
        replaced["SOPInstanceUID"] = instance
        for keyword, value in replaced.items():
            if value:
                setattr(dcm, keyword, value)
        _plant_nested(dcm)
        block = dcm.private_block(_PRIVATE, word("private creator")[:16], create=True)
        block.add_new(1, "LO", word("private element"))
        block.add_new(2, "OB", word("private bytes").encode() + b"\0")
        block.add_new(3, "UN", word("private unknown").encode() + b"\0")
        dcm.preamble = word("preamble").encode().ljust(128, b"\0")
        dcm.file_meta.SourceApplicationEntityTitle = word("source title")
        dcm.file_meta.PrivateInformationCreatorUID = UID(uid("private information creator"))
        dcm.file_meta.PrivateInformation = word("private information").encode() + b"\0"
        dcm.file_meta.MediaStorageSOPInstanceUID = UID(str(dcm.SOPInstanceUID))
        buffer = BytesIO()
        dcm.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def plant_behind(file: bytes) -> bytes:
    """Add what lies behind the pixels: padding (PS3.10 7.2), and bytes that belong to nothing."""
    with leniently():
        dcm = dcmread(BytesIO(file))
        dcm.add(DataElement(Tag(0xFFFC, 0xFFFC), "OB", word("trailing padding").encode() + b"\0"))
        buffer = BytesIO()
        dcm.save_as(buffer)
    return buffer.getvalue() + word("behind the end").encode()


def _plant_nested(dcm: Dataset) -> None:
    """Sequences in sequences, as orders and former identifiers are kept."""
    other, request, code, evidence = Dataset(), Dataset(), Dataset(), Dataset()
    other.PatientID = word("other patient id")
    other.TypeOfPatientID = "TEXT"
    dcm.OtherPatientIDsSequence = [other]
    code.CodeValue, code.CodingSchemeDesignator = word("code value"), "L"
    code.CodeMeaning = word("code meaning")
    request.RequestedProcedureID = word("requested procedure id")
    request.RequestedProcedureCodeSequence = [code]
    request.ReasonForTheRequestedProcedure = word("reason")
    dcm.RequestAttributesSequence = [request]
    evidence.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    evidence.ReferencedSOPInstanceUID = uid("referenced instance")
    dcm.SourceImageSequence = [evidence]


def broken(file: bytes) -> dict[str, bytes]:
    """Files whose damage lies in a value that names somebody, by what is damaged: whoever complains may quote it."""
    damaged = {keyword: _changed(file, {keyword: word(f"broken {keyword}").upper()}) for keyword in _READ}
    strange = {
        "study that is no UID": {"StudyInstanceUID": f"{word('study that is no UID')}/{CYRILLIC}"},
        "class of nothing": {"SOPClassUID": uid("class")},
        "very many frames": {"NumberOfFrames": number("frames")},
    }
    damaged |= {what: _changed(file, values) for what, values in strange.items()}
    syntax = _changed(file, {}).replace(b"1.2.840.10008.1.2.1\0", f"1.2.3.{number('syntax')[:13]}\0".encode())
    planted = plant(file)
    return damaged | {
        "syntax": syntax,
        "cut in the pixels": planted[: -len(planted) // 3],
        "cut in the header": planted[: planted.find(word("StudyDescription").encode()) + 4],
        "no preamble": planted[132:],
        "no header": word("no header").encode() * 50,
    }


def _changed(file: bytes, values: dict[str, str]) -> bytes:
    with leniently():
        dcm = dcmread(BytesIO(file), force=True)
        for keyword, text in values.items():
            value = text.encode() + b" " * (len(text.encode()) % 2)
            tag = Tag(keyword)
            # Raw: pydicom would refuse most of these.
            dcm[tag] = RawDataElement(tag, dictionary_VR(tag)[:2], len(value), value, 0, False, True)
        buffer = BytesIO()
        dcm.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
