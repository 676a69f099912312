"""Batch scoring: every file has its answer or its reason, once, whatever happens on the way."""

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from planted.search import traces_in_file
from s3_server import S3Server

from integration.command import started
from integration.conftest import NewProject, Trainings
from integration.counting_model import CountingModel, picture, write_pictures
from integration.privacy import planted_traces, planted_traces_in_scores
from integration.project import ROOT
from secondread.bundle import load_description
from secondread.cli import main
from secondread.data.scores import PART
from secondread.data.unlabelled import Listed, write_listing
from secondread.steps.score import alone
from secondread.storage import sha256_of
from secondread.tracking.model import bundle_folder

pytestmark = pytest.mark.slow  # each job starts two TensorFlows: some minutes

TABLES = {"put_aside.csv", "slices.csv", "slices.parquet", "studies.csv", "studies.parquet", "summary.json"}


@dataclass(frozen=True)
class Workplace:
    """A model, a source and a tracking store of their own, all in one folder; commands run in this process.

    Args:
        address: of the source, where it is not the path of its folder.
    """

    folder: Path
    model: CountingModel
    client: MlflowClient
    address: str = ""

    @property
    def source(self) -> Path:
        """A folder that does not exist yet."""
        return self.folder / "source"

    def put(self, files: dict[str, bytes]) -> None:
        """Write files below the source."""
        for path, content in files.items():
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_bytes(content)

    def words(self, *words: str, out: str = "out") -> list[str]:
        """What follows `python -m secondread`; later words win."""
        given = [
            "--task",
            "hemorrhage",
            "--model_uri",
            str(self.model.folder),
            "--source",
            self.address or str(self.source),
        ]
        return ["score", *given, "--out", str(self.folder / out), *words]

    def score(self, *words: str, out: str = "out") -> Path:
        """Score the source with the model; give the folder of answers."""
        main(self.words(*words, out=out))
        return self.folder / out

    def runs(self) -> list[Run]:
        """Runs of the task's experiment, the newest first."""
        experiment = self.client.get_experiment_by_name("hemorrhage")
        if experiment is None:
            return []
        return list(self.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]))


@pytest.fixture
def place(tracked: MlflowClient, workplace: Path) -> Workplace:
    return Workplace(workplace, CountingModel(workplace / "model"), tracked)


def contents(out: Path) -> dict[str, bytes]:
    """Bytes of every file of a finished folder; nothing else is in it."""
    assert {path.name for path in out.iterdir()} == TABLES | {"job.json"}
    return {name: (out / name).read_bytes() for name in TABLES}


