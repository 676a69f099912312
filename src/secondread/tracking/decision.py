"""The run of a decision about a task's models, which `registry` makes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Param

from secondread.tracking.git import GitState, git_state
from secondread.tracking.launcher import circumstances, held, link, lock_of, sweep, take_launcher
from secondread.tracking.run import end_with, experiment_of, interruptible


@contextmanager
def open_decision(
    client: MlflowClient, step: str, task: str, parameters: Mapping[str, str]
) -> Iterator[tuple[str, GitState]]:
    """Open a RUNNING run in the experiment that `open_run` would choose, linked to the launcher's.

    It is never continued: a decision that was interrupted before it counted is made anew. An error ends it FAILED, an
    interruption KILLED; otherwise it stays RUNNING, and the caller ends it when the decision counts.

    Returns:
        the run's id, and the state of the code.
    """
    launcher = take_launcher(os.environ)
    with lock_of("opening"):
        experiment_id = experiment_of(client, task, launcher)
        sweep(client, {experiment_id} | ({launcher.experiment_id} if launcher.experiment_id else set()))
    with held(client, launcher), interruptible():
        code = git_state()
        tags = {"step": step, "task": task, "git.commit": code.commit, "git.dirty": str(code.dirty).lower()}
        with lock_of("opening"):  # a sweep must not meet the run before its lock is held
            created = client.create_run(experiment_id, tags=tags | circumstances(), run_name=f"decision about {task}")
            lock = lock_of(created.info.run_id)
            lock.acquire()
        run_id = str(created.info.run_id)
        try:
            link(client, launcher, run_id)
            client.log_batch(run_id, params=[Param(key, value) for key, value in parameters.items()])
            yield run_id, code
        except BaseException as error:
            end_with(client, run_id, error)
            raise
        finally:
            lock.release()
