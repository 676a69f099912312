"""Bad input: the error says what, where and the next step, nothing is left half-done, and the run is FAILED."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from integration.conftest import NewProject
from integration.project import Project, mlflow_run
from secondread.cli import main


@dataclass
class Terminal:
    """Commands typed one after the other into one project; this process runs them, which saves its imports."""

    project: Project
    capture: pytest.CaptureFixture[str]

    def preprocess(self, source: Path, store: Path, *words: str) -> str:
        """Write a store, which must succeed; give what was said."""
        main(["preprocess", "--source", str(source), "--out", str(store), "--execution.workers", "1", *words])
        return self.capture.readouterr().out

    def refuse(self, *words: str) -> str:
        """Run a verb that must be refused; give its error."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as exited:
            main(words)
        assert exited.value.code == 1
        said = self.capture.readouterr().err
        _, error = said.split("error: ")
        assert "Traceback" not in said
        assert not list(self.project.folder.rglob("*.part"))
        return error

    def refuse_train(self, *words: str) -> str:
        """Run a training that must be refused once its run is open: the run is FAILED and holds the settings alone."""
        before = {run.info.run_id for run in self.project.runs("pneumonia")}
        error = self.refuse("train", "--execution.workers", "1", *words)
        (failed,) = (run for run in self.project.runs("pneumonia") if run.info.run_id not in before)
        assert_failed(failed, self.project)
        return error


def assert_failed(run: Run, project: Project) -> None:
    assert run.info.status == "FAILED"
    assert run.info.end_time is not None
    assert run.data.params["task"] == run.data.tags["task"] == "pneumonia"
    assert run.data.tags["step"] == "train"
    assert not run.data.metrics
    assert not project.files(run)


@pytest.fixture(scope="module")
def project(new_project: NewProject) -> Project:
    return new_project()


@pytest.fixture
def terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow leaves it behind
    monkeypatch.chdir(tmp_path)
    return Terminal(project, capsys)


