"""Head CT - Hemorrhage: `labels.csv` (`id, hemorrhage`) and PNG slices from the web.

Source: F. Kitamura, Kaggle, kaggle.com/datasets/felipekitamura/head-ct-hemorrhage. Every slice is of another person.
"""

from pathlib import PurePosixPath

from secondread.config import WINDOWS
from secondread.data.sources.index import Index, make_index
from secondread.data.sources.label_csv import columns_of, drop_repeats, read_numbers, read_table
from secondread.data.sources.labels import read_labels
from secondread.data.sources.listing import list_files, put_aside, without_label
from secondread.execution import Workers
from secondread.storage import Folder
from secondread.tasks import Task


class HeadCt:
    """Only `any` is labelled; ids have no leading zeros, the files' names have."""

    layout = "head_ct"
    tasks = ("hemorrhage",)

    def recognises(self, root: Folder) -> str | None:
        """A table `labels.csv` of `id, hemorrhage`."""
        if columns_of(root, "labels.csv") == ["id", "hemorrhage"]:
            return "labels.csv with the columns id and hemorrhage"
        return None

    def index(self, root: Folder, task: Task, workers: Workers = None) -> Index:
        """Index the images; see `Source.index`."""
        table = read_table(root, "labels.csv")
        rows = table.assign(
            id=read_numbers(table["id"], f"{root}: id"),
            label_any=read_labels(table["hemorrhage"], f"{root}: hemorrhage"),
        )[["id", "label_any"]]
        rows = drop_repeats(rows, ["id"], root)
        listing = list_files(root)
        files = _by_number(listing.regular)
        found = rows["id"].isin(files.keys())
        missing = put_aside(
            [f"{number}.png" for number in rows.loc[~found, "id"]], "missing_file", "no file has this id"
        )
        rows = rows[found].assign(path=rows.loc[found, "id"].map(files))
        used = set(rows["path"])
        unlabelled = without_label([path for path in listing.regular if path not in used])
        aside = [listing.put_aside(), missing, unlabelled]
        return make_index(self.layout, root, task, rows, aside, [], display_window=WINDOWS["brain"])


def _by_number(paths: tuple[str, ...]) -> dict[int, str]:
    """Images by the number that is their name; of several copies the one nearest to the root."""
    images = [PurePosixPath(path) for path in paths if path.lower().endswith(".png")]
    numbered = [path for path in images if path.stem.isascii() and path.stem.isdecimal()]
    return {int(path.stem): str(path) for path in sorted(numbered, key=lambda path: -len(path.parts))}
