"""A version and what its run left behind: figures, predictions, manifest and bundle."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from registry.decision import Decision
from secondread.errors import RegistryError
from secondread.storage import sha256_of
from secondread.tasks import Task

if TYPE_CHECKING:
    from secondread.bundle import BundleDescription

DESCRIPTION = "bundle.json"  # names the digests of the bundle's other files
TABLES = ("predictions.parquet", "manifest.parquet", "studies.parquet")


@dataclass(frozen=True)
class Contender:
    """A version that competes for a task's championship, or holds it.

    Args:
        run: the training that made it.
    """

    client: MlflowClient
    task: Task
    version: int
    run: Run

    @classmethod
    def of(cls, client: MlflowClient, task: Task, version: int) -> "Contender":
        """Find a version and its run.

        Raises:
            RegistryError: one of them is gone.
        """
        try:
            run = client.get_run(client.get_model_version(task.name, str(version)).run_id)
        except MlflowException:
            raise RegistryError(
                f"{task.name} version {version}: it or its run is gone; say which version shall serve: "
                f"`python -m registry rollback {task.name} --to N`"
            ) from None
        return cls(client, task, version, run)

    @property
    def name(self) -> str:
        """As a reader knows it."""
        return f"version {self.version}"

    @property
    def uri(self) -> str:
        """Where MLflow finds the model."""
        return f"models:/{self.task.name}/{self.version}"

    @property
    def manifest_digest(self) -> str:
        """The data set that it was trained and tested on."""
        return str(self.run.data.tags.get("manifest_digest", ""))

    @cached_property
    def model(self) -> Path:
        """The folder of the logged model.

        Raises:
            RegistryError: its files are gone.
        """
        from secondread.tracking.model import fetch_model

        return fetch_model(self.uri)

    @cached_property
    def description(self) -> "BundleDescription":
        """What its bundle says, every file of which is as it was saved.

        Raises:
            BundleError: a file is missing or changed.
        """
        from secondread.bundle import verify_bundle

        return verify_bundle(self.bundle)

    @property
    def bundle(self) -> Path:
        """The folder of the bundle inside the logged model: the one that is served."""
        from secondread.tracking.model import bundle_folder

        return bundle_folder(self.model)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Rows of `predictions.parquet` that were tested.

        Raises:
            RegistryError: the run has none, or of other columns.
        """
        table = read_table(self.client, self.run.info.run_id, "predictions.parquet")
        missing = {"image_key", "patient_key", "split", "fold", f"label_{self.task.primary}"} - set(table.columns)
        if missing:
            raise RegistryError(
                f"run {self.run.info.run_id}: predictions.parquet lacks {', '.join(sorted(missing))}; train again"
            )
        return table[table["split"] == "test"].reset_index(drop=True)

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """Every image of the data set that it was trained and tested on.

        Raises:
            RegistryError: the run has none.
        """
        return read_table(self.client, self.run.info.run_id, "manifest.parquet")

    @property
    def has_folds(self) -> bool:
        """Whether it was cross-validated, and then trained on all of its images."""
        return bool((self.manifest["fold"].fillna(-1) >= 0).any())

    @property
    def learned(self) -> pd.DataFrame:
        """Images of its manifest that it has seen in training."""
        seen = self.manifest["split"].isin(["train", "val"])
        return self.manifest[seen | self.has_folds]

    def digests(self) -> dict[str, str]:
        """SHA-256 of what is judged: the bundle's description, which names the digests of its files, and the tables."""
        found = {DESCRIPTION: sha256_of((self.bundle / DESCRIPTION).read_bytes())}
        for name in TABLES:
            path = artifact(self.client, self.run.info.run_id, name)
            if path is not None:
                found[name] = sha256_of(path.read_bytes())
        return found


def refuse_changes(contender: Contender, past: Iterable[Decision], names: Collection[str]) -> None:
    """Refuse a version some of whose files are not those that the history judged.

    Raises:
        BundleError: a file of the bundle is not as it was saved.
        RegistryError: a file is gone, or was replaced since.
    """
    assert contender.description  # every file of the bundle is as `bundle.json` says
    found = contender.digests()
    for decision in past:
        for judged in decision.candidates:
            changed = [name for name in names if judged.digests.get(name, found.get(name)) != found.get(name)]
            if judged.version == contender.version and changed:
                raise RegistryError(
                    f"{contender.uri}: its {' and '.join(changed)} is not what decision {decision.number} judged; "
                    f"bring that back, or let another serve: `python -m registry rollback {contender.task.name} --to N`"
                )


def artifact(client: MlflowClient, run_id: str, name: str) -> Path | None:
    """A file of a run, brought here if need be; None where the run has none of that name."""
    try:
        root = client.get_run(run_id).info.artifact_uri
        path = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{root}/{name}"))
    except (MlflowException, OSError):
        return None
    return path if path.is_file() else None


def read_table(client: MlflowClient, run_id: str, name: str) -> pd.DataFrame:
    """Read a Parquet file of a run.

    Raises:
        RegistryError: it is not there, or no Parquet file.
    """
    path = artifact(client, run_id, name)
    if path is None:
        raise RegistryError(f"run {run_id}: it has no {name}; train again, or restore the run's artifacts")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        raise RegistryError(f"run {run_id}: its {name} is damaged; train again, or restore it") from None
