"""Start an entry point of this project by name, as `mlflow run` does, in the environment in force."""

import mlflow
from mlflow.exceptions import ExecutionException

from secondread.errors import TrackingError
from secondread.tracking.database import connect
from secondread.tracking.git import PROJECT


def launch(entry_point: str, parameters: dict[str, str]) -> None:
    """Run an entry point to its end.

    Raises:
        TrackingError: it failed; what it said is above.
    """
    connect()
    try:
        mlflow.projects.run(
            str(PROJECT), entry_point=entry_point, parameters=parameters, env_manager="local", synchronous=True
        )
    except ExecutionException:
        raise TrackingError(f"the entry point {entry_point} failed; what it said is above") from None
