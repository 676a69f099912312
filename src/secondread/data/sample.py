"""Some images of whatever `data` names, to be looked at closely: of a folder, a store or a phantom, or one file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.config import RunConfig
from secondread.data.prepare import OTHER_PHANTOM, PHANTOM, Say, source_index
from secondread.data.store import is_store
from secondread.data.unlabelled import folder_files, look_up_source
from secondread.errors import SourceError
from secondread.storage import Folder, open_around, open_folder
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

    root: Folder
    images: pd.DataFrame
    of: int
    is_placed: bool
    is_file: bool


def sample(task: Task, config: RunConfig, home: Path, most: int, apart: Path, say: Say = print) -> Sample:
    """Choose images, of test where there is one: half with the primary label, evenly spread over the source.

    Args:
        config: whose `data.path` names the source.
        most: images, at most.
        apart: a folder that is left out of a folder without a known layout.
    Raises:
        SourceError: there is no such file or folder, or it holds no file.
        StoreError: the store is another task's, or its source is gone.
    """
    address = config.data.path
    alone = _file_alone(address)
    if alone is not None:
        around, name = alone
        return Sample(around, _without_labels([name], task), 1, is_placed=False, is_file=True)
    root, table, is_placed = _table(address, task, config, home, apart, say)
    if not len(table):
        raise SourceError(f"{address}: holds no file; give a DICOM, PNG or JPEG file, a folder of them, or a store")
    chosen = table.iloc[_places(table, f"label_{task.primary}", most)]
    ordered = chosen.sort_values(["study", "series", "order", "path"], kind="stable").reset_index(drop=True)
    return Sample(root, ordered, len(table), is_placed, is_file=False)


def _file_alone(address: str) -> tuple[Folder, str] | None:
    """The folder and the name of the one image file that an address names, if it does."""
    if address in (PHANTOM, OTHER_PHANTOM) or address.lower().endswith(".csv") or open_folder(address).is_there():
        return None
    around, name = open_around(address)
    return (around, name) if around.has(name) else None


def _table(
    address: str, task: Task, config: RunConfig, home: Path, apart: Path, say: Say
) -> tuple[Folder, pd.DataFrame, bool]:
    if is_store(address):
        store, root = look_up_source(address, task)
        return root, store.manifest.rename(columns={"study_key": "study", "series_key": "series"}), True
    try:
        index = source_index(address, config.data.layout, task, config, home, say)
    except SourceError:
        root = open_folder(address)
        if not root.is_there() or config.data.layout != "auto":
            raise
        say(f"{address}: no known layout, so its files are taken as they are, without labels")
        return root, _without_labels([file.path for file in folder_files(root, apart)], task), False
    return index.root, index.entries, True


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
