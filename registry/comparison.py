"""A candidate beside the champion on the same test images: how both answers are found, paired and compared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pandas as pd
from mlflow.entities import Run

from registry.contender import Contender, artifact, read_table
from registry.decision import Asks, Compared, Level
from secondread.config import load_config
from secondread.data.manifest import manifest_digest
from secondread.errors import RegistryError, SecondReadError
from secondread.evaluation.comparison import Difference, Measure, Paired, compare, pair, spent_alpha
from secondread.evaluation.metrics import Thresholds

if TYPE_CHECKING:
    from secondread.bundle import BundleDescription

Ground = Literal["champion", "candidate"]

_SEED = 0  # of the resamples behind intervals: equal predictions give equal decisions
_FEWEST = 2  # of each class: with one image a class there is no variance
_KEYS = {"image": "image_key", "study": "study_key"}


@dataclass(frozen=True)
class Match:
    """A candidate and the champion, measured on the test images of one of them.

    Args:
        ground: whose manifest's test images.
        met: how many challenged the champion before.
    """

    champion: Contender
    challenger: Contender
    ground: Ground
    met: int

    @cached_property
    def answers(self) -> "tuple[_Answers, _Answers]":
        """The champion's and the challenger's; a model that was trained on other images runs on these.

        Raises:
            RegistryError: the images are gone or changed.
        """
        owner = self.champion if self.ground == "champion" else self.challenger
        return _answers_on(self.champion, owner), _answers_on(self.challenger, owner)

    @property
    def is_at_hand(self) -> bool:
        """Whether both have answered the same images already."""
        return self.champion.manifest_digest == self.challenger.manifest_digest

    @property
    def names(self) -> tuple[str, str]:
        """The champion's and the challenger's, as figures call them."""
        champion, challenger = self.champion, self.challenger
        return f"champion, {champion.name}", f"candidate, {challenger.name}"

    @cached_property
    def _pairs(self) -> dict[str, Paired]:
        return {}

    def without_answers(self, level: Level) -> Contender | None:
        """Which of both has not answered studies, the champion first."""
        for contender, answers in zip((self.champion, self.challenger), self.answers, strict=True):
            if level not in answers:
                return contender
        return None

    def paired(self, level: Level) -> Paired:
        """Both answers to the primary label of every image, or study, that both have answered."""
        if level not in self._pairs:
            label = self.challenger.task.primary
            champion, challenger = (one[level] for one in self.answers)
            self._pairs[level] = pair(
                champion.table, challenger.table, label, champion.thresholds, challenger.thresholds, key=_KEYS[level]
            )
        return self._pairs[level]

    def too_few(self, level: Level) -> str:
        """Why nothing can be compared, and what to do; "" where it can."""
        paired = self.paired(level)
        ill = int(paired.truth.sum())
        well = len(paired.truth) - ill
        if min(ill, well) >= _FEWEST:
            return ""
        left_out = self.left_out(level)
        because = f", after {left_out} that one of the two was trained on were left out" if left_out else ""
        return (
            f"{ill} with and {well} without {self.challenger.task.primary} were answered by both{because}; train on "
            "the champion's split, or bring test images that neither has seen"
        )

    def left_out(self, level: Level) -> int:
        """Test rows not counted because one of the two was trained on them or on their patients."""
        return sum(one[level].left_out for one in self.answers)

    def compare(
        self, measure: Measure, level: Level, asks: Asks, margin: float | None, alpha: float
    ) -> tuple[Compared, Difference]:
        """Compare both; what is found, to be kept and to be drawn.

        Args:
            alpha: of the first comparison of a champion; superiority over one that met others costs more.
        """
        paired = self.paired(level)
        spent = spent_alpha(alpha, self.met) if asks == "superiority" else alpha
        found = compare(measure, paired, spent, _SEED)
        kept = Compared(
            measure=measure,
            level=level,
            champion=found.champion,
            challenger=found.challenger,
            difference=found.difference,
            low=found.low,
            high=found.high,
            confidence=found.confidence,
            asks=asks,
            margin=margin,
            alpha=spent,
            met=self.met,
            images=len(paired.truth),
            patients=len(set(paired.patients)),
            left_out=self.left_out(level),
            test=found.test,
        )
        return kept, found


_ThresholdsOf = Callable[[pd.DataFrame, "BundleDescription"], Thresholds]


@dataclass(frozen=True)
class _Table:
    """Answers to images or studies.

    Args:
        thresholds: of `balanced`.
        left_out: rows of the test that are not in the table.
    """

    table: pd.DataFrame
    thresholds: Thresholds
    left_out: int


_Answers = dict[Level, _Table]


def _answers_on(contender: Contender, owner: Contender) -> _Answers:
    """A contender's answers to the test images of the owner's manifest, without those that it has learned from."""
    from secondread.steps.thresholds import study_thresholds_of, thresholds_of

    at_home = contender.manifest_digest == owner.manifest_digest
    run_id = contender.run.info.run_id if at_home else _evaluated(contender, owner)
    found: _Answers = {"image": _table(contender, run_id, "predictions.parquet", thresholds_of, at_home)}
    answered = {rule.label for rule in contender.description.study_rules}
    if contender.task.primary in answered and artifact(contender.client, run_id, "studies.parquet"):
        found["study"] = _table(contender, run_id, "studies.parquet", study_thresholds_of, at_home)
    return found


def _table(contender: Contender, run_id: str, name: str, thresholds: _ThresholdsOf, at_home: bool) -> _Table:
    table = read_table(contender.client, run_id, name)
    table = table[table["split"] == "test"].reset_index(drop=True)
    if at_home:
        return _Table(table, thresholds(table, contender.description), 0)
    # Its folds are the owner's, and chose nothing of this model: the bundle's own thresholds decide.
    table["fold"] = pd.NA
    unseen = table[~_seen(contender, table)].reset_index(drop=True)
    return _Table(unseen, thresholds(unseen, contender.description), len(table) - len(unseen))


def _seen(contender: Contender, table: pd.DataFrame) -> pd.Series:
    """Rows whose patient the contender has learned from; of a patient with a known image, every row."""
    learned = contender.learned
    patients = set(learned["patient_key"])
    if "image_key" in table:  # equal images of two homes have patient keys of two secrets
        patients |= set(table.loc[table["image_key"].isin(set(learned["image_key"])), "patient_key"])
    return table["patient_key"].isin(patients)


def _evaluated(contender: Contender, owner: Contender) -> str:
    """The run of the contender's evaluation on the owner's test images: an earlier one, or a new one."""
    split = "all" if owner.has_folds else "test"
    manifest = owner.manifest
    chosen = manifest if split == "all" else manifest[manifest["split"] == "test"]
    wanted = manifest_digest(chosen.assign(split="test"))
    for run in _evaluations(contender):
        if run.data.tags.get("manifest_digest") == wanted:
            return str(run.info.run_id)
    run_id = _evaluate(contender, owner, split)
    if contender.client.get_run(run_id).data.tags["manifest_digest"] != wanted:
        raise RegistryError(
            f"{owner.uri}: the images at {owner.run.data.params.get('data.path')} are not those that it was tested on; "
            f"{_another_way(contender, owner)}"
        )
    return run_id


def _evaluations(contender: Contender) -> list[Run]:
    client = contender.client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.step = 'evaluate' and tags.evaluated_model = '{contender.uri}' and attributes.status = 'FINISHED'"
    found: list[Run] = client.search_runs(experiments, wanted, max_results=50_000)
    return found


def _evaluate(contender: Contender, owner: Contender, split: str) -> str:
    """Run a model on the images that another was tested on."""
    from secondread.steps.evaluate import evaluate

    params = owner.run.data.params
    settings = {key: None if text == "None" else text for key, text in params.items() if key.startswith("data.")}
    print(f"{contender.name} was made from other images than {owner.name}; it answers those of {owner.name} now")
    try:
        return evaluate(load_config(contender.task.name, settings), contender.uri, split)
    except SecondReadError as error:
        raise RegistryError(f"{owner.uri}: its test images: {error}; {_another_way(contender, owner)}") from None


def _another_way(contender: Contender, owner: Contender) -> str:
    return (
        "bring them back, compare on the test images of the other with --manifest champion or candidate, or say by "
        f"hand which version shall serve: `python -m registry rollback {contender.task.name} --to N`"
    )
