"""The command line: what is typed arrives in a step, and what cannot be is refused without a stack trace."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secondread import cli
from secondread.cli import main, overrides_of
from secondread.config import RunConfig, setting_names
from secondread.errors import ConfigError, StoreError

Calls = list[tuple[Any, ...]]


@pytest.fixture
def steps(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Calls]:
    """Each verb's calls; the steps themselves, with TensorFlow, stay unloaded."""
    calls: dict[str, Calls] = {}
    for verb in ("preprocess", "train", "evaluate", "score", "explain", "predict"):
        made = calls.setdefault(verb, [])
        fake = SimpleNamespace(**{verb: lambda *arguments, made=made: made.append(arguments)})
        monkeypatch.setitem(sys.modules, f"secondread.steps.{verb}", fake)
    for name in ("TF_CPP_MIN_LOG_LEVEL", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"):  # that `main` sets
        monkeypatch.setenv(name, "")
    return calls


def trained(steps: dict[str, Calls], *arguments: str) -> RunConfig:
    main(["train", *arguments])
    [(config,)] = steps["train"]
    assert isinstance(config, RunConfig)
    return config


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("error: ").rstrip("\n")


def test_settings_follow_with_a_space_or_an_equals_sign() -> None:
    assert overrides_of(["--train.epochs", "5", "--data.path=a b=c", "--data.seed", "-1"]) == {
        "train.epochs": "5",
        "data.path": "a b=c",
        "data.seed": "-1",
    }
    assert overrides_of([]) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.epochs=5"], "train.epochs=5: expected a setting such as --train.epochs 5"),
        (["--train.epochs", "5", "6"], "6: expected a setting"),
        (["--train.epochs"], "--train.epochs: a value must follow, such as --train.epochs 5"),
        (["--train.epochs", "--data.seed", "1"], "--train.epochs: a value must follow"),
    ],
)
def test_a_word_that_is_no_setting_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        overrides_of(words)


def test_train_without_anything_typed_is_the_phantom_of_pneumonia(steps: dict[str, Calls]) -> None:
    config = trained(steps)
    assert (config.task, config.data.path, config.model.name) == ("pneumonia", "phantom", "compact_resnet")


def test_train_takes_flags_abbreviations_and_every_setting(steps: dict[str, Calls]) -> None:
    flags = ["--task", "hemorrhage", "--data", "my images", "--model", "window_cnn", "--train.epochs", "3"]
    config = trained(steps, *flags, "--train.learning_rate=1e-4", "--data.limit", "20")
    assert (config.task, config.data.path, config.model.name) == ("hemorrhage", "my images", "window_cnn")
    assert (config.train.epochs, config.train.learning_rate, config.data.limit) == (3, 1e-4, 20)


