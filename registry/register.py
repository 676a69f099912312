"""Make a run's model a version of its task's registered model; whether it is served is for `promote` to decide."""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from secondread.errors import RegistryError
from secondread.tasks import load_task
from secondread.tracking.database import connect

STEPS = ("train", "retrain")  # runs whose model a person asked for; `fold` and `trial` are parts of them


def register(task_name: str, run_id: str | None = None) -> str:
    """Register a training run's model; doing it again changes nothing.

    Args:
        task_name: the task, which names the registered model.
        run_id: a FINISHED training run; by default the task's newest.
    Returns:
        one sentence on what happened.
    Raises:
        RegistryError: there is no such run.
    """
    task = load_task(task_name)
    client = connect()
    run = finished_trainings(client, task.name)[0] if run_id is None else given_run(client, task.name, run_id)
    version = make_version(client, task.name, run)
    return (
        f"{task.name} version {version.version} is run {run.info.run_id}; next: `python -m registry promote "
        f"--task {task.name} --run {run.info.run_id}`"
    )


def finished_trainings(client: MlflowClient, task: str) -> list[Run]:
    """The task's FINISHED trainings wherever they ran, the one that ended last first; at least one.

    Raises:
        RegistryError: there is none.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: list[Run] = []
    for step in STEPS if experiments else ():
        wanted = f"tags.task = '{task}' and tags.step = '{step}' and attributes.status = 'FINISHED'"
        found += client.search_runs(experiments, wanted, max_results=50_000)
    if not found:
        raise RegistryError(f"no finished training for {task}; run `python -m secondread train --task {task}` first")
    return sorted(found, key=lambda run: -int(run.info.end_time))


def given_run(client: MlflowClient, task: str, run_id: str) -> Run:
    """A FINISHED training of the task by its id.

    Raises:
        RegistryError: the run is not there, or of another kind.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException:
        raise RegistryError(f"run {run_id}: there is no such run in this tracking store") from None
    tags = run.data.tags
    if tags.get("task") != task or tags.get("step") not in STEPS or run.info.status != "FINISHED":
        raise RegistryError(
            f"run {run_id}: expected a FINISHED training for {task}. Received: a {run.info.status} "
            f"{tags.get('step', 'run of another kind')} for {tags.get('task', 'no task')}"
        )
    if run.info.lifecycle_stage != "active":
        raise RegistryError(f"run {run_id}: it was deleted; `mlflow runs restore --run-id {run_id}` brings it back")
    return run


def make_version(client: MlflowClient, task: str, run: Run) -> ModelVersion:
    """The run's version, made if it is not there yet.

    Raises:
        RegistryError: the run has no model.
    """
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
    raise RegistryError(f"run {run.info.run_id}: it has no logged model any more; train again")
