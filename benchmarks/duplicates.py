"""What the near-duplicate audit of many images costs and finds, beside the exact peer and a library's approximate one.

    python benchmarks/duplicates.py [IMAGES]

Thumbnails are synthetic: smooth random fields whose few slow waves differ as those of X-rays do, a fifth of them slices
of series in which each resembles the next. One in a hundred is planted: a copy that was compressed as JPEG, resized, or
made brighter or darker, kept where its correlation is still at least .99. They lie in a memory-mapped file; groups are
found in a fresh process, whose memory beyond the file is measured. The peers: every pair of all 1,024 pixels by blocks
of a matrix product, measured on 50,000 and extrapolated by the square; and faiss' own approximate index (IVF, 16 of its
lists a query) on the same coordinates, whose recall is the planted copies among the ten nearest of their originals.
"""

import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from secondread.data.near_duplicates import CORRELATION, near_duplicate_groups
from secondread.execution import core_count

IMAGES = 750_000
FEWER = 50_000
PLANTED = 100  # one in so many
SERIES = 30  # slices
LISTS, PROBED = 4096, 16
BLOCK = 10_000
UInt8 = NDArray[np.uint8]


class Found(NamedTuple):
    """Groups, and what finding them took; memory is anonymous, the thumbnails' file not counted."""

    groups: NDArray[np.int64]
    minutes: float
    megabytes: float


def main(count: int) -> None:
    """Print recall, minutes and memory of ours, beside both peers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "thumbnails.npy"
        originals, copies = write_thumbnails(file, count)
        print(f"{count:,} thumbnails, {len(copies):,} of them planted copies, {core_count()} cores")
        ours = in_fresh_process(file, count)
        report("ours", ours.groups[originals] == ours.groups[copies], ours)
        fewer = min(count, FEWER)
        few = in_fresh_process(file, fewer)
        held = (originals < fewer) & (copies < fewer)
        start = time.perf_counter()
        pairs = every_pair(np.load(file, mmap_mode="r")[:fewer])
        peer = (time.perf_counter() - start) / 60
        print(
            f"every pair of {fewer:,}: {peer:.2f} minutes, {peer * (count / fewer) ** 2:.0f} for all by the square; "
            f"ours {few.minutes:.2f} minutes; pairs of theirs in one group of ours: "
            f"{np.mean(few.groups[pairs[:, 0]] == few.groups[pairs[:, 1]]):.4f} of {len(pairs):,}; "
            f"planted among them {int(held.sum()):,}"
        )
        with fresh() as pool:
            found, minutes = pool.submit(approximate, file, originals, copies).result()
        print(f"faiss IVF, {PROBED} of {LISTS} lists: recall of planted {found.mean():.4f}, {minutes:.1f} minutes")


def report(name: str, recalled: NDArray[np.bool_], found: Found) -> None:
    """Print one side's line."""
    print(
        f"{name}: recall of planted {recalled.mean():.4f}, {found.minutes:.1f} minutes, "
        f"{found.megabytes:,.0f} MB beside the thumbnails, {len(set(found.groups)):,} groups"
    )


def fresh() -> ProcessPoolExecutor:
    """One process that has imported nothing yet."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def in_fresh_process(file: Path, count: int) -> Found:
    """Group the first `count` thumbnails of a file."""
    with fresh() as pool:
        return pool.submit(measured, file, count).result()


def measured(file: Path, count: int) -> Found:
    """Group, and measure."""
    thumbnails = np.load(file, mmap_mode="r")[:count]
    start = time.perf_counter()
    groups = near_duplicate_groups(thumbnails)
    minutes = (time.perf_counter() - start) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # The file's mapped pages are counted as resident; the system takes them back when it needs to.
    return Found(groups, minutes, peak - thumbnails.nbytes / 2**20)


def write_thumbnails(file: Path, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write thumbnails; the rows of originals, and those of their planted copies."""
    stack = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 32, 32))
    random = np.random.default_rng(0)
    for start in range(0, count, BLOCK):
        block = stack[start : start + BLOCK]
        block[:] = drawn(len(block), random)
    wanted = count // PLANTED
    places = random.permutation(count)[: 2 * wanted]
    originals, copies = places[:wanted], places[wanted:]
    kept = []
    for original, copy in zip(originals, copies, strict=True):
        changed = altered(stack[original], random)
        if np.corrcoef(stack[original].ravel(), changed.ravel())[0, 1] >= CORRELATION + 1e-6:
            stack[copy] = changed
            kept.append((original, copy))
    stack.flush()
    pairs = np.array(kept, np.int64)
    return pairs[:, 0], pairs[:, 1]


