"""What an explanation costs: a map of one image by each method, its picture, and memory over many images.

    python benchmarks/explanation.py [--model NAME] [--images 1000] [--methods NAME ...]

A preset's network with random weights at 128x128x3, which takes as long as a trained one. A prediction with
Grad-CAM's map stands beside one without, as they are served, each decoded; the SHAP methods beside SHAP itself, used as
its documentation does (200 samples; 500 evaluations in batches of 50). Sides are run in turns; the goals are those of
the project. Memory is anonymous, of this process, while it decodes, answers, explains and draws image after image.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import shap

from secondread.bundle import BundleDescription, ModelBundle
from secondread.config import load_config
from secondread.data.phantom.write import phantom_image
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import Explanation
from secondread.evaluation.operating_points import BALANCED, HALF, OperatingPoint
from secondread.execution import core_count
from secondread.explanation.grad_cam import GradCam
from secondread.explanation.heat_maps import HeatMaps
from secondread.explanation.method import Method
from secondread.explanation.methods import METHODS
from secondread.explanation.overlay import Heading, overlay, png
from secondread.imaging.preprocess import Preprocess
from secondread.models.architectures import build_model
from secondread.models.outputs import logit_of
from secondread.tasks import load_task

TURNS = 5
PHANTOMS = 16  # different images, which come again and again
SIZE = 128
WARM = 32  # images before memory is first looked at
GOALS = {"gradient_shap": 2.0, "partition_shap": 5.0}  # seconds
TIMES_OF_ANSWER = 2
Pixels = npt.NDArray[np.uint8]


def main(model: str, images: int, names: Sequence[str]) -> None:
    """Print time beside the peers, then memory."""
    warnings.filterwarnings("ignore", module="shap")
    bundle, files = untrained(model), [phantom_image(load_task("pneumonia"), seed) for seed in range(PHANTOMS)]
    form = bundle.description.preprocess
    print(f"{model} at {SIZE}x{SIZE}x3, {core_count()} cores, median and range of {TURNS} turns", flush=True)
    pixels = [form.pixels(file)[np.newaxis] for file in files]
    compare_served(bundle, files)
    for name in names:
        took = typical([partial(METHODS[name].explain, bundle.network, pixels[turn], 0) for turn in range(TURNS)])
        report(name, took, 1000 if median(took) < 1 else 1, "ms" if median(took) < 1 else "s")
        if name in GOALS:
            peer = typical([partial(PEERS[name], bundle.network, pixels[turn]) for turn in range(TURNS)])
            report("  SHAP by itself", peer, 1, "s")
            print(f"  the goal is under {GOALS[name]:g} s", flush=True)
    drawn = typical([partial(draw, bundle, files[turn], METHODS["grad_cam"], 0) for turn in range(TURNS)])
    report("decoding, answer, Grad-CAM and picture as PNG", drawn, 1000, "ms")
    for name in names:
        print_memory(bundle, files, METHODS[name], images)


def compare_served(bundle: ModelBundle, files: Sequence[bytes]) -> None:
    """Print what a prediction takes without a map and with Grad-CAM's, which begins where the prediction passed."""
    heat_maps = HeatMaps(bundle)
    plain, mapped = [], []
    for turn in range(TURNS):
        plain += typical([partial(answer, bundle, files[turn])])
        mapped += typical([partial(answer_with_map, bundle, heat_maps, files[turn])])
    report("answer as served, one image", plain, 1000, "ms")
    report("answer as served, with Grad-CAM's map", mapped, 1000, "ms")
    times = [both / one for both, one in zip(mapped, plain, strict=True)]
    report("  ratio", times, 1, "times as long")
    print(f"  the goal is at most {TIMES_OF_ANSWER}", flush=True)


def answer(bundle: ModelBundle, file: bytes) -> None:
    """What a request of one image takes within the process."""
    bundle.answer(bundle.description.preprocess.stack([bundle.description.preprocess.pixels(file)]))


def answer_with_map(bundle: ModelBundle, heat_maps: HeatMaps, file: bytes) -> None:
    """The same with a map, before it is laid over the picture."""
    form = bundle.description.preprocess
    _, (features,) = heat_maps.answer(form.stack([form.pixels(file)]))
    assert features is not None
    GradCam().explain_features(bundle.network, features[np.newaxis], 0)


