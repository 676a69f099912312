"""Draw why a logged model answers some images as it does.

The answers are the logged model's own, under its own code, in a process of its own; what is explained is its network,
by today's code: a bundle is data, a description whose older formats are read and a network of Keras' own layers, each
file checked by its digest. Where today's code makes another probability of a file, it would explain another answer, so
nothing is drawn.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from secondread.bundle import ModelBundle, load_bundle
from secondread.config import load_config
from secondread.data.explanations import PICTURES, ExplanationsFolder, Job, Said, check_out, open_explanations
from secondread.data.sample import Sample, sample
from secondread.data.scores import shown
from secondread.data.unlabelled import Listed, Place, listed, places_of
from secondread.errors import BundleError, ImageRejected, SourceError
from secondread.explanation.choice import Choice, choose
from secondread.explanation.overlay import Heading, amounts, png, sheet
from secondread.explanation.target import logits_of
from secondread.imaging.picture import UInt8Image
from secondread.imaging.sandbox import safe_display, safe_pixels
from secondread.report.explanations import PAGE, explanations_page
from secondread.steps.score import alone
from secondread.storage import Folder, sha256_of
from secondread.tasks import Task, load_task
from secondread.tracking.answer import Answer, AnsweringModel, answer_bar, files_here
from secondread.tracking.home import home
from secondread.tracking.model import bundle_folder, fetch_model
from secondread.tracking.run import Run
from secondread.tracking.scoring import open_scoring

_AT_ONCE = 16  # images that the model answers before they are explained
_WHY = ("status", "rule", "reason")  # of an image without a picture
_SAME = 1e-3  # of a probability: more than another order of summing makes


@dataclass(frozen=True)
class Work:
    """What is explained of each image, and how."""

    bundle: ModelBundle
    choice: Choice
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """One image to explain.

    Args:
        path: relative to the source's root.
        place: a rejection where it must not or cannot be opened.
        study: a number that stands for its study.
        truth: by label, in a word; "" unknown.
    """

    path: str
    place: Place | ImageRejected
    study: int
    truth: Mapping[str, str]


def explain(
    task_name: str, model_uri: str, data: str, method: str | None, label: str | None, images: int, out: Path
) -> None:
    """Draw what speaks for and against each label on images of any source; an interrupted job goes on where it was.

    `out` then holds `pictures`, one an image with a row a label, named by image key; `explanations.csv`, a row an image
    and label; `explanations.html`, all of it to look at; and `put_aside.csv`, each image without a picture, and why.

    Args:
        data: a DICOM, PNG or JPEG file, a folder of any layout, a store, each here or on S3, or `phantom`.
        method: a name of `METHODS`; None is the one that passed the model's checks.
        label: one that the model answers; None is all of them.
        images: at most; evenly spread over the source, of test where it has one, half of them positive.
        out: a new folder, or that of the same job.
    Raises:
        SecondReadError: the model, the method, the label, the source or `out` cannot be used.
    """
    task, config, out = load_task(task_name), load_config(task_name, {"data": data}), out.resolve()
    check_out(out)
    model = fetch_model(model_uri)
    work = _work(task, model, model_uri, method, label)
    print(f"method {work.choice.method.name}{f' ({work.choice.note})' if work.choice.note else ''}", flush=True)
    chosen = sample(task, config, home(), images, out)
    files = list(listed(chosen.root, chosen.images["path"].tolist()))
    subjects = subjects_of(chosen, files, task)
    print(f"{len(subjects):,} of {chosen.of:,} images", flush=True)
    with alone(out):
        folder = open_explanations(out, _job(task, model, work, files))
        if folder.summary is not None:
            print(f"{out}: finished already; {_counts(folder.summary)}", flush=True)
            return
        parameters = {"method": work.choice.method.name, "labels": ",".join(work.labels), "images": str(len(subjects))}
        tags = {"bundle_digest": folder.job.model}
        with open_scoring("explain", model_uri, work.bundle.description, parameters, tags) as run:
            print(f"opened run {run.id}", flush=True)
            _draw(folder, model, work, chosen.root, subjects)
            if chosen.is_file:
                _refuse(folder, data)
            _finish(folder, work, task, subjects, run)


def _work(task: Task, model: Path, model_uri: str, method: str | None, label: str | None) -> Work:
    bundle = load_bundle(bundle_folder(model))
    about = bundle.description
    if about.task != task.name:
        raise BundleError(f"{model_uri}: a model for {about.task}; use --task {about.task}")
    if label is not None:
        about.place_of(label)  # one that is not answered is refused
    return Work(bundle, choose(bundle, method), about.labels if label is None else (label,))


def _job(task: Task, model: Path, work: Work, files: Sequence[Listed]) -> Job:
    return Job(
        task=task.name,
        model=sha256_of((bundle_folder(model) / "bundle.json").read_bytes()),
        method=work.choice.method.name,
        labels=work.labels,
        images=len(files),
        files=sha256_of(json.dumps(files).encode()),
    )


def subjects_of(chosen: Sample, files: Sequence[Listed], task: Task) -> list[Subject]:
    """The images of a sample, slices in order; where the source does not know their studies, the headers do.

    Args:
        files: the same images.
    """
    rows = [row for _, row in chosen.images.iterrows()]
    if chosen.is_placed:
        files = [file._replace(place=_place(row)) for file, row in zip(files, rows, strict=True)]
    places = places_of(files, chosen.root, [file.path for file in files])
    order = sorted(range(len(rows)), key=lambda at: (_order(places[at]), str(rows[at]["path"])))
    studies: dict[str, int] = {}
    subjects = []
    for at in order:
        place, row = places[at], rows[at]
        study = place.study if isinstance(place, Place) else ""
        number = studies.setdefault(study, len(studies) + 1) if study else 0
        truth = {label: _word(float(row[f"label_{label}"])) for label in task.labels}
        subjects.append(Subject(str(row["path"]), place, number, truth))
    return subjects


def _place(row: pd.Series) -> Place:
    return Place(str(row["study"]), str(row["series"]), None if np.isnan(row["order"]) else float(row["order"]))


def _order(place: Place | ImageRejected) -> tuple[str, str, float]:
    if isinstance(place, ImageRejected):
        return "", "", 0.0
    return place.study, place.series, 0.0 if place.order is None else place.order


def _word(truth: float) -> str:
    return "" if np.isnan(truth) else ("present" if truth == 1 else "absent")


def _draw(folder: ExplanationsFolder, model: Path, work: Work, root: Folder, subjects: Sequence[Subject]) -> None:
    waiting = list(folder.waiting())
    sound = [at for at in waiting if isinstance(subjects[at].place, Place)]
    batches = [sound[start : start + _AT_ONCE] for start in range(0, len(sound), _AT_ONCE)]
    with (
        AnsweringModel(model, work.bundle.description.point_names[0]) as child,
        answer_bar(len(subjects), len(subjects) - len(waiting), "explain images") as bar,
    ):
        for at in waiting:
            rejected = subjects[at].place
            if isinstance(rejected, ImageRejected):
                folder.keep(at, _said_of(rejected), None)
                bar.update()
        brought = files_here(root, [[subjects[at].path for at in batch] for batch in batches])
        for batch, files in zip(batches, brought, strict=True):
            for at, file, answer in zip(batch, files, child.answer(files), strict=True):
                folder.keep(at, *_explained(subjects[at], file, answer, work))
                bar.update()


def _explained(subject: Subject, file: Path, answer: Answer, work: Work) -> tuple[Said, tuple[str, bytes] | None]:
    """What is kept of one image: rows and a picture, or why there are none."""
    try:
        if answer["status"] != "ok":
            return {name: answer.get(name) for name in _WHY}, None  # an earlier model's answer names no rule
        content = file.read_bytes()
        rows, picture = _rows_and_picture(content, subject, answer, work)
    except ImageRejected as rejected:
        return _said_of(rejected), None
    except OSError:
        return {"status": "rejected", "rule": "unreadable", "reason": "the file cannot be opened"}, None
    return {"status": "ok", "rows": rows}, (f"{sha256_of(content)}.png", png(picture))


def _said_of(rejected: ImageRejected) -> Said:
    return {"status": rejected.status, "rule": rejected.rule, "reason": rejected.reason}


def _rows_and_picture(
    content: bytes, subject: Subject, answer: Answer, work: Work
) -> tuple[list[dict[str, Any]], UInt8Image]:
    form = work.bundle.description.preprocess
    pixels = form.stack([safe_pixels(content, form)])
    shown = safe_display(content, form)
    _check_same(work.bundle, pixels, answer)
    key, rows, drawn = sha256_of(content), [], []
    for label in work.labels:
        start = time.perf_counter()
        found, measured = _measured(work, pixels, label)
        seconds = time.perf_counter() - start
        probability, truth = float(answer[f"probability_{label}"]), subject.truth.get(label, "")
        laid = amounts(found, form, *shown.shape)
        rows.append(
            {"image_key": key, "study": subject.study or None, "slice": _slice(subject), "label": label, "truth": truth}
            | {"probability": probability, "method": work.choice.method.name}
            | measured
            | {"most_for": float(max(laid.max(), 0)), "most_against": float(min(laid.min(), 0)), "seconds": seconds}
        )
        drawn.append((found, Heading(label, probability, work.choice.method.name, work.choice.note, truth)))
    return rows, sheet(shown, drawn, form, (f"image {key[:12]}", _where(subject)))


def _measured(work: Work, pixels: UInt8Image, label: str) -> tuple[npt.NDArray[np.float32], dict[str, float | None]]:
    """A label's map, and whether it sums to what the method promises."""
    network, background = work.bundle.network, work.bundle.background
    method, place = work.choice.method, work.bundle.description.place_of(label)
    (found,) = method.explain(network, pixels, place, background)
    if not np.isfinite(found).all():
        raise ImageRejected("not_finite", f"{method.name} found no number for a part of this image")
    logit, total = float(logits_of(network, pixels, place)[0]), float(found.sum(dtype=np.float64))
    baseline = method.baseline(network, pixels, place, background) if method.is_complete else None
    gap = None if baseline is None else total - (logit - baseline)
    return found, {"logit": logit, "baseline": baseline, "sum_of_map": total, "completeness_gap": gap}


