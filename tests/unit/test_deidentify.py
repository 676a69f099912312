"""`deidentify` on a folder: copies under names that tell nothing, a report for their owner, and jobs that go on."""

import stat
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from planted.dicom import broken, plant
from planted.search import traces, traces_in_file
from planted.words import uid, word

from secondread.cli import main
from secondread.data import clean_copies
from secondread.imaging.dicom.read import read_header
from secondread.imaging.dicom.write import write_ct
from secondread.steps.deidentify import deidentify


def ct(patient: str, slice_number: int) -> bytes:
    pixels = np.random.default_rng(slice_number).integers(-1000, 1000, (64, 64), np.int16)
    pixels[20:40, 20:40] = 60
    return write_ct(
        pixels,
        patient_id=patient,
        study_uid=uid(f"study {patient}"),
        series_uid=uid(f"series {patient}"),
        sop_uid=uid(f"slice {patient} {slice_number}"),
        instance=slice_number,
        position=(0, 0, 5.0 * slice_number),
        spacing=(1, 1),
        thickness=5,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two patients with two slices each, named everywhere, and what cannot be copied."""
    root = tmp_path / "source"
    for patient in (word("first"), word("second")):
        folder = root / word("folder of " + patient) / "bleeding"
        folder.mkdir(parents=True)
        for number in (1, 2):
            (folder / f"{patient} {number}.dcm").write_bytes(plant(ct(patient, number)))
    for what, file in broken(ct(word("broken"), 1)).items():
        (root / f"{word('broken file')} {what}.dcm").write_bytes(file)
    (root / f"{word('picture')}.png").write_bytes(bytes(cv2.imencode(".png", np.eye(64, dtype=np.uint8))[1]))
    (root / f"{word('link')}.dcm").symlink_to("/etc/hostname")
    return root


@pytest.fixture(autouse=True)
def _place(workplace: Path) -> None:
    """A home and a current folder of their own."""


def copies(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def report() -> Path:
    (found,) = Path("home/deidentified").glob("*/report.csv")
    return found


def test_no_byte_and_no_name_in_the_folder_of_copies_and_no_word_on_the_terminal_names_anybody(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    deidentify(str(source), tmp_path / "out")
    said = capfd.readouterr()
    files = copies(tmp_path / "out")
    assert len([name for name in files if name.endswith(".dcm")]) >= 4
    assert traces("\n".join(files).encode()) == []
    assert [line for path in (tmp_path / "out").rglob("*") for line in traces_in_file(path)] == []
    assert traces((said.out + said.err).encode()) == []


def test_each_file_has_a_row_for_its_owner_alone(source: Path, tmp_path: Path) -> None:
    deidentify(str(source), tmp_path / "out")
    rows = pd.read_csv(report(), keep_default_na=False)
    assert len(rows) == sum(1 for path in source.rglob("*") if not path.is_dir())
    rules = dict(zip(rows["path"], rows["rule"], strict=True))
    assert rules[f"{word('picture')}.png"] == "format"
    assert rules[f"{word('link')}.dcm"] == "not_regular"
    assert set(rows.loc[rows["status"] == "written", "output"]) == {
        name for name in copies(tmp_path / "out") if name.endswith(".dcm")
    }
    assert stat.S_IMODE(report().stat().st_mode) == 0o600


def test_slices_keep_their_order_and_patients_their_slices(source: Path, tmp_path: Path) -> None:
    deidentify(str(source), tmp_path / "out")
    written = pd.read_csv(report(), keep_default_na=False).query("status == 'written'")
    for path, output in zip(written["path"], written["output"], strict=True):
        before = read_header((source / path).read_bytes())
        after = read_header((tmp_path / "out" / output).read_bytes())
        assert before.order == pytest.approx(after.order, nan_ok=True)
    patients = written["output"].str.split("/").str[0]
    assert patients[written["path"].str.contains("bleeding")].nunique() == 2


def test_a_job_that_was_interrupted_goes_on_and_ends_with_the_same_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_copies, "_FILES", 3)
    deidentify(str(source), tmp_path / "whole", workers=1)
    batch = clean_copies.write_batch
    done: list[int] = []

    def interrupted(job: clean_copies.Batch) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        batch(job)

    monkeypatch.setattr("secondread.steps.deidentify.write_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deidentify(str(source), tmp_path / "out", workers=1)
    monkeypatch.setattr("secondread.steps.deidentify.write_batch", batch)
    deidentify(str(source), tmp_path / "out", workers=1)
    assert copies(tmp_path / "out") == copies(tmp_path / "whole")


def test_two_files_of_one_uid_and_other_content_are_not_both_copied(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    file = ct("4711", 1)
    (root / "1.dcm").write_bytes(file)
    (root / "2.dcm").write_bytes(file)
    (root / "3.dcm").write_bytes(file[:-2] + b"\1\1")
    deidentify(str(root), tmp_path / "out", workers=1)
    rows = pd.read_csv(report(), keep_default_na=False)
    assert list(rows["rule"]) == ["", "", "same_uid"]
    assert len(copies(tmp_path / "out")) == 2


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main(["deidentify", *words])
    return capsys.readouterr().err


def test_what_cannot_be_used_is_refused_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "source"
    assert "there is no such folder; give a folder of DICOM files" in refusal(capsys, "--source", str(root))
    root.mkdir()
    assert "holds no file" in refusal(capsys, "--source", str(root))
    (root / "1.dcm").write_bytes(ct("4711", 1))
    inside = ("--source", str(root), "--out", str(root / "out"))
    assert "copies and source must lie apart" in refusal(capsys, *inside)
    around = ("--source", str(root), "--out", str(tmp_path))
    assert "copies and source must lie apart" in refusal(capsys, *around)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    full = ("--source", str(root), "--out", str(tmp_path / "full"))
    assert "holds something else" in refusal(capsys, *full)
    assert "out=s3://bucket/out: this is written on this machine" in refusal(capsys, "--out", "s3://bucket/out")
