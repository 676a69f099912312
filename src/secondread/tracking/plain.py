"""A run of work that no configuration of a training describes, such as a decision about models."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Param

from secondread.tracking.git import GitState, git_state
from secondread.tracking.home import home
from secondread.tracking.launcher import circumstances, held, link, lock_of, sweep, take_launcher
from secondread.tracking.run import Run, end_with, experiment_of, interruptible


@contextmanager
def open_plain(
    client: MlflowClient, step: str, task: str, name: str, parameters: Mapping[str, str]
) -> Iterator[tuple[Run, GitState]]:
    """Open a RUNNING run in the experiment that `open_run` would choose, linked to the launcher's.

    It is never continued: what was interrupted has a run that ended KILLED, and the work a new one. An error ends it
    FAILED, an interruption KILLED; otherwise it stays RUNNING, and the caller ends it.

    Args:
        name: of the run, for people.
    Returns:
        the run, and the state of the code.
    """
    launcher = take_launcher(os.environ)
    with lock_of("opening"):
        experiment_id = experiment_of(client, task, launcher)
        sweep(client, {experiment_id} | ({launcher.experiment_id} if launcher.experiment_id else set()))
    with held(client, launcher), interruptible():
        code = git_state()
        tags = {"step": step, "task": task, "git.commit": code.commit, "git.dirty": str(code.dirty).lower()}
        with lock_of("opening"):  # a sweep must not meet the run before its lock is held
            created = client.create_run(experiment_id, tags=tags | circumstances(), run_name=name)
            lock = lock_of(created.info.run_id)
            lock.acquire()
        run_id = str(created.info.run_id)
        try:
            link(client, launcher, run_id)
            client.log_batch(run_id, params=[Param(key, value) for key, value in parameters.items()])
            yield Run(client, run_id, experiment_id, resumed=False, folder=home() / "runs" / run_id), code
        except BaseException as error:
            end_with(client, run_id, error)
            raise
        finally:
            lock.release()
