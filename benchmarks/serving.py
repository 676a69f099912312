"""What serving costs: a model behind `mlflow models serve` beside the same network in a bare loop.

    python benchmarks/serving.py [--part answers|explained|gateway] [--model URI] [--images FOLDER]

`answers`: one image, a batch, the first answer after a start, and memory, each with its peer; then where the time goes
within this process. `explained`: the same answers with a heat map beside those without. `gateway`: what overload does,
see `benchmarks/gateway.py`. Without --model an untrained compact_resnet of each task is served by this checkout's code
(by the gateway: of pneumonia); its scope is learned from the phantoms that it is asked about, and Grad-CAM draws its
heat maps. A logged model is served by the code that it was logged with, and may be asked
about the JPEG, PNG and DICOM files of a folder. Sides are run in turns.
"""

import argparse
import base64
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import median

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from gateway import MlflowServe, compare_overload, mlflow_serve

import secondread
from secondread.bundle import BundleDescription, ModelBundle, load_bundle, load_description, save_bundle
from secondread.config import load_config
from secondread.data.phantom.write import phantom_image
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import Explanation
from secondread.evaluation.operating_points import BALANCED, HALF, OperatingPoint
from secondread.evaluation.scope import learn_scope
from secondread.execution import core_count
from secondread.imaging.appearance import appearance
from secondread.imaging.picture import UInt8Image
from secondread.imaging.preprocess import Preprocess
from secondread.models.architectures import build_model
from secondread.serving import signature
from secondread.tasks import load_task
from secondread.tracking.answer import time_answers
from secondread.tracking.model import bundle_folder, fetch_model

TURNS = 5
STARTS = 3
BATCH = 64
MICRO_BATCH = 16  # what serving.py gives the network at once
SINGLES = 100  # requests of one image a turn
BATCHES = 4  # requests of a batch a turn
MEGABYTE = 1 << 20
ABOVE_BARE_MS, SHARE_OF_COMPILED, LATER_S, ABOVE_IMPORTS_MB = 6, 0.95, 3, 300
TIMES_OF_EXPLAINED = 2
PACKAGE = Path(secondread.__file__).parent
IMPORTS = """
import mlflow.pyfunc
import psutil
import tensorflow

held = psutil.Process().memory_full_info()
print(held.rss, held.pss)
"""
EMPTY_MODEL = """
import mlflow
import tensorflow


class Empty(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [None] * len(model_input)


mlflow.models.set_model(Empty())
"""


@dataclass(frozen=True)
class Subject:
    """A logged model, and what it is asked about.

    Args:
        model: its folder.
        images: `BATCH` files.
    """

    model: Path
    images: Sequence[bytes]

    @cached_property
    def bundle(self) -> ModelBundle:
        """What the model answers with, under this checkout's code."""
        return load_bundle(bundle_folder(self.model))

    @cached_property
    def compiled(self) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]:
        """The network as a `tf.function` of images, shape (n, size, size, channels), to probabilities."""
        network = self.bundle.network
        function = tf.function(lambda images: network(images, training=False), autograph=False)
        return lambda images: np.asarray(function(images))

    def decoded(self, image: bytes) -> UInt8Image:
        """The network's input, shape (size, size, channels)."""
        return self.bundle.description.preprocess.pixels(image)

    def bare(self, images: Sequence[bytes]) -> npt.NDArray[np.float32]:
        """What the shortest script would do with files."""
        return self.compiled(np.stack([self.decoded(image) for image in images]))


