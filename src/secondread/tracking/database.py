"""The tracking database, made whole or not at all, and once however many processes start together."""

from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from secondread.storage import write_aside
from secondread.tracking.home import home


def connect() -> MlflowClient:
    """Give a client of the tracking store in force (MLFLOW_TRACKING_URI; sqlite beside the project by default).

    A fresh database that several processes initialise at once crashes most of them: the first one holds a lock. One
    whose making is killed could never be opened again: it is made aside.
    """
    lock = home() / "locks" / "database.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        absent = _absent_sqlite(mlflow.get_tracking_uri())
        if absent is not None:
            with write_aside(absent) as aside:
                MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)
        client = MlflowClient()
        client.search_experiments(max_results=1)
        return client


def _absent_sqlite(address: str) -> Path | None:
    """The file of an sqlite store that is not there yet."""
    try:
        url = make_url(address)
    except ArgumentError:  # http://..., which is another process's to make
        return None
    path = Path(url.database or "").absolute()
    return path if url.get_backend_name() == "sqlite" and url.database and not path.exists() else None
