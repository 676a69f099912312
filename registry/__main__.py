"""`python -m registry VERB`."""

import argparse
import os

from secondread.cli import fail
from secondread.errors import SecondReadError
from secondread.tasks import task_names


def main(arguments: list[str] | None = None) -> None:
    """Run a verb; exits with 1 on an error that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m registry", description="Bring trained models to their users.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    text = "make a run's model a version; a first version that beats the prior becomes champion"
    register = verbs.add_parser("register", help=text, description=text)
    register.add_argument("--task", required=True, choices=task_names())
    register.add_argument("--run", help="a FINISHED training run's id (default: the task's newest)")
    register.set_defaults(run_verb=_register)
    known = parser.parse_args(arguments)
    try:
        known.run_verb(known)
    except SecondReadError as error:
        fail(error)


def _register(known: argparse.Namespace) -> None:
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from registry.register import register

    print(register(known.task, known.run))


if __name__ == "__main__":
    main()
