"""The folder that answers to many files grow in: what is to be done, finished parts, and at the end whole tables."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from secondread.data.held_job import held_job
from secondread.data.unlabelled import Listed, read_listing
from secondread.errors import ConfigError
from secondread.storage import remove_unfinished, write_aside

PART = 256  # files; what a killed process has answered of one is all that is answered again
_JOB = "job.json"
_SUMMARY = "summary.json"  # written last: its presence means that the tables are whole
_UNFINISHED = "unfinished"
_LISTING = "files.jsonl"


class Job(BaseModel):
    """What is answered, and by what. Only an equal job is continued.

    Args:
        model: SHA-256 of the bundle's description, which holds the digests of its files.
        files: how many.
        listing: digest of their paths, sizes and versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[2] = 2
    task: str
    model: str
    operating_point: str
    files: int
    listing: str


_DIFFERENCES = {
    "task": "for another task",
    "model": "with another model (if its alias has moved since, name the version: models:/NAME/VERSION)",
    "operating_point": "at another operating point",
    "files": "with other files",
    "listing": "with other files, or with files that have changed since",
}


@dataclass(frozen=True)
class Part:
    """Some files, next to each other in the listing, that are answered together.

    Args:
        number: from 0.
    """

    number: int
    files: tuple[Listed, ...]


class ScoresFolder:
    """A folder of answers, opened for its one job.

    Args:
        out: the folder; absolute.
        labels: those that the model answers.
    """

    def __init__(self, out: Path, job: Job, labels: Sequence[str]) -> None:
        self.out = out
        self.job = job
        self._parts = out / _UNFINISHED / "parts"
        columns = [(name, pa.string()) for name in ("path", "status", "rule", "reason", "study", "series")]
        columns += [("order", pa.float64()), ("folder", pa.bool_())]
        columns += [(f"probability_{label}", pa.float64()) for label in labels]
        columns += [(f"positive_{label}", pa.bool_()) for label in labels]
        self._schema = pa.schema(columns)

    @property
    def summary(self) -> dict[str, Any] | None:
        """What the finished job said at its end; None for one that is not finished."""
        path = self.out / _SUMMARY
        return json.loads(path.read_text()) if path.is_file() else None

    def waiting(self) -> Iterator[Part]:
        """Parts that are not finished."""
        with (self.out / _UNFINISHED / _LISTING).open() as lines:
            files = read_listing(lines)
            for number in range(self._part_count):
                part = Part(number, tuple(islice(files, PART)))
                if not self._is_whole(number):
                    yield part

    def count_done(self) -> int:
        """Files in finished parts."""
        return sum(self._size(number) for number in range(self._part_count) if self._is_whole(number))

    def write_part(self, number: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Keep a part's answers, a row a file, of the columns that `answers` gives; missing ones are null."""
        with write_aside(self._path(number)) as aside:
            pq.write_table(pa.Table.from_pylist(rows, self._schema), aside)

    def answers(self) -> pd.DataFrame:
        """Every answer, in the listing's order.

        Returns:
            `path`, `status`, `rule`, `reason`, `study`, `series`, `order`, `folder`, `probability_<label>`,
            `positive_<label>`.
        """
        tables = [pq.read_table(self._path(number), schema=self._schema) for number in range(self._part_count)]
        answers: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return answers

    def write_table(self, table: pd.DataFrame, name: str, *, parquet: bool = True) -> None:
        """Write a table whole, as CSV and by default as Parquet."""
        with write_aside(self.out / f"{name}.csv") as aside:
            table.to_csv(aside, index=False)
        if parquet:
            with write_aside(self.out / f"{name}.parquet") as aside:
                table.to_parquet(aside, index=False)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Say that every table is whole, and remove the parts."""
        with write_aside(self.out / _SUMMARY) as aside:
            aside.write_text(json.dumps(summary, indent=1) + "\n")
        shutil.rmtree(self.out / _UNFINISHED)

    @property
    def _part_count(self) -> int:
        return -(-self.job.files // PART)

    def _size(self, number: int) -> int:
        return min(PART, self.job.files - number * PART)

    def _path(self, number: int) -> Path:
        return self._parts / f"{number:06d}.parquet"

    def _is_whole(self, number: int) -> bool:
        """Whether a part can be read; one that a power cut tore cannot."""
        try:
            return int(pq.read_metadata(self._path(number)).num_rows) == self._size(number)
        except (OSError, pa.ArrowInvalid):
            return False


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than scores, before anything is looked at for long.

    Raises:
        ConfigError: so it is.
    """
    if (out / _JOB).is_file():
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"out={out}: holds something else than scores; choose another `out`")


def open_scores(out: Path, job: Job, listing: Path, labels: Sequence[str]) -> ScoresFolder:
    """Begin a job in a new folder, or continue it where it was; what a killed process left half-written is removed.

    Args:
        out: absolute; no other process may have it open.
        listing: from `write_listing`; copied into a new folder.
        labels: those that the model answers.
    Raises:
        ConfigError: the folder holds something else, or the scores of another job.
    """
    check_out(out)
    held = held_job(out / _JOB, Job)
    if held is None:
        with write_aside(out) as aside:
            (aside / _UNFINISHED / "parts").mkdir(parents=True)
            shutil.copyfile(listing, aside / _UNFINISHED / _LISTING)
            (aside / _JOB).write_text(job.model_dump_json(indent=1) + "\n")
    elif held != job:
        differing = [why for field, why in _DIFFERENCES.items() if getattr(held, field) != getattr(job, field)]
        raise ConfigError(f"out={out}: begun {differing[0]}; choose another `out`, or delete this one")
    else:
        for folder in (out, out / _UNFINISHED / "parts"):
            remove_unfinished(folder)
    return ScoresFolder(out, job, labels)


def shown(path: str) -> str:
    r"""A path as text: a byte that is no UTF-8 becomes `\xff`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
