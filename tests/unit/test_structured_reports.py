"""Reports of scored studies: one each, where its files are DICOM; an interrupted job goes on."""

import shutil
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread
from s3_server import S3Server
from tiny_bundle import LABELS, description, point

from secondread.evaluation.study import StudyRule
from secondread.imaging.dicom.write import write_ct
from secondread.steps.structured_reports import write_structured_reports
from secondread.storage import open_folder
from secondread.storage.local import LocalFolder

VERSION = "ab" * 32


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished folder of scores of four studies: two of DICOM, one of pictures, one of RSNA's kind."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0})  # one core: no other process is started
    root, rows = tmp_path / "source", []
    for study, probabilities in (("1.2.3", (0.2, 0.9, 0.4, 0.7)), ("1.2.4", (0.1,)), ("ID_0aaaaaaaa", (0.3,))):
        for number, probability in enumerate(probabilities):
            path = f"Mustermann/{study}/{number}.dcm"
            sop = f"{study}.1.{number}"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(ct_slice(study, sop, number))
            rows.append((path, study, probability))
    (root / "pictures").mkdir()
    assert cv2.imwrite(str(root / "pictures" / "0.png"), np.zeros((64, 64), np.uint8))
    rows.append(("pictures/0.png", "pictures", 0.5))
    slices = pd.DataFrame(rows, columns=["path", "study", "probability_any"])
    slices = slices.assign(series="", order=0.0, probability_subdural=1 - slices["probability_any"])
    for label in LABELS:
        slices[f"positive_{label}"] = slices[f"probability_{label}"] >= 0.5
    folder = tmp_path / "scores"
    folder.mkdir()
    slices.to_parquet(folder / "slices.parquet", index=False)
    studies = slices.groupby("study", as_index=False)["probability_any"].max()
    studies.assign(positive_any=studies["probability_any"] >= 0.5).to_parquet(folder / "studies.parquet", index=False)
    return folder


def ct_slice(study: str, sop: str, number: int) -> bytes:
    return write_ct(
        np.zeros((64, 64), np.int16),
        patient_id="4711",
        study_uid=study,
        series_uid=f"{study}.1",
        sop_uid=sop,
        instance=number + 1,
        position=(0, 0, 5.0 * number),
        spacing=(0.5, 0.5),
        thickness=5,
    )


def write(out: Path, root: str = "") -> list[Path]:
    learned = {
        "study_rules": (StudyRule(label="any", pool="highest", slices=1),),
        "study_operating_points": (point("any", "balanced", 0.5),),
    }
    bundle = description().model_copy(update=learned)
    write_structured_reports(out, open_folder(root or out.parent / "source"), bundle, VERSION, "balanced")
    return sorted((out / "sr").iterdir())


def test_a_study_of_dicom_files_has_a_report_and_others_are_said(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(write(out)) == 2
    said = capsys.readouterr().out
    assert "2 structured reports" in said
    assert "1 studies without a structured report: of pictures" in said
    assert "1 studies without a structured report: whose UIDs are none" in said
    assert "4711" not in said


def test_a_report_holds_the_studys_answer_and_its_most_suspicious_slices(out: Path) -> None:
    reports = {str(report.StudyInstanceUID): report for report in map(dcmread, write(out))}
    [measurements] = [
        item
        for item in reports["1.2.3"].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    groups = measurements.ContentSequence
    assert len(groups) == 1 + 2 * 3  # the study, and three slices of each label
    images = [
        [
            str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
            for i in group.ContentSequence
            if i.ValueType == "IMAGE"
        ]
        for group in groups
    ]
    assert images[0] == ["1.2.3.1.1", "1.2.3.1.3", "1.2.3.1.2"]
    assert images[1:4] == [["1.2.3.1.1"], ["1.2.3.1.3"], ["1.2.3.1.2"]]
    assert images[4] == ["1.2.3.1.0"]  # the least of `any` is the most of `subdural`


def test_reports_that_are_there_are_kept_and_missing_ones_written(out: Path) -> None:
    first, second = write(out)
    kept = first.stat().st_mtime_ns
    second.unlink()
    assert write(out) == [first, second]
    assert first.stat().st_mtime_ns == kept


def test_a_file_that_is_gone_costs_its_own_study_alone(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out.parent / "source" / "Mustermann" / "1.2.4" / "0.dcm").unlink()
    assert len(write(out)) == 1
    assert "1 studies without a structured report: whose files are gone" in capsys.readouterr().out


def test_reports_of_images_on_s3_are_those_of_the_same_images_here(out: Path, s3: S3Server) -> None:
    bucket = s3.bucket("reports")
    shutil.copytree(out.parent / "source", s3.folder / "reports", dirs_exist_ok=True)
    here = [path.read_bytes() for path in write(out)]
    shutil.rmtree(out / "sr")
    shutil.rmtree(out.parent / "source")
    assert list(map(told, [path.read_bytes() for path in write(out, bucket)])) == list(map(told, here))


def test_a_header_of_any_length_is_read_whole(out: Path) -> None:
    """The elements that a report needs come behind 100,000 bytes of another."""
    path = out.parent / "source" / "Mustermann" / "1.2.4" / "0.dcm"
    short = [told(report.read_bytes()) for report in write(out)]
    dcm = dcmread(path)
    dcm.private_block(9, "maker", create=True).add_new(1, "OB", bytes(100_000))
    dcm.save_as(path)
    shutil.rmtree(out / "sr")
    assert [told(report.read_bytes()) for report in write(out)] == short


def test_of_a_long_file_its_header_alone_is_read(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = out.parent / "source" / "Mustermann" / "1.2.4" / "0.dcm"
    dcm = dcmread(path)
    dcm.Rows, dcm.Columns, dcm.PixelData = 512, 512, bytes(2**19)
    dcm.save_as(path)
    asked: list[int | None] = []
    read = LocalFolder.read

    def watched(folder: LocalFolder, path: str, most: int | None = None, start: int = 0) -> bytes:
        asked.append(most)
        return read(folder, path, most, start)

    monkeypatch.setattr(LocalFolder, "read", watched)
    assert len(write(out)) == 2
    assert set(asked) == {1 << 16}


def told(report: bytes) -> str:
    """What a report says, but for when it was written."""
    dcm = dcmread(BytesIO(report))
    for element in dcm.iterall():
        if element.VR in ("DA", "TM", "DT"):
            element.value = None
    return str(dcm)
