"""What `preprocess` says of series: gaps and repeats, and nothing of whose they are."""

from pathlib import Path

import numpy as np
import pytest

from secondread.cli import main
from secondread.imaging.dicom.write import write_ct
from secondread.report.data_set import PAGE


def write_series(root: Path, patient: str, heights: tuple[float, ...], random: np.random.Generator) -> None:
    folder = root / ("Hemorrhage" if int(patient[1:]) % 2 else "Normal")
    folder.mkdir(parents=True, exist_ok=True)
    for number, height in enumerate(heights):
        data = write_ct(
            random.integers(-1000, 1000, (64, 64)).astype(np.int16),
            patient_id=patient,
            study_uid=f"{patient}-study",
            series_uid=f"{patient}-series",
            sop_uid=f"{patient}-{number}",
            instance=number,
            position=(0.0, 0.0, height),
            spacing=(0.5, 0.5),
            thickness=5.0,
        )
        (folder / f"{patient}-{number}.dcm").write_bytes(data)


def test_gaps_and_repeats_are_told_in_a_line_and_on_the_page(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    whole, gap, repeat = (0.0, 5.0, 10.0, 15.0), (0.0, 5.0, 15.0, 20.0), (0.0, 5.0, 5.0, 10.0)
    for number, heights in enumerate([whole] * 9 + [gap, gap, repeat]):
        write_series(tmp_path / "source", f"P{number}", heights, random)
    out = ["--out", str(tmp_path / "store"), "--execution.workers", "1"]
    main(["preprocess", "--task", "hemorrhage", "--source", str(tmp_path / "source"), *out])
    said = capsys.readouterr().out
    line = "12 series of 4 to 4 slices; 2 with a gap between slices; 1 with two slices in one place\n"
    assert line in said
    page = (tmp_path / "store" / PAGE).read_text()
    assert "2 lack a slice between others. In 1, two slices lie in one place." in page
    assert not any(f"P{number}-" in said + page for number in range(12))