def main(part: str | None, uri: str | None, files: Path | None) -> None:
    """Print the measurements that were asked for."""
    print(f"{core_count()} cores; load at the start {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if uri is None:
            subjects = [untrained(task, folder / task) for task in ("pneumonia", "hemorrhage")]
        else:
            model = fetch_model(uri)
            subjects = [
                Subject(model, chosen(files) if files else phantoms(load_description(bundle_folder(model)).task))
            ]
        for subject in subjects if part in (None, "answers") else ():
            compare_answers(subject, folder)
        for subject in subjects if part in (None, "explained") else ():
            compare_explained(subject, folder)
        if part in (None, "gateway"):
            compare_overload(subjects[0].model, folder)


def compare_answers(subject: Subject, folder: Path) -> None:
    """Print what answers, the start and memory cost, and where the time goes."""
    about = subject.bundle.description
    kilobytes = median(len(image) for image in subject.images) / 1000
    print(f"\n{about.model} of {about.task}, {about.preprocess.size} px, {BATCH} files of about {kilobytes:.0f} kB")
    with mlflow_serve(subject.model, folder) as server:
        compare_one_image(subject, server)
        compare_batches(subject, server)
        compare_memory(server)
    compare_starts(subject, folder)
    print_stages(subject)


def compare_explained(subject: Subject, folder: Path) -> None:
    """Print what a heat map costs: over HTTP and in this process, of one image and of a batch; the first; memory."""
    about = subject.bundle.description
    print(f"\n{about.model} of {about.task}, {about.preprocess.size} px, explained by {about.explanation.method}")
    served = mlflow.pyfunc.load_model(str(subject.model))
    with mlflow_serve(subject.model, folder) as server:
        connection = server.connect()
        post(connection, request(subject.images[:1]))
        start = time.perf_counter()
        size = post(connection, request(subject.images[:1], explain=True))
        print(f"first heat map after a start, ms: {1000 * (time.perf_counter() - start):.0f}; {size / 1000:.0f} kB")
        sides: dict[str, Callable[[Sequence[bytes], bool], object]] = {
            "mlflow models serve": lambda images, explain: post(server.connect(), request(images, explain=explain)),
            "in this process": lambda images, explain: served.predict(table(images), params={"explain": explain}),
        }
        for name, answered in sides.items():
            for count, times in ((1, SINGLES), (BATCH, BATCHES)):
                plain, explained = [], []
                for turn in range(TURNS):
                    images = subject.images[turn : turn + count] if count == 1 else subject.images
                    plain.append(typical_ms(partial(answered, images, False), times))
                    explained.append(typical_ms(partial(answered, images, True), times))
                print(f"{name}, {count} at once, ms, median of {times} in each of {TURNS} turns")
                report("answers", plain, ".1f")
                report("answers with heat maps", explained, ".1f")
                report("times as long", ratios(explained, plain), ".2f", f"at most {TIMES_OF_EXPLAINED}")
        compare_memory(server)


def compare_one_image(subject: Subject, server: MlflowServe) -> None:
    """Milliseconds of one image: over HTTP, within Python, and in the bare loop that decodes it alike."""
    over_http, within, bare = [], [], []
    for turn in range(TURNS):
        image = subject.images[turn]
        over_http.append(typical_ms(partial(post, server.connect(), request([image])), SINGLES))
        within.append(time_answers(subject.model, image, SINGLES).median_ms)
        bare.append(typical_ms(partial(subject.bare, [image]), SINGLES))
    print(f"one image, ms, median of {SINGLES} in each of {TURNS} turns")
    report("mlflow models serve", over_http, ".1f")
    report("the logged model in Python, without HTTP", within, ".1f")
    report("bare loop: decode + tf.function", bare, ".1f")
    report("HTTP above bare", differences(over_http, bare), ".1f", f"at most {ABOVE_BARE_MS}")
    report("in Python above bare", differences(within, bare), ".1f")


def compare_batches(subject: Subject, server: MlflowServe) -> None:
    """Images a second of a batch: over HTTP, of the network on decoded images, and of the loop that decodes too."""
    pixels = np.stack([subject.decoded(image) for image in subject.images])
    body = request(subject.images)
    over_http: list[float] = []
    compiled: list[float] = []
    bare: list[float] = []
    for _ in range(TURNS):
        for rates, work in (
            (over_http, partial(post, server.connect(), body)),
            (compiled, partial(subject.compiled, pixels)),
            (bare, partial(subject.bare, subject.images)),
        ):
            rates.append(1000 * BATCH / typical_ms(work, BATCHES))
    print(f"batch of {BATCH}, images/s, median of {BATCHES} in each of {TURNS} turns")
    report("mlflow models serve", over_http, ".0f")
    report("tf.function on decoded images", compiled, ".0f")
    report("bare loop: decode + tf.function", bare, ".0f")
    report("share of the tf.function's", ratios(over_http, compiled), ".2f", f"{SHARE_OF_COMPILED}")
    report("share of the bare loop's", ratios(over_http, bare), ".2f")


def compare_memory(server: MlflowServe) -> None:
    """Megabytes of the server's processes after these requests, and of a process that imports MLflow and TensorFlow.

    RSS counts a page in every process that maps it, PSS divides it among them.
    """
    said = subprocess.run([sys.executable, "-c", IMPORTS], stdout=subprocess.PIPE, text=True, check=True).stdout
    imports = [int(number) for number in said.split()]
    held = [process.memory_full_info() for process in server.processes()]
    ours = [sum(each.rss for each in held), sum(each.pss for each in held)]
    print(f"memory, MB, of the server's {len(held)} processes")
    for kind, our, its in zip(("RSS", "PSS"), ours, imports, strict=True):
        print(
            f"  {kind}: {our / MEGABYTE:.0f}; a process that imports MLflow and TensorFlow: {its / MEGABYTE:.0f}; "
            f"above it: {(our - its) / MEGABYTE:.0f}; the goal is at most {ABOVE_IMPORTS_MB}"
        )


def compare_starts(subject: Subject, folder: Path) -> None:
    """Seconds from the command to the first answer: of the model, and of one that only imports TensorFlow."""
    empty = save_empty(folder, subject.bundle.description)
    body = request(subject.images[:1])
    ours, peers = [], []
    for _ in range(STARTS):
        ours.append(first_answer_s(subject.model, body, folder))
        peers.append(first_answer_s(empty, body, folder))
    print(f"start to first answer, s, {STARTS} pairs in turns")
    report("the model", ours, ".1f")
    report("an empty pyfunc that imports TensorFlow", peers, ".1f")
    report("later by", differences(ours, peers), ".1f", f"at most {LATER_S}")


def print_stages(subject: Subject) -> None:
    """Milliseconds of each stage of an answer in this process, for one image and for a batch."""
    bundle, decoded = subject.bundle, [subject.decoded(image) for image in subject.images]
    print(f"stages in this process, ms: one image; {BATCH} images")
    stages: tuple[tuple[str, Callable[[int], object]], ...] = (
        ("decode", lambda count: [subject.decoded(image) for image in subject.images[:count]]),
        (
            f"network as served, by {MICRO_BATCH}",
            lambda count: [bundle.answer(part) for part in parts(decoded[:count], MICRO_BATCH)],
        ),
        ("network as a tf.function", lambda count: [subject.compiled(part) for part in parts(decoded[:count], BATCH)]),
        (
            f"the same by {MICRO_BATCH}",
            lambda count: [subject.compiled(part) for part in parts(decoded[:count], MICRO_BATCH)],
        ),
        ("scope", lambda count: [bundle.holds(pixels) for pixels in decoded[:count]]),
    )
    for name, work in stages:
        one, batch = typical_ms(partial(work, 1), SINGLES), typical_ms(partial(work, BATCH), BATCHES * TURNS)
        print(f"  {name}: {one:.2f}; {batch:.0f}")


def parts(images: Sequence[UInt8Image], size: int) -> list[UInt8Image]:
    """Images in stacks of at most this size."""
    return [np.stack(images[start : start + size]) for start in range(0, len(images), size)]


def first_answer_s(model: Path, body: bytes, folder: Path) -> float:
    """Seconds from the command of a server to its first answer."""
    began = time.perf_counter()
    with mlflow_serve(model, folder) as server:
        post(server.connect(), body)
        return time.perf_counter() - began


def request(images: Sequence[bytes], **params: object) -> bytes:
    """What a client sends."""
    records = [{"image": base64.b64encode(image).decode()} for image in images]
    return json.dumps({"dataframe_records": records, "params": params}).encode()


def table(images: Sequence[bytes]) -> pd.DataFrame:
    """The same as MLflow makes it of a request."""
    return pd.DataFrame({"image": [base64.b64encode(image).decode() for image in images]})


def post(connection: http.client.HTTPConnection, body: bytes) -> int:
    """Send a request and wait for the whole answer, of so many bytes; the connection stays open."""
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    said = reply.read()
    if reply.status != 200:
        raise SystemExit(f"the server answered {reply.status}: {said[:500]!r}")
    return len(said)


def typical_ms(work: Callable[[], object], times: int) -> float:
    """Median milliseconds of some work, behind one that warms up."""
    work()
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - start))
    return median(took)


