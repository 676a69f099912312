"""What preprocessing costs: CT in every syntax, bad files, workers and their memory, and JPEGs; a peer beside each.

    python benchmarks/preprocess.py [FOLDER OF JPEGS] [--monai PYTHON]

CT slices of 512x512 (phantoms) become three windows of 256x256. Ours is `write_chunk`, all of a worker's job: reading,
hashing, limits, decoding, windows, resizing, thumbnail, shard and table; compressed files are decoded by a process that
a file may end, whose time is counted. The peers keep nothing. The plain one is pydicom, float64 and OpenCV; the bare
decode is pydicom's `pixel_array` alone. MONAI is installed into a temporary environment, or found by --monai. Compared
are seconds of the processor, which hardly depend on what else runs, in turns; only two workers against one are compared
by the clock, beside a loop that does nothing but multiply, which says what the machine's second core is worth.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType

import cv2
import psutil
from ct_files import COMPRESSED, write_ct_files
from preprocess_jpegs import compare_jpegs, write_xrays

from secondread.config import load_config
from secondread.data.chunk import PLAN, Chunk, write_chunk
from secondread.data.sources.headers import headers_of
from secondread.execution import core_count, map_in_processes
from secondread.imaging.preprocess import Preprocess
from secondread.storage import open_folder
from secondread.tasks import load_task

ROUNDS = 5
SIZE = 256
FILES = 240  # a round, of files that take a millisecond
SLOW_FILES = 48  # a round, of files that take ten
JOB_CHUNKS = 14  # of which the first two, in which workers start, are not timed
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}  # as `imaging.memory` asks
TASK = load_task("hemorrhage")
CONFIG = load_config("hemorrhage", {})
FORM = Preprocess.build(TASK, CONFIG.preprocess.model_copy(update={"size": SIZE}), "HU", None)
KEEPING = "plain pydicom that keeps freed memory as ours does"
MONAI = ["torch==2.13.0", "monai==1.6.1", "pydicom==3.0.2", "numpy<3"]


def main(jpegs: Path | None, monai: Path | None) -> None:
    """Print every ratio."""
    cv2.setNumThreads(1)
    print(f"{core_count()} cores, {ROUNDS} rounds in turns, medians and ranges")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = write_ct_files(folder)
        compare_uncompressed(files["uncompressed"], monai, folder)
        for syntax in COMPRESSED:
            compare_compressed(syntax, files[syntax], folder)
        for syntax in ("uncompressed", "JPEG lossless"):
            compare_with_bad_files(syntax, files[syntax], folder)
            compare_workers(syntax, files[syntax], folder)
        if jpegs is None:
            write_xrays(folder / "xrays")
        compare_jpegs(jpegs or folder / "xrays")


# --- sides


def ours(files: list[Path], out: Path) -> None:
    """Preprocess files as one chunk of a worker."""
    write_chunk(chunk_of(files, out, 0))


def chunk_of(files: list[Path], out: Path, number: int) -> Chunk:
    """Files of one folder as a worker's job."""
    out.mkdir(parents=True, exist_ok=True)
    (out / PLAN).touch()  # what workers know a store by
    return Chunk(number, open_folder(files[0].parent), tuple(file.name for file in files), FORM, open_folder(out))


def read_headers(files: list[Path]) -> None:
    """Read whose image each is, as is done before a job is divided."""
    for file in files:
        headers_of(open_folder(file.parent), [file.name])


@contextmanager
def rounds_of(
    python: Path, script: str, way: str, files: list[Path], settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Callable[[], float]]:
    """Give what a round takes of the processor, in a process as its users start it."""
    path = Path(__file__).with_name(script)
    command = [str(each) for each in (python, "-W", "ignore", path, way, SIZE, *files)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(settings)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, bufsize=1) as child:
        asks, answers = child.stdin, child.stdout
        assert asks is not None
        assert answers is not None

        def a_round() -> float:
            asks.write("go\n")
            asks.flush()
            return float(answers.readline())

        a_round()
        yield a_round
        asks.close()


@contextmanager
def installed_monai(python: Path | None) -> Iterator[Path]:
    """A Python that has MONAI."""
    if python is not None:
        yield python
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *MONAI], check=True)
        yield python


# --- comparisons


def compare_uncompressed(files: list[Path], monai: Path | None, folder: Path) -> None:
    """Files a second of a processor, beside plain pydicom and MONAI."""
    many = (files * FILES)[:FILES]
    rates: dict[str, list[float]] = {
        "ours": [],
        "ours, and a header first": [],
        "plain pydicom": [],
        "MONAI": [],
        KEEPING: [],
    }
    with (
        installed_monai(monai) as python,
        rounds_of(python, "peer_monai.py", "PydicomReader", many) as of_monai,
        rounds_of(Path(sys.executable), "peer_pydicom.py", "plain", many) as of_pydicom,
        rounds_of(Path(sys.executable), "peer_pydicom.py", "plain", many, KEPT) as of_pydicom_keeping,
    ):
        ours(files, folder / "warm")
        for number in range(ROUNDS):
            chunk = processor_seconds(partial(ours, many, folder / f"raw_{number}"))
            headers = processor_seconds(partial(read_headers, many))
            rates["ours"].append(FILES / chunk)
            rates["ours, and a header first"].append(FILES / (chunk + headers))
            rates["plain pydicom"].append(FILES / of_pydicom())
            rates["MONAI"].append(FILES / of_monai())
            rates[KEEPING].append(FILES / of_pydicom_keeping())
    print("uncompressed, files a second of a processor")
    for name, rate in rates.items():
        print(f"  {name}: {in_words(rate, '.0f')}")
    for peer, goal in (("plain pydicom", 2.4), (KEEPING, 2.4), ("MONAI", 2.5)):
        for name in ("ours", "ours, and a header first"):
            print(f"  {name} / {peer}: {in_words(divided(rates[name], rates[peer]), '.2f')}; the goal is {goal}")