def drawn(count: int, random: np.random.Generator) -> UInt8:
    """Smooth fields; the last fifth are series, whose slices pass from one field to another."""
    amplitude = 1 / (1 + np.hypot(*np.meshgrid(np.arange(32), np.arange(32)))) ** 1.5
    common = np.random.default_rng(1).normal(size=(32, 32)) * amplitude  # what all images have in common: a body
    waves = (random.normal(size=(count, 32, 32)) * amplitude + common).astype(np.float32)
    first = count - count // 5 // SERIES * SERIES
    for start in range(first, count, SERIES):
        share = np.linspace(0, 1, SERIES, dtype=np.float32)[:, None, None]
        waves[start : start + SERIES] = waves[start] * (1 - share) + waves[start + 1] * share
    fields = np.stack([cv2.idct(each) for each in waves])
    fields += random.normal(scale=0.001, size=fields.shape)
    low, high = (fields.min(axis=(1, 2), keepdims=True), fields.max(axis=(1, 2), keepdims=True))
    thumbnails: UInt8 = np.rint((fields - low) / (high - low) * 255).astype(np.uint8)
    return thumbnails


def altered(image: UInt8, random: np.random.Generator) -> UInt8:
    """A copy as it comes back from elsewhere."""
    kind = random.integers(3)
    if kind == 0:
        large = cv2.resize(image, (128, 128), interpolation=cv2.INTER_CUBIC)
        encoded = cv2.imencode(".jpg", large, (cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 95))))[1]
        changed = cv2.resize(cv2.imdecode(encoded, 0), (32, 32), interpolation=cv2.INTER_AREA)
    elif kind == 1:
        side = int(random.integers(40, 200))
        large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        changed = cv2.resize(large, (32, 32), interpolation=cv2.INTER_AREA)
    else:
        changed = np.clip(image * random.uniform(0.6, 1) + random.uniform(-10, 40), 0, 255)
    rounded: UInt8 = np.rint(changed).astype(np.uint8)
    return rounded


def standardised(thumbnails: UInt8) -> NDArray[np.float32]:
    """Rows whose dot products are correlations."""
    rows = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def every_pair(thumbnails: UInt8) -> NDArray[np.int64]:
    """The exact peer: all pairs, shape (pairs, 2)."""
    found = []
    for first in range(0, len(thumbnails), 2048):
        rows = standardised(thumbnails[first : first + 2048])
        for second in range(first, len(thumbnails), 2048):
            alike = np.argwhere(rows @ standardised(thumbnails[second : second + 2048]).T >= CORRELATION + 1e-6)
            alike += np.array([first, second])
            found.append(alike[alike[:, 0] < alike[:, 1]])
    return np.concatenate(found)


def approximate(file: Path, originals: NDArray[np.int64], copies: NDArray[np.int64]) -> tuple[NDArray[np.bool_], float]:
    """The approximate peer: which planted copies are among the 10 nearest of their original, and the minutes."""
    thumbnails = np.load(file, mmap_mode="r")
    start = time.perf_counter()
    sample = standardised(thumbnails[:: max(1, len(thumbnails) // 8192)])
    axes = np.linalg.eigh(sample.T @ sample)[1][:, :-49:-1].astype(np.float32)
    blocks = range(0, len(thumbnails), BLOCK)
    vectors = np.concatenate([standardised(thumbnails[first : first + BLOCK]) @ axes for first in blocks])
    index = faiss.index_factory(vectors.shape[1], f"IVF{min(LISTS, len(vectors) // 40)},Flat")
    index.train(vectors)
    index.add(vectors)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", PROBED)
    nearest = np.concatenate([index.search(vectors[first : first + BLOCK], 11)[1] for first in blocks])
    found: NDArray[np.bool_] = (nearest[originals] == copies[:, None]).any(axis=1)
    return found, (time.perf_counter() - start) / 60


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
