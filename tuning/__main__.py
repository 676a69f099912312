"""`python -m tuning VERB`: find better models, now or on a schedule."""

import argparse
import difflib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from secondread.cli import fail, overrides_of
from secondread.errors import ConfigError, SecondReadError
from secondread.execution import die_with_parent
from secondread.tasks import task_names
from tuning.settings import SearchSettings, read_settings

_SCHEDULE = Path(__file__).with_name("schedule.yaml")
_SEARCH_EPILOG = """\
any setting of a training follows by its dotted name and holds for every trial, such as --train.epochs 5; `python -m
secondread train --help` lists them. What is searched stands in a YAML file: those of the project are in tuning/spaces,
and --space takes one of yours.

  python -m tuning search --task pneumonia --data FOLDER --trials 30 --name first
  python -m tuning search --task pneumonia --data FOLDER --trials 60 --name first      goes on with it
  python -m registry promote --task pneumonia                                          judges what it found

A search that was killed or interrupted goes on with the same command, inside the trials that were running. The same
command in a second terminal, or on another machine with the same --storage postgresql://..., works for the search that
is running. A password belongs in ~/.pgpass or PGPASSWORD, not in --storage.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run a verb; exits with 1 on an error that the user can mend, and with 130 when interrupted."""
    # TensorFlow and MLflow read these when they are imported, later than here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    known, rest = _parser().parse_known_args(arguments)
    if known.is_part:
        die_with_parent(signal.SIGKILL)  # who goes on with the search finds its work as it is
    elif "MLFLOW_RUN_ID" in os.environ:  # started by `mlflow run`
        die_with_parent()
    try:
        if rest and not known.takes_settings:
            raise ConfigError(f"{rest[0].partition('=')[0]}: this verb takes no such setting; see --help")
        known.run_verb(known, overrides_of(rest))
    except SecondReadError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuning", description="Find better models, now or on a schedule.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    search = _add(verbs, "search", _search, "try points of a search space and train the best again; tracked, resumable")
    search.formatter_class = argparse.RawDescriptionHelpFormatter
    search.epilog = _SEARCH_EPILOG
    search.set_defaults(takes_settings=True)
    search.add_argument("--task", default="pneumonia", choices=task_names(), help="default: pneumonia")
    search.add_argument(
        "--data", default="phantom", help="a store, a folder or CSV of images (default: synthetic ones)"
    )
    search.add_argument("--model", help="a preset, where the space does not search it")
    search.add_argument("--space", default="task", help="a name in tuning/spaces or a YAML file (default: the task's)")
    search.add_argument("--name", default="default", help="names the search: the same name goes on (default: default)")
    for name, field in SearchSettings.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shown = "" if default is None else f" (default: {str(default).lower()})"
        search.add_argument(f"--{name}", help=f"{field.description}{shown}")
    schedule = _add(verbs, "schedule", _schedule, "carry out recurring searches and promotions until ctrl-C")
    _add_schedule(schedule)
    schedule.add_argument("--once", action="store_true", help="each job now, then end: for systemd or Kubernetes")
    schedule.add_argument("--job", help="with --once, this job alone")
    _add_schedule(
        _add(verbs, "jobs", _jobs, "print when each job of a schedule is due next, and what became of others")
    )
    for name, run_verb in (("work", _work), ("trial", _trial), ("retrain", _retrain)):
        _add(verbs, name, run_verb, None).set_defaults(is_part=True)
    return parser


def _add(
    verbs: Any, name: str, run_verb: Callable[[argparse.Namespace, Mapping[str, str]], None], text: str | None
) -> argparse.ArgumentParser:
    """A verb; those without a text are processes that a search starts, and not listed."""
    described = {} if text is None else {"help": text, "description": text}
    parser: argparse.ArgumentParser = verbs.add_parser(name, allow_abbrev=False, **described)
    parser.set_defaults(run_verb=run_verb, takes_settings=False, is_part=False)
    return parser


def _search(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    given = {name: getattr(known, name) for name in SearchSettings.model_fields}
    settings = read_settings({name: value for name, value in given.items() if value is not None})
    _refuse_unknown_flags(overrides)
    base = {"data": known.data} | ({} if known.model is None else {"model": known.model}) | dict(overrides)
    from tuning.search import search

    search(known.task, known.name, known.space, settings, base)


def _refuse_unknown_flags(overrides: Mapping[str, str]) -> None:
    """Settings of a training have a dotted name; a word without a dot is a flag of the search, mistyped.

    Raises:
        ConfigError: one of these is none.
    """
    flags = ("task", "data", "model", "space", "name", *SearchSettings.model_fields)
    for name in overrides:
        if "." not in name:
            close = difflib.get_close_matches(name, flags, 1)
            raise ConfigError(
                f"--{name}: unknown setting" + (f"; did you mean --{close[0]}?" if close else "; see --help")
            )


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schedule", type=Path, default=_SCHEDULE, help="a YAML file (default: the project's example)")


def _schedule(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from tuning.schedule import schedule

    schedule(known.schedule, once=known.once, job=known.job)


def _jobs(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from tuning.jobs import print_jobs

    print_jobs(known.schedule)


def _work(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from tuning.worker import work

    work()


def _trial(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from tuning.trial import run_trial

    run_trial()


def _retrain(known: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    from tuning.retrain import train_as_told

    train_as_told()


if __name__ == "__main__":
    main()
