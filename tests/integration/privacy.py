"""A search of everything that MLflow holds, and of what jobs write beside it, for what names a patient."""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from planted.search import traces as traces_of_words
from planted.search import traces_in_file

from integration.project import Project

# What says which file is meant, table by table and column by column; only a user's own folders hold them.
_IN_STORE = {"manifest": ["path"], "quarantine": ["path"]}
_IN_SCORES = {"slices": ["path", "study", "series"], "studies": ["study"], "put_aside": ["path", "study"]}


def traces(names: set[str], project: Project, logs: Iterable[str]) -> list[str]:
    """Where names occur in the tracking store, in artifacts and in logs: `PLACE: NAME`, sorted.

    The folder of caches and locks (SECONDREAD_HOME) is the user's own and is left out.
    """
    searched = [*_store(project), *((f"log {number}", log.encode()) for number, log in enumerate(logs))]
    return sorted(f"{place}: {name}" for place, content in searched for name in names if name.encode() in content)


def planted_traces(project: Project, *logs: str) -> list[str]:
    """Where planted words are in the tracking store, in artifacts, in logs, or in what was left lying about.

    Args:
        project: SECONDREAD_HOME may name files where it says which are meant, and nothing else of them.
    """
    found = [line for path in sorted(project.folder.rglob("*")) for line in _planted(path, project.folder)]
    return found + [
        f"log {number}: {line}" for number, log in enumerate(logs) for line in traces_of_words(log.encode())
    ]


def planted_traces_in_store(folder: Path) -> list[str]:
    """The same of a folder that `preprocess` wrote, which may name files where it says which are meant."""
    return [line for path in sorted(folder.rglob("*")) for line in _beside(_IN_STORE, path)]


def planted_traces_in_scores(folder: Path) -> list[str]:
    """The same of a folder that `score` or `explain` finished; reports name patients and are left out."""
    paths = [path for path in sorted(folder.rglob("*")) if path.parent.name != "sr"]
    return [line for path in paths for line in _beside(_IN_SCORES, path)]


def _planted(path: Path, folder: Path) -> list[str]:
    place = path.relative_to(folder)
    found = _beside(_IN_STORE, path) if place.parts[0] == "home" else traces_in_file(path)
    return [f"{place}: {line}" for line in found]


def _beside(naming: Mapping[str, list[str]], path: Path) -> list[str]:
    """What is planted in a file, in a table that may name files beside these columns."""
    if path.stem not in naming or path.suffix not in (".csv", ".parquet"):
        return traces_in_file(path)
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    rest = io.BytesIO()
    table.drop(columns=naming[path.stem], errors="ignore").to_parquet(rest)
    return [f"{path.name}: {line}" for line in traces_of_words(rest.getvalue())]


def _store(project: Project) -> Iterator[tuple[str, bytes]]:
    for path in project.folder.rglob("*"):
        place = path.relative_to(project.folder)
        if path.is_file() and place.parts[0] != "home":
            for content in (place.as_posix().encode(), *_contents(path)):
                yield str(place), content


def _contents(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv().encode()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
