"""Which layout a folder has."""

from dataclasses import replace
from pathlib import Path

from secondread.data.sources.class_folders import ClassFolders
from secondread.data.sources.ct_ich import CtIch
from secondread.data.sources.head_ct import HeadCt
from secondread.data.sources.index import Index, Source
from secondread.data.sources.kermany import Kermany
from secondread.data.sources.listing import scan
from secondread.data.sources.rsna_hemorrhage import RsnaHemorrhage
from secondread.data.sources.rsna_pneumonia import RsnaPneumonia
from secondread.data.sources.table import Table
from secondread.errors import SourceError
from secondread.execution import Workers
from secondread.storage import Folder, open_around, open_folder
from secondread.tasks import Task

# The more particular a layout, the earlier it is asked.
SOURCES: tuple[Source, ...] = (
    HeadCt(),
    CtIch(),
    RsnaHemorrhage(),
    RsnaPneumonia(),
    Kermany(),
    Table(),
    ClassFolders(),
)


def open_source(address: str | Path, task: Task, layout: str = "auto", workers: Workers = None) -> Index:
    """Recognise the layout of a folder or table and index its images.

    Args:
        address: a path or `s3://bucket/prefix`, as the user typed it.
        layout: a source's name; `auto` asks each source in turn.
        workers: who reads DICOM headers.
    Raises:
        SourceError: the root is missing, no layout fits, it is for the other task, or it holds no labelled image.
        StorageError: the server refuses or stays away.
    """
    root, sources = _opened(str(address))
    source, why = _recognise(root, sources) if layout == "auto" else _named(root, sources, layout)
    if task.name not in source.tasks:
        raise SourceError(
            f"{root}: read as {source.layout}, it has labels for {' and '.join(source.tasks)}, not for {task.name}; "
            f"use task={source.tasks[0]} or another folder"
        )
    index = source.index(root, task, workers)
    return replace(index, report=(f"{source.layout}: {why}", *index.report))


def _opened(address: str) -> tuple[Folder, tuple[Source, ...]]:
    """The folder, and who may know its layout; a table stands for the folder that it lies in."""
    root = open_folder(address)
    if root.is_there():
        return root, SOURCES
    around, name = open_around(address)
    if not around.has(name):
        raise SourceError(f"{address}: there is no such folder or file; check the path behind `data`")
    return around, (Table(name),)


def _recognise(root: Folder, sources: tuple[Source, ...]) -> tuple[Source, str]:
    for source in sources:
        why = source.recognises(root)
        if why is not None:
            return source, why
    if next(scan(root), None) is None:
        raise SourceError(f"{root}: the folder is empty; check the path behind `data`")
    raise SourceError(
        f"{root}: no known layout fits ({', '.join(source.layout for source in SOURCES)}); arrange the images in "
        "folders named by class, or write a CSV with the column path and a column per label"
    )


def _named(root: Folder, sources: tuple[Source, ...], layout: str) -> tuple[Source, str]:
    layouts = [source.layout for source in SOURCES]
    if layout not in layouts:
        raise SourceError(f"data.layout={layout}: there is no such layout; use auto or one of {', '.join(layouts)}")
    for source in sources:
        why = source.recognises(root) if source.layout == layout else None
        if why is not None:
            return source, why
    raise SourceError(f"{root}: it does not have the layout {layout}; use data.layout=auto to recognise it")
