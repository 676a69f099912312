"""`python -m registry VERB`: bring trained models to their users."""

import argparse
import os
from collections.abc import Callable
from typing import Any

from secondread.cli import fail
from secondread.errors import SecondReadError
from secondread.execution import die_with_parent
from secondread.tasks import task_names

_EPILOG = """\
from a training to its users and back:
  python -m registry promote --task pneumonia       judge the newest trainings; the best that passes every gate serves
  python -m registry history pneumonia              who decided what, and whether anything was changed since
  python -m registry rollback pneumonia             the version before serves again; once more goes forward
  mlflow models serve -m models:/pneumonia@champion

Gates are YAML files in registry/gates; --gates takes a file of your own. Every decision, a refusal too, is a run with a
report in the task's experiment. Exit status: 0 also when every candidate is refused, 1 when nobody could be judged.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run a verb; exits with 1 on an error that the user can mend."""
    # TensorFlow and MLflow read these when they are imported, later than here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if "MLFLOW_RUN_ID" in os.environ:  # started by `mlflow run`
        die_with_parent()
    known = _parser().parse_args(arguments)
    try:
        known.run_verb(known)
    except SecondReadError as error:
        fail(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m registry",
        description="Bring trained models to their users.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    promote = _add(verbs, "promote", _promote, "judge candidates by gates and against the champion; crown the best")
    promote.add_argument("--task", required=True, choices=task_names())
    promote.add_argument(
        "--run", default="newest", help="a training's id, judged alone (default: newest, those never judged)"
    )
    promote.add_argument(
        "--gates", default="task", help="a set of gates or a YAML file (default: task, the task's own)"
    )
    promote.add_argument(
        "--manifest",
        default="champion",
        choices=("champion", "candidate"),
        help="whose test images both are compared on (default: champion; candidate where the champion's are gone)",
    )
    rollback = _add(verbs, "rollback", _rollback, "let another version serve, without gates; it is a decision too")
    rollback.add_argument("task", choices=task_names())
    rollback.add_argument("--to", type=int, metavar="VERSION", help="default: the one before, alias previous")
    rollback.add_argument("--reason", default="", help="for whoever asks later")
    history = _add(verbs, "history", _history, "print the decisions, and what was changed since: exit status 1 then")
    history.add_argument("task", choices=task_names())
    delete = _add(verbs, "delete", _delete, "delete a version that neither an alias nor the history names")
    delete.add_argument("task", choices=task_names())
    delete.add_argument("version", type=int)
    register = _add(verbs, "register", _register, "make a run's model a version, which serves nobody yet")
    register.add_argument("--task", required=True, choices=task_names())
    register.add_argument("--run", default="newest", help="a FINISHED training run's id (default: the task's newest)")
    return parser


def _add(verbs: Any, name: str, run_verb: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(run_verb=run_verb)
    return parser


def _promote(known: argparse.Namespace) -> None:
    from registry.promote import promote

    promote(known.task, _run_id(known), known.gates, known.manifest)


def _rollback(known: argparse.Namespace) -> None:
    from registry.rollback import rollback

    rollback(known.task, known.to, known.reason)


def _history(known: argparse.Namespace) -> None:
    from registry.history import history

    if history(known.task):
        raise SystemExit(1)


def _delete(known: argparse.Namespace) -> None:
    from registry.delete import delete

    print(delete(known.task, known.version))


def _register(known: argparse.Namespace) -> None:
    from registry.register import register

    print(register(known.task, _run_id(known)))


def _run_id(known: argparse.Namespace) -> str | None:
    return None if known.run == "newest" else str(known.run)


if __name__ == "__main__":
    main()
