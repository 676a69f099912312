"""The store: a source's images preprocessed once into uint8 shards, with their manifest; resumable."""

import csv
import json
import math
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from secondread.config import DataSettings
from secondread.data.chunk import PLAN, SHARDS, UInt8, divide, files_a_chunk, write_chunk
from secondread.data.manifest import make_manifest, manifest_digest
from secondread.data.near_duplicates import near_duplicate_groups
from secondread.data.shard_bytes import HEADER
from secondread.data.sources.index import Index
from secondread.data.split import split_by_patient
from secondread.errors import SCOPE_RULES, ImageRejected, OutOfScope, StoreError
from secondread.execution import Workers, core_count, map_in_processes, map_in_threads
from secondread.imaging.preprocess import Preprocess
from secondread.storage import Folder, open_folder, sha256_of
from secondread.storage.cache import GIGABYTE, Cache

_DESCRIPTION = "store.json"
_MANIFEST = "manifest.parquet"
_QUARANTINE = "quarantine.csv"
_AT_ONCE = 8  # images that are read from a server
_DAMAGED = "delete the folder and preprocess anew"


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


class ImageRows(Protocol):
    """Images by row, such as an array of shape (rows, height, width, stored channels)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> UInt8: ...


@dataclass(frozen=True)
class ShardFile:
    """A shard that is mapped into memory when it is looked at: thousands of them at once are too many open files."""

    rows: int
    mapped: Callable[[], UInt8]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.mapped().shape

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int, /) -> UInt8:
        image: UInt8 = self.mapped()[row]
        return image


@dataclass(frozen=True)
class ShardElsewhere:
    """A shard on a server, of which only the rows that are looked at are read; they are not held against its digest."""

    folder: Folder
    shard: Shard
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shard.rows

    def __getitem__(self, row: int, /) -> UInt8:
        size = math.prod(self.shape[1:])
        try:
            read = self.folder.read(_path(self.shard), size, start=HEADER + int(row) * size)
            return np.frombuffer(read, np.uint8).reshape(self.shape[1:])
        except (FileNotFoundError, ValueError):
            raise StoreError(f"{self.folder}: shard {self.shard.file} is damaged or missing; {_DAMAGED}") from None


class Pixels:
    """Rows of shards, by index.

    Args:
        shards: uint8, of shape (rows, height, width, stored channels).
    """

    def __init__(self, shards: Sequence[ImageRows]) -> None:
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
        shards = np.searchsorted(self._ends, indices, side="right")
        for place, image in enumerate(self._images(shards, indices - self._starts[shards])):
            taken[place] = image
        return taken

    def _images(self, shards: Iterable[int], rows: Iterable[int]) -> Iterator[UInt8]:
        return (self._shards[shard][row] for shard, row in zip(shards, rows, strict=True))


class PixelsElsewhere(Pixels):
    """Rows of shards on a server, several of which are read at once: for looking at some of very many."""

    def _images(self, shards: Iterable[int], rows: Iterable[int]) -> Iterator[UInt8]:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            yield from threads.map(lambda shard, row: self._shards[shard][row], shards, rows)


@dataclass(frozen=True)
class Store:
    """A whole store, opened.

    Args:
        manifest: one row an image, in the order of `pixels`.
        cache: where the shards of a store on S3 are kept for training.
    """

    folder: Folder
    description: StoreDescription
    manifest: pd.DataFrame
    cache: Cache

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
        """The stored pixels; those of a store on S3 are brought here first.

        Raises:
            StoreError: the cache is too small for them, or a shard is damaged or missing.
        """
        held = [shard for shard in self.description.shards if shard.rows]
        if any(self.folder.file_here(_path(shard)) is None for shard in held):
            self._bring_here(held)

        @lru_cache(maxsize=_most_open())
        def mapped(shard: Shard) -> UInt8:
            return np.load(self._file(shard), mmap_mode="r")  # type: ignore[no-any-return]  # np.load returns Any

        return Pixels([ShardFile(shard.rows, partial(mapped, shard)) for shard in held])

    @property
    def pixels_in_place(self) -> Pixels:
        """The stored pixels, for looking at some: of a store on S3 only these are read, and nothing is kept."""
        held = [shard for shard in self.description.shards if shard.rows]
        if all(self.folder.file_here(_path(shard)) for shard in held):
            return self.pixels
        form = self.description.preprocess
        shape = (form.size, form.size, form.stored_channels)
        return PixelsElsewhere([ShardElsewhere(self.folder, shard, (shard.rows, *shape)) for shard in held])

    def _file(self, shard: Shard) -> Path:
        here = self.folder.file_here(_path(shard)) or self.cache.path(shard.digest)
        if not here.exists():  # another training has made room for its own
            self._fetch(shard)
        return here

    def _bring_here(self, shards: Sequence[Shard]) -> None:
        form = self.description.preprocess
        size = sum(shard.rows for shard in shards) * form.size**2 * form.stored_channels
        if size > self.cache.most_bytes:
            raise StoreError(
                f"{self.folder}: its pixels take {size / GIGABYTE:.3g} GB on this machine, and execution.cache_gb "
                f"allows {self.cache.most_bytes / GIGABYTE:g}; raise it, or preprocess to a smaller preprocess.size"
            )
        has = map_in_threads(lambda shard: self.cache.has(shard.digest), shards, "looking at what is cached")
        missing = [shard for shard, is_here in zip(shards, has, strict=True) if not is_here]
        self.cache.make_room(size * len(missing) // len(shards))
        for _ in map_in_threads(self._fetch, missing, f"fetching {len(missing):,} shards"):
            pass

    def _fetch(self, shard: Shard) -> None:
        try:
            self.cache.keep(shard.digest, self.folder.read(_path(shard)))
        except (FileNotFoundError, ValueError):
            raise StoreError(f"{self.folder}: shard {shard.file} is damaged or missing; {_DAMAGED}") from None

    def put_aside(self) -> pd.DataFrame:
        """Files that are not in the store: path, status (`rejected`, `out_of_scope`), rule, reason.

        Raises:
            StoreError: the table is damaged or missing.
        """
        try:
            return pd.read_csv(BytesIO(self.folder.read(_QUARANTINE)), keep_default_na=False)
        except (OSError, ValueError):  # pandas' own errors of reading are ValueErrors
            raise StoreError(f"{self.folder}: {_QUARANTINE} is damaged or missing; {_DAMAGED}") from None

    @property
    def secret_digest(self) -> str:
        """What tells whether two stores have the same patient keys; of the secret itself it tells nothing."""
        plan = _read_plan(self.folder)
        return str(plan.get("secret", "")) if isinstance(plan, dict) else ""

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
            raise StoreError(f"{self.folder}: a table of its shards is damaged or missing; {_DAMAGED}")
        return found


def store_digest(manifest: str, preprocess: Preprocess) -> str:
    """Digest of a manifest and a preprocessing, 32 hex digits."""
    return sha256_of(f"{manifest} {preprocess.digest}".encode())[:32]


def is_store(address: str | Path) -> bool:
    """Whether a folder holds a store, whole or begun."""
    folder = open_folder(address)
    return folder.has(_DESCRIPTION) or folder.has(PLAN)


def open_store(address: str | Path, cache: Cache | None = None) -> Store:
    """Open a store, and check every shard's bytes, if they lie on this machine.

    Args:
        address: a path or `s3://bucket/prefix`.
        cache: where the shards of a store on S3 are kept, to be checked as they arrive; default: at home.
    Raises:
        StoreError: unfinished, of another version, or damaged.
    """
    store = look_up(address, cache)
    _check_shards(store.folder, store.description.shards)
    return store


def look_up(address: str | Path, cache: Cache | None = None) -> Store:
    """Open a store for what its tables say; its pixels, which may be terabytes, are not checked.

    Args:
        cache: as of `open_store`.
    Raises:
        StoreError: unfinished, of another version, or damaged.
    """
    folder = open_folder(address)
    description = _read_description(folder)
    return Store(folder, description, _read_manifest(folder, description), cache or Cache.at_home())


def _check_shards(folder: Folder, shards: Sequence[Shard]) -> None:
    here = {shard: folder.file_here(_path(shard)) for shard in shards}

    def is_whole(shard: Shard) -> bool:
        path = here[shard]
        return path is None or (path.is_file() and sha256_of(path.read_bytes()) == shard.digest)

    with ThreadPoolExecutor(core_count()) as threads:  # a digest needs no lock of Python's
        for shard, whole in zip(shards, threads.map(is_whole, shards), strict=True):
            if not whole:
                raise StoreError(f"{folder}: shard {shard.file} is damaged or missing; {_DAMAGED}")


def build_store(
    index: Index,
    task: str,
    preprocess: Preprocess,
    settings: DataSettings,
    out: str | Path,
    secret: bytes,
    workers: Workers,
    cache: Cache | None = None,
) -> Store:
    """Preprocess every image of an index into `out`; an interrupted job continues where it was.

    The same index gives the same bytes whatever the number of workers or interruptions. Images that cannot be used
    become rows of `quarantine.csv`. A whole store of the same images is opened as it is, with the split it has.

    Args:
        out: a path or `s3://bucket/prefix`.
        workers: who works; None is one process a core.
        cache: as of `open_store`.
    Raises:
        StoreError: `out` holds something else.
        SplitError: the patients cannot be divided as asked.
    """
    folder = open_folder(out)
    plan = _plan(index, task, preprocess, secret)
    if folder.has(_DESCRIPTION) and _read_plan(folder) == plan:
        return open_store(out, cache)
    _begin(folder, plan)
    _write_shards(index, preprocess, folder, workers)
    written = _Written(folder)
    if len(written) != len(index.entries):
        raise StoreError(f"{out}: parts of it went missing while it was written; run the same command again")
    _write_quarantine(folder, index.put_aside, written.put_aside(index))
    manifest = written.manifest(index, settings, secret)
    table = BytesIO()
    manifest.to_parquet(table)
    folder.write(_MANIFEST, table.getbuffer())
    description = StoreDescription(
        task=task,
        layout=index.layout,
        root=index.root.address,
        preprocess=preprocess,
        manifest_digest=manifest_digest(manifest),
        shards=written.shards(),
    )
    folder.write(_DESCRIPTION, description.model_dump_json(indent=1).encode())
    return Store(folder, description, manifest, cache or Cache.at_home())


def _most_open() -> int:
    """Files that may be mapped at once: half of what this process may open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**15 if allowed == resource.RLIM_INFINITY else min(2**15, allowed // 2)


def _path(shard: Shard) -> str:
    return f"{SHARDS}/{shard.file}"


def _read_description(folder: Folder) -> StoreDescription:
    if not folder.has(_DESCRIPTION):
        raise StoreError(f"{folder}: this store is unfinished; run the same preprocess command again to finish it")
    try:
        content = json.loads(folder.read(_DESCRIPTION))
        if content.get("format") != 1:
            raise StoreError(
                f"{folder}: store of format {content.get('format')!r}, this version reads format 1; preprocess anew"
            )
        return StoreDescription.model_validate(content)
    except (ValueError, AttributeError, ValidationError):
        raise StoreError(f"{folder}: {_DESCRIPTION} is damaged; {_DAMAGED}") from None


def _read_manifest(folder: Folder, description: StoreDescription) -> pd.DataFrame:
    try:
        manifest = pd.read_parquet(BytesIO(folder.read(_MANIFEST)))
    except (OSError, ValueError):
        raise StoreError(f"{folder}: {_MANIFEST} is damaged or missing; {_DAMAGED}") from None
    try:
        digest = manifest_digest(manifest)
    except KeyError:  # it lacks a column
        digest = ""
    if digest != description.manifest_digest or len(manifest) != sum(shard.rows for shard in description.shards):
        raise StoreError(f"{folder}: {_MANIFEST} is not the one that was written; {_DAMAGED}")
    return manifest


def plan_digest(index: Index, task: str, preprocess: Preprocess, secret: bytes) -> str:
    """Name a store before it is built, 32 hex digits: equal for equal files, labels and preprocessing."""
    return sha256_of(json.dumps(_plan(index, task, preprocess, secret)).encode())[:32]


def _plan(index: Index, task: str, preprocess: Preprocess, secret: bytes) -> dict[str, Any]:
    """Everything that the shards depend on; file contents enter by size and time of change."""
    listing = index.entries.to_csv(index=False)
    seen = index.root.look(list(index.entries["path"]))  # None: gone since it was indexed, `write_chunk` puts it aside
    content = listing + "\n".join("" if file is None else f"{file.size} {file.version}" for file in seen)
    return {
        "format": 1,
        "task": task,
        "layout": index.layout,
        "preprocess": preprocess.digest,
        "entries": sha256_of(content.encode()),
        "files_a_chunk": files_a_chunk(len(index.entries)),
        "secret": sha256_of(b"secret of " + secret)[:16],
    }


def _read_plan(out: Folder) -> object:
    try:
        return json.loads(out.read(PLAN))
    except (OSError, ValueError):
        return None


def _begin(out: Folder, plan: Mapping[str, Any]) -> None:
    """Make the folder ready: continue a job of the same plan, refuse to overwrite anything else."""
    if _read_plan(out) == plan and not out.has(_DESCRIPTION):
        for below in ("", SHARDS):
            out.tidy(below)
        return
    if not out.is_vacant():
        raise StoreError(f"{out}: holds something else, or a store of other images or settings; choose another `out`")
    out.write(PLAN, json.dumps(plan, indent=1).encode())


def _write_shards(index: Index, preprocess: Preprocess, out: Folder, workers: Workers) -> None:
    paths = list(index.entries["path"])
    done = _tables(out)
    waiting = [chunk for chunk in divide(index.root, paths, preprocess, out) if chunk.rows_file not in done]
    for _ in map_in_processes(write_chunk, waiting, workers, f"preprocess {len(paths):,} images"):
        pass


def _tables(out: Folder) -> list[str]:
    """Tables of the chunks that are done, in order."""
    try:
        found = [entry.path for entry in out.entries(SHARDS)]
    except FileNotFoundError:
        return []
    return sorted(path for path in found if path.endswith(".parquet"))


class _Written:
    """What the workers wrote, read back in the index's order.

    Of the thumbnails, which are most of it, there is one copy.
    """

    def __init__(self, out: Folder) -> None:
        self._out = out
        rows, thumbnails, self._shards = [], [], []
        paths = _tables(out)
        for path, data in zip(paths, out.read_each(paths), strict=True):
            if isinstance(data, OSError):
                raise data
            table = pd.read_parquet(BytesIO(data))
            kept = table["rule"] == ""
            thumbnails.append(np.frombuffer(b"".join(table.loc[kept, "thumbnail"]), np.uint8).reshape(-1, 32, 32))
            rows.append(table[["image_key", "rule", "reason"]])
            name = path.rpartition("/")[2].replace(".parquet", ".npy")
            self._shards.append(Shard(file=name, rows=int(kept.sum()), digest=str(table["digest"].iloc[0])))
        self._rows = pd.concat(rows, ignore_index=True)
        self._thumbnails = _joined(thumbnails)

    def __len__(self) -> int:
        return len(self._rows)

    def manifest(self, index: Index, settings: DataSettings, secret: bytes) -> pd.DataFrame:
        """Manifest of the images that could be used, divided by patient."""
        kept = (self._rows["rule"] == "").to_numpy()
        if not kept.any():
            quarantine = f"{self._out}/{_QUARANTINE}"
            raise StoreError(f"{index.root}: none of its {len(kept)} images could be used; {quarantine} says why")
        entries = index.entries[kept].reset_index(drop=True)
        entries["image_key"] = self._rows.loc[kept, "image_key"].to_numpy()
        manifest = make_manifest(entries, near_duplicate_groups(self._thumbnails), secret)
        return split_by_patient(manifest, settings.val_fraction, settings.test_fraction, settings.seed)

    def thumbnails(self) -> UInt8:
        """Thumbnails of the images that could be used, shape (n, 32, 32)."""
        return self._thumbnails

    def put_aside(self, index: Index) -> pd.DataFrame:
        """Files that were tried and could not be used."""
        aside = self._rows["rule"] != ""
        found = self._rows.loc[aside, ["rule", "reason"]].assign(
            path=index.entries.loc[aside.to_numpy(), "path"].to_numpy()
        )
        return found[["path", "rule", "reason"]]

    def shards(self) -> tuple[Shard, ...]:
        """Every shard with its rows and digest."""
        return tuple(self._shards)


def _joined(pieces: list[UInt8]) -> UInt8:
    """Put the pieces together, letting each go as it is copied."""
    joined = np.empty((sum(map(len, pieces)), 32, 32), np.uint8)
    end = len(joined)
    while pieces:
        piece = pieces.pop()
        joined[end - len(piece) : end] = piece
        end -= len(piece)
    return joined


def _write_quarantine(out: Folder, *tables: pd.DataFrame) -> None:
    rows = pd.concat([table[["path", "rule", "reason"]] for table in tables], ignore_index=True)
    foreign = rows["rule"].isin(SCOPE_RULES)
    rows.insert(1, "status", np.where(foreign, OutOfScope.status, ImageRejected.status))
    text = rows.sort_values("path").to_csv(index=False, quoting=csv.QUOTE_MINIMAL)
    out.write(_QUARANTINE, text.encode())
