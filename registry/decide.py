"""What promotion and rollback have in common: where a task stands, and a decision that is kept and carried out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlflow import MlflowClient

from registry.aliases import Aliases, read_aliases
from registry.chain import Head, read_head, walk
from registry.commit import commit, keep
from registry.decision import Decision, Judged, Kind
from registry.report import report
from secondread.errors import RegistryError
from secondread.tracking.decision import open_decision


@dataclass(frozen=True)
class Standing:
    """Where a task stands.

    Args:
        head: the newest decision; None where there was none.
        newest: the same; None also where it is damaged, which `problems` tells.
        held: the aliases in force.
    """

    task: str
    head: Head | None
    newest: Decision | None
    problems: tuple[str, ...]
    held: Aliases

    @property
    def said(self) -> Aliases:
        """The aliases that the history says; those in force where it says nothing."""
        newest = self.newest
        return self.held if newest is None else Aliases(newest.champion_after, newest.previous_after)

    @property
    def is_sound(self) -> bool:
        """Whether the newest decision is whole and its aliases are in force."""
        return not self.problems and self.held == self.said

    def refuse(self) -> None:
        """Refuse to go on from a history that does not hold.

        Raises:
            RegistryError: the newest decision is damaged, or the aliases are not as it says.
        """
        if self.problems:
            wrong = "; ".join(self.problems)
        elif self.held != self.said:
            wrong = f"the aliases were moved: the registry has {self.held}, and the history says {self.said}"
        else:
            return
        # Whatever serves now goes on serving.
        raise RegistryError(
            f"{self.task}: {wrong}; see `python -m registry history {self.task}`, and say which version shall serve: "
            f"`python -m registry rollback {self.task} --to N`"
        )


@dataclass(frozen=True)
class Draft:
    """What was decided, before it is kept.

    Args:
        gates: name of the set of gates.
        figures: PNG by name, for the report.
    """

    kind: Kind
    after: Aliases
    reason: str
    gates: str = ""
    gates_digest: str = ""
    candidates: tuple[Judged, ...] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)


def stand(client: MlflowClient, task: str) -> Standing:
    """Find out where a task stands.

    Raises:
        RegistryError: the head of the history was changed or is gone.
    """
    head = read_head(client, task)
    held = read_aliases(client, task)
    if head is None:
        return Standing(task, None, None, (), held)
    link = next(walk(client, head))
    return Standing(task, head, None if link.problems else link.decision, link.problems, held)


def decide(
    client: MlflowClient, standing: Standing, parameters: Mapping[str, str], make: Callable[[], Draft]
) -> Decision:
    """Make a decision in a run of its own, and carry it out. Call it `alone`.

    Args:
        parameters: of the run.
        make: called within the run, which it ends FAILED by an error.
    Raises:
        HeadMoved: another machine decided meanwhile.
    """
    task, head, before = standing.task, standing.head, standing.said
    with open_decision(client, task, parameters) as (run_id, code):
        draft = make()
        decision = Decision(
            task=task,
            number=head.number + 1 if head else 1,
            kind=draft.kind,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            former_run_id=head.run_id if head else None,
            former_digest=head.digest if head else None,
            champion_before=before.champion,
            champion_after=draft.after.champion,
            previous_before=before.previous,
            previous_after=draft.after.previous,
            gates=draft.gates,
            gates_digest=draft.gates_digest,
            reason=draft.reason,
            candidates=draft.candidates,
            git_commit=code.commit,
        )
        files = {f"figures/{name}.png": data for name, data in draft.figures.items()}
        files["report.html"] = report(decision, draft.figures).encode()
        if code.diff:
            files["git.diff"] = code.diff.encode()
        decision = keep(client, run_id, decision, files)
        commit(client, head, run_id, decision)
    print(f"decision {decision.number} about {task}, a {decision.kind}: {decision.reason}")
    print(f"now {draft.after}; report: {client.download_artifacts(run_id, 'report.html')}", flush=True)
    return decision
