"""Which layout a folder has."""

from dataclasses import replace
from pathlib import Path

from secondread.data.sources.class_folders import ClassFolders
from secondread.data.sources.ct_ich import CtIch
from secondread.data.sources.head_ct import HeadCt
from secondread.data.sources.index import Index, Source
from secondread.data.sources.kermany import Kermany
from secondread.data.sources.listing import require_folder
from secondread.data.sources.rsna_hemorrhage import RsnaHemorrhage
from secondread.data.sources.rsna_pneumonia import RsnaPneumonia
from secondread.data.sources.table import Table
from secondread.errors import SourceError
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


def open_source(root: Path, task: Task, layout: str = "auto", workers: int | None = None) -> Index:
    """Recognise the layout of a folder or table and index its images.

    Args:
        root: as the user typed it.
        layout: a source's name; `auto` asks each source in turn.
        workers: processes that read DICOM headers; None is one a core.
    Raises:
        SourceError: the root is missing, no layout fits, it is for the other task, or it holds no labelled image.
    """
    require_folder(root)
    source, why = _recognise(root) if layout == "auto" else _named(root, layout)
    if task.name not in source.tasks:
        raise SourceError(
            f"{root}: read as {source.layout}, it has labels for {' and '.join(source.tasks)}, not for {task.name}; "
            f"use task={source.tasks[0]} or another folder"
        )
    index = source.index(root, task, workers)
    return replace(index, report=(f"{source.layout}: {why}", *index.report))


def _recognise(root: Path) -> tuple[Source, str]:
    for source in SOURCES:
        why = source.recognises(root)
        if why is not None:
            return source, why
    if root.is_dir() and not any(root.iterdir()):
        raise SourceError(f"{root}: the folder is empty; check the path behind `data`")
    raise SourceError(
        f"{root}: no known layout fits ({', '.join(source.layout for source in SOURCES)}); arrange the images in "
        "folders named by class, or write a CSV with the column path and a column per label"
    )


def _named(root: Path, layout: str) -> tuple[Source, str]:
    sources = {source.layout: source for source in SOURCES}
    if layout not in sources:
        raise SourceError(f"data.layout={layout}: there is no such layout; use auto or one of {', '.join(sources)}")
    why = sources[layout].recognises(root)
    if why is None:
        raise SourceError(f"{root}: it does not have the layout {layout}; use data.layout=auto to recognise it")
    return sources[layout], why
