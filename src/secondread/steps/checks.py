"""Check which way to explain a trained model's answers is to be believed, and log what was found."""

from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from secondread.config import RunConfig
from secondread.data.masks import masks_of
from secondread.data.prepare import Prepared
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.evaluation.figures.checks import checks_figure
from secondread.explanation.check import Check, table
from secondread.explanation.checks import Evidence, check_methods
from secondread.explanation.methods import METHODS
from secondread.explanation.recommend import recommended
from secondread.imaging.picture import UInt8Image
from secondread.tasks import Task
from secondread.tracking.run import Run

_MOST_USUAL = 1000  # images whose mean is what is usual: more tell nothing new
_FEWEST_USUAL = 10  # patients: the mean of fewer might show one of them
_SEED = 0  # of which they are


class Checked(NamedTuple):
    """What a bundle says of explanations.

    Args:
        background: as `ModelBundle` takes it.
    """

    explanation: Explanation
    background: UInt8Image | None


def check_explanations(
    run: Run, network: keras.Model, config: RunConfig, data: Prepared, task: Task, labels: tuple[str, ...]
) -> Checked:
    """Check every method on val images with the primary label, and log a table, a figure and metrics.

    With `data.folds` the network has learned from all images: then it is checked on such.
    """
    background = usual(data, task)
    if not config.explanation.images:
        return Checked(UNCHECKED, background)
    manifest = data.manifest
    allowed = np.full(len(manifest), True) if config.data.folds else (manifest["split"] == "val").to_numpy()
    chosen = spread(manifest[allowed & (manifest[f"label_{task.primary}"] == 1)], config.explanation.images)
    if chosen.empty:
        return Checked(
            Explanation(method=None, reason=f"val has no image with {task.primary} to check one on"), background
        )
    evidence = evidence_of(data, chosen, background)
    checks = check_methods(network, labels.index(task.primary), evidence, METHODS.values())
    found = recommended(checks)
    if config.data.folds:
        found = found.model_copy(update={"reason": f"{found.reason}; it had learned from them"})
    log_checks(run, checks, found)
    return Checked(found, background)


def usual(data: Prepared, task: Task) -> UInt8Image | None:
    """The mean of training images without the primary label, shape (1, size, size, channels).

    None where fewer than ten patients have such: it travels with the model and must show none of them.
    """
    manifest = data.manifest
    learned = (manifest["fold"] >= 0) | (manifest["split"] == "train")
    chosen = learned & (manifest[f"label_{task.primary}"] == 0)
    if manifest.loc[chosen, "patient_key"].nunique() < _FEWEST_USUAL:
        return None
    rows = data.rows(chosen)
    if len(rows) > _MOST_USUAL:
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, _MOST_USUAL, replace=False))
    total = sum(data.pixels.take(row)[0].astype(np.float64) for row in rows[:, None])
    mean: UInt8Image = np.rint(total / len(rows)).astype(np.uint8)[np.newaxis]
    return data.preprocess.expand(mean)


def spread(rows: pd.DataFrame, images: int) -> pd.DataFrame:
    """Choose rows by chance, of as many patients as there are: each patient's second image after all the firsts."""
    shuffled = rows.sample(frac=1, random_state=_SEED)
    turn = shuffled.groupby("patient_key").cumcount()
    return shuffled.assign(turn=turn).sort_values("turn", kind="stable").head(images).drop(columns="turn")


def evidence_of(data: Prepared, chosen: pd.DataFrame, background: UInt8Image | None) -> Evidence:
    """What methods are checked on, of some rows of the manifest."""
    pixels = data.preprocess.expand(data.pixels.take(chosen["row"].to_numpy(np.int64)))
    masks = masks_of(data.root, chosen["path"].tolist(), data.preprocess)
    return Evidence(pixels, chosen["patient_key"].to_numpy(object), masks, background)


def log_checks(run: Run, checks: list[Check], found: Explanation) -> None:
    """Log `explanation_checks.csv`, a figure of it, and what was measured of each method."""
    said = table(checks)
    run.log_text(said.to_csv(index=False), "explanation_checks.csv")
    run.log_figure(checks_figure(said, found), "explanation_checks")
    run.log_metrics(metrics_of(checks))
    run.set_tags({"explanation": found.method or "none"})
    print(f"explanation: {found.reason}", flush=True)


def metrics_of(checks: list[Check]) -> dict[str, float]:
    """`explanation/METHOD_CHECK` and its interval, of what was measured."""
    numbers = {
        f"explanation/{check.method}_{check.name}{suffix}": value
        for check in checks
        for suffix, value in (("", check.value), ("_low", check.low), ("_high", check.high))
    }
    return {name: value for name, value in numbers.items() if np.isfinite(value)}
