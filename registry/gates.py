"""Gates as data: what a candidate must be, as a YAML file lists it, and how each gate is judged."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from registry.comparison import Match
from registry.contender import Contender
from registry.decision import Asks, Compared, Level
from registry.subgroups import Shortfall, shortfalls
from secondread.errors import BundleError, RegistryError
from secondread.evaluation.comparison import Difference, Measure
from secondread.storage import sha256_of

_FOLDER = Path(__file__).with_suffix("")
_TRAIN_AGAIN = "train again, which measures it"
_STUDIES = "train on images whose studies are known, or leave out the gates of studies: --gates FILE"
NO_CHAMPION = "no champion to compare with"


class Finding(NamedTuple):
    """What a gate found: see `decision.GateResult`. A comparison is kept, and can be drawn."""

    passed: bool
    asked: str
    found: str
    advice: str = ""
    compared: Compared | None = None
    difference: Difference | None = None


class _Gate(BaseModel, ABC):
    """One gate."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compares: ClassVar[bool] = False  # with the champion

    @property
    @abstractmethod
    def name(self) -> str:
        """As reports call it, unique in its set."""

    @abstractmethod
    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Judge a candidate; `match` is with the champion, None where there is none."""


class _Measured(_Gate):
    """A gate on a metric of the candidate's run.

    Args:
        level: a figure of single images, or of whole studies.
    """

    level: Level = "image"

    def _named(self, name: str) -> str:
        return name if self.level == "image" else f"study {name}"

    @property
    def _next(self) -> str:
        return _TRAIN_AGAIN if self.level == "image" else _STUDIES

    def _figure(self, candidate: Contender, metric: str) -> "_Figure | None":
        group = "test" if self.level == "image" else "study"
        found = [candidate.run.data.metrics.get(f"{group}/{metric}{bound}") for bound in ("", "_low", "_high")]
        value, low, high = found
        return None if value is None or low is None or high is None else _Figure(value, low, high)


class _Figure(NamedTuple):
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{decimal(self.value)} ({decimal(self.low)} to {decimal(self.high)})"


def decimal(value: float) -> str:
    """A measured number: three places, without the leading zero of a share."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def limit(value: float) -> str:
    """A number as the gate's author wrote it, without the leading zero of a share."""
    return f"{value:g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:g}"


class SkillGate(_Measured):
    """The whole interval of the skill (1 - log loss / log loss of always answering the prior) is above a number."""

    gate: Literal["skill"]
    above: float = 0

    @property
    def name(self) -> str:
        """As reports call it."""
        return self._named("skill")

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Judge the low end of the interval."""
        asked = f"above {limit(self.above)}, with its whole interval"
        found = self._figure(candidate, "skill")
        if found is None:
            return Finding(False, asked, "not measured", self._next)
        advice = "train longer, on more images, or another model: its probabilities tell no more than the prior"
        return Finding(found.low > self.above, asked, str(found), advice)


class SensitivityGate(_Measured):
    """Sensitivity at an operating point reaches a number, by its value or by the low end of its interval."""

    gate: Literal["sensitivity"]
    operating_point: Literal["high_sensitivity", "balanced", "high_specificity"]
    at_least: float = Field(gt=0, lt=1)
    by: Literal["value", "low"]

    @property
    def name(self) -> str:
        """As reports call it."""
        return self._named(f"sensitivity at {self.operating_point}")

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Judge the value or the low end of the interval."""
        asked = f"at least {limit(self.at_least)}" + ("" if self.by == "value" else ", with its whole interval")
        suffix = "" if self.operating_point == "balanced" else f"_at_{self.operating_point}"
        found = self._figure(candidate, f"sensitivity{suffix}")
        if found is None:
            return Finding(False, asked, "not measured", self._next)
        reached = found.value if self.by == "value" else found.low
        advice = "train with a higher operating_points.high_sensitivity, or another model"
        return Finding(reached >= self.at_least, asked, str(found), advice)


