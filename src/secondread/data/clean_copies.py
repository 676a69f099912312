"""De-identified copies of DICOM files, some of a source's at a time."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from secondread.errors import ImageRejected
from secondread.imaging.limits import MOST_BYTES
from secondread.imaging.memory import keep_freed_memory
from secondread.imaging.sandbox import safe_clean
from secondread.storage import Folder, write_aside

COLUMNS = ("path", "status", "rule", "reason", "output", "burned_in")
_FILES = 100  # what a killed worker may lose


@dataclass(frozen=True)
class Batch:
    """One worker's job.

    Args:
        paths: relative to `root`; they may name patients, and are not shown.
        out: the folder of copies.
        rows_file: where the batch's rows of `COLUMNS` are written, which makes it count.
    """

    root: Folder
    paths: tuple[str, ...] = field(repr=False)
    secret: bytes = field(repr=False)
    out: Path
    rows_file: Path


def batches(root: Folder, paths: Sequence[str], secret: bytes, out: Path, rows: Path) -> list[Batch]:
    """Divide files, in their order.

    Args:
        rows: the folder of all batches' rows.
    """
    starts = range(0, len(paths), _FILES)
    return [
        Batch(root, tuple(paths[start : start + _FILES]), secret, out, rows / f"{number:06d}.parquet")
        for number, start in enumerate(starts)
    ]


def write_batch(batch: Batch) -> None:
    """Write a copy of each file that can be de-identified, and a row of every file."""
    keep_freed_memory()
    rows = [_row(batch, path, content) for path, content in zip(batch.paths, _contents(batch), strict=True)]
    with write_aside(batch.rows_file) as aside:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(aside)


def _row(batch: Batch, path: str, content: bytes | ImageRejected) -> Mapping[str, str]:
    row = dict.fromkeys(COLUMNS, "") | {"path": path}
    try:
        if isinstance(content, ImageRejected):
            raise content
        clean = safe_clean(content, batch.secret)
        output = f"{clean.patient}/{clean.study}/{clean.series}/{clean.instance}.dcm"
        _put(batch.out / output, clean.data)
    except ImageRejected as rejected:
        return row | {"status": rejected.status, "rule": rejected.rule, "reason": rejected.reason}
    return row | {"status": "written", "output": output, "burned_in": clean.burned_in}


def _contents(batch: Batch) -> Iterator[bytes | ImageRejected]:
    """What each file holds, if it is a plain one; the next ones are read while the caller works on the last."""
    seen = batch.root.look(batch.paths)
    plain = [path for path, file in zip(batch.paths, seen, strict=True) if file is None or file.kind == "file"]
    contents = batch.root.read_each(plain, max(MOST_BYTES.values()) + 1)
    for file in seen:
        if file is not None and file.kind != "file":
            yield ImageRejected("not_regular", "a link or device, not a plain file")
            continue
        content = next(contents)
        if isinstance(content, OSError):
            yield ImageRejected("unreadable", f"the file cannot be read: {content.strerror}")
        else:
            yield content


def _put(path: Path, data: bytes) -> None:
    """Write a copy; the same one may be there from before, or from an equal file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
        aside.chmod(0o644)
        os.link(aside, path)  # unlike a rename, it never replaces the copy of another file
    except FileExistsError:
        if path.read_bytes() != data:
            raise ImageRejected(
                "same_uid", "another file of the source has the same SOP Instance UID (0008,0018) and another content"
            ) from None
    finally:
        aside.unlink()
