"""The store: the same bytes by every way to them, and a clear word about one that cannot be used."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from s3_server import S3Server

from secondread.config import DataSettings, PreprocessSettings
from secondread.data import chunk as chunk_module
from secondread.data.manifest import manifest_digest
from secondread.data.sources.detect import open_source
from secondread.data.sources.index import Index
from secondread.data.store import Pixels, Store, build_store, is_store, open_store, plan_digest
from secondread.errors import ImageRejected, SplitError, StoreError
from secondread.imaging.preprocess import Preprocess, thumbnail
from secondread.storage.cache import Cache
from secondread.tasks import load_task

TASK = load_task("pneumonia")
SECRET = b"a secret of the tests"
IMAGES = 40  # three chunks of at most 16

# Slow enough to be killed in the middle of the second chunk.
BUILD_SLOWLY = """
import sys, time
from pathlib import Path
from secondread.data.sources.detect import open_source
from secondread.data import chunk, store
from secondread.config import DataSettings, PreprocessSettings
from secondread.imaging.preprocess import Preprocess
from secondread.tasks import load_task
task, quick, images = load_task("pneumonia"), chunk._preprocess_file, iter(range(1000))
def slow(data, preprocess):
    time.sleep(60 if next(images) == 20 else 0)
    return quick(data, preprocess)
chunk._preprocess_file = slow
index = open_source(Path(sys.argv[1]), task)
form = Preprocess.build(task, PreprocessSettings(size=16), index.unit, index.display_window)
store.build_store(index, "pneumonia", form, DataSettings(), Path(sys.argv[2]), b"a secret of the tests", 1)
"""


class Interrupted(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 noise pictures in folders named by class."""
    root = tmp_path_factory.mktemp("source")
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        write_png(root / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{number:02d}.png", random)
    return root


def write_png(path: Path, random: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), random.integers(0, 256, (64, 64), np.uint8))


def index_of(root: Path) -> Index:
    return open_source(root, TASK, workers=1)


def form(size: int = 16) -> Preprocess:
    return Preprocess.build(TASK, PreprocessSettings(size=size), "display", None)


def build(index: Index, out: str | Path, workers: int = 1, size: int = 16) -> Store:
    return build_store(index, TASK.name, form(size), DataSettings(), out, SECRET, workers)


@pytest.fixture
def built(folder: Path, tmp_path: Path) -> Path:
    """A whole store."""
    build(index_of(folder), tmp_path / "store")
    return tmp_path / "store"


