"""What a model found in one study, as a DICOM Structured Report (PS3.16 TID 1500) that points at its evidence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO, TypeAlias
from uuid import UUID

import highdicom.sr as sr
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently

_SCHEME = "99SECONDREAD"
_SCHEME_UID = "2.25.181233254419214206733183212163208113741"
_MANUFACTURER = "Second Read"
# Of a file's header what a report copies or points at; the rest, which may be large, is not read.
_COPIED = [
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("StudyDescription", "IssuerOfPatientID", "NumberOfFrames"),
]
# These are in every report, if need be empty (PS3.3 C.7.1.1, C.7.2.1).
_REQUIRED = [
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
]
_BRAIN, _LUNG = codes.SCT.Brain, codes.SCT.Lung
# What pydicom's dictionary of the standard's codes knows is coded by it; other findings are ours, named as the label.
_FINDINGS = {
    "any": (codes.SCT.IntracranialHemorrhage, _BRAIN),
    "epidural": (Code("epidural", _SCHEME, "Epidural hemorrhage"), _BRAIN),
    "intraparenchymal": (Code("intraparenchymal", _SCHEME, "Intraparenchymal hemorrhage"), _BRAIN),
    "intraventricular": (Code("intraventricular", _SCHEME, "Intraventricular hemorrhage"), codes.SCT.BrainVentricle),
    "subarachnoid": (Code("subarachnoid", _SCHEME, "Subarachnoid hemorrhage"), codes.SCT.SubarachnoidSpace),
    "subdural": (Code("subdural", _SCHEME, "Subdural hemorrhage"), _BRAIN),
    "pneumonia": (Code("pneumonia", _SCHEME, "Pneumonia"), _LUNG),
}
_PROCEDURES = {
    "hemorrhage": codes.SCT.ComputedTomographyOfHead,
    "pneumonia": Code("chest_radiography", _SCHEME, "Radiography of chest"),
}


Evidence: TypeAlias = Dataset


@dataclass(frozen=True)
class Finding:
    """One label of a study or of one image.

    Args:
        probability: calibrated.
        positive: whether it reaches the threshold.
        images: SOP Instance UIDs (0008,0018) that it is about: of a study the most suspicious ones.
        whole_study: whether the probability is the whole study's.
    """

    label: str
    probability: float
    threshold: float
    positive: bool
    images: Sequence[str]
    whole_study: bool


@dataclass(frozen=True)
class Author:
    """The model that found it.

    Args:
        task: its name.
        version: SHA-256 of its bundle.
        intended_use: what it is for, and that it is for research.
    """

    task: str
    model: str
    version: str
    operating_point: str
    intended_use: str


def evidence_of(file: BinaryIO) -> Evidence | None:
    """Read what a report copies from an image's header: whose image it is, and which; pixels are not read.

    Args:
        file: of an image that was answered, so that its header is known to be harmless.
    Returns:
        None for what is no DICOM file (PS3.10 7.1).
    Raises:
        ImageRejected: `damaged`, or `invalid_uid`: a report cannot point at what has no valid UID (PS3.5 9.1), such as
            RSNA's images.
    """
    if file.read(132)[128:] != b"DICM":
        return None
    file.seek(0)
    with leniently():
        try:
            found = dcmread(file, stop_before_pixels=True, specific_tags=[*_COPIED, *_REQUIRED])
            uids = [str(found[name].value) for name in _COPIED if name.endswith("UID") and name in found]
        except Exception:
            raise ImageRejected("damaged", "the file's header cannot be read") from None
        if len(uids) != 4 or not all(UID(uid).is_valid for uid in uids):
            raise ImageRejected(
                "invalid_uid", "a UID of the file is missing or none, so that no report can point at it"
            )
        _complete(found)
    return found


def _complete(found: Evidence) -> None:
    """Give a header what every report has: text in UTF-8, and empty values for missing or impossible ones."""
    found.decode()
    if not all(str(element.value).isascii() for element in found):
        found.SpecificCharacterSet = "ISO_IR 192"  # PS3.3 C.12.1.1.2; the characters stay, whatever wrote them
    for name in _REQUIRED:
        if name not in found or not _is_possible(name, str(found[name].value or "")):
            setattr(found, name, None)


def _is_possible(name: str, text: str) -> bool:
    """Whether a sex, date or time is one (PS3.3 C.7.1.1, PS3.5 6.2); of other values every one is."""
    if name == "PatientSex":
        return text in ("M", "F", "O")
    kind, form = {"Date": (DA, r"\d{8}"), "Time": (TM, r"[\d.]+")}.get(name[-4:], (str, r".*"))
    try:
        kind(text)
    except ValueError:
        return False
    return re.fullmatch(form, text) is not None


def report_uid(author: Author, study: str) -> str:
    """The report's SOP Instance UID: the same model answering the same study replaces its report (PS3.5 B.2)."""
    return _uid(f"report {author.version} {author.operating_point} {study}")