def write_picture(path: Path) -> None:
    """A JPEG like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = np.frombuffer(path.as_posix().encode(), np.uint8)
    picture = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    cv2.imwrite(str(path), cv2.resize(picture, (96, 80), interpolation=cv2.INTER_CUBIC))


def write_folders(root: Path, normal: int = 12, pneumonia: int = 12) -> Path:
    """Class folders, an image a patient."""
    for name, count in (("normal", normal), ("pneumonia", pneumonia)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            write_picture(root / name / f"{number:02d}.jpg")
    return root


def write_table(root: Path, labels: list[str], files: bool = True) -> Path:
    """A table of your own with an image a row."""
    root.mkdir()
    names = [f"{number:02d}.jpg" for number in range(len(labels))]
    pd.DataFrame({"path": names, "pneumonia": labels}).to_csv(root / "labels.csv", index=False)
    for name in names if files else ():
        write_picture(root / name)
    return root


def quarantine(store: Path) -> dict[str, str]:
    """Rule by file."""
    table = pd.read_csv(store / "quarantine.csv")
    assert list(table.columns) == ["path", "status", "rule", "reason"]
    assert table["reason"].str.len().gt(10).all()
    return dict(zip(table["path"], table["rule"], strict=True))


def write_store(terminal: Terminal, folder: Path) -> Path:
    """A whole store of a small source; give it."""
    source, store = write_folders(folder / "source"), folder / "store"
    terminal.preprocess(source, store)
    return store


# --- settings: refused before anything is opened


SETTINGS = {
    "unknown key": (["--train.epoch", "5"], r"train\.epoch: unknown setting; did you mean train\.epochs\?"),
    "unknown short key": (["--epochs", "5"], r"epochs: unknown setting; did you mean train\.epochs\?"),
    "out of range": (["--train.epochs", "0"], r"train\.epochs: Input should be greater .* Received: '0'"),
    "not a number": (["--train.learning_rate", "fast"], r"train\.learning_rate: .* Received: 'fast'"),
    "not finite": (["--train.learning_rate", "inf"], r"train\.learning_rate: .* Received: 'inf'"),
    "one fold": (["--data.folds", "1"], r"data\.folds: .*at least 2"),
    "other task's preset": (
        ["--model", "head_ct_cnn"],
        r"model=head_ct_cnn: .* for hemorrhage, .*use one of .*chest_cnn",
    ),
    "unknown preset": (["--model", "chest_cn"], r"model=chest_cn: .* did you mean chest_cnn\?"),
    "unknown task": (["--task", "fracture"], r"task=fracture: .* use one of hemorrhage, pneumonia"),
    "a flag without value": (["--train.epochs"], r"--train\.epochs: a value must follow"),
    "a stray word": (["fast"], r"fast: expected a setting"),
    "missing configuration": (["--config", "none.yaml"], r"--config none\.yaml: cannot be read"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_wrong_setting_is_refused_before_a_run_is_opened(case: str, terminal: Terminal) -> None:
    words, expected = SETTINGS[case]
    before = len(terminal.project.runs("pneumonia"))
    error = terminal.refuse("train", "--data", "nowhere", *words)
    assert len(terminal.project.runs("pneumonia")) == before
    assert_matches(error, expected)


def assert_matches(error: str, expected: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){expected}"):
        raise ValueError(error)


# --- sources: a FAILED run says what was asked


def test_a_missing_folder_is_named(terminal: Terminal, tmp_path: Path) -> None:
    error = terminal.refuse_train("--data", str(tmp_path / "nowhere"))
    assert error == f"{tmp_path}/nowhere: there is no such folder or file; check the path behind `data`\n"


def test_an_empty_folder_is_named(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_matches(terminal.refuse_train("--data", str(tmp_path / "empty")), "empty: the folder is empty; check")


def test_a_folder_of_no_known_layout_is_named_with_what_to_do(terminal: Terminal, tmp_path: Path) -> None:
    write_picture(tmp_path / "pictures" / "a.jpg")
    error = terminal.refuse_train("--data", str(tmp_path / "pictures"))
    assert_matches(error, "pictures: no known layout fits .*; arrange the images in folders named by class")


@pytest.mark.parametrize("empty", ["normal", "pneumonia"])
def test_an_empty_class_is_named(empty: str, terminal: Terminal, tmp_path: Path) -> None:
    source = write_folders(tmp_path / "source", **{empty: 0})
    error = terminal.refuse_train("--data", str(source))
    missing = "with pneumonia" if empty == "pneumonia" else "without pneumonia"
    for split in ("train", "val", "test"):
        assert_matches(error, f"{split} has no image {missing} among [0-9]+; add images of that class")


def test_one_class_only_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    source = write_folders(tmp_path / "source")
    shutil.rmtree(source / "normal")
    assert_matches(terminal.refuse_train("--data", str(source)), "train has no image without pneumonia")


def test_labels_without_any_file_are_refused(terminal: Terminal, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", ["0", "1"] * 6, files=False)
    error = terminal.refuse_train("--data", str(source))
    assert_matches(error, r"source: read as table, it holds no labelled image \(12 files or labels put aside\); check")


def test_files_without_any_label_are_refused(terminal: Terminal, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", [""] * 12)
    error = terminal.refuse_train("--data", str(source))
    assert_matches(error, r"source: .* it holds no labelled image \(12 files or labels put aside\)")


def test_a_label_other_than_0_1_and_unknown_is_named_by_its_row(terminal: Terminal, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", ["0", "1", "2", ""] * 6)
    error = terminal.refuse_train("--data", str(source))
    assert_matches(
        error,
        r"source: pneumonia: row 4 says neither 1 nor 0 \(6 such rows\); write 1 for present, 0 for absent, or leave",
    )


def test_a_source_of_the_other_task_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    for name in ("normal", "hemorrhage"):
        write_picture(tmp_path / "source" / name / "a.jpg")
    error = terminal.refuse_train("--data", str(tmp_path / "source"))
    assert_matches(error, "source: its class folders are named hemorrhage, normal, which is not for pneumonia; use")


def test_a_patient_in_two_given_splits_stops_training_until_acknowledged(terminal: Terminal, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", ["0", "1"] * 12)
    table = pd.read_csv(source / "labels.csv")
    table["patient"] = [f"Erika Mustermann {number // 2}" for number in range(24)]
    table["split"] = ["train"] * 15 + ["test"] * 9
    table.to_csv(source / "labels.csv", index=False)
    error = terminal.refuse_train("--data", str(source))
    assert_matches(error, r"1 patients in both train \(1 images\) and test \(1\); .* data\.acknowledge_leaks=true")
    assert "Mustermann" not in error


def test_more_folds_than_patients_are_refused(terminal: Terminal, tmp_path: Path) -> None:
    source = write_folders(tmp_path / "source", normal=3, pneumonia=3)
    error = terminal.refuse_train("--data", str(source), "--data.folds", "7")
    assert_matches(error, "6 separate patients cannot fill 7 folds .*; add patients, or ask for fewer folds")


def test_only_unusable_images_are_refused_and_the_quarantine_says_why(terminal: Terminal, tmp_path: Path) -> None:
    source = write_folders(tmp_path / "source")
    for path in source.rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:400])
    error = terminal.refuse_train("--data", str(source))
    assert_matches(error, "source: none of its 24 images could be used; .*quarantine.csv says why")
    assert set(quarantine(Path(error.split("; ")[1].split(" says")[0]).parent).values()) == {"truncated"}


def test_a_layout_that_does_not_exist_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    source = write_folders(tmp_path / "source")
    error = terminal.refuse_train("--data", str(source), "--data.layout", "dicomdir")
    assert_matches(error, r"data\.layout=dicomdir: there is no such layout; use auto or one of .*class_folders")


# --- what is put aside never stops `preprocess`


def test_files_that_are_no_whole_images_are_put_aside_with_the_reason(terminal: Terminal, tmp_path: Path) -> None:
    source, store = write_folders(tmp_path / "source"), tmp_path / "store"
    (source / "normal" / "00.jpg").write_bytes((source / "normal" / "00.jpg").read_bytes()[:700])
    (source / "normal" / "01.jpg").write_bytes(b"")
    (source / "normal" / "02.jpg").write_text("a letter, not an image")
    cv2.imwrite(str(source / "normal" / "small.png"), np.eye(20, dtype=np.uint8))
    cv2.imwrite(str(source / "pneumonia" / "black.png"), np.zeros((80, 80), np.uint8))
    (source / "pneumonia" / "link.jpg").symlink_to(source / "pneumonia" / "01.jpg")
    write_picture(source / "unsorted.jpg")
    said = terminal.preprocess(source, store)
    assert quarantine(store) == {
        "normal/00.jpg": "truncated",
        "normal/01.jpg": "format",
        "normal/02.jpg": "format",
        "normal/small.png": "dimensions",
        "pneumonia/black.png": "constant",
        "pneumonia/link.jpg": "not_regular",
        "unsorted.jpg": "no_label",
    }
    assert "put aside: 2 by rule format" in said
    assert "store of 21 images" in said
    assert f"next: python -m secondread train --task pneumonia --data {store}" in said


def test_labels_without_files_and_files_without_labels_are_put_aside(terminal: Terminal, tmp_path: Path) -> None:
    source, store = write_table(tmp_path / "source", ["0", "1"] * 6), tmp_path / "store"
    (source / "03.jpg").unlink()
    write_picture(source / "more" / "unknown.jpg")
    terminal.preprocess(source, store)
    assert quarantine(store) == {"03.jpg": "missing_file", "more/unknown.jpg": "no_label"}


def test_a_bad_table_leaves_no_store_behind(terminal: Terminal, tmp_path: Path) -> None:
    source = write_table(tmp_path / "source", ["0", "1", "maybe"])
    terminal.refuse("preprocess", "--source", str(source), "--out", str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_a_folder_that_holds_something_else_is_never_written_to(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    source = write_folders(tmp_path / "source")
    error = terminal.refuse("preprocess", "--source", str(source), "--out", str(tmp_path / "thesis"))
    assert_matches(error, "thesis: holds something else, .*; choose another `out`")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


# --- stores


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def damage(path: Path) -> None:
    """Change one byte, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "another version": (lambda store: change(store / "store.json", format=2), "store of format 2, .*; preprocess anew"),
    "no description": (lambda store: (store / "store.json").unlink(), "this store is unfinished; run the same preproc"),
    "torn description": (lambda store: (store / "store.json").write_text('{"format": 1'), "store.json is damaged; del"),
    "damaged shard": (lambda store: damage(store / "shards" / "00000.npy"), "shard 00000.npy is damaged .*; delete"),
    "missing shard": (lambda store: (store / "shards" / "00001.npy").unlink(), "shard 00001.npy is damaged or missing"),
    "damaged manifest": (lambda store: damage(store / "manifest.parquet"), "manifest.parquet is damaged .*; delete"),
    "missing manifest": (lambda store: (store / "manifest.parquet").unlink(), "manifest.parquet is damaged or missing"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_store_that_is_not_whole_is_refused(case: str, terminal: Terminal, tmp_path: Path) -> None:
    store = write_store(terminal, tmp_path)
    harm, expected = DAMAGES[case]
    harm(store)
    before = sorted(store.rglob("*"))
    assert_matches(terminal.refuse_train("--data", str(store)), f"store: {expected}")
    assert sorted(store.rglob("*")) == before


def test_a_store_for_another_task_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    for number in range(8):
        write_picture(tmp_path / "source" / ("normal", "hemorrhage")[number % 2] / f"{number}.jpg")
    store = tmp_path / "store"
    terminal.preprocess(tmp_path / "source", store, "--task", "hemorrhage")
    error = terminal.refuse_train("--data", str(store))
    assert_matches(error, "store: a store for hemorrhage, not for pneumonia; run `python -m secondread preprocess")


def test_a_store_made_for_another_preset_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    store = write_store(terminal, tmp_path)
    error = terminal.refuse_train("--data", str(store), "--preprocess.size", "150")
    assert_matches(error, "store: its images have another size than model compact_resnet asks for; run")


def test_a_separate_evaluation_store_made_for_another_preset_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    small = tmp_path / "small"
    terminal.preprocess(write_folders(tmp_path / "tests"), small, "--preprocess.size", "32")
    store = write_store(terminal, tmp_path)
    error = terminal.refuse_train("--data", str(store), "--data.evaluation", str(small))
    assert_matches(error, "small: its images have another size")


# --- models


@pytest.mark.parametrize("verb", [["evaluate", "--data", "nowhere"], ["predict", "a.jpg"]])
@pytest.mark.parametrize("uri", ["champion", "runs:/0123456789abcdef0123456789abcdef/model", "models:/pneumonia/7"])
def test_a_model_that_is_not_there_is_named_with_what_to_do(
    verb: list[str], uri: str, terminal: Terminal, tmp_path: Path
) -> None:
    write_picture(tmp_path / "a.jpg")
    error = terminal.refuse(verb[0], "--model_uri", uri, *verb[1:])
    name = "models:/pneumonia@champion" if uri == "champion" else uri
    assert_matches(error, f"{name}: there is no such model here; train one .* and promote it")


def test_a_file_to_predict_that_is_not_there_is_named(terminal: Terminal) -> None:
    assert terminal.refuse("predict", "a.jpg") == "a.jpg: there is no such file; give DICOM, PNG or JPEG files\n"


# --- in processes of their own


@pytest.mark.parametrize("case", ["missing folder", "unknown key"])
def test_mlflow_run_fails_with_its_launcher_and_shows_the_error(case: str, project: Project, tmp_path: Path) -> None:
    settings = {"data": str(tmp_path / "nowhere")} | ({"train.epoch": 3} if case == "unknown key" else {})
    before = len(project.runs("pneumonia"))
    done = project.run(*mlflow_run("train", settings))
    assert done.returncode != 0
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    launcher = project.runs("Default")[0]
    assert launcher.info.status == "FAILED"
    if case == "unknown key":
        assert "did you mean train.epochs?" in error
        assert len(project.runs("pneumonia")) == before
    else:
        assert "nowhere: there is no such folder or file" in error
        work = project.runs("pneumonia")[0]
        assert_failed(work, project)
        assert work.data.tags["launcher_run_id"] == launcher.info.run_id
        assert launcher.data.tags["work_run_id"] == work.info.run_id


def test_the_command_line_prints_one_error_and_ends_with_1(project: Project, tmp_path: Path) -> None:
    done = project.run(sys.executable, "-m", "secondread", "preprocess", "--source", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/nowhere: there is no such folder")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr
