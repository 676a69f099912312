"""One answer per study from the answers to its slices, by a rule that is learned on val."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit, logit, logsumexp

from secondread.evaluation.intervals import FloatArray, IntArray, owners
from secondread.evaluation.metrics import log_losses

BARE_MAXIMUM = "bare_maximum"
_SMALLEST = 1e-7  # float32 cannot tell a sigmoid closer to 1 than this
_FOLDS = 5
_REPETITIONS = 4
_NEWTON_STEPS = 100
_SLOPE_SPREAD = 0.5  # with 8 val patients of CT-ICH a free slope costs .02 nats; with 100 neither matters


class StudyRule(BaseModel):
    """How the slices of one study become one probability: their logits are pooled, and the pool is calibrated.

    Args:
        pool: `highest`, the mean of the highest logits; `soft`, the soft maximum of all, log(sum(exp(s z))) / s;
            `neighbours`, the highest mean of slices that lie side by side.
        slices: how many are averaged, by `highest` and `neighbours`; all, where a study has fewer.
        sharpness: s of `soft`; the larger, the closer to the bare maximum.
        slope: of the pooled logit in the study's logit; 0 where val told nothing.
        intercept: added to it.
        log_losses: of each candidate and, to compare, of the `bare_maximum`; on val, cross-validated by patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    label: str
    pool: Literal["highest", "soft", "neighbours"]
    slices: int = Field(1, ge=1)
    sharpness: float = Field(1.0, gt=0)
    slope: float = Field(1.0, ge=0)
    intercept: float = 0.0
    log_losses: dict[str, float] = {}

    @property
    def name(self) -> str:
        """What the rule is called among the candidates, such as `highest_3`."""
        return f"{self.pool}_{self.sharpness:g}" if self.pool == "soft" else f"{self.pool}_{self.slices}"

    def answer(self, probabilities: ArrayLike, order: ArrayLike) -> float:
        """The probability that ONE study has the label.

        Args:
            probabilities: of its slices, calibrated, shape (n,), at least one.
            order: where each slice lies along the body, any rising number, shape (n,); NaN where unknown.
        """
        said, places = np.asarray(probabilities, np.float64), np.asarray(order, np.float64)
        if not said.size:
            raise ValueError("a study needs at least one slice. Received: none")
        rising = said[np.argsort(places, kind="stable")]
        stacks = _Stacks(_logits(rising)[None, :], np.array([not np.isnan(places).any()]))
        return float(self._answers(stacks)[0])

    def _answers(self, stacks: "_Stacks") -> FloatArray:
        return np.asarray(expit(self.slope * self._pooled(stacks) + self.intercept), np.float64)

    def _pooled(self, stacks: "_Stacks") -> FloatArray:
        """A logit a study, shape (studies,), not yet calibrated."""
        if self.pool == "soft":
            sharpened = np.nan_to_num(stacks.logits, nan=-np.inf) * self.sharpness
            return np.asarray(logsumexp(sharpened, axis=1) / self.sharpness, np.float64)
        highest: FloatArray = np.nanmean(-np.sort(-stacks.logits, axis=1)[:, : self.slices], axis=1)
        if self.pool == "highest" or stacks.logits.shape[1] < self.slices:
            return highest
        means = sliding_window_view(stacks.logits, self.slices, axis=1).mean(axis=-1)  # NaN beyond a study's last slice
        side_by_side: FloatArray = np.nan_to_num(means, nan=-np.inf).max(axis=1)
        # Slices whose place is unknown, or that are too few, have no neighbours: their highest stand for them.
        return np.where(stacks.ordered & np.isfinite(side_by_side), side_by_side, highest)


# The plainest first. A single slice comes last: one artefact turns the whole study, so it must be clearly the best.
_FAMILY = (
    StudyRule(label="", pool="highest", slices=3),
    StudyRule(label="", pool="neighbours", slices=3),
    StudyRule(label="", pool="highest", slices=5),
    StudyRule(label="", pool="neighbours", slices=5),
    StudyRule(label="", pool="highest", slices=2),
    StudyRule(label="", pool="highest", slices=10),
    StudyRule(label="", pool="soft", sharpness=1),
    StudyRule(label="", pool="soft", sharpness=0.5),
    StudyRule(label="", pool="highest", slices=1),
)


