"""A decision: who was judged by which gates, who is champion since, and which decision came before."""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from secondread.errors import RegistryError
from secondread.storage import sha256_of

FILE = "decision.json"
STEP = "promote"  # the tag of the runs of decisions

Kind = Literal["promotion", "refusal", "rollback"]
Level = Literal["image", "study"]
Asks = Literal["superiority", "non_inferiority"]
Verdict = Literal["promoted", "bettered", "refused"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GateResult(_Record):
    """What one gate asked of one candidate, and what it found.

    Args:
        gate: a readable name, once a candidate, such as `skill` or `auroc vs champion`.
        asked: the gate's condition in words.
        found: the figure with its interval, or the fact.
        advice: of a gate that was not passed, the next step.
        compares: it looked at the candidate beside the champion.
    """

    gate: str
    asked: str
    found: str
    passed: bool
    advice: str = ""
    compares: bool = False


class Compared(_Record):
    """A paired comparison with the model that was to be displaced; a difference above 0 speaks for the challenger.

    Args:
        low: of the difference; `low` and `high` bound an interval of `confidence`.
        alpha: what the gate's own was reduced to, because the champion met `met` challengers before.
        left_out: test rows not counted, because the challenger was trained on them or their patients.
        test: the name of the statistical test.
    """

    measure: str
    level: Level
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    confidence: float
    asks: Asks
    margin: float | None
    alpha: float
    met: int
    images: int
    patients: int
    left_out: int
    test: str


class Judged(_Record):
    """One candidate and what became of it.

    Args:
        model: the preset's name.
        against: the version that it was compared with; None where there was no champion.
        verdict: `bettered` passed every gate, and another candidate of the same decision was preferred.
        digests: SHA-256 of the run's files that were judged, such as `bundle.json`.
    """

    version: int
    run_id: str
    model: str
    against: int | None
    verdict: Verdict
    results: tuple[GateResult, ...]
    compared: tuple[Compared, ...] = ()
    digests: dict[str, str] = {}

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that were not passed."""
        return tuple(result.gate for result in self.results if not result.passed)

    @property
    def is_challenge(self) -> bool:
        """Whether it counts among those that the champion has met: who failed another gate could not displace it."""
        ranked = any((found.measure, found.level) == ("auroc", "image") for found in self.compared)
        return ranked and all(result.passed for result in self.results if not result.compares)


class Decision(_Record):
    """One link of a task's history.

    Args:
        number: 1 for the first of the task.
        at: when, as UTC in ISO 8601.
        former_run_id: the run of the decision before this one; None for the first.
        former_digest: that decision's `digest()`.
        champion_before: a version; None where there was none. `previous` likewise.
        gates: name of the set of gates; "" where none were asked, as in a rollback.
        gates_digest: SHA-256 of that set.
        reason: in words, for whoever asks later.
        git_commit: of the code that decided.
        files: SHA-256 of every other file of the decision's run.
    """

    format: Literal[1] = 1
    task: str
    number: int
    kind: Kind
    at: str
    former_run_id: str | None
    former_digest: str | None
    champion_before: int | None
    champion_after: int | None
    previous_before: int | None
    previous_after: int | None
    gates: str
    gates_digest: str
    reason: str
    candidates: tuple[Judged, ...] = ()
    git_commit: str
    files: dict[str, str] = {}

    def text(self) -> str:
        """The content of `decision.json`: equal decisions have equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"

    def digest(self) -> str:
        """SHA-256 of `text()`, as `sha256sum decision.json` prints it."""
        return sha256_of(self.text().encode())

    def tags(self) -> dict[str, str]:
        """What its run says of it in tags."""
        tags = {
            "decision.kind": self.kind,
            "decision.number": str(self.number),
            "decision.digest": self.digest(),
            "decision.champion": "nobody" if self.champion_after is None else str(self.champion_after),
        }
        if self.former_run_id is not None and self.former_digest is not None:
            tags |= {"decision.former_run_id": self.former_run_id, "decision.former_digest": self.former_digest}
        return tags

    def metrics(self) -> dict[str, float]:
        """What its run shows in charts: each comparison's difference with its interval."""
        return {
            f"version_{judged.version}/{found.level}_{found.measure}_difference{bound}": value
            for judged in self.candidates
            for found in judged.compared
            for bound, value in (("", found.difference), ("_low", found.low), ("_high", found.high))
        }

    @property
    def versions(self) -> frozenset[int]:
        """Every version that this decision names."""
        judged = {one.version for one in self.candidates} | {one.against for one in self.candidates}
        aliases = {self.champion_before, self.champion_after, self.previous_before, self.previous_after}
        return frozenset(version for version in judged | aliases if version is not None)


def read_decision(text: str) -> Decision:
    """Read what `Decision.text` wrote.

    Raises:
        RegistryError: it is not a decision of format 1.
    """
    try:
        return Decision.model_validate_json(text)
    except ValidationError:
        raise RegistryError(f"{FILE}: not a decision that this version reads; update Second Read") from None
