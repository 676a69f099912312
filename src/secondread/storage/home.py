"""Where a project keeps what is not in MLflow: caches, resumable state, locks and the patient-key secret."""

import os
from pathlib import Path


def home() -> Path:
    """The folder named by SECONDREAD_HOME, or `.secondread` where the command runs."""
    return Path(os.environ.get("SECONDREAD_HOME", ".secondread")).absolute()
