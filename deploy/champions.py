"""Bring the champions' folders here; MLflow is imported by a process that ends afterwards, not by the supervisor."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.state import GatewayError


@dataclass(frozen=True)
class Champion:
    """A copy of a registered model's folder.

    Args:
        folder: named by task, version and the moment of its registration; another registration has another name.
    """

    task: str
    version: str
    folder: Path

    @property
    def example(self) -> bytes:
        """A request that the model answers, logged with it."""
        return (self.folder / "serving_input_example.json").read_bytes()

    @property
    def about(self) -> dict[str, Any]:
        """What clients may know: version, labels, operating points, intended use."""
        bundle = json.loads((self.folder / "artifacts" / "bundle" / "bundle.json").read_text())
        points: dict[str, dict[str, Any]] = {}
        for point in bundle["operating_points"]:
            measured = {name: point[name] for name in ("threshold", "sensitivity", "specificity")}
            points.setdefault(point["name"], {})[point["label"]] = measured
        said = {name: bundle[name] for name in ("task", "labels", "intended_use")}
        return {"version": self.version} | said | {"operating_points": points}


def bring_champions(tasks: Sequence[str], models: Path) -> dict[str, Champion]:
    """Copy the champion of each task that has one.

    Args:
        models: an absolute folder; copies that are in it already are taken as they are.
    Raises:
        GatewayError: the registry could not be read.
    """
    done = subprocess.run(
        [sys.executable, "-m", "deploy.champions", str(models), *tasks], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise GatewayError("the champions could not be brought here; what MLflow said is above")
    found = json.loads(done.stdout.splitlines()[-1])
    return {task: Champion(task, version, models / name) for task, (version, name) in found.items()}


def main(models: Path, tasks: Sequence[str]) -> None:
    """Print, as JSON, task to version and folder name of the champions that were brought."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # slow
    from mlflow.exceptions import MlflowException

    from secondread.storage import write_aside
    from secondread.tracking.database import connect

    client = connect()
    found = {}
    for task in tasks:
        try:
            version = client.get_model_version_by_alias(task, "champion")
        except MlflowException:
            continue  # nobody was promoted yet
        name = f"{task}-{version.version}-{version.creation_timestamp}"
        if not (models / name).exists():
            with write_aside(models / name) as aside:
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"models:/{task}/{version.version}", dst_path=str(aside)
                )
        found[task] = (str(version.version), name)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
