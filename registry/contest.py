"""A contest: each candidate in turn meets the gates and the champion, and takes its place if it passes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run

from registry.aliases import Aliases
from registry.comparison import Ground, Match
from registry.contender import DESCRIPTION, TABLES, Contender, refuse_changes
from registry.decide import Draft
from registry.decision import Decision, Judged
from registry.gates import GateSet
from registry.judge import judge
from secondread.errors import BundleError, RegistryError
from secondread.tasks import Task


@dataclass(frozen=True)
class Contest:
    """How candidates are judged.

    Args:
        gates_name: names `gates`.
        ground: whose manifest's test images two models are compared on.
        past: the task's decisions so far.
    """

    client: MlflowClient
    task: Task
    gates_name: str
    gates: GateSet
    ground: Ground
    past: Sequence[Decision]

    def hold(self, before: Aliases, candidates: Sequence[tuple[int, Run]]) -> Draft:
        """Judge versions with their runs, in order, and say what becomes of the aliases.

        Raises:
            SecondReadError: a comparison cannot be made; nothing is decided then.
        """
        judged: list[Judged] = []
        figures: dict[str, bytes] = {}
        champion = None if before.champion is None else self._champion(before.champion)
        for version, run in candidates:
            challenger = Contender(self.client, self.task, version, run)
            print(f"version {version}, {run.data.tags.get('model')}, run {run.info.run_id}", flush=True)
            one, drawn = judge(challenger, self._match(champion, challenger, judged), self.gates)
            figures |= drawn
            if one.verdict == "promoted":
                if any(former.verdict == "promoted" for former in judged) and not self.gates.compare_models:
                    one = _bettered(one)  # no gate prefers it, and the more promising were judged first
                else:
                    judged = [_bettered(former) for former in judged]
                    champion = challenger
            judged.append(one)
        return self._draft(before, judged, figures)

    def _champion(self, version: int) -> Contender:
        champion = Contender.of(self.client, self.task, version)
        try:
            refuse_changes(champion, self.past, [DESCRIPTION, *TABLES])
        except BundleError as error:
            raise RegistryError(
                f"version {version}, the champion: {error}; let another serve meanwhile: `python -m registry rollback "
                f"{self.task.name} --to N`"
            ) from None
        return champion

    def _match(self, champion: Contender | None, challenger: Contender, judged: Sequence[Judged]) -> Match | None:
        """Both, with how many candidates challenged the champion in the history and in this contest."""
        if champion is None:
            return None
        everyone = [one for decision in self.past for one in decision.candidates] + list(judged)
        met = sum(one.against == champion.version and one.is_challenge for one in everyone)
        return Match(champion, challenger, self.ground, met)

    def _draft(self, before: Aliases, judged: Sequence[Judged], figures: dict[str, bytes]) -> Draft:
        promoted = [one.version for one in judged if one.verdict == "promoted"]
        after = Aliases(promoted[0], before.champion) if promoted else before
        reason = "; ".join(_reason(one, before) for one in judged)
        if before.champion is not None and not self.past:
            reason += f"; version {before.champion} was champion before this history began"
        return Draft(
            kind="promotion" if promoted else "refusal",
            after=after,
            reason=reason,
            gates=self.gates_name,
            gates_digest=self.gates.digest(),
            candidates=tuple(judged),
            figures=figures,
        )


def _bettered(judged: Judged) -> Judged:
    return judged if judged.verdict == "refused" else judged.model_copy(update={"verdict": "bettered"})


def _reason(judged: Judged, before: Aliases) -> str:
    name = f"version {judged.version}"
    if judged.verdict == "refused":
        return f"{name} failed {', '.join(judged.failed)}"
    if judged.verdict == "bettered":
        return f"{name} passed, and another was preferred"
    return f"{name} passed every gate" + (
        "" if before.champion is None else f" and displaces version {before.champion}"
    )
