"""What a hospital's images take: files a second of a core by transfer syntax, of a job here, on S3 and on a cluster.

    python benchmarks/scale.py [--s3 s3://BUCKET/EMPTY_FOLDER] [--dask tcp://HOST:PORT]

Head CT slices of 512x512 (phantoms) become three windows of 256x256, as in `benchmarks/preprocess.py`: each header is
read once, then each file by `write_chunk`. By syntax, seconds of the processor are counted, which depend least on what
else runs, and from them follow the minutes for 750,000 slices (RSNA 2019) and for an archive. Whole jobs are measured
by the clock, in turns, behind the start of their workers: here, on the S3 server and on the cluster that are given,
which are started as `docs/scale.md` says. Each job reads 24 files again and again, so disks do not count.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import cv2
import psutil
from ct_files import COMPRESSED, write_ct_files
from distributed import Client
from preprocess import FORM, in_words, megabytes, ours, processor_seconds, workers_now
from preprocess import read_headers as read_headers_here

from secondread.data.chunk import PLAN, Chunk, write_chunk
from secondread.data.sources.headers import read_headers
from secondread.execution import Workers, core_count, map_in_processes
from secondread.storage import Folder, open_folder

ROUNDS = 3
RSNA = 750_000  # slices
ARCHIVE = 40_000_000  # slices: 20,000 head CTs of 200 slices a year, ten years
CORES = {RSNA: 16, ARCHIVE: 128}
CLOCKED = {"uncompressed": 120, "JPEG lossless": 24}  # files a chunk
CHUNKS = 6  # a job, of which the first two, in which workers start, are not timed


def main(s3: str | None, dask: str | None) -> None:
    """Print every table."""
    cv2.setNumThreads(1)
    print(f"{core_count()} cores, {ROUNDS} rounds, medians and ranges")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "files").mkdir()
        files = write_ct_files(folder / "files")
        by_syntax(files, folder)
        by_place(files, folder, s3, dask)
    if dask is not None:
        with Client(dask, set_as_default=False) as client:
            grown = max(client.run(resident).values())
        print(f"largest worker of the cluster with its decoder: {grown:.0f} MB")


# --- by syntax


def by_syntax(files: dict[str, list[Path]], folder: Path) -> None:
    """Print what a core does of each syntax, and what follows from it."""
    print("| transfer syntax | KB a file | files/s of a core | MB/s that a core reads | 750,000 | the archive |")
    print("|---|---|---|---|---|---|")
    for syntax in ("uncompressed", *COMPRESSED):
        size = sum(file.stat().st_size for file in files[syntax]) / len(files[syntax])
        rates = [rate_of_a_core(files[syntax] * 4, folder / f"{syntax}_{number}") for number in range(ROUNDS)]
        rate = sorted(rates)[ROUNDS // 2]
        minutes = [f"{count / rate / CORES[count] / 60:.0f} min" for count in (RSNA, ARCHIVE)]
        read = rate * size / 1e6
        print(f"| {syntax} | {size / 1000:.0f} | {in_words(rates, '.0f')} | {read:.0f} | {' | '.join(minutes)} |")
    print(f"on {CORES[RSNA]} cores for 750,000, on {CORES[ARCHIVE]} for {ARCHIVE:,}")
    stored = stored_bytes(folder / "uncompressed_0") / len(files["uncompressed"] * 4)
    print(f"store: {stored / 1000:.0f} KB an image, {stored * RSNA / 1e9:.0f} GB for 750,000")


def rate_of_a_core(files: list[Path], out: Path) -> float:
    """Files a second of the processor, header and pixels."""
    ours(files[:2], out.with_name("warm"))
    headers = processor_seconds(partial(read_headers_here, files))
    return len(files) / (headers + processor_seconds(partial(ours, files, out)))


def stored_bytes(store: Path) -> int:
    """Of shards and tables."""
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())


# --- by place


def by_place(files: dict[str, list[Path]], folder: Path, s3: str | None, dask: str | None) -> None:
    """Print what whole jobs do by the clock, and how large workers here grow."""
    here = open_folder(folder / "files")
    places: list[tuple[str, Folder, str, Workers]] = [
        ("here, 1 worker", here, str(folder / "store"), 1),
        ("here, 2 workers", here, str(folder / "store"), 2),
    ]
    if dask is not None:
        places.append(("here, Dask", here, str(folder / "store"), dask))
    if s3 is not None:
        there = uploaded(files, open_folder(f"{s3}/files"))
        places += [(f"S3, {core_count()} workers", there, f"{s3}/store", None)]
        places += [("S3, Dask", there, f"{s3}/store", dask)] if dask is not None else []
    most: list[float] = []
    for syntax, length in CLOCKED.items():
        rates: dict[str, list[float]] = {name: [] for name, *_ in places}
        paths = [file.name for file in files[syntax]] * (CHUNKS * length // len(files[syntax]))
        for _ in range(ROUNDS):
            for name, root, out, workers in places:
                rates[name].append(rate_of_a_job(root, paths, length, out, workers, most))
        for name, found in rates.items():
            print(f"{syntax}, {name}: {in_words(found, '.0f')} files/s")
    print(f"largest worker here with its decoder: {max(most):.0f} MB")


def uploaded(files: dict[str, list[Path]], there: Folder) -> Folder:
    """Copy files to a server."""
    for file in (file for syntax in CLOCKED for file in files[syntax]):
        there.write(file.name, file.read_bytes())
    return there


def rate_of_a_job(
    root: Folder, paths: Sequence[str], length: int, out: str, workers: Workers, most: list[float]
) -> float:
    """Files a second of the clock: headers first, as every job does, then chunks."""
    store = open_folder(out)
    store.write(PLAN, b"")
    parts = [tuple(paths[start : start + length]) for start in range(0, len(paths), length)]
    chunks = [Chunk(number, root, part, FORM, store) for number, part in enumerate(parts)]
    seconds = clocked(map_in_processes(read_headers, [(root, part) for part in parts], workers, "headers"), most)
    seconds += clocked(map_in_processes(write_chunk, chunks, workers, "chunks"), most)
    return length / seconds


def clocked(results: Iterable[object], most: list[float]) -> float:
    """Seconds a result, behind the first two; notes how large workers are meanwhile."""
    start, done = 0.0, 0
    for done, _ in enumerate(results, 1):
        if done == 2:
            start = time.perf_counter()
        most.extend(map(megabytes, workers_now()))
    return (time.perf_counter() - start) / (done - 2)


def resident() -> float:
    """`megabytes` of the process in which it runs, whose machine may not have this script."""
    process = psutil.Process()
    return float(sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True))) / 1e6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--s3")
    parser.add_argument("--dask")
    given = parser.parse_args()
    main(given.s3, given.dask)
