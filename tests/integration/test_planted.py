"""What names a patient is planted wherever a source has room for it, and found nowhere that others look."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from planted.refused import REFUSED, write_leaking_source
from planted.requests import ANSWERED, ODD, REPEATED
from planted.requests import REFUSED as REFUSED_REQUESTS
from planted.search import traces, traces_in_file
from planted.sources import SOUND, write_table_source
from planted.words import LETTERS, word
from s3_server import S3Server

from integration.conftest import NewProject, Trainings
from integration.model_server import ModelServer
from integration.privacy import planted_traces, planted_traces_in_scores, planted_traces_in_store
from integration.project import Project
from integration.tiny_champion import register_tiny_champion
from secondread.cli import main
from secondread.config import load_config
from secondread.data.store import open_store
from secondread.imaging import sandbox
from tuning.__main__ import main as tuning_main
from tuning.trial_process import TrialOrder
from tuning.trial_training import carry_out


@pytest.fixture(scope="module")
def project(new_project: NewProject) -> Project:
    return new_project()


@pytest.fixture
def terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project; verbs that are called in this process work in it, temporary files included."""
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)  # MLflow leaves it behind
    temporary = project.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(project.folder)
    return project


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table_source(tmp_path_factory.mktemp("source") / "hospital")


@pytest.mark.parametrize("task", ["hemorrhage", "pneumonia"])
def test_training_tells_nothing(task: str, trained: Trainings) -> None:
    training = trained[task]
    files = [path for path in training.source.rglob("*.*") if path.is_file() and traces(path.read_bytes())]
    assert len(files) > len(training.predictions)
    assert planted_traces(training.project, training.output) == []


def test_hundreds_of_places_of_a_source_name_somebody(source: Path) -> None:
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    contents = [str(path.relative_to(source)).encode("utf-8", "surrogateescape") for path in source.rglob("*")]
    contents += [path.read_bytes() for path in files]
    found = {place for content in contents for place in re.findall(f"{LETTERS}[a-z]{{2}}".encode(), content)}
    assert len(found) > 100
    assert all(traces_in_file(path) for path in files)


