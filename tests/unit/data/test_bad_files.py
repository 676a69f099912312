"""Bad files of every format: no crash, no hang, no image of a file that is cut, and no neighbour lost."""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bad_files import BadFile, bad_files
from bad_files.bombs import before_the_patient, bombs, elements
from bad_files.neighbours import neighbours
from bad_files.odd import make_irregular
from bad_files.sound import SOUND

from secondread.data.chunk import PLAN, Chunk, write_chunk
from secondread.data.sources.headers import headers_of
from secondread.data.unlabelled import Place, folder_files, places_of
from secondread.errors import ImageRejected
from secondread.imaging import sandbox
from secondread.imaging.decoder_pool import DecoderPool, Patience
from secondread.imaging.dicom.read import Header
from secondread.imaging.preprocess import Preprocess
from secondread.storage import open_folder

XRAYS = Preprocess(unit="display", size=64, channels=1, modalities=("DX",))
EVERY = 7  # bad file is tried here, and all of them in `make test-all`


@pytest.fixture(scope="module")
def some() -> list[BadFile]:
    """A few of every kind but bombs."""
    return list(islice(bad_files(with_bombs=False), 0, None, EVERY))


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderPool]:
    """A job's decoder that gives a file no more than a moment."""
    pool = DecoderPool(XRAYS, seconds=0.3, wall_seconds=60)
    monkeypatch.setattr(sandbox, "_pool", lambda _: pool)
    yield pool
    for each in pool._decoders:
        each.end()


def write_among_neighbours(folder: Path, bad: list[BadFile]) -> tuple[list[str], list[str]]:
    """Write bad files and sound ones in turns; give the names of all, and of the sound."""
    folder.mkdir()
    files: list[tuple[str, bytes]] = []
    sound = list(neighbours(max(8, len(bad) // 8)))
    for number, each in enumerate(bad):
        files.append((each.name, each.data))
        if number % 8 == 0 and number // 8 < len(sound):
            files.append(sound[number // 8])
    files += [each for each in sound if each not in files]
    for name, data in files:
        (folder / name).write_bytes(data)
    return [name for name, _ in files], [name for name, _ in sound]


def preprocess(folder: Path, names: list[str], out: Path) -> tuple[pd.DataFrame, np.ndarray]:
    out.mkdir()
    (out / PLAN).touch()
    write_chunk(Chunk(0, open_folder(folder), tuple(names), XRAYS, open_folder(out)))
    return pd.read_parquet(out / "shards" / "00000.parquet"), np.load(out / "shards" / "00000.npy")


def test_every_format_is_read_where_it_is_sound(decoder: DecoderPool) -> None:
    for data in SOUND.values():
        assert sandbox.safe_pixels(data, XRAYS).shape == (64, 64, 1)


def test_bad_files_harm_no_neighbour(decoder: DecoderPool, some: list[BadFile], tmp_path: Path) -> None:
    names, sound = write_among_neighbours(tmp_path / "mixed", some)
    rows, pixels = preprocess(tmp_path / "mixed", names, tmp_path / "all")
    alone, their_pixels = preprocess(tmp_path / "mixed", sound, tmp_path / "alone")
    rows["name"] = names
    is_sound = rows["name"].isin(sound)
    assert (rows.loc[is_sound, "rule"] == "").all()
    assert rows.loc[is_sound, "image_key"].tolist() == alone["image_key"].tolist()
    read = rows.loc[rows["rule"] == "", "name"].tolist()
    np.testing.assert_array_equal(pixels[[name in sound for name in read]], their_pixels)
    refused = {bad.name for bad in some if bad.is_refused}
    assert sorted(refused & set(read)) == []
    assert rows.loc[~rows["name"].isin(read), "reason"].str.len().gt(10).all()


def test_a_server_answers_of_bad_files_what_a_job_does(decoder: DecoderPool, some: list[BadFile]) -> None:
    (_, good), *_ = neighbours(1)
    expected = XRAYS.pixels(good)
    for bad in some[::5]:
        assert answer(decoder, bad.data) == answer(None, bad.data)
        np.testing.assert_array_equal(decoder.pixels(good, Patience()), expected)


def answer(pool: DecoderPool | None, data: bytes) -> object:
    """A rule, or the pixels: a server's, or a job's."""
    try:
        return (pool.pixels(data, Patience()) if pool else sandbox.safe_pixels(data, XRAYS)).tobytes()
    except ImageRejected as rejected:
        return rejected.rule


def test_a_header_of_any_file_is_told_or_refused(decoder: DecoderPool, some: list[BadFile], tmp_path: Path) -> None:
    told = set()
    for bad in some:
        (tmp_path / "file").write_bytes(bad.data)
        told.add(type(headers_of(open_folder(tmp_path), ["file"])[0]))
    assert told == {Header, ImageRejected, type(None)}


BOMBS = ("sequences_1000_deep.dcm", "deflate_bomb.dcm", "rle_bomb.dcm", "text_bomb.png", "scans.jpg")


def test_bombs_end_in_a_row_each(decoder: DecoderPool, tmp_path: Path) -> None:
    chosen = [BadFile(name, data) for name, data in bombs() if name in BOMBS]
    names, sound = write_among_neighbours(tmp_path / "mixed", chosen)
    rows, _ = preprocess(tmp_path / "mixed", names, tmp_path / "all")
    rules = dict(zip(names, rows["rule"], strict=True))
    assert rules["deflate_bomb.dcm"] == "too_large"
    assert rules["scans.jpg"] == "scans"
    assert [rules[name] for name in sound] == [""] * len(sound)
    assert len(rows) == len(names)


def test_a_header_that_takes_too_long_ends_in_a_row(decoder: DecoderPool, tmp_path: Path) -> None:
    (tmp_path / "slow.dcm").write_bytes(before_the_patient(elements(190_000)))
    rows, _ = preprocess(tmp_path, ["slow.dcm"], tmp_path / "out")
    assert rows["rule"].tolist() == ["timeout"]


def test_links_pipes_sockets_and_folders_are_never_opened(decoder: DecoderPool, tmp_path: Path) -> None:
    (name, data), *_ = neighbours(1)
    (tmp_path / name).write_bytes(data)
    irregular = make_irregular(tmp_path, tmp_path / name)
    (tmp_path / "folder.dcm").mkdir()
    shutil.copy(tmp_path / name, tmp_path / "folder.dcm" / "inside.dcm")
    root = open_folder(tmp_path)
    files = list(folder_files(root, tmp_path / "none"))
    paths = [file.path for file in files]
    places = dict(zip(paths, places_of(files, root, paths), strict=True))
    assert sorted(path for path, place in places.items() if isinstance(place, Place)) == ["folder.dcm/inside.dcm", name]
    refused = {path: place.rule for path, place in places.items() if isinstance(place, ImageRejected)}
    assert refused == dict.fromkeys(irregular, "not_regular")
