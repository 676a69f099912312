"""What promotion and rollback have in common: a decision, made in a run of its own, kept and carried out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlflow import MlflowClient

from registry.aliases import Aliases
from registry.commit import commit, keep
from registry.decision import STEP, Decision, Judged, Kind
from registry.report import report
from registry.standing import Standing
from secondread.tracking.decision import open_decision


@dataclass(frozen=True)
class Draft:
    """What was decided, before it is kept.

    Args:
        gates: name of the set of gates.
        figures: PNG by path in the decision's run.
    """

    kind: Kind
    after: Aliases
    reason: str
    gates: str = ""
    gates_digest: str = ""
    candidates: tuple[Judged, ...] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)


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
    with open_decision(client, STEP, task, parameters) as (run_id, code):
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
        files = {**draft.figures, "report.html": report(decision, draft.figures).encode()}
        if code.diff:
            files["git.diff"] = code.diff.encode()
        decision = keep(client, run_id, decision, files)
        commit(client, head, run_id, decision)
    print(f"decision {decision.number} about {task}, a {decision.kind}: {decision.reason}")
    print(f"now {draft.after}; report: {client.get_run(run_id).info.artifact_uri}/report.html", flush=True)
    return decision
