"""The command line: parses, hands over to a step, and prints errors without a stack trace."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from secondread.config import DataSettings, ModelSettings, RunConfig, load_config, preset_names, setting_names
from secondread.errors import ConfigError, SecondReadError
from secondread.execution import die_with_parent
from secondread.storage.here import path_here
from secondread.tasks import task_names

_TASK_DEFAULT = "pneumonia"
_METHODS = ("grad_cam", "integrated_gradients", "occlusion", "gradient_shap", "partition_shap")
_DEFAULTS = {"data": DataSettings().path, "model": ModelSettings().name}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb; exits with 1 on an error that the user can mend."""
    # TensorFlow and MLflow read these when they are imported, later than here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if "MLFLOW_RUN_ID" in os.environ:  # started by `mlflow run`
        die_with_parent()
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    try:
        if rest and not known.takes_settings:
            raise ConfigError(f"{rest[0].partition('=')[0]}: this verb takes no such setting; see --help")
        known.run(known, overrides_of(rest))
    except SecondReadError as error:
        fail(error)


def fail(error: SecondReadError, status: int = 1) -> NoReturn:
    """Print what is wrong and what to do next, and exit."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(status)


def overrides_of(words: Sequence[str]) -> dict[str, str]:
    """Read `--train.epochs 5` and `--train.epochs=5` as settings.

    Raises:
        ConfigError: a word is no flag, or a flag has no value.
    """
    found: dict[str, str] = {}
    remaining = iter(words)
    for word in remaining:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            raise ConfigError(f"{word}: expected a setting such as --train.epochs 5")
        if not equals:
            value = next(remaining, "--")
            if value.startswith("--"):
                raise ConfigError(f"--{name}: a value must follow, such as --{name} 5")
        found[name] = value
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m secondread",
        description="Train, measure and try models that give a second read of head CTs and chest X-rays.",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add(verbs, "story", _story, "the whole story on synthetic patients: two models, from files to a served prediction")
    preprocess = _add(verbs, "preprocess", _preprocess, "index, divide and preprocess a folder of images into a store")
    _add_task(preprocess)
    preprocess.add_argument(
        "--source", default="phantom", help="a folder or CSV of images, here or on s3:// (default: synthetic ones)"
    )
    preprocess.add_argument("--layout", default="auto", help="the source's layout (default: recognise it)")
    preprocess.add_argument("--out", default="store", help="folder, or s3://, to write the store to (default: store)")
    preprocess.add_argument("--model", help="preprocess as this preset asks (default: compact_resnet)")
    diff = _add(
        verbs,
        "diff",
        _diff,
        "say which patients, images and labels came, went or changed between two stores; "
        "exits with 0 if none did, with 1 if any did, with 2 if the stores cannot be compared",
    )
    diff.add_argument("before", metavar="STORE_A", help="what `preprocess` wrote: a folder or s3://bucket/prefix")
    diff.add_argument("after", metavar="STORE_B", help="another, of the same task")
    diff.add_argument("--out", help="folder to write difference.json, images.csv and patients.csv to")
    deidentify = _add(
        verbs, "deidentify", _deidentify, "copy a folder's DICOM files without what identifies their patients"
    )
    deidentify.add_argument(
        "--source", default="phantom", help="a folder of DICOM files, here or on s3:// (default: synthetic ones)"
    )
    deidentify.add_argument(
        "--out", default="deidentified", help="folder of this machine to write the copies to (default: deidentified)"
    )
    train = _add(verbs, "train", _train, "train a model and log it, measured, to MLflow")
    _add_task(train)
    train.add_argument("--data", default="phantom", help="a store, a folder or CSV of images (default: synthetic ones)")
    train.add_argument("--model", help=f"a preset: {', '.join(preset_names())} (default: compact_resnet)")
    train.add_argument("--config", type=Path, help="a YAML file of settings; flags that are not at their default win")
    evaluate = _add(
        verbs, "evaluate", _evaluate, "measure a logged model on other images, through its own preprocessing"
    )
    _add_task(evaluate)
    _add_model_uri(evaluate)
    evaluate.add_argument(
        "--data", default="phantom", help="a store, a folder or CSV of images (default: synthetic ones)"
    )
    evaluate.add_argument("--split", default="test", choices=("test", "all"), help="which images (default: test)")
    score = _add(verbs, "score", _score, "answer any number of image files, as worklists with the most urgent first")
    _add_task(score)
    _add_model_uri(score)
    score.add_argument(
        "--source",
        default="phantom",
        help="a folder of any layout, or a store, here or on s3:// (default: synthetic images)",
    )
    score.add_argument("--out", default="scores", help="folder of this machine to write worklists to (default: scores)")
    _add_operating_point(score)
    score.add_argument(
        "--sr",
        default="false",
        choices=("true", "false"),
        help="write a DICOM Structured Report of each study to OUT/sr too, for the archive that the images came from: "
        "it names the patient as they do (default: false)",
    )
    explain = _add(verbs, "explain", _explain, "draw what speaks for and against each label on some images")
    _add_task(explain)
    _add_model_uri(explain)
    explain.add_argument(
        "--data",
        default="phantom",
        help="an image file, a folder of any layout, or a store, here or on s3:// (default: synthetic ones)",
    )
    explain.add_argument(
        "--method", default="checked", help=f"{', '.join(_METHODS)} (default: the one that passed the model's checks)"
    )
    explain.add_argument("--label", default="all", help="a label that the model answers (default: all of them)")
    explain.add_argument("--images", default=12, type=_count, help="how many, at most (default: 12)")
    explain.add_argument(
        "--out", default="explanations", help="folder of this machine to write pictures to (default: explanations)"
    )
    predict = _add(verbs, "predict", _predict, "answer image files on the terminal")
    _add_task(predict)
    _add_model_uri(predict)
    predict.add_argument("--operating_point", default="balanced", help="balanced, high_sensitivity or high_specificity")
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a DICOM, PNG or JPEG file")
    return parser


def _add(
    verbs: Any, name: str, run: Callable[[argparse.Namespace, Mapping[str, str]], None], text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    takes_settings = name in ("preprocess", "train", "evaluate")
    if takes_settings:
        parser.epilog = _settings_help()
    parser.set_defaults(run=run, takes_settings=takes_settings)
    return parser


def _settings_help() -> str:
    lines = ["any setting may follow, as --train.epochs 5 (its default in brackets; a preset may set another):", ""]
    for name, description, default in setting_names():
        if name != "task":
            lines.append(f"  --{name:<32} {description}{f' [{default}]' if default else ''}")
    return "\n".join(lines)


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default=_TASK_DEFAULT, help=f"{' or '.join(task_names())} (default: {_TASK_DEFAULT})")


def _add_model_uri(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model_uri", default="champion", help="models:/NAME@ALIAS or runs:/ID/model (default: the task's champion)"
    )


def _add_operating_point(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--operating_point", default="balanced", help="where a probability becomes a decision")


def _story(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from secondread.story import tell

    tell()


def _preprocess(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    given = {"data": known.source, "data.layout": known.layout} | _model(known) | dict(overrides)
    config = load_config(known.task, given)  # before anything heavy is imported: a typo is answered at once
    from secondread.steps.preprocess import preprocess

    preprocess(config, known.out)


def _deidentify(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    out = path_here(known.out)
    from secondread.steps.deidentify import deidentify

    deidentify(known.source, out)


def _diff(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from secondread.steps.diff import diff

    try:
        same = diff(known.before, known.after, None if known.out is None else path_here(known.out))
    except SecondReadError as error:
        fail(error, status=2)
    raise SystemExit(0 if same else 1)


def _train(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    config = _config(known, overrides)
    from secondread.steps.train import train

    train(config)


def _evaluate(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    config = load_config(known.task, {"data": known.data} | dict(overrides))
    from secondread.steps.evaluate import evaluate

    evaluate(config, model_uri(known), known.split)


def _score(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    out = path_here(known.out)
    from secondread.steps.score import score

    score(known.task, model_uri(known), known.source, out, known.operating_point, known.sr == "true")


def _explain(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    out = path_here(known.out)
    from secondread.steps.explain import explain

    method = None if known.method == "checked" else known.method
    label = None if known.label == "all" else known.label
    explain(known.task, model_uri(known), known.data, method, label, known.images, out)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1. Received: {text}")
    return int(text)


def _predict(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from secondread.steps.predict import predict

    predict(model_uri(known), known.files, known.operating_point)


def model_uri(known: argparse.Namespace) -> str:
    """The model that the user named; `champion` is the task's."""
    return f"models:/{known.task}@champion" if known.model_uri == "champion" else str(known.model_uri)


def _config(known: argparse.Namespace, overrides: Mapping[str, str]) -> RunConfig:
    """Combine flags and YAML. A flag at its default says nothing: `mlflow run` types every one of them."""
    base = {} if known.config is None else _read_settings(known.config)
    given = {"data": known.data} | _model(known)
    typed = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
    task = known.task if known.task != _TASK_DEFAULT else str(base.get("task", _TASK_DEFAULT))
    return load_config(task, typed | dict(overrides), base)


def _read_settings(path: Path) -> Mapping[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--config {path}: cannot be read as YAML ({type(error).__name__})") from None
    if not isinstance(settings, Mapping):
        raise ConfigError(f"--config {path}: expected settings, such as `train.epochs: 5`, a line each")
    return settings


def _model(known: argparse.Namespace) -> dict[str, str]:
    return {} if known.model is None else {"model": known.model}