def compare_compressed(syntax: str, files: list[Path], folder: Path) -> None:
    """Milliseconds of a processor a file, beside the bare decode."""
    many = (files * SLOW_FILES)[:SLOW_FILES]
    mine, bare = [], []
    with rounds_of(Path(sys.executable), "peer_pydicom.py", "bare", many) as of_pydicom:
        ours(files, folder / "warm")
        for number in range(ROUNDS):
            mine.append(processor_seconds(partial(ours, many, folder / f"{syntax}_{number}")))
            bare.append(of_pydicom())
    a_file = [in_words([1000 * seconds / SLOW_FILES for seconds in each], ".2f") for each in (mine, bare)]
    ratio = in_words(divided(bare, mine), ".2f")
    print(f"{syntax}: {a_file[0]} ms a file, bare decode {a_file[1]}; bare / ours {ratio}; the goal is .9")


def compare_with_bad_files(syntax: str, files: list[Path], folder: Path) -> None:
    """What a bad file in every hundred adds to a job: a hundredth of what it takes, in good files."""
    hundred = (files * FILES)[:100]
    for kind, spoil in BAD.items():
        bad = folder / f"bad_{kind}.dcm"
        bad.write_bytes(spoil(files[0].read_bytes()))
        added = []
        ours([*files, bad], folder / "warm")
        for number in range(ROUNDS):
            out = folder / f"bad_{syntax}_{kind}_{number}"
            good = processor_seconds(partial(ours, hundred, out / "good"))
            added.append(processor_seconds(partial(ours, [bad] * 100, out / "bad")) / good)
        print(f"{syntax}, a file in a hundred {kind}: {in_words(added, '+.2f')}%; the goal is less than 5")


def compare_workers(syntax: str, files: list[Path], folder: Path) -> None:
    """The clock of one worker and two, and how large they grow."""
    most: list[float] = []

    def job(workers: int, number: int) -> float:
        out = folder / f"job_{syntax}_{workers}_{number}"
        chunks = [chunk_of((files * FILES)[:length], out, place) for place in range(JOB_CHUNKS)]
        start = 0.0
        for done, _ in enumerate(map_in_processes(write_chunk, chunks, workers, f"{workers} workers"), 1):
            if done == 2:
                start = time.perf_counter()
            if workers > 1:
                most.extend(map(megabytes, workers_now()))
        return time.perf_counter() - start

    length = FILES if syntax == "uncompressed" else SLOW_FILES
    gains, of_machine = [], []
    for number in range(ROUNDS):
        gains.append(job(1, number) / job(2, number))
        of_machine.append(multiply(1) / multiply(2))
    print(f"{syntax}, two workers / one: {in_words(gains, '.2f')}, behind their start; the goal is 1.8")
    print(f"  the same of a loop that multiplies: {in_words(of_machine, '.2f')}")
    print(f"  largest worker with its decoder: {max(most):.0f} MB; the goal is less than 400")


def _element(number: int) -> bytes:
    return b"\xe1\x7f" + number.to_bytes(2, "little") + b"LO\0\0"


BAD: dict[str, Callable[[bytes], bytes]] = {
    "cut in the middle": lambda data: data[: len(data) // 2],
    "of damaged header": lambda data: data[:200] + b"\xff" * 100 + data[300:],
    "of no DICOM": lambda data: b"This is no image." * 1000,
    "of 10,000 elements": lambda data: data + b"".join(map(_element, range(4096, 14096))),
}


# --- measuring


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process and what it has started."""
    start = _used()
    work()
    return _used() - start


def _used() -> float:
    used = time.process_time()
    for child in psutil.Process().children(recursive=True):
        if "secondread.imaging.decoder" in " ".join(child.cmdline()):
            times = child.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def workers_now() -> list[psutil.Process]:
    """Processes that this one's fork server has forked."""
    servers = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
    return [worker for server in servers for worker in server.children()]


def megabytes(worker: psutil.Process) -> float:
    """Resident, with its decoder; what processes share is divided among them (PSS)."""
    return float(sum(each.memory_full_info().pss for each in (worker, *worker.children(recursive=True))) / 1e6)


def multiply(processes: int) -> float:
    """Clock of a fixed amount of arithmetic, divided among processes."""
    code = f"x = 1\nfor n in range({40_000_000 // processes}): x = x * 3 % 1000003"
    start = time.perf_counter()
    for child in [subprocess.Popen([sys.executable, "-c", code]) for _ in range(processes)]:
        child.wait()
    return time.perf_counter() - start


def divided(ours: list[float], theirs: list[float]) -> list[float]:
    """Round by round."""
    return [our / its for our, its in zip(ours, theirs, strict=True)]


def in_words(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("jpegs", nargs="?", type=Path)
    parser.add_argument("--monai", type=Path)
    given = parser.parse_args()
    main(given.jpegs, given.monai)
