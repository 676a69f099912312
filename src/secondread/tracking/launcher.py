"""The run that `mlflow run` itself opens: linked to the work's run, never adopted, swept when its process is gone."""

import platform
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from secondread.storage import sha256_of
from secondread.tracking.home import home


@dataclass(frozen=True)
class Launcher:
    """What `mlflow run` handed to this process; both are None when a person typed the command."""

    run_id: str | None
    experiment_id: str | None

    def experiment_name(self, client: MlflowClient) -> str | None:
        """What stood behind `mlflow run --experiment-name`; None when nothing did."""
        if self.experiment_id is None:
            return None
        try:
            name = str(client.get_experiment(self.experiment_id).name)
        except MlflowException:  # launched from another tracking store
            return None
        return None if name == "Default" else name


def take_launcher(environment: MutableMapping[str, str]) -> Launcher:
    """Remove the launcher's run and experiment from the environment, so that MLflow does not adopt them."""
    return Launcher(environment.pop("MLFLOW_RUN_ID", None), environment.pop("MLFLOW_EXPERIMENT_ID", None))


def lock_of(run_id: str) -> FileLock:
    """The file lock that the process working on a run holds; the kernel frees it when that process dies."""
    path = home() / "locks" / f"{run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def circumstances() -> dict[str, str]:
    """Tags that say which processes can see a run's lock."""
    return {"host": platform.node(), "home": home_digest()}


@contextmanager
def held(client: MlflowClient, launcher: Launcher) -> Iterator[None]:
    """Hold the lock of the launcher's run while the work lasts, so that others can tell when its process is gone."""
    if launcher.run_id is None:
        yield
        return
    lock = lock_of(launcher.run_id)
    try:
        lock.acquire(timeout=0)
        for key, value in circumstances().items():
            client.set_tag(launcher.run_id, key, value)
    except (Timeout, MlflowException):
        pass  # another process of the same launcher holds it, or it is in another tracking store; the work goes on
    try:
        yield
    finally:
        lock.release()


def _is_orphan(run: Run) -> bool:
    """Whether no process holds the lock of a RUNNING run any more."""
    lock = lock_of(run.info.run_id)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    lock.release()
    return True


def home_digest() -> str:
    """Names the folder of locks without telling its path."""
    return sha256_of(str(home()).encode())[:16]


def link(client: MlflowClient, launcher: Launcher, run_id: str) -> None:
    """Point the launcher's run and the work's run at each other by tags."""
    if launcher.run_id is None:
        return
    client.set_tag(run_id, "launcher_run_id", launcher.run_id)
    try:
        client.set_tag(launcher.run_id, "work_run_id", run_id)
    except MlflowException:  # launched from another tracking store: the work goes on in this one
        return


def sweep(client: MlflowClient, experiments: set[str]) -> None:
    """End runs of this machine and home, launchers' and work's, that are RUNNING although their process is gone."""
    ours = " and ".join(f"tags.`{key}` = '{value}'" for key, value in circumstances().items())
    for run in client.search_runs(sorted(experiments), f"attributes.status = 'RUNNING' and {ours}"):
        if _is_orphan(run):
            client.set_terminated(run.info.run_id, "KILLED")
