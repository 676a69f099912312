"""Whether a trained model's maps point at the phantom's lesions, and those of its twin with random weights do not.

    python benchmarks/pointing.py --task pneumonia --model_uri runs:/RUN/model --split val
    python benchmarks/pointing.py --task pneumonia --model_uri runs:/RUN/model --pictures docs/explanation

The model is one that `train` made of the phantom. Without `--method` it is the bundle's own, which passed best on val.
`--split test` counts as a look at the test: log it. Pictures show one image of val by every method, as trained above,
with random weights below; the lesion is outlined.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from secondread.bundle import ModelBundle, load_bundle
from secondread.config import load_config
from secondread.data.prepare import Prepared, prepare
from secondread.evaluation.figures.style import ORANGE, styled
from secondread.explanation.check import Check
from secondread.explanation.checks import Evidence, check_methods
from secondread.explanation.methods import METHODS, method_named
from secondread.explanation.overlay import strongest, tinted
from secondread.explanation.randomised import randomised
from secondread.steps.checks import evidence_of, spread, usual
from secondread.tasks import Task, load_task
from secondread.tracking.home import home
from secondread.tracking.model import bundle_folder, fetch_model

COLORS = 96  # of a picture's palette, so that its file is small
SEED = 1


def main() -> None:
    """Print what was asked, or draw pictures."""
    asked = _arguments()
    bundle = load_bundle(bundle_folder(fetch_model(asked.model_uri)))
    data = prepare(load_config(asked.task, {"model": bundle.description.model}), home(), say=lambda line: None)
    task = load_task(asked.task)
    evidence, label = _evidence(data, task, asked.split, asked.images), bundle.description.place_of(task.primary)
    if asked.pictures:
        asked.pictures.mkdir(parents=True, exist_ok=True)
        path = asked.pictures / f"{asked.task}.png"
        path.write_bytes(_small_png(_pictures(bundle, label, evidence, asked.picture)))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        return
    name = asked.method or bundle.description.explanation.method
    if name is None:
        raise SystemExit(f"no method passed: {bundle.description.explanation.reason}; name one with --method")
    patients = len(set(evidence.patients))
    print(f"{asked.task}, {asked.split}: {len(evidence.images)} images of {patients} patients, by {name}")
    for check in check_methods(bundle.network, label, evidence, [method_named(name)]):
        print(_line(check))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=["pneumonia", "hemorrhage"], default="pneumonia")
    parser.add_argument("--model_uri", required=True)
    parser.add_argument("--split", choices=["val", "test"], default="val")
    parser.add_argument("--images", type=int, default=1000, help="at most so many, spread over the patients")
    parser.add_argument("--method", choices=list(METHODS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--picture", type=int, default=0, help="which of the images is drawn")
    return parser.parse_args()


def _evidence(data: Prepared, task: Task, split: str, images: int) -> Evidence:
    manifest = data.manifest
    positive = manifest[(manifest["split"] == split) & (manifest[f"label_{task.primary}"] == 1)]
    return evidence_of(data, spread(positive, images), usual(data, task))


def _line(check: Check) -> str:
    if check.passed is None:
        return f"  {check.name:15} not measured: {check.note}"
    outcome = "passed" if check.passed else "FAILED"
    interval = f"{check.value:8.3f} ({check.low:.3f} to {check.high:.3f})"
    return f"  {check.name:15} {outcome} {interval}  {check.images} images  {check.note}"


@styled
def _pictures(bundle: ModelBundle, label: int, evidence: Evidence, number: int) -> Figure:
    """The image, and its maps by every method: of the network above, of its twin with random weights below."""
    image, masks = evidence.images[number : number + 1], evidence.masks
    assert not isinstance(masks, str), masks
    methods = [method for method in METHODS.values() if method.fits(bundle.network) is None]
    networks = {"trained": bundle.network, "random weights": randomised(bundle.network, SEED)}
    figure = Figure(figsize=(2 * (len(methods) + 1), 4.3), layout="constrained")
    grid = figure.subplots(2, len(methods) + 1)
    gray = np.ascontiguousarray(image[0, ..., 0])
    for row, (which, network) in zip(grid, networks.items(), strict=True):
        _show(row[0], np.repeat(gray[..., None], 3, axis=-1), masks[number])
        row[0].set_ylabel(which)
        for axes, method in zip(row[1:], methods, strict=True):
            [found] = method.explain(network, image, label, evidence.background)
            _show(axes, tinted(gray, found, strongest(found)), masks[number])
    for axes, title in zip(grid[0], ["image", *(method.name.replace("_", " ") for method in methods)], strict=True):
        axes.set_title(title, size=9)
    return figure


def _show(axes: Axes, picture: Any, mask: Any) -> None:
    axes.imshow(picture)
    axes.contour(mask, [0.5], colors=[ORANGE], linewidths=0.8)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def _small_png(figure: Figure) -> bytes:
    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    Image.open(drawn).convert("RGB").quantize(COLORS).save(packed, "PNG", optimize=True)
    return packed.getvalue()


if __name__ == "__main__":  # workers import this file
    main()
