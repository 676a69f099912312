"""Make a run's model a version of its task's registered model; the first that beats the prior becomes champion."""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from secondread.errors import TrackingError
from secondread.tasks import load_task
from secondread.tracking.database import connect

CHAMPION = "champion"


def register(task_name: str, run_id: str | None = None) -> str:
    """Register a training run's model; doing it again changes nothing.

    Args:
        task_name: the task, which names the registered model.
        run_id: a FINISHED training run; by default the task's newest.
    Returns:
        one sentence on what happened.
    Raises:
        TrackingError: there is no such run.
    """
    task = load_task(task_name)
    client = connect()
    run = _newest(client, task.name) if run_id is None else _given(client, task.name, run_id)
    version = _version(client, task.name, run)
    return f"{task.name} version {version.version} is run {run.info.run_id}; {_crown(client, run, version)}"


def _newest(client: MlflowClient, task: str) -> Run:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.task = '{task}' and tags.step = 'train' and attributes.status = 'FINISHED'"
    found = client.search_runs(experiments, wanted, max_results=1, order_by=["attributes.end_time DESC"])
    if not found:
        raise TrackingError(f"no finished training for {task}; run `python -m secondread train --task {task}` first")
    return found[0]


def _given(client: MlflowClient, task: str, run_id: str) -> Run:
    try:
        run = client.get_run(run_id)
    except MlflowException:
        raise TrackingError(f"run {run_id}: there is no such run in this tracking store") from None
    tags = run.data.tags
    if (tags.get("task"), tags.get("step"), run.info.status) != (task, "train", "FINISHED"):
        raise TrackingError(
            f"run {run_id}: expected a FINISHED training for {task}. Received: a {run.info.status} "
            f"{tags.get('step', 'run of another kind')} for {tags.get('task', 'no task')}"
        )
    return run


def _version(client: MlflowClient, task: str, run: Run) -> ModelVersion:
    """The run's version, made if it is not there yet."""
    for version in client.search_model_versions(f"name = '{task}' and run_id = '{run.info.run_id}'"):
        return version
    model = _model(client, run)
    try:
        client.create_registered_model(task, description=load_task(task).title)
    except MlflowException:  # another registration made it
        client.get_registered_model(task)
    tags = {"manifest_digest": run.data.tags["manifest_digest"]}
    return client.create_model_version(
        task, model.model_uri, run_id=run.info.run_id, model_id=model.model_id, tags=tags
    )


def _model(client: MlflowClient, run: Run) -> LoggedModel:
    """The run's newest whole model: a run that was interrupted may have logged it before, perhaps in part."""
    newest_first = [{"field_name": "creation_timestamp", "ascending": False}]
    experiment, wanted = run.info.experiment_id, f"source_run_id = '{run.info.run_id}'"
    for model in client.search_logged_models([experiment], wanted, order_by=newest_first):
        if model.status == LoggedModelStatus.READY:
            return model
    raise TrackingError(f"run {run.info.run_id}: it has no logged model any more; train again")


def _crown(client: MlflowClient, run: Run, version: ModelVersion) -> str:
    """Give `champion` to a first version whose skill's whole interval is above zero."""
    aliases = client.get_registered_model(version.name).aliases
    if CHAMPION in aliases:
        holder = aliases[CHAMPION]
        return f"{CHAMPION} is version {holder}" + ("" if holder != version.version else ", this one")
    low = run.data.metrics.get("test/skill_low")
    if low is None or low <= 0:
        measured = "not measured" if low is None else f"{low:.3f} at the low end of its interval"
        return f"no {CHAMPION} yet: its skill against always answering the prior is {measured}"
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    return f"the first to beat the prior (skill at least {low:.3f}), so it is {CHAMPION}"