class _Stacks:
    """The slices of many studies, side by side.

    Args:
        logits: a row a study, its slices by rising order, shape (studies, longest); NaN beyond its last slice.
        ordered: whether the places of all its slices are known, shape (studies,).
    """

    def __init__(self, logits: FloatArray, ordered: NDArray[np.bool_]) -> None:
        self.logits = logits
        self.ordered = ordered

    @classmethod
    def of(cls, slices: pd.DataFrame, label: str) -> "_Stacks":
        """Stack `probability_<label>` of slices that all belong to a study, in the studies' order of appearance."""
        study = pd.factorize(slices["study_key"])[0]
        order = slices["order"].to_numpy(np.float64)
        sorting = np.lexsort((order, study))  # NaN sorts last
        rows, counts = study[sorting], np.bincount(study)
        starts = np.cumsum(counts) - counts
        logits = np.full((len(counts), counts.max(initial=0)), np.nan)
        logits[rows, np.arange(len(rows)) - starts[rows]] = _logits(
            slices[f"probability_{label}"].to_numpy(np.float64)[sorting]
        )
        return cls(logits, np.bincount(study, np.isnan(order), len(counts)) == 0)

    def __getitem__(self, studies: NDArray[np.bool_]) -> "_Stacks":
        return _Stacks(self.logits[studies], self.ordered[studies])


def study_table(slices: pd.DataFrame, rules: Sequence[StudyRule], labels: Sequence[str]) -> pd.DataFrame:
    """Combine slices into studies.

    Args:
        slices: a row a slice: `study_key` ("" has none and is left out), `order`, `patient_key`, `split`, `fold`,
            `label_<label>` (1, 0, NaN unknown) and `probability_<label>`, calibrated.
        rules: each gives its label's probability.
        labels: whose truth is combined: 1 where any slice is 1, else NaN where any is unknown, else 0.
    Returns:
        a row a study, in order of appearance: `study_key`, `patient_key`, `split`, `fold`, `images` (how many slices),
        `label_<label>`, and `probability_<label>` where there is a rule; as `evaluate` takes it.
    """
    known = _of_studies(slices)
    grouped = known.groupby("study_key", sort=False)
    table = grouped[["patient_key", "split", "fold"]].first().assign(images=grouped.size())
    for label in labels:
        truth = grouped[f"label_{label}"]
        table[f"label_{label}"] = truth.max().where(truth.max().eq(1) | truth.count().eq(table["images"]))
    for rule in rules:
        table[f"probability_{rule.label}"] = rule._answers(_Stacks.of(known, rule.label))
    return table.reset_index()


def choose_study_rule(slices: pd.DataFrame, label: str, seed: int) -> StudyRule:
    """Learn from all given slices how a study is answered, by log loss, cross-validated by patient.

    Each candidate is calibrated by a logistic curve on Platt's smoothed targets, which keep it finite where few studies
    are separable; its slope is drawn to 1, the slices' own calibration, the less the more studies there are. Of the
    candidates within one standard error of the best, the plainest is taken.

    Args:
        slices: of val, as `study_table` takes them. Studies of one kind only, or none, give a rule of slope 0, which
            answers the smoothed share of positive studies whatever it sees.
        label: the label's name.
        seed: of the folds.
    Source: Platt, Advances in Large Margin Classifiers (1999) 61; Breiman et al., Classification and Regression Trees
        (1984) 3.4.3, for the standard error.
    """
    table = study_table(slices, [], [label])
    known = table[f"label_{label}"].notna().to_numpy()
    truth = table[f"label_{label}"].to_numpy(np.float64)[known]
    stacks = _Stacks.of(_of_studies(slices), label)[known]
    patients = owners(table.loc[known, "patient_key"])
    pools = np.stack([rule._pooled(stacks) for rule in _FAMILY])
    place, found = 0, {}
    if len(np.unique(patients)) > 1:
        losses = _cross_validated(pools, truth, patients, seed)
        place = _plainest_of_the_best(losses, patients)
        found = dict(zip([rule.name for rule in _FAMILY], losses.mean(axis=1).tolist(), strict=True))
        found[BARE_MAXIMUM] = float(log_losses(truth, expit(np.nanmax(stacks.logits, axis=1))).mean())
    slopes, intercepts = _calibrating(pools, truth)
    learned = {"slope": float(slopes[place]), "intercept": float(intercepts[place]), "log_losses": found}
    return _FAMILY[place].model_copy(update={"label": label} | learned)


