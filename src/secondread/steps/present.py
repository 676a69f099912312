"""Present predictions in a run: metrics with intervals, figures, the report and the table itself."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.bundle import ModelBundle
from secondread.data.manifest import shareable
from secondread.data.prepare import Prepared
from secondread.errors import ExplanationError
from secondread.evaluation.figures.confusion import confusion
from secondread.evaluation.figures.gallery import gallery
from secondread.evaluation.figures.precision_recall import precision_recall
from secondread.evaluation.figures.reliability import reliability
from secondread.evaluation.figures.right_and_wrong import right_and_wrong
from secondread.evaluation.figures.roc import roc
from secondread.evaluation.figures.way import way
from secondread.evaluation.metrics import Thresholds, evaluate, evaluate_point
from secondread.evaluation.operating_points import BALANCED
from secondread.evaluation.report import classification_report
from secondread.explanation.choice import choose
from secondread.explanation.method import Method
from secondread.explanation.overlay import strongest, tinted
from secondread.report.data_set import PAGE, data_set_page
from secondread.steps.thresholds import thresholds_of
from secondread.storage import write_aside
from secondread.tasks import Task
from secondread.tracking.run import Run

_SEED = 0  # of the resamples behind intervals: equal predictions give equal figures
_PLACE = ("study_key", "order")


@dataclass(frozen=True)
class ImagesOf:
    """The images of some rows, one at a time, as the figures take them.

    Args:
        rows: places in the prepared pixels.
    """

    prepared: Prepared
    rows: npt.NDArray[np.int64]

    def __getitem__(self, position: int, /) -> npt.NDArray[np.uint8]:
        image: npt.NDArray[np.uint8] = self.prepared.pixels.take(self.rows[[position]])[0]
        return image


def predictions_table(
    manifest: pd.DataFrame, probabilities: npt.NDArray[np.floating[Any]], task: Task, labels: Sequence[str]
) -> pd.DataFrame:
    """Put probabilities beside the truth; the table holds nothing that identifies a patient.

    `study_key` and `order` say where an image belongs, for whole studies; `predictions.parquet` goes without them.

    Args:
        manifest: the rows that were predicted.
        probabilities: shape (n, answered labels).
        labels: the answered labels.
    """
    columns = ["image_key", "patient_key", *_PLACE, "split", "fold", *task.label_columns]
    table = manifest[columns].reset_index(drop=True)
    table["fold"] = table["fold"].astype("Int64").mask(table["fold"] < 0)
    for place, label in enumerate(labels):
        table[f"probability_{label}"] = probabilities[:, place].astype(np.float64)
    return table


def log_predictions(run: Run, predictions: pd.DataFrame) -> None:
    """Log `predictions.parquet`: a table of `predictions_table`, as it is answered."""
    log_table(run, predictions.drop(columns=list(_PLACE)), "predictions")


def log_table(run: Run, table: pd.DataFrame, name: str) -> None:
    """Log a table as `NAME.parquet`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.parquet"
        with write_aside(path) as aside:
            table.to_parquet(aside, index=False)
        run.log_files(path)


def present(
    run: Run,
    table: pd.DataFrame,
    images: ImagesOf,
    labels: Sequence[str],
    primary: str,
    points: Mapping[str, Thresholds],
    prior: Mapping[str, float],
) -> dict[str, float]:
    """Measure test predictions and log metrics, figures and reports.

    Args:
        table: test rows of `predictions_table`.
        images: of the same rows.
        points: by name of an operating point its thresholds, as `evaluate` takes them; `balanced` is among them.
        prior: by label, share of the training images that have it.
    Returns:
        the logged metrics, with their `test/` names.
    """
    thresholds = points[BALANCED]
    metrics = {f"test/{name}": value for name, value in measure(table, labels, primary, points, prior).items()}
    run.log_metrics(metrics)
    run.set_tags({"mlflow.note.content": summary_line(metrics)})  # the run's description in the UI
    half = dict.fromkeys(labels, 0.5)
    run.log_figure(roc(table, labels, thresholds, _SEED), "roc")
    run.log_figure(precision_recall(table, labels, thresholds, _SEED), "precision_recall")
    run.log_figure(confusion(table, labels, thresholds, "balanced"), "confusion_balanced")
    run.log_figure(confusion(table, labels, half, "half"), "confusion_at_half")
    run.log_figure(right_and_wrong(table, images, primary, thresholds[primary]), "right_and_wrong")
    for label in labels:
        if table[f"label_{label}"].notna().any():
            run.log_figure(reliability(table, label), "reliability" if label == primary else f"reliability_{label}")
    for name, chosen in (("balanced", thresholds), ("at_half", half)):
        text, frame = classification_report(table, labels, chosen)
        run.log_text(text, f"classification_report_{name}.txt")
        run.log_text(frame.to_csv(index=False), f"classification_report_{name}.csv")
    return metrics