def refusal(place: Workplace, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        place.score(*words)
    assert caught.value.code == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    return error[0].removeprefix("error: ")


# --- what is written


def test_every_file_has_an_answer_or_a_reason(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    """A share w of white has the logit 4 w - 2; a study has the mean of its three highest."""
    place.put(
        {
            "urgent/1.png": picture(1, 60),  # logit 1.75
            "urgent/2": picture(2, 56),  # 1.5
            "urgent/3.PNG": picture(3, 4),  # -1.75
            "calm/deep/er/1.png": picture(4, 0),  # -2
            "calm/deep/er/2.png": picture(5, 20),  # -0.75
            "calm/deep/er/white.png": picture(6, 63),
            "notes.txt": b"dear colleague",
            "empty.dcm": b"",
            "damaged.dcm": bytes(128) + b"DICM" + b"\1" * 50,
        }
    )
    (place.source / "calm" / "link.png").symlink_to(place.source / "urgent" / "1.png")
    os.mkfifo(place.source / "pipe.png")
    out = place.score("--operating_point", "sensitive")
    said = capsys.readouterr().out

    slices = pd.read_csv(out / "slices.csv")
    assert list(slices.columns) == [
        *("path", "study", "series", "order"),
        *("probability_any", "probability_subdural", "positive_any", "positive_subdural"),
    ]
    assert slices[["path", "study", "positive_any"]].to_numpy().tolist() == [
        ["urgent/1.png", "urgent", True],
        ["urgent/2", "urgent", True],
        ["calm/deep/er/2.png", "calm/deep/er", True],
        ["urgent/3.PNG", "urgent", False],
        ["calm/deep/er/1.png", "calm/deep/er", False],
    ]
    logits = np.log(slices["probability_any"] / (1 - slices["probability_any"]))
    assert logits.tolist() == pytest.approx([1.75, 1.5, -0.75, -1.75, -2], abs=0.01)
    studies = pd.read_csv(out / "studies.csv")
    assert studies[["study", "images", "put_aside", "first", "positive_any"]].to_numpy().tolist() == [
        ["urgent", 3, 0, "urgent/1.png", True],
        ["calm/deep/er", 2, 0, "calm/deep/er/2.png", False],
    ]
    assert studies["probability_any"].tolist() == pytest.approx([0.622, 0.202], abs=0.002)  # logits .5 and -1.375
    aside = pd.read_csv(out / "put_aside.csv", index_col="path")
    assert aside["status"].to_dict() == {
        **dict.fromkeys(("notes.txt", "empty.dcm", "damaged.dcm", "calm/link.png", "pipe.png"), "rejected"),
        "calm/deep/er/white.png": "out_of_scope",
    }
    assert aside["rule"].to_dict() == {
        "calm/deep/er/white.png": "constant",
        "calm/link.png": "not_regular",
        "damaged.dcm": "dicom",
        "empty.dcm": "format",
        "notes.txt": "format",
        "pipe.png": "not_regular",
    }
    assert aside["reason"].to_dict() == {
        "calm/deep/er/white.png": "the image shows nothing",
        "calm/link.png": "a link or device, not a plain file",
        "damaged.dcm": "the file does not say how it is encoded: Transfer Syntax UID (0002,0010) is absent",
        "empty.dcm": "the file is neither DICOM nor JPEG nor PNG",
        "notes.txt": "the file is neither DICOM nor JPEG nor PNG",
        "pipe.png": "a link or device, not a plain file",
    }
    pd.testing.assert_frame_equal(pd.read_parquet(out / "slices.parquet")[["path"]], slices[["path"]])
    assert "11 files: 5 answered, 6 put aside; 2 studies" in said
    assert "5 images have no header that names a study: their folder is taken for it" in said

    [run] = place.runs()
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert (metrics["files"], metrics["answered"], metrics["put_aside"], metrics["studies"]) == (11, 5, 6, 2)
    assert (metrics["positive_any"], metrics["positive_studies"]) == (3, 1)
    assert metrics["images_per_second"] == pytest.approx(11 / metrics["seconds"])
    assert run.data.params == {"operating_point": "sensitive", "files": "11"}
    assert (run.data.tags["step"], run.data.tags["model"]) == ("score", "compact_resnet")
    logged = {item.path for item in place.client.list_artifacts(run.info.run_id, "figures")}
    assert logged == {"figures/probabilities.png"}


def test_a_folder_without_any_image_has_only_reasons(place: Workplace) -> None:
    place.put({"a.txt": b"a", "b.txt": b"b"})
    out = place.score()
    assert pd.read_csv(out / "put_aside.csv")["path"].tolist() == ["a.txt", "b.txt"]
    assert len(pd.read_csv(out / "slices.csv")) == len(pd.read_csv(out / "studies.csv")) == 0


def test_a_model_without_a_rule_for_studies_answers_slices_alone(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    place.put({"a.png": picture(0, 8)})
    without = CountingModel(place.folder / "without", rules=False)
    out = place.score("--model_uri", str(without.folder))
    assert {path.name for path in out.iterdir()} == TABLES - {"studies.csv", "studies.parquet"} | {"job.json"}
    assert "no worklist of studies: this model has learned no rule" in capsys.readouterr().out


def test_a_stores_source_files_are_read_again_with_the_studies_that_it_knows(place: Workplace) -> None:
    place.put({f"p{number}.png": picture(number, 4 + number) for number in range(8)})
    rows = pd.DataFrame({"path": [f"p{number}.png" for number in range(8)], "any": [0, 1] * 4})
    rows.assign(patient=np.arange(8) // 2, study=[f"s{number // 4}" for number in range(8)], order=range(8)).to_csv(
        place.source / "table.csv", index=False
    )
    store = place.folder / "store"
    main(["preprocess", "--task", "hemorrhage", "--source", str(place.source), "--out", str(store)])
    (place.source / "p7.png").unlink()
    out = place.score("--source", str(store))
    slices = pd.read_csv(out / "slices.csv")
    manifest = pd.read_parquet(store / "manifest.parquet").set_index("path")
    assert slices["path"].tolist() == [f"p{number}.png" for number in range(6, -1, -1)]
    assert slices["study"].tolist() == manifest.loc[slices["path"], "study_key"].tolist()
    assert slices["order"].tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert pd.read_csv(out / "studies.csv")[["images", "put_aside"]].to_numpy().tolist() == [[3, 1], [4, 0]]
    assert pd.read_csv(out / "put_aside.csv")["reason"].tolist() == ["the file cannot be opened"]


# --- once


def test_finished_work_is_not_done_again(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(place.source, 10)
    before = contents(place.score())
    assert contents(place.score()) == before
    assert "finished already; 10 files: 10 answered, 0 put aside; 2 studies" in capsys.readouterr().out
    assert len(place.model.answered) == 10
    assert len(place.runs()) == 1


def assert_a_killed_job_is_finished_without_scoring_twice(place: Workplace, kill_at: int, files: int) -> None:
    """Kill a job when the model has answered `kill_at` files, go on, and compare with one that nothing disturbed."""
    undisturbed = contents(place.score(out="undisturbed"))
    disturbed = replace(place, model=CountingModel(place.folder / "disturbed_model"))
    disturbed.model.take(0.003)
    answered = disturbed.model.answered
    command = [sys.executable, "-m", "secondread", *disturbed.words()]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with started(command, place.folder, environment, place.folder / "killed.log") as killed:
        killed.wait_until(lambda: len(disturbed.model.answered) >= kill_at or None)
        children = psutil.Process(killed.process.pid).children(recursive=True)
        killed.process.kill()
        killed.process.wait()
        psutil.wait_procs(children, timeout=60)  # the model answers what it was asked last, and ends
    assert not any(child.is_running() for child in children)
    out = place.folder / "out"
    assert not (out / "slices.csv").exists()
    parts = sorted((out / "unfinished" / "parts").glob("0*.parquet"))
    finished = [path for part in parts for path in pd.read_parquet(part)["path"]]
    assert kill_at - 2 * PART <= len(finished) <= kill_at + PART

    disturbed.model.take(0)
    assert contents(disturbed.score()) == undisturbed
    answered = disturbed.model.answered
    times = Counter(answered)
    assert len(times) == files
    assert {times[sha256_of((place.source / path).read_bytes())] for path in finished} <= {1}
    assert len(answered) - files <= PART
    assert [run.info.status for run in place.runs()] == ["FINISHED", "KILLED", "FINISHED"]


def test_a_job_killed_at_a_random_moment_is_finished_without_scoring_twice(place: Workplace) -> None:
    write_pictures(place.source, 3 * PART + 40)
    kill_at = random.randrange(1, 2 * PART)
    print("killed at", kill_at)
    assert_a_killed_job_is_finished_without_scoring_twice(place, kill_at, 3 * PART + 40)


@pytest.mark.parametrize("kill_at", [1, PART - 1, PART, 2 * PART + 1, 5 * PART])
def test_a_job_may_be_killed_at_any_moment(place: Workplace, kill_at: int) -> None:
    write_pictures(place.source, 6 * PART + 1)
    assert_a_killed_job_is_finished_without_scoring_twice(place, kill_at, 6 * PART + 1)


def test_a_job_on_s3_may_be_killed_and_leaves_no_copy_behind_when_it_has_gone_on(
    place: Workplace, s3: S3Server
) -> None:
    bucket = s3.bucket("killed")
    write_pictures(place.source, 2 * PART + 40)
    shutil.copytree(place.source, s3.folder / "killed", dirs_exist_ok=True)
    assert_a_killed_job_is_finished_without_scoring_twice(replace(place, address=bucket), PART + 10, 2 * PART + 40)
    assert list((place.folder / "home").glob(".*")) == []


def test_two_processes_cannot_write_to_one_folder(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(place.source, 2)
    with alone(place.folder / "out"):
        assert "another process is writing to it; wait for it" in refusal(place, capsys)


def test_memory_stays_flat_over_thousands_of_files(place: Workplace) -> None:
    write_pictures(place.folder / "few", 16)
    for copy in range(250):
        folder = place.source / str(copy)
        folder.mkdir(parents=True)
        for number, file in enumerate((place.folder / "few").rglob("*.png")):
            os.link(file, folder / f"{number}.png")
    place.model.take(0.002)
    parts = place.folder / "out" / "unfinished" / "parts"
    command = [sys.executable, "-m", "secondread", *place.words()]
    with started(command, place.folder, os.environ, place.folder / "log") as job:

        def anonymous_megabytes(after: int) -> list[float]:
            """Of the process and the model's, when so many parts are finished."""
            job.wait_until(lambda: len(list(parts.glob("0*.parquet"))) >= after or None)
            process = psutil.Process(job.process.pid)
            found = [each.memory_info() for each in (process, *process.children())]
            return [(info.rss - info.shared) / 2**20 for info in found]

        early, late = anonymous_megabytes(2), anonymous_megabytes(14)
    assert len(early) == len(late) == 2
    assert max(np.subtract(late, early)) < 20, (early, late)


def test_a_folder_of_answers_within_the_source_is_not_scored(place: Workplace) -> None:
    write_pictures(place.source, 2)
    inside = ["--out", str(place.source / "sub" / ".." / "scores")]
    place.score(*inside)
    place.score(*inside)
    assert len(pd.read_csv(place.source / "scores" / "slices.csv")) == len(place.model.answered) == 2


def test_paths_are_listed_at_home_where_a_killed_process_may_leave_them(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(place.source, 2)
    listings: list[Path] = []

    def watched(files: Iterator[Listed], out: TextIO) -> tuple[int, str]:
        listings.append(Path(out.name))
        return write_listing(files, out)

    monkeypatch.setattr("secondread.steps.score.write_listing", watched)
    place.score()
    (listing,) = listings
    assert listing.is_relative_to(place.folder / "home")
    assert not listing.exists()


# --- what is refused


def test_what_cannot_be_used_is_refused_with_the_next_step(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is no such folder; give a folder of DICOM, PNG or JPEG files, or a store" in refusal(place, capsys)
    assert "out=s3://bucket/out: this is written on this machine" in refusal(place, capsys, "--out", "s3://bucket/out")
    place.source.mkdir()
    assert "holds no file; give a folder of DICOM, PNG or JPEG files" in refusal(place, capsys)
    write_pictures(place.source, 2)
    one = str(next(place.source.rglob("*.png")))
    assert "python -m secondread predict FILE" in refusal(place, capsys, "--source", one)
    assert "there is no such model here" in refusal(place, capsys, "--model_uri", "champion")
    assert "a model for hemorrhage; use --task hemorrhage" in refusal(place, capsys, "--task", "pneumonia")
    assert "this model has balanced, sensitive" in refusal(place, capsys, "--operating_point", "nowhere")
    assert "holds something else than scores" in refusal(place, capsys, "--out", str(place.source))
    assert not (place.folder / "out").exists()
    assert place.model.answered == []
    assert place.runs() == []


def test_another_job_does_not_continue_in_the_folder(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(place.source, 2)
    before = contents(place.score())
    other = CountingModel(place.folder / "other", rules=False)
    assert "begun with another model" in refusal(place, capsys, "--model_uri", str(other.folder))
    assert "another operating point" in refusal(place, capsys, "--operating_point", "sensitive")
    place.put({"new.png": picture(9, 9)})
    assert "begun with other files; choose another `out`" in refusal(place, capsys)
    assert contents(place.folder / "out") == before


# --- a trained model


def test_a_trained_models_answers_are_those_that_were_tested_and_nothing_of_a_patient_reaches_mlflow(
    trained: Trainings, new_project: NewProject, tmp_path: Path
) -> None:
    training, project = trained["hemorrhage"], new_project()
    model = training.project.model(training.run)
    out = tmp_path / "scores"
    words = ["--task", "hemorrhage", "--model_uri", str(model), "--source", str(training.source), "--out", str(out)]
    done = project.secondread("score", *words, "--sr", "true")
    assert done.returncode == 0, done.stderr

    def keys(table: pd.DataFrame) -> list[str]:
        return [sha256_of((training.source / path).read_bytes()) for path in table["path"]]

    slices, aside = pd.read_parquet(out / "slices.parquet"), pd.read_csv(out / "put_aside.csv")
    both = slices.assign(image_key=keys(slices)).merge(training.predictions, on="image_key", suffixes=("", "_tested"))
    put_aside = training.predictions["image_key"].isin(keys(aside))
    assert len(both) == (~put_aside).sum() > 0.9 * len(training.predictions)
    for label in load_description(bundle_folder(model)).labels:
        assert (both[f"probability_{label}"] - both[f"probability_{label}_tested"]).abs().max() <= 1e-6
    assert slices["order"].notna().all()

    studies = pd.read_parquet(out / "studies.parquet").set_index("study")
    assert studies["images"].sum() == len(slices)
    for rule in load_description(bundle_folder(model)).study_rules:
        for study, its in slices.groupby("study"):
            expected = rule.answer(its[f"probability_{rule.label}"], its["order"])
            assert studies.loc[str(study), f"probability_{rule.label}"] == pytest.approx(expected, abs=1e-12)
    assert studies["probability_any"].is_monotonic_decreasing

    assert planted_traces(project, done.stdout, done.stderr) == []
    assert planted_traces_in_scores(out) == []
    assert all(traces_in_file(report) for report in (out / "sr").iterdir())
    assert len(list((out / "sr").iterdir())) == slices["study"].nunique()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["answered"] + summary["put_aside"] == summary["files"]
