"""What feeding costs: our feed beside Keras' ImageDataGenerator, training through it beside memory, and its memory.

    python benchmarks/feed.py

Both sides zoom by .3 and flip upside down, as `separable_cnn` does, on 150x150x3; the JPEGs are synthetic. Ours reads
the store, which was decoded once; the peer decodes anew in every epoch, as its user would. Sides are run in turns.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

from secondread.config import AugmentSettings, ModelSettings, load_config
from secondread.data.feed import Labels, steps_per_epoch, training_feed
from secondread.data.store import Pixels
from secondread.execution import core_count
from secondread.models.architectures import build_model
from secondread.models.losses import loss_function
from secondread.models.outputs import learner

PAIRS = 5
BATCH = 32
SIZE = 150
AUGMENT = load_config("pneumonia", {"model": "separable_cnn"}).augment
FILES = 640
TRAINED = 20 * BATCH

Batches = Iterator[Any]


def main() -> None:
    """Print the three measurements."""
    with tempfile.TemporaryDirectory() as folder:
        for rows, columns in ((224, 224), (800, 1000)):
            compare_feeds(Path(folder) / f"{rows}x{columns}", rows, columns)
    compare_training()
    compare_memory()


def compare_feeds(folder: Path, rows: int, columns: int) -> None:
    """Images a second of both feeds, from gray JPEGs of one size."""
    write_jpegs(folder, rows, columns)
    images = np.stack([stored_image(path) for path in sorted(folder.rglob("*.jpg"))])
    ours, peers = [], []
    for pair in range(PAIRS):
        ours.append(images_per_second(feed(images, seed=pair), FILES * 5))
        with peer_batches(folder, workers=core_count()) as batches:
            peers.append(images_per_second(batches, FILES - 2 * BATCH))
    name = f"ImageDataGenerator.flow_from_directory, {core_count()} worker processes"
    report(f"feed of {columns}x{rows} gray JPEGs, images/s", "secondread", ours, name, peers)


def compare_training() -> None:
    """Images a second of separable_cnn's training: through the feed, and on arrays in memory."""
    keras.utils.set_random_seed(0)
    model = compiled("separable_cnn", (SIZE, SIZE, 3))
    gray = np.random.default_rng(0).integers(0, 256, (TRAINED, SIZE, SIZE, 1), dtype=np.uint8)
    repeated = np.repeat(gray, 3, axis=-1)
    steps = steps_per_epoch(TRAINED, BATCH)
    model.fit(repeated[:BATCH], labels_of(BATCH), verbose=0)
    through, alone = [], []
    for pair in range(PAIRS):
        through.append(TRAINED / seconds(partial(model.fit, feed(gray, seed=pair), steps_per_epoch=steps, verbose=0)))
        in_memory = partial(model.fit, repeated, labels_of(TRAINED), batch_size=BATCH, verbose=0)
        alone.append(TRAINED / seconds(in_memory))
    report("training of separable_cnn, images/s", "through the feed", through, "arrays in memory", alone)


def compare_memory() -> None:
    """Anonymous memory that an epoch adds to TensorFlow's own, for a small and a large store."""
    for images in (10_000, 100_000):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            own, growth = pool.submit(memory_of_an_epoch, images).result()
        print(
            f"store of {images} images 128x128x1: TensorFlow's own {own:.0f} MB, training adds {growth:.0f} MB at most"
        )


def memory_of_an_epoch(images: int) -> tuple[float, float]:
    """RssAnon in MB before an epoch over a memory-mapped store, and its greatest growth during the epoch."""
    model = compiled("slice_mlp", (128, 128, 1))
    model.fit(np.zeros((BATCH, 128, 128, 1), np.uint8), labels_of(BATCH), verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pixels.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (images, 128, 128, 1)).flush()
        own = anonymous_megabytes()
        stop, seen = threading.Event(), [own]

        def watch() -> None:
            while not stop.wait(0.05):
                seen.append(anonymous_megabytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        pixels = Pixels([np.load(path, mmap_mode="r")])
        settings = AugmentSettings(rotation=10, zoom=0.1, horizontal_flip=True)
        ds = training_feed(
            pixels, np.arange(images), labels_of(images), channels=1, augment=settings, batch_size=BATCH, seed=0
        )
        model.fit(ds, steps_per_epoch=steps_per_epoch(images, BATCH), verbose=0)
        stop.set()
        watcher.join()
    return own, max(seen) - own


def anonymous_megabytes() -> float:
    """RssAnon of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def write_jpegs(folder: Path, rows: int, columns: int) -> None:
    """Smooth gray pictures with a little noise, in two class folders."""
    random = np.random.default_rng(0)
    for number in range(FILES):
        path = folder / ("NORMAL", "PNEUMONIA")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (12, 12), dtype=np.uint8)
        smooth = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
        noisy = smooth + random.normal(0, 4, smooth.shape)
        cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def stored_image(path: Path) -> npt.NDArray[np.uint8]:
    """What the store keeps of a JPEG, shape (SIZE, SIZE, 1)."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(gray, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)[:, :, None]


def feed(images: npt.NDArray[np.uint8], seed: int) -> Any:
    """Our feed with separable_cnn's augmentation."""
    count = len(images)
    pixels, rows, labels = Pixels([images]), np.arange(count), labels_of(count)
    return training_feed(pixels, rows, labels, channels=3, augment=AUGMENT, batch_size=BATCH, seed=seed)


@contextmanager
def peer_batches(folder: Path, workers: int) -> Iterator[Batches]:
    """The peer's batches, made ahead by worker processes, as `fit` asks for them."""
    generator = ImageDataGenerator(rescale=1 / 255, zoom_range=AUGMENT.zoom, vertical_flip=AUGMENT.vertical_flip)
    batches = generator.flow_from_directory(
        folder, target_size=(SIZE, SIZE), batch_size=BATCH, class_mode="binary", seed=0
    )
    ahead = OrderedEnqueuer(batches, workers=workers, use_multiprocessing=workers > 1, max_queue_size=10)
    ahead.start()
    try:
        yield ahead.get()
    finally:
        ahead.stop()


def images_per_second(batches: Any, images: int) -> float:
    """Throughput after one batch of warming up."""
    running = iter(batches)
    next(running)
    return images / seconds(lambda: [None for _ in islice(running, images // BATCH)])


def compiled(name: str, shape: tuple[int, int, int]) -> keras.Model:
    """A network ready to train."""
    model = learner(build_model(ModelSettings(name=name), shape, 1))
    model.compile(optimizer="adam", loss=loss_function("cross_entropy"), jit_compile=False)
    return model


def labels_of(count: int) -> Labels:
    """Every second image is positive, shape (count, 1)."""
    return (np.arange(count, dtype=np.float32) % 2)[:, None]


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(title: str, name: str, ours: list[float], peer: str, peers: list[float]) -> None:
    """Print median and range of both sides, and the median of the pairs' ratios."""
    print(f"{title}, {PAIRS} pairs in turns")
    for side, values in ((name, ours), (peer, peers)):
        print(f"  {side}: {median(values):.0f} ({min(values):.0f} to {max(values):.0f})")
    ratios = [our / its for our, its in zip(ours, peers, strict=True)]
    print(f"  ratio: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
