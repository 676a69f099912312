"""From a training to its users: promote, evaluate on other images, predict; and no patient's name on the way."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow.entities import Run

from integration.conftest import NewProject
from integration.easy_source import PATIENTS, write_easy_source
from integration.privacy import planted_traces
from integration.project import Project, flags, mlflow_run
from registry.__main__ import main as registry
from secondread.cli import main as secondread

SETTINGS = {"preprocess.size": 64, "train.epochs": 8, "train.batch_size": 8, "explanation.images": 0}


@dataclass(frozen=True)
class Champion:
    """A project whose first training was promoted.

    Args:
        said: what the commands wrote.
    """

    project: Project
    source: Path
    other: Path
    training: Run
    said: dict[str, str]


@pytest.fixture(scope="module")
def champion(new_project: NewProject, tmp_path_factory: pytest.TempPathFactory) -> Champion:
    project, folder = new_project(), tmp_path_factory.mktemp("sources")
    source, other = write_easy_source(folder / "first", seed=1), write_easy_source(folder / "other", seed=2)
    commands = {
        "refused": project.registry("promote", "--task", "pneumonia", "--gates", "demo"),
        "train": project.secondread("train", *flags({"data": source, **SETTINGS})),
        "promote": project.registry("promote", "--task", "pneumonia", "--gates", "demo"),
    }
    for name, done in commands.items():
        assert done.returncode == (1 if name == "refused" else 0), done.stderr
    said = {name: done.stdout + done.stderr for name, done in commands.items()}
    [training] = [run for run in project.runs("pneumonia") if run.data.tags["step"] == "train"]
    return Champion(project, source, other, training, said)


@pytest.fixture(scope="module")
def evaluation(champion: Champion) -> Run:
    """The champion measured on other images, as a user of `mlflow run` does."""
    done = champion.project.run(*mlflow_run("evaluate", {"task": "pneumonia", "data": champion.other}))
    assert done.returncode == 0, done.stderr
    champion.said["evaluate"] = done.stdout + done.stderr
    return evaluations(champion.project)[0]


@pytest.fixture
def in_project(champion: Champion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    """The champion's project, for commands that this process runs."""
    for name, value in champion.project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow leaves it behind
    monkeypatch.chdir(tmp_path)
    return champion.project


def evaluations(project: Project) -> list[Run]:
    return [run for run in project.runs("pneumonia") if run.data.tags["step"] == "evaluate"]


# --- promote


def test_without_a_training_there_is_nothing_to_promote(champion: Champion) -> None:
    error = champion.said["refused"]
    assert "error: no finished training for pneumonia; run `python -m secondread train --task pneumonia` first" in error


def test_the_first_that_passes_its_gates_is_champion(champion: Champion) -> None:
    version = champion.project.client.get_model_version_by_alias("pneumonia", "champion")
    assert (int(version.version), version.run_id) == (1, champion.training.info.run_id)
    assert champion.training.data.metrics["test/skill_low"] > 0
    assert "decision 1 about pneumonia, a promotion: version 1 passed every gate" in champion.said["promote"]


def test_registering_what_is_promoted_changes_nothing(in_project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    registry(["register", "--task", "pneumonia"])
    assert "pneumonia version 1 is run" in capsys.readouterr().out
    assert len(in_project.client.search_model_versions("name = 'pneumonia'")) == 1


# --- evaluate


def test_an_evaluation_is_a_finished_run_beside_the_training(champion: Champion, evaluation: Run) -> None:
    tags = evaluation.data.tags
    assert evaluation.info.status == "FINISHED"
    assert evaluation.info.experiment_id == champion.training.info.experiment_id
    assert tags["evaluated_model"] == "models:/pneumonia@champion"
    assert tags["evaluated_manifest_digest"] == champion.training.data.tags["manifest_digest"]
    assert tags["manifest_digest"] != tags["evaluated_manifest_digest"]
    assert champion.project.runs("Default")[0].data.tags["work_run_id"] == evaluation.info.run_id
    assert not evaluation.outputs.model_outputs


def test_an_evaluation_measures_the_test_images_of_the_other_source(champion: Champion, evaluation: Run) -> None:
    predictions = pd.read_parquet(champion.project.artifacts(evaluation) / "predictions.parquet")
    assert len(predictions) == round(0.2 * PATIENTS)
    assert set(predictions["split"]) == {"test"}
    assert list(predictions.columns) == [
        *("image_key", "patient_key", "split", "fold", "label_pneumonia", "probability_pneumonia")
    ]
    assert evaluation.data.metrics["test/auroc"] > 0.9  # an easy source
    assert {"figures/roc.png", "figures/gallery.png"} <= champion.project.files(evaluation)


def test_every_image_can_be_measured_also_when_none_is_positive(in_project: Project, tmp_path: Path) -> None:
    healthy = write_easy_source(tmp_path / "healthy", seed=3, ill=0)
    secondread(["evaluate", "--data", str(healthy), "--split", "all"])
    run = evaluations(in_project)[0]
    assert run.info.status == "FINISHED"
    assert len(pd.read_parquet(in_project.artifacts(run) / "predictions.parquet")) == PATIENTS
    assert "test/specificity" in run.data.metrics
    assert "test/auroc" not in run.data.metrics


def test_the_training_images_of_the_source_are_evaluated_as_the_training_predicted(
    in_project: Project, champion: Champion
) -> None:
    secondread(["evaluate", "--data", str(champion.source)])
    again = pd.read_parquet(in_project.artifacts(evaluations(in_project)[0]) / "predictions.parquet")
    first = pd.read_parquet(in_project.artifacts(champion.training) / "predictions.parquet")
    both = again.merge(first, on=["image_key", "patient_key", "split"], suffixes=("", "_first"), validate="1:1")
    assert len(both) == len(again)
    assert ((both["probability_pneumonia"] - both["probability_pneumonia_first"]).abs() <= 1e-6).all()


def test_a_source_or_model_of_another_task_is_refused(
    in_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        secondread(["evaluate", "--task", "hemorrhage", "--model_uri", "models:/pneumonia@champion"])
    said = capsys.readouterr().err
    assert "error: models:/pneumonia@champion: a model for pneumonia; use --task pneumonia" in said


# --- nobody's name


def test_no_name_of_a_folder_or_file_reaches_mlflow_or_the_log(champion: Champion, evaluation: Run) -> None:
    assert planted_traces(champion.project, *champion.said.values()) == []


# --- predict


def test_files_are_answered_on_the_terminal_a_line_each(champion: Champion, tmp_path: Path) -> None:
    ill, well = (next(champion.other.glob(f"{name}/*/*.jpg")) for name in ("pneumonia", "normal"))
    garbage = tmp_path / "letter.jpg"
    garbage.write_text("a letter, not an image")
    done = champion.project.secondread("predict", str(ill), str(garbage), str(well))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{ill}: pneumonia 0.")
    assert lines[0].endswith(" POSITIVE")
    assert lines[1] == f"{garbage}: rejected: the file is neither DICOM nor JPEG nor PNG"
    assert lines[2].startswith(f"{well}: pneumonia 0.")
    assert not lines[2].endswith(" POSITIVE")


def test_an_operating_point_that_the_model_lacks_is_refused(champion: Champion) -> None:
    image = next(champion.other.glob("normal/*/*.jpg"))
    done = champion.project.secondread("predict", str(image), "--operating_point", "sensitive")
    assert done.returncode == 1
    points = "balanced, high_sensitivity, high_specificity"
    assert f"\nerror: operating_point: this model has {points}\n" in done.stderr
    assert "Traceback" not in done.stderr