def untrained(task: str, folder: Path) -> Subject:
    """A compact_resnet with random weights, saved as training would log it."""
    about, config = load_task(task), load_config(task, {"model": "compact_resnet"})
    form = Preprocess.build(about, config.preprocess, "HU" if task == "hemorrhage" else "display", None)
    point = partial(OperatingPoint, name=BALANCED, threshold=HALF, positives=0, negatives=0)
    unknown = dict.fromkeys(
        f"{measure}{end}" for measure in ("sensitivity", "specificity") for end in ("", "_low", "_high")
    )
    description = BundleDescription(
        task=task,
        task_labels=about.labels,
        model=config.model.name,
        labels=about.labels,
        preprocess=form,
        calibration={label: Calibration(method="none") for label in about.labels},
        operating_points=tuple(point(label=label, **unknown) for label in about.labels),
        prior=dict.fromkeys(about.labels, HALF),
        manifest_digest="",
        store_digest="",
        git_commit="",
        figures={},
        explanation=Explanation(method="grad_cam", reason="to be timed"),
        intended_use=about.intended_use,
    )
    network = build_model(config.model, (form.size, form.size, form.channels), len(about.labels))
    images = phantoms(task)
    looks = np.stack([appearance(form.stored(form.pixels(image))) for image in images])
    everyone = np.arange(BATCH)
    scope = learn_scope(looks, everyone, everyone >= 0, everyone % 5)
    save_bundle(folder / "bundle", description, network, scope)
    save_model(
        PACKAGE / "serving.py", folder / "model", description, {"bundle": str(folder / "bundle")}, [str(PACKAGE)]
    )
    return Subject(folder / "model", images)


