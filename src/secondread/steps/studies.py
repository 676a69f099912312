"""Answers to whole studies: learned with a model, measured, and logged to its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from secondread.config import RunConfig
from secondread.evaluation.figures.confusion import confusion
from secondread.evaluation.figures.reliability import reliability
from secondread.evaluation.figures.roc import roc
from secondread.evaluation.metrics import Thresholds
from secondread.evaluation.operating_points import BALANCED, OperatingPoint
from secondread.evaluation.study import StudyRule, choose_study_rule, cross_fitted_studies, study_table
from secondread.steps.present import log_table, measure, summary_line
from secondread.steps.thresholds import SEED, choose_points
from secondread.tasks import Task
from secondread.tracking.run import Run


@dataclass(frozen=True)
class Studies:
    """How studies are answered, and answers to those of val and test.

    Args:
        table: as `study_table` gives it.
        prior: by label, share of the studies outside the test that have it.
    """

    table: pd.DataFrame
    rules: tuple[StudyRule, ...]
    points: tuple[OperatingPoint, ...]
    prior: dict[str, float]

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that could be learned."""
        return tuple(rule.label for rule in self.rules)


def learn_studies(
    predictions: pd.DataFrame, manifest: pd.DataFrame, task: Task, labels: Sequence[str], config: RunConfig
) -> Studies | None:
    """Learn on val, or out of fold, how the slices of a study combine.

    Args:
        predictions: calibrated, of val and test, or out of fold; rows of `predictions_table`.
        manifest: the run's, for the share of studies that have a label.
    Returns:
        None where the task's images stand alone, or nothing could be learned, which is then said.
    """
    if not task.combines_studies:
        return None
    chosen_on = predictions if config.data.folds else predictions[predictions["split"] == "val"]
    learned = [label for label in labels if _has_both(study_table(chosen_on, [], [label])[f"label_{label}"])]
    if task.primary not in learned:
        print(f"no study rule: not both studies with and without {task.primary} to learn it from", flush=True)
        return None
    rules = tuple(choose_study_rule(chosen_on, label, SEED) for label in learned)
    print(f"study rules: {', '.join(f'{rule.label} {rule.name}' for rule in rules)}", flush=True)
    if config.data.folds:
        table = chosen = cross_fitted_studies(predictions, learned, SEED)
        others = manifest
    else:
        chosen = study_table(chosen_on, rules, learned)
        table = pd.concat(
            [chosen, study_table(predictions[predictions["split"] == "test"], rules, learned)], ignore_index=True
        )
        others = manifest[manifest["split"] != "test"]
    shares = study_table(others, [], learned)
    prior = {label: float(shares[f"label_{label}"].mean()) for label in learned}
    return Studies(table, rules, tuple(choose_points(chosen, learned, config)), prior)


def log_studies(
    run: Run,
    table: pd.DataFrame,
    labels: Sequence[str],
    primary: str,
    points: Mapping[str, Thresholds],
    prior: Mapping[str, float],
) -> dict[str, float]:
    """Log `studies.parquet`, and what its test studies measure, with figures.

    Args:
        table: as `study_table` gives it.
        labels: answered for studies.
        points: by name of an operating point its thresholds for the test studies.
        prior: by label, share of the training studies that have it.
    Returns:
        the logged metrics, with their `study/` names.
    """
    log_table(run, table, "studies")
    tested, thresholds = rows_of_test(table), points[BALANCED]
    found = measure(tested, labels, primary, points, prior)
    metrics = {f"study/{name}": value for name, value in found.items()}
    run.log_metrics(metrics)
    run.log_figure(roc(tested, labels, thresholds, SEED, "studies"), "studies_roc")
    run.log_figure(confusion(tested, labels, thresholds, "studies"), "studies_confusion")
    run.log_figure(reliability(tested, primary, "studies"), "studies_reliability")
    print(summary_line(metrics, "study"), flush=True)
    return metrics


def rows_of_test(table: pd.DataFrame) -> pd.DataFrame:
    """The test's rows, numbered anew."""
    return table[table["split"] == "test"].reset_index(drop=True)


def _has_both(truth: pd.Series) -> bool:
    return set(truth.dropna()) == {0.0, 1.0}
