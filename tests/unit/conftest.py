"""A tracking store that is ready at once: MLflow takes seconds to make the tables of a fresh one."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with tables and without runs; only copy it."""
    from mlflow import MlflowClient  # most tests do without

    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def tracked(workplace: Path, empty_database: Path) -> "MlflowClient":
    """A client of the current folder's own tracking store."""
    from mlflow import MlflowClient

    shutil.copy(empty_database, workplace / "mlflow.db")
    return MlflowClient()
