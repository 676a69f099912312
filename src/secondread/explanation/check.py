"""What is asked of a way to explain answers, and what a check found."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from secondread.evaluation.intervals import Estimate

Asked = Literal["at most", "at least", "above"]


@dataclass(frozen=True)
class Question:
    """One question that every method is asked.

    Args:
        measures: what its number is.
        asked: how the number must lie to the bound; `above` is asked of its whole interval, for that something is
            better than chance must be certain.
        source: who asked it first.
        is_essential: no method that fails it may draw a served heat map.
    """

    measures: str
    asked: Asked
    bound: float
    source: str
    is_essential: bool = True

    def passes(self, found: Estimate) -> bool:
        """Tell whether a number meets the bound."""
        if self.asked == "above":
            return found.low > self.bound
        return found.value <= self.bound if self.asked == "at most" else found.value >= self.bound


QUESTIONS: Mapping[str, Question] = {
    "randomisation": Question(
        "rank correlation of the map with that of a network with random weights, by value or by size, "
        "whichever is nearer to 1",
        "at most",
        0.5,
        "Adebayo et al. 2018, Sanity Checks for Saliency Maps",
    ),
    "repeatability": Question(
        "largest difference between a map drawn among others and the same drawn alone, a share of its largest value",
        "at most",
        0.001,
        "equal images must have equal maps",
    ),
    "stability": Question(
        "correlation of the map, smoothed, with that of the image when each pixel moves by at most 1 gray level of 255",
        "at least",
        0.8,
        "Alvarez-Melis and Jaakkola 2018, On the Robustness of Interpretability Methods",
        is_essential=False,
    ),
    "completeness": Question(
        "what lies between the map's sum and the logit's difference from the baseline, a share of that difference",
        "at most",
        0.1,
        "Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks",
    ),
    "deletion": Question(
        "how much lower than in random order the probability is, on average, while the map's highest places are "
        "covered first",
        "above",
        0.0,
        "Petsiuk et al. 2018, RISE",
    ),
    "insertion": Question(
        "how much higher than in random order the probability is, on average, while the map's highest places appear "
        "first",
        "above",
        0.0,
        "Petsiuk et al. 2018, RISE",
    ),
    "pointing": Question(
        "share of images whose map is highest at the lesion",
        "at least",
        0.9,
        "Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop",
    ),
    "blind_pointing": Question(
        "share of images whose map is highest at the lesion although the network has random weights",
        "at most",
        0.5,
        "both of the above: what points without having learned points for another reason",
    ),
}


@dataclass(frozen=True)
class Check:
    """What one question found of one method.

    Args:
        name: of `QUESTIONS`.
        passed: None where it was not measured.
        value, low, high: the number and its 95% interval by patient; NaN where it was not measured, and an interval
            without end where one patient tells nothing of others.
        images: how many it rests on.
        note: why it was not measured, or what the number is to be compared with.
    """

    method: str
    name: str
    passed: bool | None
    value: float
    low: float
    high: float
    images: int
    note: str = ""


def measured(method: str, name: str, found: Estimate, images: int, note: str = "") -> Check:
    """Hold a number against its question's bound."""
    return Check(method, name, QUESTIONS[name].passes(found), *found, images, note)


def not_measured(method: str, name: str, why: str) -> Check:
    """Say why a question has no answer."""
    nan = float("nan")
    return Check(method, name, None, nan, nan, nan, 0, why)


def table(checks: Sequence[Check]) -> pd.DataFrame:
    """A row a method and question, with what was asked and by whom."""
    return pd.DataFrame([{**asdict(check), **asdict(QUESTIONS[check.name])} for check in checks])
