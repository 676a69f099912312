"""The store: a source's images preprocessed once into uint8 shards, with their manifest; resumable."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from secondread.config import DataSettings
from secondread.data.chunk import UInt8, divide, write_chunk
from secondread.data.manifest import make_manifest, manifest_digest
from secondread.data.near_duplicates import near_duplicate_groups
from secondread.data.sources.index import Index
from secondread.data.split import split_by_patient
from secondread.errors import StoreError
from secondread.execution import map_in_processes
from secondread.imaging.preprocess import Preprocess
from secondread.storage import remove_unfinished, sha256_of, write_aside

_PLAN = "plan.json"
_DESCRIPTION = "store.json"
_MANIFEST = "manifest.parquet"
_QUARANTINE = "quarantine.csv"
_SHARDS = "shards"


class Shard(BaseModel):
    """One file of pixels: its rows and the digest of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    digest: str


class StoreDescription(BaseModel):
    """What `store.json` says; its presence means that the store is whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    task: str
    layout: str
    root: str
    preprocess: Preprocess
    manifest_digest: str
    shards: tuple[Shard, ...]


class Pixels:
    """Rows of memory-mapped shards, by index.

    Args:
        shards: uint8 arrays of shape (rows, height, width, stored channels).
    """

    def __init__(self, shards: Sequence[UInt8]) -> None:
        self._shards = shards
        self._ends = np.cumsum([len(shard) for shard in shards])
        self._starts = self._ends - [len(shard) for shard in shards]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def followed_by(self, others: "Pixels") -> "Pixels":
        """These rows, then the others'."""
        return Pixels([*self._shards, *others._shards])

    def take(self, indices: npt.NDArray[np.int64]) -> UInt8:
        """Copy the images at `indices`, shape (n, height, width, stored channels)."""
        taken = np.empty((len(indices), *self._shards[0].shape[1:]), np.uint8)
        for place, (index, shard) in enumerate(
            zip(indices, np.searchsorted(self._ends, indices, side="right"), strict=True)
        ):
            taken[place] = self._shards[shard][index - self._starts[shard]]
        return taken


@dataclass(frozen=True)
class Store:
    """A whole store, opened.

    Args:
        manifest: one row an image, in the order of `pixels`.
    """

    folder: Path
    description: StoreDescription
    manifest: pd.DataFrame

    @property
    def name(self) -> str:
        """The source's layout."""
        return self.description.layout

    @property
    def manifest_digest(self) -> str:
        """Digest of source bytes, labels, patients and split."""
        return self.description.manifest_digest

    @property
    def store_digest(self) -> str:
        """Digest of the manifest and the preprocessing."""
        return store_digest(self.description.manifest_digest, self.description.preprocess)

    @cached_property
    def pixels(self) -> Pixels:
        """The stored pixels."""
        folder = self.folder / _SHARDS
        return Pixels([np.load(folder / shard.file, mmap_mode="r") for shard in self.description.shards if shard.rows])

    @property
    def secret_digest(self) -> str:
        """What tells whether two stores have the same patient keys; of the secret itself it tells nothing."""
        plan = _read_plan(self.folder)
        return str(plan.get("secret", "")) if isinstance(plan, dict) else ""

    def put_aside(self) -> pd.DataFrame:
        """Files that are not in the store: path, rule, reason.

        Raises:
            StoreError: the table is damaged or missing.
        """
        try:
            return pd.read_csv(self.folder / _QUARANTINE, keep_default_na=False)
        except (OSError, ValueError):  # pandas' own errors of reading are ValueErrors
            raise StoreError(
                f"{self.folder}: {_QUARANTINE} is damaged or missing; delete the folder and preprocess anew"
            ) from None

    def thumbnails(self) -> UInt8:
        """The audit's small gray image of each row, shape (n, 32, 32).

        Raises:
            StoreError: they are damaged or missing.
        """
        try:
            found = _Written(self.folder).thumbnails()
        except (OSError, ValueError, KeyError):
            found = np.empty((0, 32, 32), np.uint8)
        if len(found) != len(self.manifest):
            raise StoreError(
                f"{self.folder}: a table of its shards is damaged or missing; delete the folder and preprocess anew"
            )
        return found


