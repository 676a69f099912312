"""Some images of whatever `data` names, to be looked at closely: of a folder, a store or a phantom, or one file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.config import RunConfig
from secondread.data.prepare import OTHER_PHANTOM, PHANTOM, Say, source_index
from secondread.data.store import is_store, look_up
from secondread.data.unlabelled import Listed, folder_files
from secondread.errors import SourceError, StoreError
from secondread.storage.here import path_here
from secondread.tasks import Task


@dataclass(frozen=True)
class Sample:
    """Images of one source.

    Args:
        root: the folder that the paths lie below.
        images: a row an image: `path`, `study`, `series` ("" unknown), `order` (NaN unknown), a `label_<label>` column
            a label of the task (NaN unknown); slices of a series are next to each other and in order.
        of: how many images the source has.
        is_placed: the source knows the studies; otherwise the files' headers may.
        is_file: `data` names this one file.
    """

    root: Path
    images: pd.DataFrame
    of: int
    is_placed: bool
    is_file: bool


def sample(task: Task, config: RunConfig, home: Path, most: int, apart: Path, say: Say = print) -> Sample:
    """Choose images, of test where there is one: half with the primary label, evenly spread over the source.

    Args:
        config: whose `data.path` names the source.
        most: images, at most.
        apart: a folder that is left out of a folder without a known layout, absolute.
    Raises:
        SourceError: there is no such file or folder, or it holds no file.
        StoreError: the store is another task's, or its source is gone.
        StorageError: the files lie on S3.
    """
    path_here(config.data.path, "explain")  # or it is refused
    path = Path(config.data.path)
    if path.is_file() and path.suffix.lower() != ".csv":
        return Sample(path.resolve().parent, _without_labels([path.name], task), 1, is_placed=False, is_file=True)
    root, table, is_placed = _table(path, task, config, home, apart, say)
    if not len(table):
        raise SourceError(f"{path}: holds no file; give a DICOM, PNG or JPEG file, a folder of them, or a store")
    chosen = table.iloc[_places(table, f"label_{task.primary}", most)]
    ordered = chosen.sort_values(["study", "series", "order", "path"], kind="stable").reset_index(drop=True)
    return Sample(root, ordered, len(table), is_placed, is_file=False)


def listed(sample: Sample, path: str) -> Listed:
    """A file of a sample, as `place_of` takes it.

    Returns:
        of a link, device or file that is gone, one without a size.
    """
    file = sample.root / path
    if file.is_symlink() or not file.is_file():
        return Listed(path, None)
    stat = file.stat()
    return Listed(path, stat.st_size, stat.st_mtime_ns)


def _table(
    path: Path, task: Task, config: RunConfig, home: Path, apart: Path, say: Say
) -> tuple[Path, pd.DataFrame, bool]:
    if is_store(path):
        return *_of_store(path, task), True
    if str(path) not in (PHANTOM, OTHER_PHANTOM) and not path.exists():
        raise SourceError(f"{path}: there is no such file or folder; check the path behind `data`")
    try:
        index = source_index(str(path), config.data.layout, task, config, home, say)
    except SourceError:
        if not path.is_dir() or config.data.layout != "auto":
            raise
        say(f"{path}: no known layout, so its files are taken as they are, without labels")
        root = path.resolve()
        return root, _without_labels([file.path for file in folder_files(root, apart)], task), False
    return path_here(index.root.address, "explain"), index.entries, True


def _of_store(path: Path, task: Task) -> tuple[Path, pd.DataFrame]:
    store = look_up(path)
    if store.description.task != task.name:
        raise StoreError(f"{path}: a store for {store.description.task}; use a model and --task for that")
    root = path_here(store.description.root, "explain")
    if not root.is_dir():
        raise StoreError(f"{root}: the folder that the store was made from is gone; bring it back")
    return root, store.manifest.rename(columns={"study_key": "study", "series_key": "series"})


def _without_labels(paths: list[str], task: Task) -> pd.DataFrame:
    table = pd.DataFrame({"path": paths}, dtype=object)
    unknown = dict.fromkeys(("order", *task.label_columns), np.nan)
    return table.assign(study="", series="", split="", **unknown)


def _places(table: pd.DataFrame, primary: str, most: int) -> list[int]:
    """Rows of a table, half of which have the primary label where so many do."""
    tested = (table["split"] == "test").to_numpy()
    among = tested if tested.any() else np.ones(len(table), bool)
    present = (table[primary] == 1).to_numpy()
    positive, others = np.flatnonzero(among & present), np.flatnonzero(among & ~present)
    fewer = min(len(positive), max(most // 2, most - len(others)))
    return [*_spread(positive, fewer), *_spread(others, min(len(others), most - fewer))]


def _spread(rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """So many of the rows, evenly."""
    return [int(rows[(2 * place + 1) * len(rows) // (2 * count)]) for place in range(count)]