class CalibrationGate(_Measured):
    """The expected calibration error is small."""

    gate: Literal["calibration"]
    at_most: float = Field(gt=0, lt=1)

    @property
    def name(self) -> str:
        """As reports call it."""
        return self._named("calibration")

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Judge the error itself: the low end of its interval would let any small test pass."""
        asked = f"an expected calibration error of at most {limit(self.at_most)}"
        found = self._figure(candidate, "ece")
        if found is None:
            return Finding(False, asked, "not measured", self._next)
        advice = "choose val images that are like the test images: calibration is learned on val"
        return Finding(found.value <= self.at_most, asked, str(found), advice)


class LatencyGate(_Gate):
    """One image is answered fast enough on this machine, as it is served."""

    gate: Literal["latency"]
    median_ms: float = Field(gt=0)

    @property
    def name(self) -> str:
        """As reports call it."""
        return "latency"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Time the logged model in a process of its own."""
        from secondread.data.phantom.write import phantom_image
        from secondread.tracking.answer import time_answers

        asked = f"a median of at most {self.median_ms:g} ms for one image"
        try:
            timed = time_answers(candidate.model, phantom_image(candidate.task, seed=0))
        except BundleError as error:
            return Finding(False, asked, "the model does not answer", str(error))
        found = f"{timed.median_ms:.1f} ms over {timed.images} images, loaded in {timed.load_s:.1f} s"
        return Finding(timed.median_ms <= self.median_ms, asked, found, "train a smaller model, or smaller images")


class SizeGate(_Gate):
    """The bundle is small enough to travel."""

    gate: Literal["size"]
    megabytes: float = Field(gt=0)

    @property
    def name(self) -> str:
        """As reports call it."""
        return "size"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Add up the bundle's files."""
        size = sum(path.stat().st_size for path in candidate.bundle.rglob("*") if path.is_file()) / 1e6
        asked = f"at most {self.megabytes:g} MB"
        return Finding(size <= self.megabytes, asked, f"{size:.1f} MB", "train a smaller model")


class AuditGate(_Gate):
    """No patient and no duplicate crosses the splits that it was trained and measured on."""

    gate: Literal["audit"]

    @property
    def name(self) -> str:
        """As reports call it."""
        return "audit"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Look at what the training's audit found."""
        found = candidate.run.data.tags.get("audit", "not measured")
        advice = "see the run's audit.txt; train on images that are divided by patient"
        return Finding(found == "clean", "clean", found, _TRAIN_AGAIN if found == "not measured" else advice)


class GitGate(_Gate):
    """The code that trained it is a commit."""

    gate: Literal["git"]

    @property
    def name(self) -> str:
        """As reports call it."""
        return "git"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Look at the state of the checkout when it was trained."""
        tags = candidate.run.data.tags
        commit, dirty = tags.get("git.commit", "unknown"), tags.get("git.dirty") != "false"
        if commit == "unknown":
            found = "trained outside a checkout"
        else:
            found = f"commit {commit[:12]}" + (", with changes that were not committed" if dirty else "")
        advice = "commit the code and train again, so that the model can be made again"
        return Finding(commit != "unknown" and not dirty, "trained from a commit, without changes", found, advice)


class PackagingGate(_Gate):
    """The logged model says what it needs and what it takes."""

    gate: Literal["packaging"]

    @property
    def name(self) -> str:
        """As reports call it."""
        return "packaging"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Look for the pinned requirements and the signature."""
        requirements = candidate.model / "requirements.txt"
        described = candidate.model / "MLmodel"
        missing = [] if requirements.is_file() and requirements.read_text().strip() else ["requirements"]
        if not described.is_file() or not (yaml.safe_load(described.read_text()) or {}).get("signature"):
            missing.append("signature")
        found = f"no {' and no '.join(missing)}" if missing else "both are there"
        return Finding(not missing, "requirements and signature", found, "train again, which logs them")


class LabelsGate(_Gate):
    """It answers the labels that the champion answers, so that nobody's column goes away unnoticed."""

    gate: Literal["labels"]

    compares: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As reports call it."""
        return "labels vs champion"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Compare both sets of labels."""
        if match is None:
            return Finding(True, "the champion's labels", NO_CHAMPION)
        asked = f"the champion's labels: {', '.join(match.champion.description.labels)}"
        own = candidate.description.labels
        advice = (
            "train on images that know these labels; or, if the change is intended, crown it by hand: "
            f"`python -m registry rollback {candidate.task.name} --to {candidate.version} --reason ...`"
        )
        return Finding(set(own) == set(match.champion.description.labels), asked, ", ".join(own), advice)


