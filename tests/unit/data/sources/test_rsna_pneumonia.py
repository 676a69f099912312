"""RSNA's pneumonia challenge: a row per box."""

from pathlib import Path

from source_folders import write_rsna_pneumonia

from secondread.data.sources.detect import open_source
from secondread.tasks import load_task


def test_boxes_of_an_image_become_one_label(tmp_path: Path) -> None:
    write_rsna_pneumonia(tmp_path)
    entries = open_source(tmp_path, load_task("pneumonia"), workers=1).entries
    assert entries["label_pneumonia"].tolist() == [1, 1, 0, 0]
    assert entries["patient"].tolist() == ["0000-0", "0000-1", "0000-2", "0000-3"]
