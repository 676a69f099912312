"""The classification report: precision, recall and F1 of both classes of every label, as text and as a table."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from secondread.evaluation.confusion import Confusion
from secondread.evaluation.intervals import Estimate
from secondread.evaluation.metrics import Answers, Thresholds
from secondread.evaluation.wording import readable, threshold_text, with_interval

_SHOWN = ("precision", "recall", "f1")
_WIDTH = 23  # of an estimate with its interval, and two blanks


def classification_report(
    frame: pd.DataFrame, labels: Sequence[str], thresholds: Thresholds
) -> tuple[str, pd.DataFrame]:
    """Report decisions as scikit-learn does, with Wilson intervals.

    Args:
        frame: predictions, as `evaluate` takes them.
        labels: those to report; one that is unknown for every image is left out.
        thresholds: as `evaluate` takes them.
    Returns:
        the text, and a table with the rows `absent` and `present` a label: `precision`, `recall`, `f1` and the label's
        `accuracy`, each with `_low` and `_high` and NaN where undefined, and `images`.
    """
    answers = {label: Answers.of(frame, label) for label in labels}
    counted = {label: answer.decided(thresholds[label]) for label, answer in answers.items() if len(answer.rows)}
    text = [_text(label, threshold_text(thresholds[label]), confusion) for label, confusion in counted.items()]
    return "\n".join(text), pd.DataFrame([row for label, one in counted.items() for row in _rows(label, one)])


def _classes(counted: Confusion) -> Iterator[tuple[str, dict[str, Estimate], int]]:
    """Each class as what is looked for: its estimates and its images."""
    for name, seen in (("absent", counted.swapped), ("present", counted)):
        found = seen.estimates()
        found |= {"recall": found["sensitivity"]} if "sensitivity" in found else {}
        yield name, found, seen.positives


def _rows(label: str, counted: Confusion) -> Iterator[Mapping[str, object]]:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    for name, found, images in _classes(counted):
        row: dict[str, object] = {"label": label, "class": name}
        for metric in (*_SHOWN, "accuracy"):
            estimate = found.get(metric, nothing)
            row |= {metric: estimate.value, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
        yield row | {"images": images}


def _text(label: str, threshold: str, counted: Confusion) -> str:
    lines = [f"{readable(label)}, {threshold}", _line("", _SHOWN, "images")]
    for name, found, images in _classes(counted):
        said = [with_interval(found[metric]) if metric in found else "undefined" for metric in _SHOWN]
        lines.append(_line(name, said, f"{images:,}"))
    accuracy = with_interval(counted.estimates()["accuracy"])
    lines.append(_line("accuracy", ["", "", accuracy], f"{counted.positives + counted.negatives:,}"))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: Sequence[str], images: str) -> str:
    return f"{name:<10}" + "".join(f"{cell:<{_WIDTH}}" for cell in cells) + f"{images:>8}"
