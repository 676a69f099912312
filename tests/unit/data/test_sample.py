"""Which images of a source are looked at closely."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from s3_server import S3Server

from secondread.config import load_config
from secondread.data.sample import Sample, sample
from secondread.errors import SourceError
from secondread.storage import sha256_of
from secondread.tasks import load_task

TASK = load_task("pneumonia")


def put(root: Path, paths: list[str]) -> Path:
    """Write a different picture under each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((64, 64), 40, np.uint8)
        pixels[number] = 200
        (root / path).write_bytes(bytes(cv2.imencode(".png", pixels)[1]))
    return root


def chosen(data: Path | str, most: int, home: Path) -> Sample:
    config = load_config("pneumonia", {"data": str(data), "execution.workers": 1})
    return sample(TASK, config, home, most, home / "out", say=lambda line: None)


def test_half_of_them_have_the_label_where_so_many_do(tmp_path: Path) -> None:
    root = put(tmp_path / "x", [f"Normal/{n:02}.png" for n in range(10)] + [f"Pneumonia/{n:02}.png" for n in range(4)])
    for most, positive, others in ((6, 3, 3), (12, 4, 8), (1, 0, 1), (100, 4, 10)):
        found = chosen(root, most, tmp_path)
        labels = found.images["label_pneumonia"]
        assert (found.of, (labels == 1).sum(), (labels == 0).sum()) == (14, positive, others), most
        assert not found.is_file


def test_they_are_spread_evenly_over_the_source(tmp_path: Path) -> None:
    root = put(tmp_path / "x", [f"Normal/{n:02}.png" for n in range(9)] + ["Pneumonia/0.png"])
    found = chosen(root, 4, tmp_path)
    assert list(found.images["path"]) == ["Normal/01.png", "Normal/04.png", "Normal/07.png", "Pneumonia/0.png"]


def test_the_test_images_of_a_source_that_has_them_are_looked_at(tmp_path: Path) -> None:
    root = put(
        tmp_path / "x", [f"{split}/{name}/1.png" for split in ("train", "test") for name in ("NORMAL", "PNEUMONIA")]
    )
    assert {Path(path).parts[0] for path in chosen(root, 4, tmp_path).images["path"]} == {"test"}


def test_a_folder_without_a_known_layout_is_taken_file_by_file(tmp_path: Path) -> None:
    root = put(tmp_path / "x", ["a/1.png", "a/2.png", "b/3.png"])
    found = chosen(root, 10, tmp_path)
    assert list(found.images["path"]) == ["a/1.png", "a/2.png", "b/3.png"]
    assert found.images["label_pneumonia"].isna().all()
    assert not found.is_placed


def test_one_file_is_itself(tmp_path: Path) -> None:
    root = put(tmp_path / "x", ["a.png", "b.png"])
    found = chosen(root / "b.png", 10, tmp_path)
    assert (found.is_file, found.of, list(found.images["path"])) == (True, 1, ["b.png"])
    assert found.root.address == str(root)


def test_what_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder or file"):
        chosen(tmp_path / "nowhere", 3, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no file"):
        chosen(tmp_path / "empty", 3, tmp_path)


@pytest.mark.parametrize("below", ["", "/Normal", "/Normal/01.png", "/loose"])
def test_of_a_source_on_s3_the_same_are_looked_at(below: str, tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.bucket(f"sample-{sha256_of(below.encode())[:8]}")
    paths = [f"{name}/{n:02}.png" for name in ("Normal", "Pneumonia") for n in range(5)] + ["loose/b/1", "loose/2"]
    root = put(s3.folder / bucket.removeprefix("s3://"), paths)
    here, there = chosen(f"{root}{below}", 4, tmp_path), chosen(f"{bucket}{below}", 4, tmp_path)
    assert len(here.images) == min(here.of, 4) >= 1
    pd.testing.assert_frame_equal(here.images, there.images)
    assert (here.of, here.is_placed, here.is_file) == (there.of, there.is_placed, there.is_file)
    assert there.root.address.startswith(bucket)