def write_report(author: Author, findings: Sequence[Finding], evidence: Sequence[Evidence]) -> bytes:
    """Make the report of one study as a DICOM file, an Enhanced SR.

    It names the patient and the study as its evidence does, or no archive could file it.

    Args:
        findings: at least one.
        evidence: from `evidence_of`, of each answered image of one study.
    Raises:
        ImageRejected: `header`, where the evidence holds values that no report may copy.
    Source: DICOM PS3.16 TID 1500, 1501, 1204, 4019; PS3.3 A.35.2.
    """
    with leniently():
        try:
            report = _report(author, _content(author, findings, evidence), evidence)
            written = BytesIO()
            report.save_as(written, enforce_file_format=True)
        except Exception as error:  # of whatever kind a value in a header may cause; its words may hold the value
            raise ImageRejected("header", f"values of its header cannot be copied ({type(error).__name__})") from None
    return written.getvalue()


def _content(author: Author, findings: Sequence[Finding], evidence: Sequence[Evidence]) -> Dataset:
    classes = {str(image.SOPInstanceUID): str(image.SOPClassUID) for image in evidence}
    content: Dataset = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(author)),
        procedure_reported=_PROCEDURES.get(author.task, _own(author.task)),
        imaging_measurements=[_group(author, finding, classes, number) for number, finding in enumerate(findings, 1)],
        title=codes.DCM.ImagingMeasurementReport,
    )[0]
    content.ContentSequence.append(
        sr.TextContentItem(codes.DCM.Comment, author.intended_use, sr.RelationshipTypeValues.CONTAINS)
    )
    return content


def _report(author: Author, content: Dataset, evidence: Sequence[Evidence]) -> Dataset:
    study = str(evidence[0].StudyInstanceUID)
    report = sr.EnhancedSR(
        evidence=list(evidence),
        content=content,
        series_instance_uid=_uid(f"series {author.version} {author.operating_point} {study}"),
        series_number=99,
        sop_instance_uid=report_uid(author, study),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=f"{author.task} {author.model}",
        software_versions=author.version[:16],
        device_serial_number=author.version[:16],
        is_complete=True,
    )
    report.SeriesDescription = "Second Read: research use, not a medical device"
    report.CodingSchemeIdentificationSequence = [_scheme()]
    return report


def _observer(author: Author) -> sr.ObserverContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid(f"model {author.version}"),
        name=_MANUFACTURER,
        manufacturer_name=_MANUFACTURER,
        model_name=f"{author.task} {author.model}",
        serial_number=author.version[:16],
    )
    return sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _group(
    author: Author, finding: Finding, classes: dict[str, str], number: int
) -> sr.MeasurementsAndQualitativeEvaluations:
    """A finding with its probability, whether it is called positive, and the images that it is about."""
    concept, site = _FINDINGS.get(finding.label, (_own(finding.label), None))
    level = "study" if finding.whole_study else "image"
    algorithm = sr.AlgorithmIdentification(
        name=f"Second Read {author.task} {author.model}",
        version=author.version,
        parameters=list(_parameters(author, finding)),
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=_MANUFACTURER,
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=_uid(f"finding {author.version} {finding.label} {level} {' '.join(finding.images)}"),
            identifier=f"{finding.label} of {level} {number}",
        ),
        finding_type=concept,
        finding_sites=None if site is None else [sr.FindingSite(site)],
        algorithm_id=algorithm,
        measurements=[sr.Measurement(codes.DCM.Probability, round(100 * finding.probability, 4), codes.UCUM.Percent)],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                codes.DCM.PresenceOfProperty, codes.SCT.Present if finding.positive else codes.SCT.Absent
            )
        ],
        source_images=[sr.SourceImageForMeasurementGroup(classes[uid], uid) for uid in finding.images],
    )


def _own(name: str) -> Code:
    """The code of a label or task that somebody has added."""
    return Code(name, _SCHEME, name.replace("_", " ").capitalize())


def _parameters(author: Author, finding: Finding) -> Iterator[str]:
    yield f"operating point {author.operating_point}: present from {100 * finding.threshold:.4g}%"
    yield (
        "probability of the whole study; most suspicious images" if finding.whole_study else "probability of the image"
    )


def _scheme() -> Dataset:
    """What `99SECONDREAD` is (PS3.3 C.12.1.1.6)."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = _SCHEME
    scheme.CodingSchemeUID = _SCHEME_UID
    scheme.CodingSchemeName = "Second Read's labels"
    scheme.CodingSchemeResponsibleOrganization = _MANUFACTURER
    return scheme


def _uid(text: str) -> str:
    """A UID of a text, as of a name-based UUID (PS3.5 B.2)."""
    return f"2.25.{UUID(bytes=sha256(text.encode()).digest()[:16], version=5).int}"
