"""What preprocessing JPEGs costs: our store, on all cores, beside one bare loop of decoding and resizing.

Part of `benchmarks/preprocess.py`.

Ours goes from a folder to a whole store: index, hash, limits, decode, resize, audit, split, shards. The peer reads,
decodes and resizes in one process and keeps nothing; it decodes whole, which is the bare loop, and then at the reduced
size that libjpeg offers and ours takes too. Without FOLDER the images are phantoms enlarged to the size of a hospital's
X-rays. Sides are run in turns with warm file caches, ours in a fresh process each time. Starting its workers takes a
second or so whatever the number of images: rates are given with it and behind it.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from secondread.config import load_config
from secondread.data.phantom.write import write_phantom
from secondread.data.sources.detect import open_source
from secondread.data.store import build_store
from secondread.execution import core_count, map_in_processes
from secondread.imaging.preprocess import Preprocess, thumbnail
from secondread.tasks import load_task

PAIRS = 5
TASK = load_task("pneumonia")
CONFIG = load_config("pneumonia", {})
SIZE = CONFIG.preprocess.size
PATIENTS = 700
ENLARGED = 4
GOAL = 0.9


def compare_jpegs(folder: Path) -> None:
    """Print images a second of both sides and their ratio, with and behind the start of processes."""
    files = [str(path) for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpeg", ".jpg")]
    rows, columns = np.median([gray(file).shape for file in files[:100]], axis=0).astype(int)
    reduced = reduced_mode(int(min(rows, columns)))
    with_start, behind_start, peers, reduced_peers = [], [], [], []
    for _ in range(PAIRS):
        took, start = in_fresh_process(partial(preprocess, folder)), in_fresh_process(start_workers)
        with_start.append(len(files) / took)
        behind_start.append(len(files) / (took - start))
        peers.append(len(files) / seconds(partial(bare_loop, files, cv2.IMREAD_GRAYSCALE)))
        reduced_peers.append(len(files) / seconds(partial(bare_loop, files, reduced)))
    cores = core_count()
    print(f"{len(files):,} JPEGs of about {columns}x{rows} to {SIZE}x{SIZE}, {cores} cores, {PAIRS} pairs in turns")
    for name, rates in (
        ("secondread, images/s", with_start),
        ("secondread behind the start of its workers", behind_start),
        ("bare loop", peers),
        ("bare loop at reduced size", reduced_peers),
    ):
        print(f"  {name}: {in_words(rates, '.0f')}")
    for name, ours in (("secondread", with_start), ("behind the start", behind_start)):
        for peer, theirs in (("bare loop", peers), ("bare loop at reduced size", reduced_peers)):
            ratios = [our / (cores * its) for our, its in zip(ours, theirs, strict=True)]
            print(f"  {name} / ({cores} x {peer}): {in_words(ratios, '.2f')}; the goal is {GOAL}")


def preprocess(folder: Path) -> None:
    """From a folder to a whole store."""
    with tempfile.TemporaryDirectory() as out:
        index = open_source(folder, TASK)
        form = Preprocess.build(TASK, CONFIG.preprocess, index.unit, index.display_window)
        build_store(index, TASK.name, form, CONFIG.data, Path(out) / "store", b"secret", workers=None)


def start_workers() -> None:
    """Start as many workers as `preprocess` does, with the same imports, for next to nothing."""
    blank = [np.zeros((SIZE, SIZE, 1), np.uint8)] * core_count()
    for _ in map_in_processes(thumbnail, blank, None, "start workers"):
        pass


def bare_loop(files: list[str], mode: int) -> None:
    """Decode to gray and shrink, as the shortest script would."""
    for file in files:
        cv2.resize(np.asarray(cv2.imread(file, mode)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def gray(file: str) -> np.ndarray:
    """The whole picture."""
    return np.asarray(cv2.imread(file, cv2.IMREAD_GRAYSCALE))


def reduced_mode(side: int) -> int:
    """The smallest decoding that leaves twice as many pixels a side as are kept, as `imaging.raster` chooses it."""
    modes = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2}
    return next((mode for factor, mode in modes.items() if side >= 2 * SIZE * factor), cv2.IMREAD_GRAYSCALE)


def write_xrays(folder: Path) -> None:
    """A phantom whose pictures are enlarged and grainy, in place."""
    write_phantom(folder, TASK, PATIENTS, seed=0)
    for _ in map_in_processes(enlarge, sorted(folder.rglob("*.jpeg")), None, "enlarge"):
        pass


def enlarge(path: Path) -> None:
    """Make a picture as large as an X-ray, with noise that makes its file as large too."""
    large = cv2.resize(gray(str(path)), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    grainy = large + np.random.default_rng(0).normal(0, 3, large.shape)
    cv2.imwrite(str(path), np.clip(grainy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def in_fresh_process(work: Callable[[], None]) -> float:
    """Wall time of some work in a process that has done nothing but its imports."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(seconds, work).result()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_words(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
