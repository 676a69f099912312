"""A chunk: consecutive files that one worker preprocesses into one shard and its table of rows."""

import platform
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.data.shard_bytes import ShardBytes
from secondread.data.sources.listing import require_there
from secondread.errors import ImageRejected, StoreError
from secondread.imaging.limits import MOST_BYTES
from secondread.imaging.memory import keep_freed_memory
from secondread.imaging.preprocess import Preprocess, thumbnail
from secondread.imaging.sandbox import safe_pixels
from secondread.storage import Folder, sha256_of

UInt8: TypeAlias = npt.NDArray[np.uint8]

SHARDS = "shards"
PLAN = "plan.json"
_MOST_FILES = 200  # what a killed worker may lose; pixels of so many fit its memory thrice


@dataclass(frozen=True)
class Chunk:
    """One worker's job.

    Args:
        paths: relative to `root`; they may name patients, and are not shown.
        out: the store, below which the shard and the table are written.
    """

    number: int
    root: Folder
    paths: tuple[str, ...] = field(repr=False)
    preprocess: Preprocess
    out: Folder

    @property
    def rows_file(self) -> str:
        """A row per path: image key, rule and reason of a rejection, thumbnail, digest of the shard."""
        return f"{SHARDS}/{self.number:05d}.parquet"

    @property
    def pixels_file(self) -> str:
        """The shard: pixels of the files that could be used, in order."""
        return f"{SHARDS}/{self.number:05d}.npy"


def files_a_chunk(files: int) -> int:
    """Files of each chunk but the last, whatever the number of workers: few enough to keep many cores busy."""
    return int(np.clip(-(-files // 64), 16, _MOST_FILES))


def divide(root: Folder, paths: list[str], preprocess: Preprocess, out: Folder) -> list[Chunk]:
    """Divide files into chunks, in their order."""
    size = files_a_chunk(len(paths))
    starts = range(0, len(paths), size)
    return [
        Chunk(number, root, tuple(paths[start : start + size]), preprocess, out) for number, start in enumerate(starts)
    ]


def write_chunk(chunk: Chunk) -> None:
    """Preprocess a chunk's files and write its shard, then, which makes it count, its table.

    Raises:
        SourceError: this machine does not have the source.
        StoreError: it does not have the store.
    """
    require_there(chunk.root, chunk.paths)
    if not chunk.out.has(PLAN):
        raise StoreError(
            f"{chunk.out}: machine {platform.node()} has no such folder; a cluster's workers need an s3:// address for "
            "`out`, or a folder that all of them share under this path"
        )
    keep_freed_memory()
    rows, shape = [], (chunk.preprocess.size, chunk.preprocess.size, chunk.preprocess.stored_channels)
    pixels = ShardBytes(len(chunk.paths), shape)
    for data in chunk.root.read_each(chunk.paths, max(MOST_BYTES.values()) + 1):
        row, stored = _preprocess_file(data, chunk.preprocess)
        rows.append(row)
        if stored is not None:
            pixels.add(stored)
    shard = pixels.written()
    chunk.out.write(chunk.pixels_file, shard)
    table = pd.DataFrame(rows, columns=["image_key", "rule", "reason", "thumbnail"])
    table["digest"] = sha256_of(shard)
    written = BytesIO()
    table.to_parquet(written)
    chunk.out.write(chunk.rows_file, written.getbuffer())


def _preprocess_file(data: bytes | OSError, preprocess: Preprocess) -> tuple[tuple[str, str, str, bytes], UInt8 | None]:
    if isinstance(data, OSError):
        return ("", "unreadable", f"the file cannot be read: {data.strerror}", b""), None
    try:
        pixels = safe_pixels(data, preprocess)
    except ImageRejected as rejected:
        return (sha256_of(data), rejected.rule, rejected.reason, b""), None
    stored = preprocess.stored(pixels)
    return (sha256_of(data), "", "", thumbnail(stored).tobytes()), stored