class SubgroupsGate(_Gate):
    """No subgroup is surely worse off than everyone by more than a margin.

    Args:
        margin: of sensitivity and specificity at `balanced`.
        at_least: images that a figure of a subgroup must rest on to count.
    """

    gate: Literal["subgroups"]
    margin: float = Field(gt=0, lt=1)
    at_least: int = Field(20, ge=1)

    @property
    def name(self) -> str:
        """As reports call it."""
        return "subgroups"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Measure each subgroup of the test images."""
        asked = f"no subgroup's sensitivity or specificity surely more than {limit(self.margin)} below everyone's"
        found = shortfalls(candidate, self.at_least)
        if not found:
            return Finding(True, asked, f"no subgroup with {self.at_least} images is known")
        failed = [one for one in found if one.is_worse_by(self.margin)]
        shown: list[Shortfall] = failed or [min(found, key=lambda one: one.found.value - one.everyone)]
        text = f"{len(found)} measured; " + ("" if failed else "the lowest: ") + "; ".join(map(str, shown))
        return Finding(not failed, asked, text, "train with more images of these patients, and look at their figures")


class ComparisonGate(_Gate):
    """It is better than the champion, or not worse by more than a margin, on the same images.

    Args:
        margin: of non-inferiority, in the measure's own unit.
        alpha: how often an equally good candidate may pass; shared by all that one champion meets.
    """

    gate: Literal["comparison"]
    measure: Measure
    level: Level = "image"
    asks: Asks
    margin: float | None = Field(None, gt=0)
    alpha: float = Field(0.05, gt=0, lt=0.5)

    compares: ClassVar[bool] = True

    @model_validator(mode="after")
    def _a_margin_belongs_to_non_inferiority(self) -> "ComparisonGate":
        if (self.margin is None) != (self.asks == "superiority"):
            raise ValueError("non_inferiority takes a margin, superiority takes none")
        return self

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{'' if self.level == 'image' else 'study '}{self.measure.replace('_', ' ')} vs champion"

    @property
    def asked(self) -> str:
        """In words."""
        if self.margin is None:
            return "better, with the whole interval of the difference"
        return f"not worse by {limit(self.margin)} or more, with the whole interval of the difference"

    def judge(self, candidate: Contender, match: Match | None) -> Finding:
        """Compare in pairs."""
        if match is None:
            return Finding(True, self.asked, NO_CHAMPION)
        silent = match.without_answers(self.level)
        if silent is match.champion:
            return Finding(True, self.asked, "the champion answers no studies")
        if silent:
            return Finding(False, self.asked, "not measured", _STUDIES)
        reason = match.too_few(self.level)
        if reason:
            return Finding(False, self.asked, "not compared", reason)
        kept, found = match.compare(self.measure, self.level, self.asks, self.margin, self.alpha)
        text = (
            f"{decimal(found.challenger)} against {decimal(found.champion)}, difference {decimal(found.difference)} "
            f"({decimal(found.low)} to {decimal(found.high)}); {found.test}, {kept.images:,} "
            f"{'images' if self.level == 'image' else 'studies'}"
        )
        passed = found.superior() if self.margin is None else found.non_inferior(self.margin)
        advice = "train a better model, or compare on more test images"
        return Finding(passed, self.asked, text, advice, kept, found)


Gate = Annotated[
    SkillGate
    | SensitivityGate
    | CalibrationGate
    | LatencyGate
    | SizeGate
    | AuditGate
    | GitGate
    | PackagingGate
    | LabelsGate
    | SubgroupsGate
    | ComparisonGate,
    Field(discriminator="gate"),
]


class GateSet(BaseModel):
    """The gates of a YAML file, in the order in which they are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gates: tuple[Gate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> "GateSet":
        names = [gate.name for gate in self.gates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: listed twice")
        return self

    @property
    def compare_models(self) -> bool:
        """Whether any of them tells a better model from a worse one."""
        return any(isinstance(gate, ComparisonGate) for gate in self.gates)

    def digest(self) -> str:
        """Names what is asked, whatever the file's layout and comments."""
        return sha256_of(self.model_dump_json().encode())


def gate_names() -> tuple[str, ...]:
    """Names of the sets that come with the project, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_gates(name: str, task: str) -> tuple[str, GateSet]:
    """Read a set of gates: `task` is the task's own, then a set's name, then a file's path.

    Returns:
        the set's name, and the set.
    Raises:
        RegistryError: there is none, or it asks something that no gate can judge.
    """
    known = task if name == "task" else name
    path = _FOLDER / f"{known}.yaml" if known in gate_names() else Path(name)
    try:
        content = yaml.safe_load(path.read_text())
        return path.stem, GateSet.model_validate({"gates": content})
    except (OSError, UnicodeDecodeError):
        raise RegistryError(
            f"--gates {name}: no such set or file; use task, {', '.join(gate_names())} or the path of a YAML file"
        ) from None
    except yaml.YAMLError as error:
        raise RegistryError(f"--gates {name}: cannot be read as YAML ({type(error).__name__})") from None
    except ValidationError as error:
        raise RegistryError(f"--gates {name}: {'; '.join(_problems(error))}") from None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"][1:]) or "the file"
        yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"
