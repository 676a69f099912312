"""`explain`: pictures, a table and a page of any source, in a folder and in a run; what cannot be used is told."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from integration.tiny_champion import picture, register_tiny_champion
from secondread.bundle import load_description
from secondread.cli import main
from secondread.config import load_config
from secondread.data.sample import sample
from secondread.data.unlabelled import listed
from secondread.imaging import sandbox
from secondread.imaging.dicom.write import write_ct
from secondread.steps.explain import subjects_of
from secondread.storage import sha256_of
from secondread.tasks import load_task
from secondread.tracking.model import bundle_folder

PATIENT = "Mustermann"


@dataclass(frozen=True)
class Workplace:
    """A champion for pneumonia that answers sigmoid(4 w - 2) of a share w of white; commands run in this process."""

    folder: Path
    client: MlflowClient

    def explain(self, data: Path | str, *words: str) -> Path:
        """Explain a source into a folder, which is given."""
        main(["explain", "--data", str(data), "--out", str(self.folder / "out"), *words])
        return self.folder / "out"

    def refusal(self, capsys: pytest.CaptureFixture[str], data: Path | str, *words: str) -> str:
        """What the command says when it does not go."""
        with pytest.raises(SystemExit) as caught:
            self.explain(data, *words)
        assert caught.value.code == 1
        [error] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return error.removeprefix("error: ")


@pytest.fixture
def place(tracked: MlflowClient, workplace: Path) -> Iterator[Workplace]:
    register_tiny_champion(tracked, "pneumonia", workplace / "model", bias=-2)
    yield Workplace(workplace, tracked)
    sandbox._pool.cache_clear()


def put(place: Workplace, files: dict[str, bytes]) -> Path:
    source = place.folder / "source"
    for path, content in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    return source


def test_each_image_has_a_picture_and_a_row_or_a_reason(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """The reference is black, so a share w of white adds 4 w to the logit, all of it where the white is."""
    bright, dark = picture(48), picture(16)
    source = put(
        place, {f"{PATIENT}/1.png": bright, f"{PATIENT}/2.png": dark, f"{PATIENT}/notes.txt": b"dear colleague"}
    )
    os.mkfifo(source / "pipe.png")
    out = place.explain(source)
    said = capsys.readouterr().out
    assert "method integrated_gradients\n" in said  # the one that passed
    assert "4 images: 2 explained" in said

    table = pd.read_csv(out / "explanations.csv").set_index("image_key")
    assert list(table.index) == [sha256_of(bright), sha256_of(dark)]
    for content, white in ((bright, 0.75), (dark, 0.25)):
        row = table.loc[sha256_of(content)]
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(2 - 4 * white)), abs=1e-6)
        assert (row["logit"], row["baseline"]) == pytest.approx((4 * white - 2, -2), abs=1e-5)
        assert row["sum_of_map"] == pytest.approx(4 * white, abs=1e-4)
        assert row["completeness_gap"] == pytest.approx(0, abs=1e-4)
        assert row["most_for"] == pytest.approx(0.04, rel=0.1)  # 4 logits of an all white picture, a percent, smoothed
        assert row["most_against"] == pytest.approx(0, abs=1e-5)
        drawn = cv2.imread(str(out / "pictures" / f"{sha256_of(content)}.png"))
        assert drawn is not None
        red = drawn[..., 2].astype(int) - drawn[..., 0] > 60
        assert (np.flatnonzero(red[: 67 + 64].any(axis=1)).max() + 1 - 67) == pytest.approx(64 * white, abs=8)
    aside = pd.read_csv(out / "put_aside.csv")
    assert dict(zip(aside["path"], aside["reason"], strict=True)) == {
        f"{PATIENT}/notes.txt": "the file is neither DICOM nor JPEG nor PNG",
        "pipe.png": "a link or device, not a plain file",
    }
    assert json.loads((out / "summary.json").read_text())["explained"] == 2

    [run] = place.client.search_runs([place.client.get_experiment_by_name("pneumonia").experiment_id])
    assert (run.info.status, run.data.tags["step"], run.data.tags["method"]) == (
        "FINISHED",
        "explain",
        "integrated_gradients",
    )
    assert run.data.metrics["explained"] == 2
    logged = Path(place.client.download_artifacts(run.info.run_id, "", str(place.folder)))
    assert {path.name for path in logged.iterdir()} >= {"explanations.csv", "explanations.html", "pictures"}
    page = (out / "explanations.html").read_text()
    assert page.count("data:image/png") == 2
    assert load_description(bundle_folder(place.folder / "model" / "model")).explanation.reason in page
    for path in (place.folder / "mlflow.db", *(out.rglob("*.html")), out / "explanations.csv"):
        assert PATIENT.encode() not in path.read_bytes()

    place.explain(source)
    assert "finished already; 4 images: 2 explained" in capsys.readouterr().out


def test_what_cannot_be_explained_is_said_before_anything_starts(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(place, {"1.png": picture(48)})
    assert place.refusal(capsys, source, "--label", "subdural") == "label: this model answers pneumonia"
    said = place.refusal(capsys, source, "--method", "grad_cam")
    assert "method=grad_cam: the network has no convolution" in said
    assert "use integrated_gradients" in said
    assert "no such folder or file" in place.refusal(capsys, place.folder / "nowhere")
    assert "out=s3://bucket/out: this is written on this machine" in place.refusal(
        capsys, source, "--out", "s3://bucket/out"
    )
    assert "a model for pneumonia; use --task pneumonia" in place.refusal(
        capsys, source, "--task", "hemorrhage", "--model_uri", "models:/pneumonia@champion"
    )
    assert not (place.folder / "out").exists()


@pytest.mark.slow
def test_a_single_file_that_is_bad_ends_with_what_is_wrong(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    source = put(place, {"1.png": picture(48), "empty.dcm": b"", "blank.png": picture(64)})
    assert "rejected: the file is neither DICOM" in place.refusal(capsys, source / "empty.dcm")
    assert "out of scope: the picture is blank" in place.refusal(capsys, source / "blank.png")
    assert len(pd.read_csv(place.explain(source / "1.png") / "explanations.csv")) == 1


def test_slices_of_a_series_come_in_their_order_whatever_the_files_are_called(tmp_path: Path) -> None:
    for name, height in (("c", 5.0), ("a", 10.0), ("b", 0.0)):
        slice_ = write_ct(
            np.zeros((64, 64), np.int16),
            patient_id=PATIENT,
            study_uid="2.25.1",
            series_uid="2.25.2",
            sop_uid=f"2.25.{height:.0f}3",
            instance=1,
            position=(0.0, 0.0, height),
            spacing=(0.5, 0.5),
            thickness=5.0,
        )
        (tmp_path / f"{name}.dcm").write_bytes(slice_)
    task, config = load_task("hemorrhage"), load_config("hemorrhage", {"data": str(tmp_path)})
    chosen = sample(task, config, tmp_path, 10, tmp_path / "out", say=lambda line: None)
    subjects = subjects_of(chosen, list(listed(chosen.root, chosen.images["path"].tolist())), task)
    assert [subject.path for subject in subjects] == ["b.dcm", "c.dcm", "a.dcm"]
    assert {subject.study for subject in subjects} == {1}


@pytest.mark.slow
def test_another_answer_than_the_models_own_code_gives_is_not_explained(place: Workplace) -> None:
    """The logged code is changed so that it answers otherwise, as code of another version may."""
    code = place.folder / "model" / "model" / "code" / "secondread" / "bundle.py"
    text = code.read_text()
    assert "calibration[label].apply(given[:, place])" in text
    code.write_text(text.replace("calibration[label].apply(given[:, place])", "0.5 * given[:, place]"))
    out = place.explain(put(place, {"1.png": picture(48)}).parent / "source")
    [reason] = pd.read_csv(out / "put_aside.csv")["reason"]
    assert "explain with the version that logged it" in reason


@pytest.mark.slow
def test_the_phantom_needs_no_data(place: Workplace) -> None:
    out = place.explain("phantom", "--images", "4")
    table = pd.read_csv(out / "explanations.csv")
    assert sorted(table["truth"]) == ["absent", "absent", "present", "present"]