def test_a_flag_wins_over_the_yaml_and_the_yaml_over_the_preset(steps: dict[str, Calls], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("train: {epochs: 7, batch_size: 4}\ndata: {path: of the yaml, seed: 3}\n")
    config = trained(steps, "--config", "mine.yaml", "--train.batch_size", "8", "--data", "typed")
    assert (config.train.epochs, config.train.batch_size) == (7, 8)
    assert (config.data.path, config.data.seed) == ("typed", 3)


def test_what_mlflow_run_types_by_itself_does_not_hide_the_yaml(steps: dict[str, Calls], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: hemorrhage\nmodel: window_cnn\ndata: folder\n")
    typed_by_the_entry_point = ["--task", "pneumonia", "--data", "phantom", "--model", "compact_resnet"]
    config = trained(steps, *typed_by_the_entry_point, "--config", "mine.yaml")
    assert (config.task, config.model.name, config.data.path) == ("hemorrhage", "window_cnn", "folder")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"train: [", "--config mine.yaml: cannot be read as YAML (ParserError)"),
        (b"\xff\xfe\xff", "--config mine.yaml: cannot be read as YAML (UnicodeDecodeError)"),
        (b"- train\n", "--config mine.yaml: expected settings, such as `train.epochs: 5`, a line each"),
        (b"train: {epohcs: 3}", "train.epohcs: unknown setting; did you mean train.epochs?"),
        (b"task: stroke", "task=stroke: there is no such task; use one of hemorrhage, pneumonia"),
    ],
)
def test_a_yaml_that_cannot_be_used_is_refused(
    steps: dict[str, Calls], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    assert refusal(capsys, "train", "--config", "mine.yaml") == message


def test_an_empty_yaml_says_nothing_and_a_missing_one_is_refused(
    steps: dict[str, Calls], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert trained(steps, "--config", "empty.yaml").task == "pneumonia"
    assert refusal(capsys, "train", "--config", "gone.yaml").startswith("--config gone.yaml: cannot be read as YAML")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--modle", "chest_cnn"], "modle: unknown setting; did you mean model?"),
        (["train", "--epochs", "3"], "epochs: unknown setting; did you mean train.epochs?"),
        (["train", "--train.epochs"], "--train.epochs: a value must follow, such as --train.epochs 5"),
        (["train", "epochs"], "epochs: expected a setting such as --train.epochs 5"),
        (["train", "--task", "stroke"], "task=stroke: there is no such task; use one of hemorrhage, pneumonia"),
        (["evaluate", "--data.fold", "2"], "data.fold: unknown setting; did you mean data.folds?"),
        (["preprocess", "--preprocess.size", "4"], "preprocess.size: Input should be greater than or equal to 16."),
        (["score", "--train.epochs", "3"], "--train.epochs: this verb takes no such setting; see --help"),
        (["predict", "--train.epochs", "3", "a.png"], "--train.epochs: this verb takes no such setting; see --help"),
        (["story", "--data", "folder"], "--data: this verb takes no such setting; see --help"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_begins(
    steps: dict[str, Calls], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert refusal(capsys, *arguments).startswith(message)
    assert not any(steps.values())


def test_an_error_inside_a_step_is_one_line_too(
    steps: dict[str, Calls], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: RunConfig) -> None:
        raise StoreError("folder: this store is unfinished")

    monkeypatch.setitem(sys.modules, "secondread.steps.train", SimpleNamespace(train=fail))
    assert refusal(capsys, "train") == "folder: this store is unfinished"


def test_preprocess_reads_the_source_and_writes_the_store_that_are_named(steps: dict[str, Calls]) -> None:
    source = ["--task", "hemorrhage", "--source", "folder", "--layout", "head_ct", "--out", "my_store"]
    main(["preprocess", *source, "--model", "window_cnn", "--data.val_fraction", ".25"])
    [(config, out)] = steps["preprocess"]
    assert (config.task, config.data.path, config.data.layout) == ("hemorrhage", "folder", "head_ct")
    assert (config.model.name, config.data.val_fraction, out) == ("window_cnn", 0.25, "my_store")


def test_evaluate_takes_a_model_by_its_address_and_else_the_champion(steps: dict[str, Calls]) -> None:
    main(["evaluate", "--task", "hemorrhage", "--data", "folder", "--split", "all"])
    main(["evaluate", "--model_uri", "runs:/1/model"])
    (first, uri, split), (_, given, _) = steps["evaluate"]
    assert (first.data.path, uri, split) == ("folder", "models:/hemorrhage@champion", "all")
    assert given == "runs:/1/model"


def test_score_without_anything_typed_is_the_champion_on_the_phantom(steps: dict[str, Calls]) -> None:
    main(["score"])
    assert steps["score"] == [("pneumonia", "models:/pneumonia@champion", "phantom", Path("scores"), "balanced", False)]


def test_score_takes_a_model_a_folder_and_an_operating_point(steps: dict[str, Calls]) -> None:
    named = ["--model_uri", "models:/hemorrhage/2", "--source", "my images", "--out", "a/b"]
    main(["score", "--task", "hemorrhage", *named, "--operating_point", "high_sensitivity", "--sr", "true"])
    called = ("hemorrhage", "models:/hemorrhage/2", "my images", Path("a/b"), "high_sensitivity", True)
    assert steps["score"] == [called]


def test_explain_without_anything_typed_is_the_champions_checked_method_on_the_phantom(steps: dict[str, Calls]) -> None:
    main(["explain"])
    called = ("pneumonia", "models:/pneumonia@champion", "phantom", None, None, 12, Path("explanations"))
    assert steps["explain"] == [called]


def test_explain_takes_a_method_a_label_and_a_number_of_images(steps: dict[str, Calls]) -> None:
    named = ["--model_uri", "runs:/1/model", "--data", "a.dcm", "--method", "occlusion", "--label", "subdural"]
    main(["explain", "--task", "hemorrhage", *named, "--images", "3", "--out", "a/b"])
    assert steps["explain"] == [("hemorrhage", "runs:/1/model", "a.dcm", "occlusion", "subdural", 3, Path("a/b"))]


@pytest.mark.parametrize("images", ["0", "-1", "many", "1.5"])
def test_explain_takes_at_least_one_image(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["explain", f"--images={images}"])
    assert caught.value.code == 2
    assert f"--images: expected a whole number from 1. Received: {images}" in capsys.readouterr().err


def test_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    from secondread.explanation.methods import METHODS

    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    assert ", ".join(METHODS) in " ".join(capsys.readouterr().out.split())


def test_predict_answers_the_files_that_follow(steps: dict[str, Calls]) -> None:
    main(["predict", "a.png", "b.dcm"])
    assert steps["predict"] == [("models:/pneumonia@champion", [Path("a.png"), Path("b.dcm")], "balanced")]


@pytest.mark.parametrize("verb", ["preprocess", "train", "evaluate"])
def test_help_names_every_setting_with_its_default(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name, description, default in setting_names():
        if name != "task":
            [line] = [line for line in lines if line.startswith(f"  --{name} ")]
            assert description in line
            assert line.endswith(f"[{default}]" if default else description)


def test_a_verb_must_be_one_of_those_that_help_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["tarin"])
    assert caught.value.code == 2
    assert (
        "choose from story, preprocess, diff, deidentify, train, evaluate, score, explain, predict"
        in capsys.readouterr().err.replace("'", "")
    )


def test_what_mlflow_run_started_ends_with_it(steps: dict[str, Calls], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "die_with_parent", lambda: asked.append("dies"))
    trained(steps)
    assert asked == []
    monkeypatch.setenv("MLFLOW_RUN_ID", "the launcher's")
    main(["train"])
    assert asked == ["dies"]


def test_a_typo_is_answered_before_anything_heavy_is_loaded(workplace: Path) -> None:
    script = (
        "import sys; from secondread.cli import main\n"
        "try: main()\n"
        "finally: print(*[name for name in ('tensorflow', 'keras', 'mlflow') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, "train", "--train.epohcs", "3"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout.strip()) == (1, "")
    assert result.stderr == "error: train.epohcs: unknown setting; did you mean train.epochs?\n"
    assert list(workplace.iterdir()) == []


def test_a_folder_that_is_not_there_exits_with_1_and_without_a_stack_trace(workplace: Path) -> None:
    command = [sys.executable, "-m", "secondread", "preprocess", "--source", "nowhere", "--out", "store"]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert result.returncode == 1
    assert result.stderr.startswith("error: nowhere")
    assert "Traceback" not in result.stderr
    assert not (workplace / "store").exists()


@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 1)])
def test_diff_exits_as_diff_does(workplace: Path, monkeypatch: pytest.MonkeyPatch, same: bool, status: int) -> None:
    fake = SimpleNamespace(diff=lambda before, after, out: same)
    monkeypatch.setitem(sys.modules, "secondread.steps.diff", fake)
    with pytest.raises(SystemExit) as caught:
        main(["diff", "before", "after"])
    assert caught.value.code == status


def test_diff_of_what_is_no_store_exits_with_2(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["diff", "nowhere", "nowhere"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: nowhere: this store is unfinished")
