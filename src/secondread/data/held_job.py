"""The job that a folder of results was begun with, so that only the same one goes on in it."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from secondread.errors import ConfigError

Job = TypeVar("Job", bound=BaseModel)


def held_job(path: Path, kind: type[Job]) -> Job | None:
    """Read a job's file; None where there is none.

    Raises:
        ConfigError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return kind.model_validate_json(path.read_text())
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        raise ConfigError(f"{path}: damaged, or of another version; choose another `out`, or delete this one") from None
