"""The image whose way is drawn: where its file cannot be read, there is none, and no error tells its name."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pandas as pd

from secondread.data.prepare import Prepared
from secondread.steps.present import example_of
from secondread.storage.local import LocalFolder
from secondread.tasks import load_task


class Unreadable(LocalFolder):
    def read(self, path: str, most: int | None = None, start: int = 0) -> bytes:
        raise PermissionError(13, "Permission denied", path)


def prepared(root: LocalFolder) -> Prepared:
    manifest = pd.DataFrame({"path": ["well.png", "ill.png"], "label_pneumonia": [0.0, 1.0]})
    return cast(Prepared, SimpleNamespace(manifest=manifest, root=root))


def test_it_is_the_first_with_the_primary_label(tmp_path: Path) -> None:
    (tmp_path / "ill.png").write_bytes(b"image")
    assert example_of(prepared(LocalFolder(tmp_path)), load_task("pneumonia")) == b"image"


def test_a_file_that_is_gone_or_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert example_of(prepared(LocalFolder(tmp_path)), load_task("pneumonia")) is None
    (tmp_path / "ill.png").write_bytes(b"image")
    assert example_of(prepared(Unreadable(tmp_path)), load_task("pneumonia")) is None