def save_empty(folder: Path, description: BundleDescription) -> Path:
    """A model that answers nothing and takes what ours takes."""
    code, model = folder / "empty.py", folder / f"empty_{description.task}"
    code.write_text(EMPTY_MODEL)
    save_model(code, model, description, {}, [])
    return model


def save_model(
    code: Path, folder: Path, description: BundleDescription, artifacts: dict[str, str], code_paths: list[str]
) -> None:
    """Save a model as code, with an example that the gateway warms up with."""
    image = phantom_image(load_task(description.task), seed=0)
    example = pd.DataFrame({"image": [base64.b64encode(image).decode()]})
    with warnings.catch_warnings():
        # MLflow compares a table's index with a range to save an example.
        warnings.filterwarnings("ignore", "Operation with range is deprecated")
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(code),
            artifacts=artifacts,
            code_paths=code_paths,
            pip_requirements=["mlflow"],
            signature=signature(description.task_labels),
            input_example=example,
        )


def phantoms(task: str) -> list[bytes]:
    """A batch of a task's phantom images, each of another patient."""
    return [phantom_image(load_task(task), seed) for seed in range(BATCH)]


def chosen(folder: Path) -> list[bytes]:
    """A batch of a folder's images, of any classes."""
    kinds = (".jpeg", ".jpg", ".png", ".dcm")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    return [path.read_bytes() for path in random.Random(0).sample(files, BATCH)]


def differences(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Of each pair."""
    return [our - its for our, its in zip(ours, peers, strict=True)]


def ratios(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Of each pair."""
    return [our / its for our, its in zip(ours, peers, strict=True)]


def report(name: str, values: Sequence[float], form: str, goal: str = "") -> None:
    """Print median and range, and the goal where there is one."""
    wanted = f"; the goal is {goal}" if goal else ""
    print(f"  {name}: {median(values):{form}} ({min(values):{form}} to {max(values):{form}}){wanted}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=["answers", "explained", "gateway"])
    parser.add_argument("--model", metavar="URI")
    parser.add_argument("--images", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    main(given.part, given.model, given.images)
