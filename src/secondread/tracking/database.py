"""The tracking database, initialised once however many processes start together."""

from filelock import FileLock
from mlflow import MlflowClient

from secondread.tracking.home import home


def connect() -> MlflowClient:
    """Give a client of the tracking store in force (MLFLOW_TRACKING_URI; sqlite beside the project by default).

    A fresh database that several processes initialise at once crashes most of them: the first one holds a lock.
    """
    lock = home() / "locks" / "database.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        client = MlflowClient()
        client.search_experiments(max_results=1)
        return client