def content(out: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def interrupt_at(monkeypatch: pytest.MonkeyPatch, image: int) -> Callable[[], int]:
    """Raise when the image of that number is begun; returns a count of images begun."""
    begun: list[object] = []
    preprocess_file = chunk_module._preprocess_file

    def counted(data: bytes | OSError, preprocess: Preprocess) -> object:
        begun.append(data)
        if len(begun) == image:
            raise Interrupted
        return preprocess_file(data, preprocess)

    monkeypatch.setattr(chunk_module, "_preprocess_file", counted)
    return lambda: len(begun)


def test_a_store_holds_what_training_and_serving_see(folder: Path, built: Path) -> None:
    store = open_store(built)
    assert (store.name, len(store.manifest), len(store.pixels)) == ("class_folders", IMAGES, IMAGES)
    for row in (0, 15, 16, 39):
        pixels = form().pixels((folder / str(store.manifest["path"][row])).read_bytes())
        assert np.array_equal(store.pixels.take(np.array([row]))[0], pixels)
    assert store.manifest["label_pneumonia"].sum() == IMAGES / 2
    assert set(store.manifest["split"]) == {"train", "val", "test"}


def test_one_worker_and_two_write_the_same_bytes(folder: Path, built: Path, tmp_path: Path) -> None:
    build(index_of(folder), tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(built)


def test_an_interrupted_job_goes_on_where_it_was_and_ends_with_the_same_bytes(
    folder: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 20)
        with pytest.raises(Interrupted):
            build(index_of(folder), out)
    assert is_store(out)
    assert not (out / "store.json").exists()
    begun = interrupt_at(monkeypatch, 1000)
    build(index_of(folder), out)
    assert begun() == IMAGES - 16  # the first chunk was done
    assert content(out) == content(built)


def test_a_job_killed_in_the_middle_goes_on_and_ends_with_the_same_bytes(
    folder: Path, built: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with subprocess.Popen([sys.executable, "-c", BUILD_SLOWLY, folder, out], stderr=subprocess.DEVNULL) as job:
        until = time.monotonic() + 60
        while not (out / "shards" / "00000.parquet").exists() and time.monotonic() < until:
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
    # What a kill leaves that falls between two bytes of a file.
    (out / "shards" / f".00001.npy.{job.pid}@{platform.node()}.part").write_bytes(b"half")
    with pytest.raises(StoreError, match="unfinished; run the same preprocess command again to finish it"):
        open_store(out)
    build(index_of(folder), out)
    assert content(out) == content(built)


def test_what_another_living_process_writes_aside_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 20)
        with pytest.raises(Interrupted):
            build(index_of(folder), tmp_path / "store")
    alive = tmp_path / "store" / "shards" / f".00001.npy.{os.getppid()}@{platform.node()}.part"
    alive.write_bytes(b"half")
    build(index_of(folder), tmp_path / "store")
    assert alive.read_bytes() == b"half"


def test_a_whole_store_of_the_same_images_is_opened_without_work(
    folder: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = interrupt_at(monkeypatch, 1)
    again = build(index_of(folder), built)
    assert begun() == 0
    assert again.manifest_digest == open_store(built).manifest_digest


def test_a_changed_file_makes_another_store(folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "own/NORMAL/a.png", np.random.default_rng(1))
    write_png(tmp_path / "own/PNEUMONIA/b.png", np.random.default_rng(2))
    before = plan_digest(index_of(tmp_path / "own"), TASK.name, form(), SECRET)
    assert before == plan_digest(index_of(tmp_path / "own"), TASK.name, form(), SECRET)
    assert before != plan_digest(index_of(tmp_path / "own"), TASK.name, form(32), SECRET)
    write_png(tmp_path / "own/NORMAL/a.png", np.random.default_rng(3))
    assert before != plan_digest(index_of(tmp_path / "own"), TASK.name, form(), SECRET)


def test_the_data_version_is_that_of_the_manifest_and_names_no_folder(folder: Path, built: Path) -> None:
    store = open_store(built)
    assert store.manifest_digest == manifest_digest(store.manifest)
    assert len(store.store_digest) == 32
    moved = built.rename(built.with_name("moved"))
    assert open_store(moved).store_digest == store.store_digest


def test_files_that_cannot_be_used_are_put_aside_with_rule_and_reason(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    random = np.random.default_rng(1)
    for number in range(12):
        write_png(own / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{number:02d}.png", random)
    whole = (own / "NORMAL/00.png").read_bytes()
    (own / "NORMAL/half, again.png").write_bytes(whole[: len(whole) // 2])
    (own / "PNEUMONIA/note.png").write_text("no image")
    assert cv2.imwrite(str(own / "NORMAL/black.png"), np.zeros((64, 64), np.uint8))
    (own / "NORMAL/link.png").symlink_to(own / "NORMAL/00.png")
    write_png(own / "elsewhere.png", random)
    store = build(index_of(own), tmp_path / "store")
    assert len(store.manifest) == len(store.pixels) == 12
    text = (tmp_path / "store" / "quarantine.csv").read_text()
    assert text.splitlines()[0] == "path,status,rule,reason"
    quarantine = pd.read_csv(tmp_path / "store" / "quarantine.csv").set_index("path")
    assert quarantine["rule"].to_dict() == {
        "NORMAL/black.png": "constant",
        "NORMAL/half, again.png": "truncated",
        "NORMAL/link.png": "not_regular",
        "PNEUMONIA/note.png": "format",
        "elsewhere.png": "no_label",
    }
    assert set(quarantine.index[quarantine["status"] == "out_of_scope"]) == {"NORMAL/black.png"}
    assert set(quarantine["status"]) == {"rejected", "out_of_scope"}
    assert quarantine["reason"].notna().all()
    rows = store.manifest["path"].tolist()
    assert np.array_equal(
        store.pixels.take(np.array([rows.index("PNEUMONIA/01.png")]))[0],
        form().pixels((own / "PNEUMONIA/01.png").read_bytes()),
    )


def test_a_file_that_went_away_after_the_index_is_put_aside(folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for number in range(12):
        write_png(tmp_path / "own" / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{number:02d}.png", random)
    index = index_of(tmp_path / "own")
    (tmp_path / "own/NORMAL/04.png").unlink()
    store = build(index, tmp_path / "store")
    assert len(store.manifest) == 11
    assert (tmp_path / "store" / "quarantine.csv").read_text().splitlines() == [
        "path,status,rule,reason",
        "NORMAL/04.png,rejected,unreadable,the file cannot be read: No such file or directory",
    ]


def test_without_any_usable_image_there_is_no_store(tmp_path: Path) -> None:
    for name in ("NORMAL/a.png", "PNEUMONIA/b.png"):
        (tmp_path / "own" / name).parent.mkdir(parents=True)
        (tmp_path / "own" / name).write_text("no image")
    with pytest.raises(StoreError, match=r"own: none of its 2 images could be used; .*quarantine.csv says why"):
        build(index_of(tmp_path / "own"), tmp_path / "store")
    assert len(pd.read_csv(tmp_path / "store" / "quarantine.csv")) == 2
    with pytest.raises(StoreError, match="unfinished"):
        open_store(tmp_path / "store")


def test_patients_too_few_to_divide_leave_a_job_that_can_go_on(tmp_path: Path) -> None:
    for number, name in enumerate(["NORMAL/a.png", "PNEUMONIA/b.png"]):
        write_png(tmp_path / "own" / name, np.random.default_rng(number))
    with pytest.raises(SplitError, match="2 separate patients cannot fill 3 splits"):
        build(index_of(tmp_path / "own"), tmp_path / "store")
    assert not (tmp_path / "store" / "store.json").exists()


def test_subgroups_come_back_and_make_another_store(tmp_path: Path) -> None:
    for number in range(12):
        write_png(tmp_path / f"own/{number}.png", np.random.default_rng(number))
    rows = [f"{number}.png,{number % 2}" for number in range(12)]
    (tmp_path / "own/table.csv").write_text("\n".join(["path,pneumonia", *rows]))
    without = plan_digest(index_of(tmp_path / "own"), TASK.name, form(), SECRET)
    (tmp_path / "own/table.csv").write_text("\n".join(["path,pneumonia,age", *(f"{row},70" for row in rows)]))
    assert plan_digest(index_of(tmp_path / "own"), TASK.name, form(), SECRET) != without
    build(index_of(tmp_path / "own"), tmp_path / "store")
    assert set(open_store(tmp_path / "store").manifest["subgroup_age"]) == {"65+"}


def test_nothing_in_a_store_tells_a_patients_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["path,patient,study,series,pneumonia"]
    for number in range(12):
        write_png(tmp_path / f"own/{number}.png", random)
        lines.append(f"{number}.png,DOE^JANE {number},STUDY {number},SERIES {number},{number % 2}")
    (tmp_path / "own/table.csv").write_text("\n".join(lines))
    store = build(index_of(tmp_path / "own"), tmp_path / "store")
    assert store.manifest["patient_key"].nunique() == 12
    texts = store.manifest.astype(str).to_csv() + "".join(
        file.read_text() for file in (tmp_path / "store").iterdir() if file.suffix in (".json", ".csv")
    )
    assert not any(word in texts for word in ("DOE", "JANE", "STUDY", "SERIES"))
    for file in (tmp_path / "store" / "shards").glob("*.parquet"):
        assert list(pd.read_parquet(file).columns) == ["image_key", "rule", "reason", "thumbnail", "digest"]


def test_paths_are_in_the_manifest_alone_and_below_the_root(folder: Path, built: Path) -> None:
    manifest = open_store(built).manifest
    assert not manifest["path"].str.contains(str(folder)).any()
    described = json.loads((built / "store.json").read_text())
    assert described.pop("root") == str(folder)
    assert "NORMAL" not in json.dumps(described)
    others = manifest.drop(columns="path").astype(str).to_csv()
    assert "NORMAL" not in others
    assert "/" not in others


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_shard_is_named(built: Path, number: int) -> None:
    shard = built / "shards" / f"{number:05d}.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        open_store(built)
    assert str(caught.value) == (
        f"{built}: shard {number:05d}.npy is damaged or missing; delete the folder and preprocess anew"
    )


def test_a_missing_shard_is_named(built: Path) -> None:
    (built / "shards" / "00001.npy").unlink()
    with pytest.raises(StoreError, match=r"store: shard 00001\.npy is damaged or missing; delete the folder and"):
        open_store(built)


@pytest.mark.parametrize("found", [2, "1", None])
def test_a_store_of_another_format_is_refused_by_its_number(built: Path, found: object) -> None:
    description = json.loads((built / "store.json").read_text())
    (built / "store.json").write_text(json.dumps(description | {"format": found}))
    with pytest.raises(StoreError) as caught:
        open_store(built)
    assert str(caught.value) == f"{built}: store of format {found!r}, this version reads format 1; preprocess anew"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"format": 1}', b'{"format": 1, "task": "pneumonia"}'])
def test_a_damaged_description_is_refused(built: Path, text: bytes) -> None:
    (built / "store.json").write_bytes(text)
    with pytest.raises(StoreError, match=r"store: store\.json is damaged; delete the folder and preprocess anew"):
        open_store(built)


def test_a_missing_or_damaged_manifest_is_refused(built: Path) -> None:
    path = built / "manifest.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    message = r"store: manifest\.parquet is damaged or missing; delete the folder and preprocess anew"
    with pytest.raises(StoreError, match=message):
        open_store(built)
    path.unlink()
    with pytest.raises(StoreError, match=message):
        open_store(built)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.assign(label_pneumonia=1.0),
        lambda manifest: manifest.iloc[1:],
        lambda manifest: manifest.assign(split="train"),
        lambda manifest: manifest[["path"]],
    ],
    ids=["labels", "rows", "split", "columns"],
)
def test_another_manifest_than_was_written_is_refused(
    built: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    path = built / "manifest.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(StoreError, match=r"manifest\.parquet is not the one that was written; delete the folder"):
        open_store(built)


def test_a_store_of_other_settings_is_not_written_over(folder: Path, built: Path) -> None:
    before = content(built)
    with pytest.raises(StoreError, match="holds something else, or a store of other images or settings; choose anoth"):
        build(index_of(folder), built, size=32)
    assert content(built) == before


def test_a_folder_of_something_else_is_left_as_it_was(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("do not lose me")
    with pytest.raises(StoreError, match="thesis: holds something else"):
        build(index_of(folder), tmp_path / "thesis")
    assert content(tmp_path / "thesis") == {"chapter.txt": b"do not lose me"}


def test_a_file_in_the_place_of_the_store_is_left_as_it_was(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not lose me")
    with pytest.raises(StoreError, match=r"thesis\.txt: holds something else"):
        build(index_of(folder), tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "do not lose me"


def test_an_unfinished_store_of_other_images_is_not_continued(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 20)
        with pytest.raises(Interrupted):
            build(index_of(folder), out)
    index = index_of(folder)
    with pytest.raises(StoreError, match="holds something else"):
        build(replace(index, entries=index.entries.iloc[1:].reset_index(drop=True)), out)


def test_an_empty_folder_becomes_the_store(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    build(index_of(folder), tmp_path / "store")
    assert open_store(tmp_path / "store").manifest_digest


@pytest.mark.parametrize(("there", "expected"), [("nothing", False), ("plan.json", True), ("store.json", True)])
def test_a_store_is_known_by_its_files(tmp_path: Path, there: str, expected: bool) -> None:
    (tmp_path / there).write_text("{}")
    assert is_store(tmp_path) is expected
    assert not is_store(tmp_path / "absent")


def test_pixels_are_taken_over_the_borders_of_shards_in_any_order() -> None:
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    pixels = Pixels([images[:3], images[3:4], images[4:]])
    assert len(pixels) == 7
    wanted = np.array([6, 0, 3, 2, 4, 2])
    taken = pixels.take(wanted)
    assert taken.shape == (6, 2, 2, 1)
    assert taken.dtype == np.uint8
    assert taken[:, 0, 0, 0].tolist() == wanted.tolist()


def test_pixels_follow_others() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None]
    both = Pixels([images[:2]]).followed_by(Pixels([images[2:4], images[4:]]))
    assert len(both) == 5
    assert both.take(np.array([1, 2, 4]))[:, 0, 0, 0].tolist() == [1, 2, 4]


def test_thumbnails_are_those_of_the_pixels(folder: Path, built: Path) -> None:
    store = open_store(built)
    images = store.pixels.take(np.arange(IMAGES))
    assert np.array_equal(store.thumbnails(), np.stack([thumbnail(image) for image in images]))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_missing_or_damaged_table_of_a_shard_is_refused(built: Path, damage: Callable[[Path], object]) -> None:
    damage(built / "shards" / "00001.parquet")
    with pytest.raises(StoreError, match="store: a table of its shards is damaged or missing; delete the folder and"):
        open_store(built).thumbnails()


def test_a_missing_or_damaged_quarantine_is_refused(built: Path) -> None:
    path = built / "quarantine.csv"
    message = r"store: quarantine\.csv is damaged or missing; delete the folder and preprocess anew"
    path.write_bytes(b'"')
    with pytest.raises(StoreError, match=message):
        open_store(built).put_aside()
    path.unlink()
    with pytest.raises(StoreError, match=message):
        open_store(built).put_aside()


def test_no_row_is_an_empty_batch_of_the_right_shape() -> None:
    assert Pixels([np.zeros((2, 8, 8, 3), np.uint8)]).take(np.array([], np.int64)).shape == (0, 8, 8, 3)


def test_a_rejected_image_leaves_its_neighbours_in_their_rows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Preprocess.pixels
    count = iter(range(IMAGES))

    def every_third(self: Preprocess, data: bytes) -> object:
        if next(count) % 3 == 0:
            raise ImageRejected("third", "every third is refused")
        return whole(self, data)

    monkeypatch.setattr(Preprocess, "pixels", every_third)
    store = build(index_of(folder), tmp_path / "store")
    monkeypatch.undo()
    assert [shard.rows for shard in store.description.shards] == [10, 11, 5]  # of 16, 16 and 8 images
    for row, path in enumerate(store.manifest["path"]):
        pixels = form().pixels((folder / str(path)).read_bytes())
        assert np.array_equal(store.pixels.take(np.array([row]))[0], pixels)


def test_some_pixels_of_a_store_on_s3_are_read_without_the_rest(folder: Path, s3: S3Server, tmp_path: Path) -> None:
    index, rows = index_of(folder), np.array([IMAGES - 1, 3, 20])
    there = replace(build(index, s3.bucket("glance") + "/store"), cache=Cache(tmp_path / "cache", 0))
    assert (there.pixels_in_place.take(rows) == build(index, tmp_path / "here").pixels_in_place.take(rows)).all()
    assert not (tmp_path / "cache").exists()
    shard = s3.folder / "glance" / "store" / "shards" / there.description.shards[0].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"s3://glance/store: shard 00000\.npy is damaged or missing; delete"):
        there.pixels_in_place.take(np.array([15]))
