"""Structured reports from files to an archive's validator: they name the patient, and nothing else of the job does."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from pydicom import dcmread

from integration.tiny_champion import picture, register_tiny_champion
from secondread.cli import main
from secondread.config import Window
from secondread.imaging.dicom.write import write_xray

pytestmark = pytest.mark.slow  # it starts a TensorFlow: half a minute


def x_ray(patient: str, study: str, number: int) -> bytes:
    return write_xray(
        np.tile(np.arange(64, dtype=np.uint16), (64, 1)),
        patient_id=patient,
        study_uid=study,
        series_uid=f"{study}.1",
        sop_uid=f"{study}.1.{number}",
        bits=12,
        photometric="MONOCHROME2",
        window=Window(center=32, width=64),
    )


def test_a_scored_study_has_a_report_that_names_its_patient_where_mlflow_names_none(
    tracked: MlflowClient, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    register_tiny_champion(tracked, "pneumonia", workplace / "model", bias=-1)
    source = workplace / "source"
    source.mkdir()
    for study in (1, 2):
        for number in range(1, 3):
            name = f"{study}{number}.dcm"
            (source / name).write_bytes(x_ray(f"TRACEABLE-{study}", f"1.2.826.0.1.3680043.8.498.{study}", number))
    (source / "picture.png").write_bytes(picture(32))
    main(["score", "--source", str(source), "--out", str(workplace / "scores"), "--sr", "true"])
    printed = capfd.readouterr()
    assert "2 structured reports" in printed.out
    assert "1 studies without a structured report: of pictures" in printed.out

    reports = sorted((workplace / "scores" / "sr").iterdir())
    assert {str(dcmread(path).PatientID) for path in reports} == {"TRACEABLE-1", "TRACEABLE-2"}
    for path in reports:
        for program in ("dsrdump", "dciodvfy"):
            done = subprocess.run([program, path], capture_output=True, text=True)
            assert done.returncode == 0
            assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "F:", "Error"))]
    told = [path for path in workplace.rglob("*") if path.is_file() and b"TRACEABLE" in path.read_bytes()]
    assert {path.parent for path in told} == {source, workplace / "scores" / "sr"}
    assert "TRACEABLE" not in printed.out + printed.err

    before = [path.stat().st_mtime_ns for path in reports]
    main(["score", "--source", str(source), "--out", str(workplace / "scores"), "--sr", "true"])
    assert "finished already" in capfd.readouterr().out
    assert [path.stat().st_mtime_ns for path in reports] == before