def draw(bundle: ModelBundle, file: bytes, method: Method, label: int) -> int:
    """Explain a file as `explain` does; the picture's size in bytes."""
    form = bundle.description.preprocess
    pixels = form.stack([form.pixels(file)])
    probability = float(bundle.answer(pixels)[0, label])
    (found,) = method.explain(bundle.network, pixels, label)
    heading = Heading(bundle.description.labels[label], probability, method.name)
    return len(png(overlay(form.display(file), found, form, heading)))


def print_memory(bundle: ModelBundle, files: Sequence[bytes], method: Method, images: int) -> None:
    """Explain image after image, and say how memory grew once everything was compiled."""
    held, start = [], time.perf_counter()
    for place in range(images):
        draw(bundle, files[place % len(files)], method, 0)
        if place + 1 >= WARM and (place + 1) % max(1, images // 8) == 0:
            held.append(anonymous_mb())
    said = ", ".join(f"{each:.0f}" for each in held)
    print(
        f"{method.name}, {images:,} images in {time.perf_counter() - start:.0f} s: {said} MB; "
        f"{held[-1] - held[0]:+.0f} MB from the first of them to the last",
        flush=True,
    )


def anonymous_mb() -> float:
    """Memory of this process that is not a file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def gradient_peer(network: keras.Model, pixels: Pixels) -> Any:
    """SHAP's GradientExplainer, as its documentation uses it."""
    model = logit_of(network, 0)
    background = np.zeros((1, *pixels.shape[1:]), np.float32)
    explainer = shap.GradientExplainer(([model.input], model.output), background)
    return explainer.shap_values(pixels.astype(np.float32))


def partition_peer(network: keras.Model, pixels: Pixels) -> Any:
    """SHAP's PartitionExplainer with an image masker, as its documentation uses it."""
    model = logit_of(network, 0)
    masker = shap.maskers.Image("blur(16,16)", pixels.shape[1:])
    explainer = shap.Explainer(lambda images: model.predict_on_batch(images), masker)
    return explainer(pixels.astype(np.float32), max_evals=500, batch_size=50, silent=True)


PEERS: dict[str, Callable[[keras.Model, Pixels], Any]] = {
    "gradient_shap": gradient_peer,
    "partition_shap": partition_peer,
}


def untrained(name: str) -> ModelBundle:
    """A preset with random weights for pneumonia, at 128x128x3."""
    task = load_task("pneumonia")
    config = load_config("pneumonia", {"model": name, "model.weights": "none", "preprocess.size": SIZE})
    form = Preprocess.build(task, config.preprocess, "display", None)
    measures = ("sensitivity", "specificity")
    unknown = dict.fromkeys(f"{measure}{end}" for measure in measures for end in ("", "_low", "_high"))
    point = OperatingPoint(label=task.primary, name=BALANCED, threshold=HALF, positives=0, negatives=0, **unknown)
    description = BundleDescription(
        task=task.name,
        task_labels=task.labels,
        model=name,
        labels=task.labels,
        preprocess=form,
        calibration={task.primary: Calibration(method="none")},
        operating_points=(point,),
        prior={task.primary: HALF},
        manifest_digest="",
        store_digest="",
        git_commit="",
        figures={},
        explanation=Explanation(method="grad_cam", reason="to be timed"),
        intended_use=task.intended_use,
    )
    keras.utils.set_random_seed(0)
    return ModelBundle(description, build_model(config.model, (SIZE, SIZE, form.channels), 1))


def typical(turns: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each turn, behind one that warms up; what takes milliseconds is repeated."""
    turns[0]()
    took = []
    for turn in turns:
        start = time.perf_counter()
        turn()
        once = time.perf_counter() - start
        times = max(1, round(0.5 / once)) if once < 0.1 else 1
        start = time.perf_counter()
        for _ in range(times):
            turn()
        took.append((time.perf_counter() - start) / times)
    return took


def report(name: str, seconds: Sequence[float], factor: int, unit: str) -> None:
    """Print median and range."""
    scaled = [each * factor for each in seconds]
    print(f"{name}: {median(scaled):.3g} {unit} ({min(scaled):.3g} to {max(scaled):.3g})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="compact_resnet")
    parser.add_argument("--images", default=1000, type=int)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    given = parser.parse_args()
    main(given.model, given.images, given.methods)
