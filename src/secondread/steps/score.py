"""Answer any number of image files, and put them in the order in which to look at them."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import Timeout

from secondread.bundle import BundleDescription, verify_bundle
from secondread.config import load_config
from secondread.data.prepare import PHANTOM, source_index
from secondread.data.scores import Job, Part, ScoresFolder, check_out, open_scores, shown
from secondread.data.store import is_store
from secondread.data.unlabelled import (
    MOST,
    Listed,
    Place,
    folder_files,
    look_up_source,
    places_of,
    refusal_of,
    store_files,
    write_listing,
)
from secondread.errors import BundleError, ConfigError, ImageRejected, SourceError
from secondread.evaluation.figures.probabilities import distribution
from secondread.evaluation.worklist import slice_worklist, study_worklist
from secondread.execution import map_ahead
from secondread.storage import Folder, open_folder, passing_folder, sha256_of
from secondread.storage.here import Here, bring_here
from secondread.tasks import Task, load_task
from secondread.tracking.answer import BATCH, AnsweringModel, answer_bar
from secondread.tracking.home import home
from secondread.tracking.launcher import lock_of
from secondread.tracking.model import bundle_folder, fetch_model
from secondread.tracking.run import Run
from secondread.tracking.scoring import open_scoring

_MOST_COPIED = 1 << 28  # bytes of files from elsewhere that one request is for; there are copies for two requests
Row = dict[str, Any]


@dataclass(frozen=True)
class _Batch:
    """Files that are answered by one request.

    Args:
        part: that they are some of.
        here: those that may be opened.
        sent: where those are that the model is shown.
    """

    part: Part
    files: Sequence[Listed]
    places: Sequence[Place | ImageRejected]
    here: Here
    sent: Sequence[Path]


@dataclass(frozen=True)
class Answered:
    """How many files were answered by this process, and how long it took, the model's loading included."""

    files: int
    seconds: float


def score(task_name: str, model_uri: str, source: str, out: Path, operating_point: str, sr: bool = False) -> None:
    """Answer every file of a folder or store, and write worklists; an interrupted job continues where it was.

    `out` then holds `slices` (each answered image) and, where the model combines slices, `studies`, both as Parquet and
    CSV with the most urgent first; `put_aside.csv`, each file without an answer, and why; and `summary.json`. The study
    of a DICOM file is the one that its header names; that of a picture without one is the folder that holds it.

    Args:
        source: a folder of any layout or a store, here or on S3, or `phantom`. Of a store, its source files are read
            again.
        out: a new folder, or that of the same job.
        sr: write a DICOM Structured Report a study as well, also of a job that is finished.
    Raises:
        SecondReadError: the model, the source or `out` cannot be used.
    """
    task = load_task(task_name)
    out = out.resolve()
    check_out(out)
    model = fetch_model(model_uri)
    description = _description_for(task, model, model_uri, operating_point)
    root, files = _files_of(source, task, out)
    print(f"listing the files of {source}", flush=True)
    # At home, for paths and copies name patients, and a process that is killed leaves them to the next one.
    with alone(out), passing_folder(home()) as folder:
        listing = folder / "files.jsonl"
        job = _listed(files, listing, source, description, model, operating_point)
        root = open_folder(root.address)  # one on S3 lets go of what it knows of millions of files
        scores = open_scores(out, job, listing, description.labels)
        if scores.summary is not None:
            print(f"{out}: finished already; {_counts(scores.summary)}", flush=True)
        else:
            parameters = {"operating_point": operating_point, "files": str(job.files)}
            with open_scoring("score", model_uri, description, parameters, {"bundle_digest": job.model}) as run:
                print(f"opened run {run.id}", flush=True)
                answered = _answer(scores, model, root, operating_point, folder)
                _finish(scores, description, task, answered, run)
        if sr:
            from secondread.steps.structured_reports import write_structured_reports

            write_structured_reports(out, root, description, job.model, operating_point)


