"""Every bad file at once, through the command line: jobs end well, and with what the good files alone would give."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bad_files import BadFile, bad_files
from bad_files.neighbours import neighbours
from bad_files.odd import NAMES, make_irregular
from bad_files.sound import PICTURES
from mlflow import MlflowClient

from integration.tiny_champion import register_tiny_champion
from secondread.cli import main
from secondread.data.store import open_store

pytestmark = pytest.mark.slow  # some files take their decoder's five seconds

SOUND = 40  # neighbours of each class


def write_sound(root: Path) -> list[str]:
    """Class folders of sound files, some of which bear odd names; give their paths."""
    paths = []
    for number, (name, data) in enumerate(neighbours(2 * SOUND)):
        path = root / ("normal" if number % 2 else "pneumonia") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path.relative_to(root).as_posix())
    return paths


@pytest.fixture(scope="module")
def corpus() -> list[BadFile]:
    return list(bad_files(with_bombs=True))


@pytest.fixture
def mixed(corpus: list[BadFile], tmp_path: Path) -> Path:
    """The sound files and every bad one, in class folders."""
    root = tmp_path / "mixed"
    first = write_sound(root)[0]
    for number, bad in enumerate(corpus):
        (root / ("normal" if number % 2 else "pneumonia") / bad.name).write_bytes(bad.data)
    make_irregular(root / "normal", root / first)
    (root / "pneumonia" / "folder.dcm").mkdir()
    return root


def test_preprocess_gives_what_the_good_files_alone_give(
    workplace: Path, mixed: Path, corpus: list[BadFile], tmp_path: Path
) -> None:
    sound = write_sound(tmp_path / "alone")
    for root in (mixed, tmp_path / "alone"):
        out = ["--out", f"{root}.store", "--execution.workers", "2"]
        main(["preprocess", "--task", "pneumonia", "--source", str(root), *out])
    store, alone = open_store(Path(f"{mixed}.store")), open_store(tmp_path / "alone.store")
    aside = pd.read_csv(tmp_path / "mixed.store" / "quarantine.csv", keep_default_na=False)
    names = aside["path"].map(lambda path: path.rpartition("/")[2])
    assert aside["reason"].str.len().gt(10).all()
    rows = store.manifest.set_index("path")
    # Whether one also meets the limit of time is the machine's to say.
    assert {"not_regular", "truncated", "too_large", "scans", "dimensions"} <= set(aside["rule"])
    stored = {path.rpartition("/")[2] for path in rows.index}
    assert sorted({bad.name for bad in corpus if bad.is_refused} & stored) == []
    assert {bad.name for bad in corpus} <= stored | set(names)  # a row of its own for each
    places = pd.Series(np.arange(len(rows)), rows.index)
    assert rows.loc[sound, "image_key"].tolist() == alone.manifest.set_index("path").loc[sound, "image_key"].tolist()
    order = pd.Series(np.arange(len(alone.manifest)), alone.manifest["path"])
    np.testing.assert_array_equal(
        store.pixels.take(places[sound].to_numpy()), alone.pixels.take(order[sound].to_numpy())
    )


def test_score_answers_every_neighbour_and_says_why_of_the_others(
    tracked: MlflowClient, mixed: Path, corpus: list[BadFile], tmp_path: Path
) -> None:
    register_tiny_champion(tracked, "pneumonia", tmp_path / "champion", bias=0)
    main(["score", "--task", "pneumonia", "--source", str(mixed), "--out", str(tmp_path / "scores")])
    slices = pd.read_csv(tmp_path / "scores" / "slices.csv")
    aside = pd.read_csv(tmp_path / "scores" / "put_aside.csv", keep_default_na=False)
    answered = {path.rpartition("/")[2] for path in slices["path"]}
    refused = {path.rpartition("/")[2] for path in aside["path"]}
    assert {name for name, _ in neighbours(2 * SOUND)} <= answered
    assert sorted({bad.name for bad in corpus if bad.is_refused} & answered) == []
    assert {bad.name for bad in corpus} <= answered | refused
    assert aside["reason"].str.len().gt(10).all()


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_file_is_read_whatever_its_name(name: str, workplace: Path, tmp_path: Path) -> None:
    write_sound(tmp_path / "source")
    (tmp_path / "source" / "normal" / name).write_bytes(PICTURES["png"])
    out = ["--out", str(tmp_path / "store"), "--execution.workers", "1"]
    main(["preprocess", "--task", "pneumonia", "--source", str(tmp_path / "source"), *out])
    aside = pd.read_csv(tmp_path / "store" / "quarantine.csv")
    if name == NAMES["not UTF-8"]:  # no table holds it: it is put aside, and nothing else is
        assert aside[["path", "rule"]].to_numpy().tolist() == [["normal/caf\\xe9.png", "name"]]
    else:
        assert f"normal/{name}" in set(open_store(tmp_path / "store").manifest["path"])
    assert len(open_store(tmp_path / "store").manifest) == 2 * SOUND + (name != NAMES["not UTF-8"])
