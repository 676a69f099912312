"""The run of one firing of a schedule: found again when it was interrupted, with links to what came of it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Param, RunTag
from mlflow.entities import Run as MlflowRun

from secondread.tracking.database import connect
from secondread.tracking.git import git_state
from secondread.tracking.home import home
from secondread.tracking.launcher import Launcher, circumstances, lock_of, sweep
from secondread.tracking.run import Run, end_with, experiment_of

_DECIDING = "decision.launched"  # when, in ms since 1970
_NOTE = "mlflow.note.content"
_NOBODY = Launcher(None, None)  # a schedule of several tasks uses each one's experiment


@contextmanager
def open_scheduled(task: str, job: str, at: str, parameters: Mapping[str, str]) -> Iterator[Run]:
    """Continue or create the run of a firing; it becomes FINISHED, FAILED by an error, or KILLED when interrupted.

    Args:
        job: name in the schedule.
        at: when it was due, in ISO 8601.
    """
    client = connect()
    experiment_id = experiment_of(client, task, _NOBODY)
    with lock_of("opening"):  # a sweep must not meet the run before its lock is held
        sweep(client, {experiment_id})
        found = _find(client, experiment_id, job, at)
        run = found or _create(client, experiment_id, task, job, at, parameters)
        lock = lock_of(run.info.run_id)
        lock.acquire()
    run_id = str(run.info.run_id)
    try:
        client.update_run(run_id, "RUNNING")
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in circumstances().items()])
        if "error" in run.data.tags:  # what interrupted it
            client.delete_tag(run_id, "error")
        yield Run(client, run_id, experiment_id, found is not None, home() / "runs" / run_id)
    except BaseException as error:
        end_with(client, run_id, error)
        raise
    else:
        client.set_terminated(run_id, "FINISHED")
    finally:
        lock.release()


def note_skipped(task: str, job: str, at: str, parameters: Mapping[str, str], reason: str) -> str:
    """Keep a KILLED run of a firing that was not carried out, and give its id."""
    client = connect()
    experiment_id = experiment_of(client, task, _NOBODY)
    run = _find(client, experiment_id, job, at) or _create(client, experiment_id, task, job, at, parameters)
    run_id = str(run.info.run_id)
    client.log_batch(run_id, tags=[RunTag("skipped", reason), RunTag(_NOTE, f"skipped: {reason}")])
    client.set_terminated(run_id, "KILLED")
    return run_id


def link_work(run: Run, **work: str | None) -> None:
    """Point a firing's run at what it made, such as `search` and `decision`, by tags and by links to follow.

    Args:
        work: run ids; None where there is none.
    """
    known = {name: run_id for name, run_id in work.items() if run_id is not None}
    links = {name: run.client.get_run(run_id).info.experiment_id for name, run_id in known.items()}
    note = " · ".join(f"[{name}](#/experiments/{links[name]}/runs/{known[name]})" for name in known)
    run.set_tags({**{f"{name}_run_id": run_id for name, run_id in known.items()}, _NOTE: note})


def find_search(run: Run, name: str) -> str | None:
    """The newest search of a name in a firing's experiment, whatever its status; None where none was begun."""
    same = f"tags.step = 'search' and tags.search = '{name}'"
    found = run.client.search_runs([run.experiment_id], same, order_by=["attributes.start_time DESC"], max_results=1)
    return str(found[0].info.run_id) if found else None


def decided_already(run: Run) -> str | None:
    """The decision that an interrupted firing had made; where there is none, remember that one is launched now."""
    tags = run.client.get_run(run.id).data.tags
    if _DECIDING in tags:
        since = f"attributes.start_time >= {tags[_DECIDING]} and attributes.status = 'FINISHED'"
        same = f"{since} and tags.step = 'promote'"
        found = run.client.search_runs([run.experiment_id], same, max_results=1)
        if found:
            return str(found[0].info.run_id)
    run.set_tags({_DECIDING: str(int(time.time() * 1000))})
    return None


def _find(client: MlflowClient, experiment_id: str, job: str, at: str) -> MlflowRun | None:
    same = f"tags.step = 'scheduled' and tags.job = '{job}' and tags.scheduled_at = '{at}'"
    found = client.search_runs([experiment_id], same, max_results=1)
    return found[0] if found else None


def _create(
    client: MlflowClient, experiment_id: str, task: str, job: str, at: str, parameters: Mapping[str, str]
) -> MlflowRun:
    code = git_state()
    # A run without its lock held would be swept; it gets the tags of its circumstances with the lock.
    about = {"step": "scheduled", "task": task, "job": job, "scheduled_at": at}
    tags = {**about, "git.commit": code.commit, "git.dirty": str(code.dirty).lower()}
    run = client.create_run(experiment_id, tags=tags, run_name=f"{job} at {at}")
    client.log_batch(run.info.run_id, params=[Param(key, value) for key, value in parameters.items()])
    return run
