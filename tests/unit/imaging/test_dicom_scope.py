"""A header that says another kind of image puts it out of scope; one that says nothing, or nothing known, does not."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from secondread.errors import ImageRejected, OutOfScope
from secondread.imaging.dicom.leniency import leniently
from secondread.imaging.dicom.scope import check_scope
from secondread.tasks import load_task


def check(task: str, **header: Any) -> None:
    dcm = Dataset()
    dcm.Modality = "CT" if task == "hemorrhage" else "DX"
    wanted = load_task(task)
    with leniently():
        for keyword, value in header.items():
            setattr(dcm, keyword, value)
        check_scope(dcm, wanted.modalities, wanted.scope)


@pytest.mark.parametrize(
    ("task", "header"),
    [
        ("hemorrhage", {}),
        ("hemorrhage", {"BodyPartExamined": ""}),
        ("hemorrhage", {"BodyPartExamined": "HEAD"}),
        ("hemorrhage", {"BodyPartExamined": "Brain "}),
        ("hemorrhage", {"BodyPartExamined": "HEAD_AND_NECK"}),
        ("hemorrhage", {"BodyPartExamined": "SCHAEDEL"}),  # a word that nobody knows excludes nothing
        ("hemorrhage", {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}),
        ("hemorrhage", {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]}),
        ("hemorrhage", {"ImageType": None}),
        ("hemorrhage", {"ImageOrientationPatient": [1, 0, 0, 0, 0.87, -0.5]}),  # a gantry tilted by 30 degrees
        ("hemorrhage", {"ImageOrientationPatient": None}),
        ("hemorrhage", {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}),
        ("pneumonia", {"ViewPosition": "PA"}),
        ("pneumonia", {"ViewPosition": "", "BodyPartExamined": "CHEST"}),
        ("pneumonia", {"ImageType": ["DERIVED", "PRIMARY"], "BodyPartExamined": "Chest, AP"}),
    ],
)
def test_an_image_of_the_right_kind_passes(task: str, header: dict[str, Any]) -> None:
    check(task, **header)  # raises where it is turned away


@pytest.mark.parametrize(
    ("rule", "task", "header"),
    [
        ("object", "hemorrhage", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}),  # Comprehensive SR
        ("object", "hemorrhage", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}),  # Encapsulated PDF
        ("object", "pneumonia", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}),  # Grayscale Presentation State
        ("object", "hemorrhage", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}),  # RT Structure Set
        ("object", "pneumonia", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.9.1.1"}),  # 12-lead ECG
        ("sop_class", "hemorrhage", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}),  # PET
        ("sop_class", "pneumonia", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}),  # mammography
        ("view", "pneumonia", {"PatientOrientation": ["A", "F"]}),  # rows run to the chest's front
        ("modality", "hemorrhage", {"Modality": "MR"}),
        ("modality", "hemorrhage", {"Modality": "DX"}),
        ("modality", "pneumonia", {"Modality": "CT"}),
        ("modality", "pneumonia", {"Modality": "SR"}),
        ("body_part", "hemorrhage", {"BodyPartExamined": "CHEST"}),
        ("body_part", "hemorrhage", {"BodyPartExamined": "ABDOMEN_PELVIS"}),
        ("body_part", "pneumonia", {"BodyPartExamined": "KNEE"}),
        ("body_part", "pneumonia", {"BodyPartExamined": "hand left"}),
        ("image_type", "hemorrhage", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("image_type", "hemorrhage", {"ImageType": ["DERIVED", "SECONDARY", "CSA MANIP"]}),
        ("image_type", "hemorrhage", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("plane", "hemorrhage", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}),
        ("plane", "hemorrhage", {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}),
        ("view", "pneumonia", {"ViewPosition": "LL"}),
        ("view", "pneumonia", {"ViewPosition": "Lateral"}),
    ],
)
def test_an_image_of_another_kind_does_not(rule: str, task: str, header: dict[str, Any]) -> None:
    with pytest.raises(OutOfScope) as caught:
        check(task, **header)
    assert caught.value.rule == rule
    assert not any(str(value) in caught.value.reason for value in header.values())


def test_a_file_that_names_no_modality_cannot_be_read() -> None:
    with pytest.raises(ImageRejected, match="does not say what made it") as caught:
        check("hemorrhage", Modality="")
    assert not isinstance(caught.value, OutOfScope)
