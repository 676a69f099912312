"""A search of everything that MLflow holds for what names a patient."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from integration.project import Project


def traces(names: set[str], project: Project, logs: Iterable[str]) -> list[str]:
    """Where names occur in the tracking store, in artifacts and in logs: `PLACE: NAME`, sorted.

    The folder of caches and locks (SECONDREAD_HOME) is the user's own and is left out.
    """
    searched = [*_store(project), *((f"log {number}", log.encode()) for number, log in enumerate(logs))]
    return sorted(f"{place}: {name}" for place, content in searched for name in names if name.encode() in content)


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
