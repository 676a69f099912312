"""Structured reports: what they say, whom they name, and that other programs find no fault in them."""

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from secondread.config import Window
from secondread.errors import ImageRejected
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.report import Author, Evidence, Finding, evidence_of, report_uid, write_report
from secondread.imaging.dicom.write import write_ct, write_xray
from secondread.tasks import load_task, task_names

STUDY = "1.2.826.0.1.3680043.8.498.1"
SLICES = [f"{STUDY}.1.{number}" for number in range(1, 5)]


def ct_slice(sop_uid: str, study_uid: str = STUDY) -> bytes:
    return write_ct(
        np.zeros((64, 64), np.int16),
        patient_id="4711",
        study_uid=study_uid,
        series_uid=f"{study_uid}.1",
        sop_uid=sop_uid,
        instance=1,
        position=(0, 0, 0),
        spacing=(0.5, 0.5),
        thickness=5,
    )


def changed(**values: object) -> bytes:
    """A slice with other values in its header."""
    with leniently():
        dcm = dcmread(BytesIO(ct_slice(SLICES[0])))
        for name, value in values.items():
            setattr(dcm, name, value)
        written = BytesIO()
        dcm.save_as(written)
    return written.getvalue()


def evidence(file: bytes) -> Evidence:
    found = evidence_of(BytesIO(file))
    assert found is not None
    return found


def author(task: str = "hemorrhage", version: str = "ab" * 32) -> Author:
    return Author(task, "compact_resnet", version, "balanced", load_task(task).intended_use)


FINDINGS = [
    Finding("any", 0.83, 0.4, True, SLICES[1:3], whole_study=True),
    Finding("subdural", 0.031, 0.2, False, SLICES[:1], whole_study=False),
]


def read(report: bytes) -> Dataset:
    return dcmread(BytesIO(report))


def items(report: Dataset, name: str) -> list[Dataset]:
    """Content items whose concept has a name, in order."""
    found = []
    for item in report.get("ContentSequence", ()):
        if item.ConceptNameCodeSequence[0].CodeMeaning == name:
            found.append(item)
        found += items(item, name)
    return found


def pointed_at(group: Dataset) -> list[str]:
    """Images that a finding is about."""
    images = items(group, "Source of Measurement")
    return [str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for image in images]


def faults(report: bytes, folder: Path) -> list[str]:
    """What DCMTK and dicom3tools complain about."""
    path = folder / "report.dcm"
    path.write_bytes(report)
    said = []
    for command in (["dsrdump", "+Pl"], ["dciodvfy"]):
        done = subprocess.run([*command, path], capture_output=True, text=True)
        assert done.returncode == 0
        said += (done.stdout + done.stderr).splitlines()
    wrong = [line for line in said if line.startswith(("E:", "F:", "W:", "Error"))]
    return [line for line in wrong if "checker does not support this Specific Character Set" not in line]


def test_other_programs_find_no_fault(tmp_path: Path) -> None:
    report = write_report(author(), FINDINGS, [evidence(ct_slice(uid)) for uid in SLICES])
    assert faults(report, tmp_path) == []


@pytest.mark.parametrize("task", task_names())
def test_every_label_of_every_task_can_be_reported(task: str, tmp_path: Path) -> None:
    findings = [Finding(label, 0.5, 0.5, True, SLICES[:1], whole_study=False) for label in load_task(task).labels]
    report = write_report(author(task), findings, [evidence(ct_slice(SLICES[0]))])
    assert faults(report, tmp_path) == []
    assert len(items(read(report), "Finding")) == len(findings)


def test_a_task_and_a_label_that_somebody_added_are_reported_by_their_names(tmp_path: Path) -> None:
    added = Author("fracture", "compact_resnet", "ab" * 32, "balanced", "Research use; not a medical device.")
    finding = Finding("skull_fracture_of_any_kind", 0.5, 0.5, True, SLICES[:1], whole_study=False)
    report = write_report(added, [finding], [evidence(ct_slice(SLICES[0]))])
    assert faults(report, tmp_path) == []
    [found] = items(read(report), "Finding")
    assert found.ConceptCodeSequence[0].CodeMeaning == "Skull fracture of any kind"


def test_a_report_names_the_patient_and_the_study_as_its_evidence_does() -> None:
    report = read(write_report(author(), FINDINGS, [evidence(ct_slice(uid)) for uid in SLICES]))
    assert (report.PatientName, report.PatientID) == ("SYNTHETIC^PHANTOM", "4711")
    assert report.StudyInstanceUID == STUDY
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert [image.ReferencedSOPInstanceUID for image in series.ReferencedSOPSequence] == SLICES