def _description_for(task: Task, model: Path, model_uri: str, operating_point: str) -> BundleDescription:
    description = verify_bundle(bundle_folder(model))
    if description.task != task.name:
        raise BundleError(f"{model_uri}: a model for {description.task}; use --task {description.task}")
    description.points(operating_point)
    return description


def _files_of(source: str, task: Task, out: Path) -> tuple[Folder, Iterator[Listed]]:
    """The folder that the files lie below, and the files."""
    if source == PHANTOM:
        config = load_config(task.name, {"data": PHANTOM})
        root = source_index(PHANTOM, "auto", task, config, home(), print).root
    elif is_store(source):
        store, root = look_up_source(source, task)
        return root, store_files(store, root)
    else:
        root = open_folder(source)
    if not root.is_there():
        raise SourceError(
            f"{source}: there is no such folder; give a folder of DICOM, PNG or JPEG files, or a store "
            "(for single files: `python -m secondread predict FILE...`)"
        )
    return root, folder_files(root, out)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Let one process at a time write to a folder."""
    lock = lock_of(f"scores-{sha256_of(str(out).encode())[:16]}")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"out={out}: another process is writing to it; wait for it") from None
    try:
        yield
    finally:
        lock.release()


def _listed(
    files: Iterator[Listed],
    listing: Path,
    source: str,
    description: BundleDescription,
    model: Path,
    operating_point: str,
) -> Job:
    with listing.open("w") as opened:
        count, digest = write_listing(files, opened)
    if not count:
        raise SourceError(f"{source}: holds no file; give a folder of DICOM, PNG or JPEG files, or a store")
    identity = sha256_of((bundle_folder(model) / "bundle.json").read_bytes())
    return Job(task=description.task, model=identity, operating_point=operating_point, files=count, listing=digest)


def _answer(scores: ScoresFolder, model: Path, root: Folder, operating_point: str, copies: Path) -> Answered:
    """Answer the parts that are not finished; while the model answers some files, the next ones are made ready.

    Args:
        copies: a folder for copies of files that lie elsewhere.
    """
    start, done = time.perf_counter(), scores.count_done()
    print(f"{scores.job.files:,} files" + (f", of which {done:,} have their answer" if done else ""), flush=True)
    if done == scores.job.files:
        return Answered(0, 0)
    with AnsweringModel(model, operating_point) as child, answer_bar(scores.job.files, done) as bar:
        rows: list[Row] = []
        waiting = ((part, files) for part in scores.waiting() for files in _batches(part.files))
        for batch in map_ahead(lambda found: _ready(*found, root, copies), waiting):
            with batch.here:
                rows += _rows(batch, child)
            bar.update(len(batch.files))
            if len(rows) == len(batch.part.files):
                scores.write_part(batch.part.number, rows)
                rows = []
    return Answered(scores.job.files - done, time.perf_counter() - start)


def _batches(files: Sequence[Listed]) -> Iterator[Sequence[Listed]]:
    """Divide files, in their order, so that a request holds few and their copies are small."""
    batch: list[Listed] = []
    held = 0
    for file in files:
        size = 0 if refusal_of(file) else file.size or 0
        if batch and (len(batch) == BATCH or held + size > _MOST_COPIED):
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += size
    yield batch


def _ready(part: Part, files: Sequence[Listed], root: Folder, copies: Path) -> _Batch:
    """Bring files to this machine if they lie elsewhere, and say where they belong."""
    sound = [file for file in files if not refusal_of(file)]
    here = bring_here(root, [file.path for file in sound], copies, MOST + 1)
    found = places_of(sound, here.root, here.paths)
    sent = [path for path, place in zip(here.files, found, strict=True) if isinstance(place, Place)]
    places = iter(found)
    return _Batch(part, files, [refusal_of(file) or next(places) for file in files], here, sent)


def _rows(batch: _Batch, child: AnsweringModel) -> list[Row]:
    """A row a file; those that cannot be placed are not shown to the model."""
    answers = iter(child.answer(batch.sent) if batch.sent else ())
    rows: list[Row] = []
    for file, place in zip(batch.files, batch.places, strict=True):
        row: Row = {"path": shown(file.path), "study": "", "series": "", "order": None, "folder": False}
        if isinstance(place, ImageRejected):
            row |= {"status": place.status, "rule": place.rule, "reason": place.reason}
        else:
            row |= next(answers)
            if row["status"] == "ok" or not place.folder:  # a folder may hold much that is no image
                row |= {"study": shown(place.study), "series": shown(place.series), "order": place.order}
                row |= {"folder": place.folder}
        rows.append(row)
    return rows


def _finish(scores: ScoresFolder, description: BundleDescription, task: Task, done: Answered, run: Run) -> None:
    """Put the answers in order, write every table, and log what may be told: counts, never a file."""
    print("putting the answers in order", flush=True)
    answers = scores.answers()
    is_answered = answers["status"] == "ok"
    aside = answers.loc[~is_answered, ["path", "status", "rule", "reason", "study"]]
    columns = [f"{kind}_{label}" for kind in ("probability", "positive") for label in description.labels]
    slices = answers.loc[is_answered, ["path", "study", "series", "order", *columns]]
    slices = slice_worklist(
        slices.astype({name: bool for name in columns if name.startswith("positive_")}), task.primary
    )
    summary: dict[str, Any] = {
        "files": len(answers),
        "answered": len(slices),
        "put_aside": len(aside),
        "put_aside_because": aside["reason"].value_counts().to_dict(),
        "positive": {label: int(slices[f"positive_{label}"].sum()) for label in description.labels},
        "pictures_placed_by_folder": int((answers["folder"] & is_answered).sum()),
    }
    scores.write_table(aside, "put_aside", parquet=False)
    if description.study_rules:
        studies = _studies(slices, aside, description, task, scores.job.operating_point)
        scores.write_table(studies, "studies")
        summary |= {"studies": len(studies), "positive_studies": int(studies[f"positive_{task.primary}"].sum())}
    scores.write_table(slices, "slices")
    _log(run, summary, done, slices, description, scores.job.operating_point)
    scores.finish(summary)
    print(_counts(summary), flush=True)
    _say_about_studies(summary, task, description)
    print(f"worklists, the most urgent first: {scores.out}", flush=True)


def _studies(
    slices: pd.DataFrame, aside: pd.DataFrame, description: BundleDescription, task: Task, operating_point: str
) -> pd.DataFrame:
    points = description.study_points(operating_point)
    thresholds = {label: point.threshold for label, point in points.items()}
    return study_worklist(slices, aside, description.study_rules, thresholds, task.primary)


def _log(
    run: Run,
    summary: dict[str, Any],
    done: Answered,
    slices: pd.DataFrame,
    description: BundleDescription,
    operating_point: str,
) -> None:
    metrics = {name: float(value) for name, value in summary.items() if isinstance(value, int)}
    metrics |= {f"positive_{label}": float(count) for label, count in summary["positive"].items()}
    if done.files:
        metrics |= {"seconds": done.seconds, "images_per_second": done.files / done.seconds}
    run.log_metrics(metrics)
    run.log_text(json.dumps(summary, indent=1), "summary.json")
    if len(slices):
        thresholds = {label: point.threshold for label, point in description.points(operating_point).items()}
        answered = {label: slices[f"probability_{label}"].to_numpy(np.float64) for label in description.labels}
        run.log_figure(distribution(answered, thresholds, "Images"), "probabilities")


def _counts(summary: Mapping[str, Any]) -> str:
    studies = f"; {summary['studies']:,} studies" if "studies" in summary else ""
    return f"{summary['files']:,} files: {summary['answered']:,} answered, {summary['put_aside']:,} put aside{studies}"


def _say_about_studies(summary: Mapping[str, Any], task: Task, description: BundleDescription) -> None:
    by_folder = summary["pictures_placed_by_folder"]
    if task.combines_studies and not description.study_rules:
        print("no worklist of studies: this model has learned no rule that combines slices", flush=True)
    elif task.combines_studies and by_folder:
        print(f"{by_folder:,} images have no header that names a study: their folder is taken for it", flush=True)
