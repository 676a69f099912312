"""The folder that explanations grow in: a picture and a line an image, and at the end a table and a page."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from secondread.data.held_job import held_job
from secondread.errors import ConfigError
from secondread.storage import remove_unfinished, write_aside

PICTURES = "pictures"
_JOB = "explain.json"
_SUMMARY = "summary.json"  # written last: its presence means that everything is there
_UNFINISHED = "unfinished"
Said = dict[str, Any]


class Job(BaseModel):
    """What is explained, and how. Only an equal job is continued.

    Args:
        model: SHA-256 of the bundle's description, which holds the digests of its files.
        files: digest of the images' paths, sizes and versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    task: str
    model: str
    method: str
    labels: tuple[str, ...]
    images: int
    files: str


class ExplanationsFolder:
    """A folder of explanations, opened for its one job.

    Args:
        out: the folder; absolute.
    """

    def __init__(self, out: Path, job: Job) -> None:
        self.out = out
        self.job = job

    @property
    def summary(self) -> dict[str, Any] | None:
        """What the finished job said at its end; None for one that is not finished."""
        path = self.out / _SUMMARY
        return json.loads(path.read_text()) if path.is_file() else None

    def waiting(self) -> Iterator[int]:
        """Places of the images that nothing was kept of."""
        return (place for place in range(self.job.images) if not self._path(place).is_file())

    def keep(self, place: int, said: Mapping[str, Any], picture: tuple[str, bytes] | None) -> None:
        """Keep what was found of an image, and its picture, a PNG under its name, which counts once the former is."""
        if picture is not None:
            name, content = picture
            with write_aside(self.out / PICTURES / name) as aside:
                aside.write_bytes(content)
        with write_aside(self._path(place)) as aside:
            aside.write_text(json.dumps(said))

    def said(self) -> list[Said]:
        """What was kept of every image, in order."""
        return [json.loads(self._path(place).read_text()) for place in range(self.job.images)]

    def write_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table whole, as CSV."""
        with write_aside(self.out / f"{name}.csv") as aside:
            table.to_csv(aside, index=False)

    def write_text(self, text: str, name: str) -> None:
        """Write a text file whole."""
        with write_aside(self.out / name) as aside:
            aside.write_text(text)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that everything is there, and remove what only an interrupted job needs."""
        self.write_text(json.dumps(summary, indent=1) + "\n", _SUMMARY)
        shutil.rmtree(self.out / _UNFINISHED)

    def _path(self, place: int) -> Path:
        return self.out / _UNFINISHED / f"{place:06d}.json"


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than explanations, before anything is looked at for long.

    Raises:
        ConfigError: so it is.
    """
    if not (out / _JOB).is_file() and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out={out}: holds something else than explanations; choose another `out`")


def open_explanations(out: Path, job: Job) -> ExplanationsFolder:
    """Begin a job in a new folder, or continue it where it was; what a killed process left half-written is removed.

    Args:
        out: absolute; no other process may have it open.
    Raises:
        ConfigError: the folder holds something else, or explanations of another job.
    """
    check_out(out)
    held = held_job(out / _JOB, Job)
    if held is None:
        with write_aside(out) as aside:
            for folder in (PICTURES, _UNFINISHED):
                (aside / folder).mkdir(parents=True)
            (aside / _JOB).write_text(job.model_dump_json(indent=1) + "\n")
    elif held != job:
        differing = [name for name in Job.model_fields if getattr(held, name) != getattr(job, name)]
        raise ConfigError(
            f"out={out}: begun with another {_named(differing)}; choose another `out`, or delete this folder"
        )
    else:
        for begun in (out, out / PICTURES, out / _UNFINISHED):
            remove_unfinished(begun)
    return ExplanationsFolder(out, job)


def _named(fields: Sequence[str]) -> str:
    words = {"images": "number of images", "files": "choice of files, or files that have changed since"}
    return words.get(fields[0], fields[0])