def test_preprocessing_tells_nothing_but_which_files_a_store_is_made_of(
    terminal: Project, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    main(["preprocess", "--source", str(source), "--out", str(store), "--preprocess.size", "16"])
    said = capfd.readouterr()
    assert planted_traces(terminal, said.out, said.err) == []
    assert planted_traces_in_store(store) == []
    aside = pd.read_csv(store / "quarantine.csv")["path"]
    assert len(open_store(store).manifest) >= SOUND
    assert len(aside) > 30
    assert traces("\n".join(aside).encode())
    assert traces("\n".join(open_store(store).manifest["path"]).encode())


def test_what_changed_between_two_stores_is_told_without_a_name(
    terminal: Project, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fewer = write_table_source(tmp_path / "fewer")
    for path in fewer.rglob("*.png"):
        path.unlink()
    stores = [str(tmp_path / f"store of {root.name}") for root in (source, fewer)]
    words = ["--preprocess.size", "16", "--execution.workers", "1"]
    for root, store in zip((source, fewer), stores, strict=True):
        main(["preprocess", "--source", str(root), "--out", store, *words])
    with pytest.raises(SystemExit) as exited:
        main(["diff", *stores, "--out", str(tmp_path / "difference")])
    said = capfd.readouterr()
    assert exited.value.code == 1
    assert len(list((tmp_path / "difference").iterdir())) == 3
    assert planted_traces(terminal, said.out, said.err) == []
    assert planted_traces_in_store(tmp_path / "difference") == []


def test_scoring_and_explaining_from_s3_tells_nothing_but_what_a_folder_of_scores_says(
    terminal: Project, s3: S3Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket = s3.bucket("planted-scores")
    source = write_table_source(s3.folder / "planted-scores" / "source")
    for path in [path for path in source.rglob("*") if path.is_symlink() or path.is_fifo()]:
        path.unlink()
    register_tiny_champion(terminal.client, "pneumonia", tmp_path / "model", bias=-2)
    scores, explanations = tmp_path / "scores", tmp_path / "explanations"
    main(["score", "--source", f"{bucket}/source", "--out", str(scores), "--sr", "true"])
    main(["explain", "--data", f"{bucket}/source", "--out", str(explanations), "--images", "4"])
    said = capfd.readouterr()
    assert planted_traces(terminal, said.out, said.err) == []
    assert planted_traces_in_scores(scores) == []
    assert planted_traces_in_scores(explanations) == []
    assert traces((scores / "slices.csv").read_bytes())
    assert traces((scores / "put_aside.csv").read_bytes())
    reports = list((scores / "sr").iterdir())
    assert reports
    assert all(traces_in_file(report) for report in reports)
    sandbox._pool.cache_clear()


@pytest.mark.parametrize("task", ["hemorrhage", "pneumonia"])
def test_a_served_model_repeats_nothing_of_a_request_and_logs_nothing(
    task: str, served_tasks: dict[str, ModelServer]
) -> None:
    server = served_tasks[task]
    for why, request in {**ANSWERED, **ODD}.items():
        status, reply = server.send(request)
        assert (status, traces(reply)) == (200, []), why
    for why, request in REFUSED_REQUESTS.items():
        status, reply = server.send(request)
        assert status >= 400, why
        assert traces(reply) == [], why
    for request in REPEATED.values():
        assert server.send(request)[0] >= 400
    assert traces(server.command.said.encode()) == []
    assert "POST /invocations" in server.command.said


def test_what_is_told_of_files_in_a_store_is_their_path_alone(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": [word("path")], "rule": ["decode"], "reason": [f"it says {word('reason')}"]})
    table.to_csv(tmp_path / "quarantine.csv", index=False)
    assert planted_traces_in_store(tmp_path)
    table.assign(reason="").to_csv(tmp_path / "quarantine.csv", index=False)
    assert planted_traces_in_store(tmp_path) == []


@pytest.mark.parametrize(("task", "why"), [(task, why) for task, sources in REFUSED.items() for why in sources])
def test_an_error_tells_nothing(
    task: str, why: str, terminal: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    REFUSED[task][why](root)
    words = ["--task", task, "--source", str(root), "--execution.workers", "1"]
    with pytest.raises(SystemExit) as exited:
        main(["preprocess", *words, "--out", str(tmp_path / "store")])
    said = capfd.readouterr()
    assert exited.value.code == 1
    assert said.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in said.err
    assert traces(f"{said.out}\n{said.err}".encode()) == []


@pytest.mark.parametrize(("task", "why"), [(task, why) for task, sources in REFUSED.items() for why in sources])
def test_a_trial_that_fails_tells_nothing_to_its_worker_and_its_log(
    task: str, why: str, terminal: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its log has the whole stack trace, with every error that led to the last one."""
    (root := tmp_path / "source").mkdir()
    REFUSED[task][why](root)
    config = load_config(task, {"data": str(root), "preprocess.size": 16, "execution.workers": 1})
    ended = carry_out(TrialOrder(config=config, objectives=("auroc",), folder=tmp_path / "trial"), lambda _: True)
    said = capfd.readouterr()
    assert "Traceback" in said.err
    assert ended.keys() == {"failed", "kind", "epochs"}
    assert traces(f"{ended}\n{said.out}\n{said.err}".encode()) == []


@pytest.mark.parametrize(
    ("run", "words"),
    [(main, ["train", "--preprocess.size", "16"]), (tuning_main, ["search", "--space", "quick"])],
    ids=["train", "search"],
)
def test_a_training_or_a_search_that_is_refused_tells_nothing(
    run: Callable[[list[str]], None],
    words: list[str],
    terminal: Project,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (source := tmp_path / "source").mkdir()
    write_leaking_source(source)
    with pytest.raises(SystemExit):
        run([*words, "--data", str(source), "--execution.workers", "1"])
    said = capfd.readouterr()
    assert "patients in both train" in said.err
    failed = terminal.runs("pneumonia")[0]
    assert (failed.data.tags["step"], failed.info.status) == (words[0], "FAILED")
    assert planted_traces(terminal, said.out, said.err) == []