def _check_same(bundle: ModelBundle, pixels: UInt8Image, answer: Answer) -> None:
    """Refuse an image of which the logged code and today's make different things."""
    for label, today in zip(bundle.description.labels, bundle.answer(pixels)[0], strict=True):
        logged = answer[f"probability_{label}"]
        if abs(today - logged) > _SAME:
            raise ImageRejected(
                "another_answer",
                f"the model's own code answers {label} with {logged:.3f} and this version of Second Read with "
                f"{today:.3f}: explain with the version that logged it",
            )


def _slice(subject: Subject) -> float | None:
    return subject.place.order if isinstance(subject.place, Place) else None


def _where(subject: Subject) -> str:
    at = _slice(subject)
    return "" if not subject.study else f"study {subject.study}" + ("" if at is None else f", slice {at:g}")


def _refuse(folder: ExplanationsFolder, file: str) -> None:
    """Say what is wrong with the one file that a user named, and leave no folder that the next one would meet."""
    (said,) = folder.said()
    if said["status"] != "ok":
        shutil.rmtree(folder.out)
        raise SourceError(f"{file}: {said['status'].replace('_', ' ')}: {said['reason']}")


def _finish(folder: ExplanationsFolder, work: Work, task: Task, subjects: Sequence[Subject], run: Run) -> None:
    """Write the tables and the page, and log what may be told: nothing of it names a file."""
    said = folder.said()
    table = pd.DataFrame([row for each in said if each["status"] == "ok" for row in each["rows"]], columns=_COLUMNS)
    aside = pd.DataFrame(
        [
            {"path": shown(subject.path)} | {name: each[name] for name in _WHY}
            for subject, each in zip(subjects, said, strict=True)
            if each["status"] != "ok"
        ],
        columns=["path", *_WHY],
    )
    folder.write_table(table, "explanations")
    folder.write_table(aside, "put_aside")
    summary: dict[str, Any] = {
        "images": len(said),
        "explained": table["image_key"].nunique(),
        "put_aside": len(aside),
        "put_aside_because": aside["reason"].value_counts().to_dict(),
        "method": work.choice.method.name,
        "note": work.choice.note,
    }
    page = explanations_page(task, work.bundle.description, work.choice, table, summary, folder.out / PICTURES)
    folder.write_text(page, PAGE)
    _log(run, folder.out, table, summary)
    folder.finish(summary)
    print(_counts(summary), flush=True)
    print(f"to look at: {folder.out / PAGE}", flush=True)


_COLUMNS = (
    *("image_key", "study", "slice", "label", "truth", "probability", "method"),
    *("logit", "baseline", "sum_of_map", "completeness_gap", "most_for", "most_against", "seconds"),
)


def _log(run: Run, out: Path, table: pd.DataFrame, summary: Mapping[str, Any]) -> None:
    metrics = {name: float(value) for name, value in summary.items() if isinstance(value, int)}
    if len(table):
        metrics["seconds_a_map"] = float(table["seconds"].median())
        metrics["largest_completeness_gap"] = float(table["completeness_gap"].astype(float).abs().max())
        run.log_files(out / PICTURES, PICTURES)
    run.log_metrics(metrics)
    run.log_files(out / "explanations.csv")
    run.log_files(out / PAGE)
    run.set_tags({"method": str(summary["method"]), "mlflow.note.content": _counts(summary)})


def _counts(summary: Mapping[str, Any]) -> str:
    note = f" ({summary['note']})" if summary["note"] else ""
    return (
        f"{summary['images']:,} images: {summary['explained']:,} explained by {summary['method']}{note}, "
        f"{summary['put_aside']:,} put aside"
    )
