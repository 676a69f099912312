"""Make a decision count: one tag moves the history's head, and everything else can be done again after a kill."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunTag

from registry.aliases import Aliases, set_aliases
from registry.chain import APPLIED, HEAD, Head, read_head, walk
from registry.decision import FILE, Decision
from secondread.errors import RegistryError
from secondread.storage import sha256_of


class HeadMoved(RegistryError):
    """The history grew while a decision was being made."""


def keep(client: MlflowClient, run_id: str, decision: Decision, files: Mapping[str, bytes]) -> Decision:
    """Log a decision to its run, with files by their path in it; it does not count yet.

    Returns:
        the decision with the digests of its files.
    """
    decision = decision.model_copy(update={"files": {name: sha256_of(data) for name, data in files.items()}})
    with tempfile.TemporaryDirectory() as folder:
        for name, data in {**files, FILE: decision.text().encode()}.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        client.log_artifacts(run_id, folder)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in decision.tags().items()])
    for key, value in decision.metrics().items():
        client.log_metric(run_id, key, value)
    return decision


def commit(client: MlflowClient, former: Head | None, run_id: str, decision: Decision) -> None:
    """Make a decision that `keep` logged the newest of the history, and carry it out. Call it `alone`.

    The head is one tag, set by one call: before it nothing was decided, and what must follow it `settle` can do too.

    Raises:
        HeadMoved: another machine decided meanwhile.
    """
    if read_head(client, decision.task) != former:
        raise HeadMoved(f"another decision about {decision.task} was made meanwhile; decide anew")
    head = Head(decision.number, run_id, decision.digest())
    client.set_registered_model_tag(decision.task, HEAD, str(head))
    _carry_out(client, head, decision)


def settle(client: MlflowClient, task: str) -> None:
    """Carry out a decision that counts but whose process was killed. Call it `alone`.

    A decision that is damaged is left alone: `standing.stand` tells, and nobody goes on from it unasked.
    """
    head = read_head(client, task)
    if head is None or head == read_head(client, task, APPLIED):
        return
    newest = next(walk(client, head))
    if newest.decision and not newest.problems:
        print(f"decision {head.number} about {task} was interrupted; carrying it out", flush=True)
        _carry_out(client, head, newest.decision)


def _carry_out(client: MlflowClient, head: Head, decision: Decision) -> None:
    """Set the aliases that a decision says and end its run; doing it again changes nothing."""
    set_aliases(client, decision.task, Aliases(decision.champion_after, decision.previous_after))
    if "error" in client.get_run(head.run_id).data.tags:
        client.delete_tag(head.run_id, "error")
    client.set_terminated(head.run_id, "FINISHED")
    client.set_registered_model_tag(decision.task, APPLIED, str(head))
