"""The servable model of a run: logged as code, with explicit requirements, signature and an example."""

import base64
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

import secondread
from secondread.bundle import BundleDescription
from secondread.data.phantom.write import phantom_image
from secondread.errors import TrackingError
from secondread.serving import signature
from secondread.tasks import load_task
from secondread.tracking.database import connect
from secondread.tracking.run import Run

# What serving imports, and the decoders that pydicom finds; MLflow's own guess takes half a minute and misses several.
REQUIREMENTS = (
    "mlflow",
    "isal",
    "keras",
    "tensorflow",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pydantic",
    "pydicom",
    "pyjpegls",
    "pylibjpeg",
    "pylibjpeg-libjpeg",
    "pylibjpeg-openjpeg",
    "pyyaml",
    "scipy",
    "shap",
    "tqdm",
)
_PACKAGE = Path(secondread.__file__).parent


def log_model(run: Run, bundle: Path, description: BundleDescription) -> str:
    """Log a bundle as the run's model, `runs:/ID/model`; the project's code travels with it.

    Returns:
        the model's URI.
    """
    image = phantom_image(load_task(description.task), seed=0)
    example = pd.DataFrame({"image": [base64.b64encode(image).decode()]})
    mlflow.start_run(run_id=run.id)
    try:
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_PACKAGE / "serving.py"),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(_PACKAGE)],
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            signature=signature(description.task_labels),
            input_example=example,
        )
    finally:
        mlflow.end_run("RUNNING")  # `open_run` alone decides how the run ends
    return str(info.model_uri)


def fetch_model(uri: str) -> Path:
    """Bring a logged model's folder here.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/ID/model`.
    Raises:
        TrackingError: there is no such model.
    """
    connect()
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError):
        raise TrackingError(
            f"{uri}: there is no such model here; train one (`python -m secondread train`), and promote it "
            "(`python -m registry promote`) to name it by its alias"
        ) from None


def bundle_folder(model: Path) -> Path:
    """Where a logged model's folder holds the bundle."""
    return model / "artifacts" / "bundle"
