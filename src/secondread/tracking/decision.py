"""The run of a decision about a task's models, which `registry` makes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient

from secondread.tracking.git import GitState
from secondread.tracking.plain import open_plain


@contextmanager
def open_decision(
    client: MlflowClient, step: str, task: str, parameters: Mapping[str, str]
) -> Iterator[tuple[str, GitState]]:
    """Open a RUNNING run, as `open_plain` does: a decision that was interrupted before it counted is made anew.

    The caller ends it when the decision counts.

    Returns:
        the run's id, and the state of the code.
    """
    with open_plain(client, step, task, f"decision about {task}", parameters) as (run, code):
        yield run.id, code