def test_a_finding_tells_its_probability_whether_it_is_present_and_where() -> None:
    report = read(write_report(author(), FINDINGS, [evidence(ct_slice(uid)) for uid in SLICES]))
    found = items(report, "Finding")
    assert [item.ConceptCodeSequence[0].CodeValue for item in found] == ["1386000", "subdural"]
    values = [item.MeasuredValueSequence[0] for item in items(report, "Probability")]
    assert [float(value.NumericValue) for value in values] == [83, 3.1]
    assert {value.MeasurementUnitsCodeSequence[0].CodeValue for value in values} == {"%"}
    present = [item.ConceptCodeSequence[0].CodeMeaning for item in items(report, "Presence of property")]
    assert present == ["Present", "Absent"]
    whole, single = items(report, "Measurement Group")
    assert [pointed_at(whole), pointed_at(single)] == [SLICES[1:3], SLICES[:1]]


def test_a_report_tells_the_model_and_that_it_is_for_research() -> None:
    report = read(write_report(author(), FINDINGS, [evidence(ct_slice(uid)) for uid in SLICES]))
    assert {item.TextValue for item in items(report, "Algorithm Version")} == {"ab" * 32}
    assert {item.TextValue for item in items(report, "Algorithm Name")} == {"Second Read hemorrhage compact_resnet"}
    parameters = [item.TextValue for item in items(report, "Algorithm Parameters")]
    assert "operating point balanced: present from 40%" in parameters
    [comment] = items(report, "Comment")
    assert "not a medical device" in comment.TextValue
    assert report.VerificationFlag == "UNVERIFIED"


def test_the_same_model_answering_the_same_study_replaces_its_report() -> None:
    images = [evidence(ct_slice(uid)) for uid in SLICES]
    first, again = (read(write_report(author(), FINDINGS, images)) for _ in range(2))
    assert first.SOPInstanceUID == again.SOPInstanceUID == report_uid(author(), STUDY)
    assert first.SeriesInstanceUID == again.SeriesInstanceUID
    assert report_uid(author(version="cd" * 32), STUDY) != first.SOPInstanceUID
    assert report_uid(author(), f"{STUDY}.2") != first.SOPInstanceUID


def test_an_x_ray_is_reported_too(tmp_path: Path) -> None:
    image = write_xray(
        np.zeros((64, 64), np.uint16),
        patient_id="1",
        study_uid=STUDY,
        series_uid=f"{STUDY}.1",
        sop_uid=SLICES[0],
        bits=12,
        photometric="MONOCHROME2",
        window=Window(center=2048, width=4096),
    )
    finding = Finding("pneumonia", 0.9, 0.5, True, SLICES[:1], whole_study=False)
    assert faults(write_report(author("pneumonia"), [finding], [evidence(image)]), tmp_path) == []


def test_pixels_are_not_read_and_pictures_have_no_header() -> None:
    assert "PixelData" not in evidence(ct_slice(SLICES[0]))
    assert evidence_of(BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(200))) is None


def test_what_has_no_valid_uid_cannot_be_pointed_at() -> None:
    with pytest.raises(ImageRejected) as rejected:
        evidence_of(BytesIO(ct_slice("ID_000012eaf")))
    assert rejected.value.rule == "invalid_uid"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "M\u00fcller^J\u00fcrgen"),
        ("ISO_IR 192", "\u738b^\u5c0f"),
        (["", "ISO 2022 IR 87"], "Yamada=\u5c71\u7530"),
    ],
)
def test_a_name_keeps_its_characters_whatever_wrote_them(charset: str | list[str], name: str, tmp_path: Path) -> None:
    image = evidence(changed(SpecificCharacterSet=charset, PatientName=name))
    report = write_report(author(), FINDINGS[1:], [image])
    assert read(report).PatientName == name
    assert faults(report, tmp_path) == []


def test_what_cannot_be_a_date_a_time_or_a_sex_is_left_empty(tmp_path: Path) -> None:
    image = evidence(
        changed(PatientBirthDate="unknown", StudyDate="2026.11.26", StudyTime="25:99", PatientSex="female")
    )
    report = write_report(author(), FINDINGS[1:], [image])
    copied = read(report)
    assert [copied.PatientBirthDate, copied.StudyDate, copied.StudyTime, copied.PatientSex] == ["", "", "", ""]
    assert faults(report, tmp_path) == []


def test_a_value_that_cannot_be_copied_is_not_repeated() -> None:
    image = evidence(ct_slice(SLICES[0]))
    finding = Finding("any", 0.5, 0.5, True, ["Mustermann"], whole_study=False)  # not one of the evidence
    with pytest.raises(ImageRejected) as rejected:
        write_report(author(), [finding], [image])
    assert rejected.value.rule == "header"
    assert "Mustermann" not in rejected.value.reason
