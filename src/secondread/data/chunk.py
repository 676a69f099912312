"""A chunk: consecutive files that one worker preprocesses into one shard and its table of rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.data.shard_bytes import ShardBytes
from secondread.errors import ImageRejected
from secondread.imaging.memory import keep_freed_memory
from secondread.imaging.preprocess import Preprocess, thumbnail
from secondread.imaging.sandbox import safe_pixels
from secondread.storage import sha256_of, write_aside

UInt8: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Chunk:
    """One worker's job.

    Args:
        paths: relative to `root`.
        folder: where the shard and the table are written.
    """

    number: int
    root: Path
    paths: tuple[str, ...]
    preprocess: Preprocess
    folder: Path

    @property
    def rows_file(self) -> Path:
        """A row per path: image key, rule and reason of a rejection, thumbnail, digest of the shard."""
        return self.folder / f"{self.number:05d}.parquet"

    @property
    def pixels_file(self) -> Path:
        """The shard: pixels of the files that could be used, in order."""
        return self.folder / f"{self.number:05d}.npy"

    @property
    def is_done(self) -> bool:
        """Whether the table, which is renamed last, is there."""
        return self.rows_file.exists()


def divide(root: Path, paths: list[str], preprocess: Preprocess, folder: Path) -> list[Chunk]:
    """Divide files into chunks, in their order and whatever the number of workers."""
    # Many chunks keep all cores busy, few files are kept open.
    size = int(np.clip(-(-len(paths) // 64), 16, 2048))
    starts = range(0, len(paths), size)
    return [
        Chunk(number, root, tuple(paths[start : start + size]), preprocess, folder)
        for number, start in enumerate(starts)
    ]


def write_chunk(chunk: Chunk) -> None:
    """Preprocess a chunk's files and write its shard, then its table."""
    keep_freed_memory()
    rows, shape = [], (chunk.preprocess.size, chunk.preprocess.size, chunk.preprocess.stored_channels)
    pixels = ShardBytes(len(chunk.paths), shape)
    for path in chunk.paths:
        row, stored = _preprocess_file(chunk.root / path, chunk.preprocess)
        rows.append(row)
        if stored is not None:
            pixels.add(stored)
    shard = pixels.written()
    with write_aside(chunk.pixels_file) as aside:
        aside.write_bytes(shard)
    table = pd.DataFrame(rows, columns=["image_key", "rule", "reason", "thumbnail"])
    table["digest"] = sha256_of(shard)
    with write_aside(chunk.rows_file) as aside:
        table.to_parquet(aside)


def _preprocess_file(path: Path, preprocess: Preprocess) -> tuple[tuple[str, str, str, bytes], UInt8 | None]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return ("", "unreadable", f"the file cannot be read: {error.strerror}", b""), None
    try:
        pixels = safe_pixels(data, preprocess)
    except ImageRejected as rejected:
        return (sha256_of(data), rejected.rule, rejected.reason, b""), None
    stored = preprocess.stored(pixels)
    return (sha256_of(data), "", "", thumbnail(stored).tobytes()), stored