def log_why(run: Run, table: pd.DataFrame, images: ImagesOf, bundle: ModelBundle, primary: str) -> None:
    """Log the decisions that were right and wrong once more, with what speaks for and against each.

    Where no method of explaining is to be believed, it says so and logs nothing.

    Args:
        table: test rows of `predictions_table`, as this network answered them.
        images: of the same rows.
    """
    try:
        choice = choose(bundle)
    except ExplanationError as refused:
        print(f"no figure of why: {refused}", flush=True)
        return
    explained = _Explained(images, bundle, choice.method, bundle.description.place_of(primary))
    threshold = thresholds_of(table, bundle.description, BALANCED)[primary]
    by = f"{choice.method.name}{' (not checked)' if choice.note else ''}"
    run.log_figure(right_and_wrong(table, explained, primary, threshold, by), "right_and_wrong_explained")


@dataclass(frozen=True)
class _Explained:
    """Images coloured by why a label is answered as it is, one at a time, at the resolution of the model's input."""

    images: ImagesOf
    bundle: ModelBundle
    method: Method
    label: int

    def __getitem__(self, position: int, /) -> npt.NDArray[np.uint8]:
        pixels = self.bundle.description.preprocess.expand(self.images[position])
        [found] = self.method.explain(self.bundle.network, pixels[np.newaxis], self.label, self.bundle.background)
        return tinted(np.ascontiguousarray(pixels[..., 0]), found, strongest(found))


def measure(
    table: pd.DataFrame,
    labels: Sequence[str],
    primary: str,
    points: Mapping[str, Thresholds],
    prior: Mapping[str, float],
) -> dict[str, float]:
    """Everything that `evaluate` measures, at `balanced`, and the decisions at the other operating points."""
    found = evaluate(table, labels, primary, points[BALANCED], prior, _SEED)
    for name in points.keys() - {BALANCED}:
        found |= evaluate_point(table, labels, primary, points[name], name)
    return found


def log_images(run: Run, prepared: Prepared, task: Task) -> None:
    """Log which images there are, what they look like, how they are divided and whether a patient is on both sides."""
    log_table(run, shareable(prepared.manifest), "manifest")
    run.set_tags({"audit": "leaks" if prepared.report.leaks else "clean"})
    images = ImagesOf(prepared, prepared.manifest["row"].to_numpy(np.int64))
    run.log_figure(gallery(prepared.manifest, images, task.labels, _SEED), "gallery")
    file = example_of(prepared, task)
    if file is None:
        print(
            "the store's source files are gone or cannot be read, so there is no figure of one image's way", flush=True
        )
    else:
        run.log_figure(way(prepared.preprocess.way(file)), "way_of_one_image")
    run.log_text(prepared.report.text(), "audit.txt")
    run.log_text(data_set_page(task, prepared), PAGE)


def example_of(prepared: Prepared, task: Task) -> bytes | None:
    """The file of the first image with the primary label, or of the first at all; None when it cannot be read."""
    manifest = prepared.manifest
    first = int((manifest[f"label_{task.primary}"] == 1).to_numpy().argmax())
    path = str(manifest["path"].iloc[first])
    try:
        return prepared.root.read(path)
    except OSError:  # its text names the file
        return None


def summary_line(metrics: Mapping[str, float], group: str = "test") -> str:
    """The figures a person looks at first, with intervals: of images (`test/`) or of whole studies (`study/`)."""
    parts = []
    for name in ("auroc", "accuracy", "sensitivity", "specificity"):
        value: Any = metrics.get(f"{group}/{name}")
        if value is not None:
            low, high = metrics[f"{group}/{name}_low"], metrics[f"{group}/{name}_high"]
            parts.append(f"{name} {value:.3f} ({low:.3f} to {high:.3f})")
    return f"{group} " + ", ".join(parts) if parts else f"no {group} figure could be measured"