def store_digest(manifest: str, preprocess: Preprocess) -> str:
    """Digest of a manifest and a preprocessing, 32 hex digits."""
    return sha256_of(f"{manifest} {preprocess.digest}".encode())[:32]


def is_store(path: Path) -> bool:
    """Whether a folder holds a store, whole or begun."""
    return (path / _DESCRIPTION).is_file() or (path / _PLAN).is_file()


def open_store(folder: Path) -> Store:
    """Open a store and check every shard's bytes.

    Raises:
        StoreError: unfinished, of another version, or damaged.
    """
    store = look_up(folder)
    for shard in store.description.shards:
        path = folder / _SHARDS / shard.file
        if not path.is_file() or sha256_of(path.read_bytes()) != shard.digest:
            raise StoreError(
                f"{folder}: shard {shard.file} is damaged or missing; delete the folder and preprocess anew"
            )
    return store


def look_up(folder: Path) -> Store:
    """Open a store for what its tables say; its pixels, which may be terabytes, are not checked.

    Raises:
        StoreError: unfinished, of another version, or damaged.
    """
    description = _read_description(folder)
    return Store(folder, description, _read_manifest(folder, description))


def build_store(
    index: Index,
    task: str,
    preprocess: Preprocess,
    settings: DataSettings,
    out: Path,
    secret: bytes,
    workers: int | None,
) -> Store:
    """Preprocess every image of an index into `out`; an interrupted job continues where it was.

    The same index gives the same bytes whatever the number of workers or interruptions. Images that cannot be used
    become rows of `quarantine.csv`. A whole store of the same images is opened as it is, with the split it has.

    Args:
        workers: processes; None is one a core.
    Raises:
        StoreError: `out` holds something else.
        SplitError: the patients cannot be divided as asked.
    """
    plan = _plan(index, task, preprocess, secret)
    if (out / _DESCRIPTION).exists() and _read_plan(out) == plan:
        return open_store(out)
    _begin(out, plan)
    _write_shards(index, preprocess, out, workers)
    written = _Written(out)
    _write_quarantine(out, index.put_aside, written.put_aside(index))
    manifest = written.manifest(index, settings, secret)
    with write_aside(out / _MANIFEST) as aside:
        manifest.to_parquet(aside)
    description = StoreDescription(
        task=task,
        layout=index.layout,
        root=str(index.root.absolute()),
        preprocess=preprocess,
        manifest_digest=manifest_digest(manifest),
        shards=written.shards(),
    )
    with write_aside(out / _DESCRIPTION) as aside:
        aside.write_text(description.model_dump_json(indent=1))
    return Store(out, description, manifest)


def _read_description(folder: Path) -> StoreDescription:
    path = folder / _DESCRIPTION
    if not path.is_file():
        raise StoreError(f"{folder}: this store is unfinished; run the same preprocess command again to finish it")
    try:
        content = json.loads(path.read_text())
        if content.get("format") != 1:
            raise StoreError(
                f"{folder}: store of format {content.get('format')!r}, this version reads format 1; preprocess anew"
            )
        return StoreDescription.model_validate(content)
    except (ValueError, AttributeError, ValidationError):
        raise StoreError(f"{folder}: {_DESCRIPTION} is damaged; delete the folder and preprocess anew") from None


def _read_manifest(folder: Path, description: StoreDescription) -> pd.DataFrame:
    try:
        manifest = pd.read_parquet(folder / _MANIFEST)
    except (OSError, ValueError):
        raise StoreError(
            f"{folder}: {_MANIFEST} is damaged or missing; delete the folder and preprocess anew"
        ) from None
    try:
        digest = manifest_digest(manifest)
    except KeyError:  # it lacks a column
        digest = ""
    if digest != description.manifest_digest or len(manifest) != sum(shard.rows for shard in description.shards):
        raise StoreError(
            f"{folder}: {_MANIFEST} is not the one that was written; delete the folder and preprocess anew"
        )
    return manifest


def plan_digest(index: Index, task: str, preprocess: Preprocess, secret: bytes) -> str:
    """Name a store before it is built, 32 hex digits: equal for equal files, labels and preprocessing."""
    return sha256_of(json.dumps(_plan(index, task, preprocess, secret)).encode())[:32]