def cross_fitted_studies(slices: pd.DataFrame, labels: Sequence[str], seed: int) -> pd.DataFrame:
    """Combine the slices of a cross-validation: each fold's studies by rules learned on the other folds.

    Args:
        slices: as `study_table` takes them, `fold` being the one in which a row was left out.
        labels: those to answer.
        seed: of the choice of rules.
    Returns:
        as `study_table`, fold by fold.
    """
    known = _of_studies(slices)
    tables = []
    for fold in sorted(known["fold"].unique()):
        own = known["fold"] == fold
        rules = [choose_study_rule(known[~own], label, seed) for label in labels]
        tables.append(study_table(known[own], rules, labels))
    return pd.concat(tables, ignore_index=True) if tables else study_table(known, [], labels)


def _of_studies(slices: pd.DataFrame) -> pd.DataFrame:
    return slices[slices["study_key"] != ""]


def _logits(probabilities: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)), np.float64)


def _cross_validated(pools: FloatArray, truth: FloatArray, patients: IntArray, seed: int) -> FloatArray:
    """Each candidate's log loss of each study when its patient was left out, averaged over draws of the folds.

    Args:
        pools: shape (candidates, studies), like what is returned.
    """
    generator = np.random.default_rng(seed)
    losses = np.zeros(pools.shape)
    for _ in range(_REPETITIONS):
        fold = _folds(truth, patients, generator)
        for left_out in np.unique(fold):
            own = fold == left_out
            slopes, intercepts = _calibrating(pools[:, ~own], truth[~own])
            answers = expit(slopes[:, None] * pools[:, own] + intercepts[:, None])
            losses[:, own] += log_losses(truth[own], answers) / _REPETITIONS
    return losses


def _folds(truth: FloatArray, patients: IntArray, generator: np.random.Generator) -> IntArray:
    """A fold a study, all of a patient in one, patients with the label spread evenly."""
    positive = np.bincount(patients, truth) > 0
    shuffled = generator.permutation(len(positive))
    dealt = shuffled[np.argsort(~positive[shuffled], kind="stable")]
    fold = np.empty(len(positive), np.int64)
    fold[dealt] = np.arange(len(dealt)) % _FOLDS
    return fold[patients]


def _plainest_of_the_best(losses: FloatArray, patients: IntArray) -> int:
    """The first candidate that is worse than the best by no more than the difference's standard error, by patient."""
    best = losses[losses.mean(axis=1).argmin()]
    return next(place for place, values in enumerate(losses) if _is_within_one_error(values - best, patients))


def _is_within_one_error(worse: FloatArray, patients: IntArray) -> bool:
    sums = np.bincount(patients, worse - worse.mean())
    error = np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(worse)
    return bool(worse.mean() <= error)


def _calibrating(scores: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logistic curves through smoothed targets, never falling, their slopes drawn to 1 as by a normal prior.

    Args:
        scores: a row a candidate, shape (candidates, n).
        truth: 0 or 1, shape (n,).
    Returns:
        slopes and intercepts, shape (candidates,).
    Source: Sun and Tran-Dinh, Mathematical Programming 178 (2019) 145, for Newton steps that cannot overshoot.
    """
    present = truth.sum()
    targets = np.where(truth == 1, (present + 1) / (present + 2), 1 / (len(truth) - present + 2))
    flat = logit(targets.mean()) if len(truth) else 0.0
    if not 0 < present < len(truth):
        return np.zeros(len(scores)), np.full(len(scores), flat)
    centers = scores.mean(axis=1)
    around = scores - centers[:, None]
    slopes, levels = np.ones(len(scores)), np.full(len(scores), flat)
    for _ in range(_NEWTON_STEPS):
        said = expit(slopes[:, None] * around + levels[:, None])
        gaps, weights = said - targets, said * (1 - said)
        tilt = (gaps * around).sum(axis=1) + (slopes - 1) / _SLOPE_SPREAD**2
        bend = (weights * around**2).sum(axis=1) + 1 / _SLOPE_SPREAD**2
        lean, width, height = (weights * around).sum(axis=1), weights.sum(axis=1), gaps.sum(axis=1)
        slope_steps = (width * tilt - lean * height) / (width * bend - lean**2)
        level_steps = (height - lean * slope_steps) / width
        farthest = np.abs(slope_steps[:, None] * around + level_steps[:, None]).max(axis=1)
        damping = np.log1p(farthest) / np.maximum(farthest, _SMALLEST)
        slopes, levels = slopes - damping * slope_steps, levels - damping * level_steps
        if farthest.max() < 1e-8:
            break
    return np.where(slopes > 0, slopes, 0.0), np.where(slopes > 0, levels - slopes * centers, flat)
