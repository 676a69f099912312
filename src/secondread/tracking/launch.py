"""Start an entry point of this project by name, as `mlflow run` does, in the environment in force."""

from pathlib import Path

import mlflow
from mlflow.exceptions import ExecutionException

from secondread.errors import TrackingError
from secondread.tracking.database import connect
from secondread.tracking.git import PROJECT


def launch(entry_point: str, parameters: dict[str, str], project: Path = PROJECT) -> str | None:
    """Run an entry point to its end, and give the run of its work, where it linked one.

    Args:
        project: folder of the MLproject.
    Raises:
        TrackingError: it failed; what it said is above.
    """
    client = connect()
    try:
        submitted = mlflow.projects.run(
            str(project), entry_point=entry_point, parameters=parameters, env_manager="local", synchronous=True
        )
    except ExecutionException:
        raise TrackingError(f"the entry point {entry_point} failed; what it said is above") from None
    work = client.get_run(submitted.run_id).data.tags.get("work_run_id")
    return None if work is None else str(work)