def _plan(index: Index, task: str, preprocess: Preprocess, secret: bytes) -> dict[str, Any]:
    """Everything that the shards depend on; file contents enter by size and time of change."""
    listing = index.entries.to_csv(index=False)
    content = listing + str([_size_and_time(index.root / path) for path in index.entries["path"]])
    return {
        "format": 1,
        "task": task,
        "layout": index.layout,
        "preprocess": preprocess.digest,
        "entries": sha256_of(content.encode()),
        "secret": sha256_of(b"secret of " + secret)[:16],
    }


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # gone since it was indexed: `_preprocess_file` puts it aside
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _read_plan(out: Path) -> object:
    try:
        return json.loads((out / _PLAN).read_text())
    except (OSError, ValueError):
        return None


def _begin(out: Path, plan: Mapping[str, Any]) -> None:
    """Make the folder ready: continue a job of the same plan, refuse to overwrite anything else."""
    if _read_plan(out) == plan and not (out / _DESCRIPTION).exists():
        for folder in (out, out / _SHARDS):
            remove_unfinished(folder)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: holds something else, or a store of other images or settings; choose another `out`")
    with write_aside(out) as aside:
        (aside / _SHARDS).mkdir(parents=True)
        (aside / _PLAN).write_text(json.dumps(plan, indent=1))


def _write_shards(index: Index, preprocess: Preprocess, out: Path, workers: int | None) -> None:
    paths = list(index.entries["path"])
    waiting = [chunk for chunk in divide(index.root, paths, preprocess, out / _SHARDS) if not chunk.is_done]
    for _ in map_in_processes(write_chunk, waiting, workers, f"preprocess {len(paths):,} images"):
        pass


class _Written:
    """What the workers wrote, read back in the index's order."""

    def __init__(self, out: Path) -> None:
        self._folder = out / _SHARDS
        self._tables = {path.stem: pd.read_parquet(path) for path in sorted(self._folder.glob("*.parquet"))}
        self._rows = pd.concat(self._tables.values(), ignore_index=True)

    def manifest(self, index: Index, settings: DataSettings, secret: bytes) -> pd.DataFrame:
        """Manifest of the images that could be used, divided by patient."""
        kept = (self._rows["rule"] == "").to_numpy()
        if not kept.any():
            quarantine = self._folder.parent / _QUARANTINE
            raise StoreError(f"{index.root}: none of its {len(kept)} images could be used; {quarantine} says why")
        entries = index.entries[kept].reset_index(drop=True)
        entries["image_key"] = self._rows.loc[kept, "image_key"].to_numpy()
        manifest = make_manifest(entries, near_duplicate_groups(self.thumbnails()), secret)
        return split_by_patient(manifest, settings.val_fraction, settings.test_fraction, settings.seed)

    def thumbnails(self) -> UInt8:
        """Thumbnails of the images that could be used, shape (n, 32, 32)."""
        flat = b"".join(self._rows.loc[self._rows["rule"] == "", "thumbnail"])
        return np.frombuffer(flat, np.uint8).reshape(-1, 32, 32)

    def put_aside(self, index: Index) -> pd.DataFrame:
        """Files that were tried and could not be used."""
        aside = self._rows["rule"] != ""
        found = self._rows.loc[aside, ["rule", "reason"]].assign(
            path=index.entries.loc[aside.to_numpy(), "path"].to_numpy()
        )
        return found[["path", "rule", "reason"]]

    def shards(self) -> tuple[Shard, ...]:
        """Every shard with its rows and digest."""
        return tuple(
            Shard(file=f"{stem}.npy", rows=int((table["rule"] == "").sum()), digest=str(table["digest"].iloc[0]))
            for stem, table in self._tables.items()
        )


def _write_quarantine(out: Path, *tables: pd.DataFrame) -> None:
    rows = pd.concat([table[["path", "rule", "reason"]] for table in tables], ignore_index=True)
    with write_aside(out / _QUARANTINE) as aside:
        rows.sort_values("path").to_csv(aside, index=False, quoting=csv.QUOTE_MINIMAL)
