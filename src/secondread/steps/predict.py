"""Answer image files on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secondread.errors import SourceError
from secondread.tracking.answer import answer_files
from secondread.tracking.model import fetch_model


def predict(model_uri: str, files: Sequence[Path], operating_point: str) -> None:
    """Print one line a file.

    Raises:
        SourceError: a file is not there.
        SecondReadError: the model is not there, or has no such operating point.
    """
    for file in files:
        if not file.is_file():
            raise SourceError(f"{file}: there is no such file; give DICOM, PNG or JPEG files")
    for file, answer in zip(files, answer_files(fetch_model(model_uri), files, operating_point), strict=True):
        print(f"{file}: {describe(answer)}")


def describe(answer: dict[str, Any]) -> str:
    """One line about a served answer."""
    if answer["status"] != "ok":
        return f"{answer['status']}: {answer['reason']}"
    return ", ".join(
        f"{name.removeprefix('probability_')} {value:.3f}"
        + (" POSITIVE" if answer[f"positive_{name.removeprefix('probability_')}"] else "")
        for name, value in answer.items()
        if name.startswith("probability_") and value is not None
    )
