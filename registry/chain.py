"""The chain of a task's decisions: a head that names the newest, each of which names the one before it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from registry.decision import FILE, STEP, Decision, read_decision
from secondread.errors import RegistryError
from secondread.storage import sha256_of

HEAD = "history.head"  # tags of the registered model
APPLIED = "history.applied"


class Head(NamedTuple):
    """A decision as others name it."""

    number: int
    run_id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.number} {self.run_id} {self.digest}"


@dataclass(frozen=True)
class Link:
    """A decision as it was found.

    Args:
        head: what its successor, or the registered model, says of it.
        decision: None where it cannot be read.
        problems: what is not as it was when the decision was made.
    """

    head: Head
    decision: Decision | None
    problems: tuple[str, ...]


def read_head(client: MlflowClient, task: str, tag: str = HEAD) -> Head | None:
    """The newest decision; None where nothing was ever decided.

    Raises:
        RegistryError: the tag was changed, or is gone although there are decisions.
    """
    try:
        said = client.get_registered_model(task).tags.get(tag)
    except MlflowException:
        said = None
    if said is None:
        if tag == HEAD and decision_runs(client, task):
            raise RegistryError(f"registered model {task}: its tag {HEAD} is gone; {_mend(client, task)}")
        return None
    number, *names = said.split()
    if not number.isdecimal() or len(names) != 2:
        raise RegistryError(f"registered model {task}: its tag {tag} was changed to {said!r}; {_mend(client, task)}")
    return Head(int(number), *names)


def _mend(client: MlflowClient, task: str) -> str:
    newest = max(decision_runs(client, task), key=lambda run: int(run.data.tags.get("decision.number", 0)))
    tags = newest.data.tags
    head = f"{tags.get('decision.number')} {newest.info.run_id} {tags.get('decision.digest')}"
    return f"set it to `{head}`, which the newest decision's run says, and see `python -m registry history {task}`"


def decision_runs(client: MlflowClient, task: str) -> list[Run]:
    """Runs of a task that look like decisions of its history: those that FINISHED."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.step = '{STEP}' and tags.task = '{task}' and attributes.status = 'FINISHED'"
    found: list[Run] = client.search_runs(experiments, wanted, max_results=50_000) if experiments else []
    return found


def walk(client: MlflowClient, head: Head | None) -> Iterator[Link]:
    """Give the decisions from the newest to the first, each with what is wrong with it."""
    while head is not None:
        link, head = _read_link(client, head)
        yield link


def _read_link(client: MlflowClient, head: Head) -> tuple[Link, Head | None]:
    """A decision, and the name of the one before it: its file says it, or else its run's tags."""
    name = f"decision {head.number}"
    try:
        run = client.get_run(head.run_id)
    except MlflowException:
        return Link(head, None, (f"{name}: its run {head.run_id} is gone",)), None
    problems = [] if run.info.lifecycle_stage == "active" else [f"{name}: its run {head.run_id} was deleted"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            content = Path(client.download_artifacts(head.run_id, "", folder))
            text = (content / FILE).read_text()
            decision = read_decision(text)
        except (MlflowException, OSError, ValueError, RegistryError):
            problems.append(f"{name}: its {FILE} cannot be read")
            return Link(head, None, tuple(problems)), _former(run.data.tags, head)
        if sha256_of(text.encode()) != head.digest:
            problems.append(f"{name}: its {FILE} was changed")
        problems += [f"{name}: its {problem}" for problem in _changes(run, content, decision, head)]
    return Link(head, decision, tuple(problems)), _former(decision.tags(), head)


def _former(tags: dict[str, str], head: Head) -> Head | None:
    run_id, digest = tags.get("decision.former_run_id"), tags.get("decision.former_digest")
    return Head(head.number - 1, run_id, digest) if run_id and digest and head.number > 1 else None


def _changes(run: Run, folder: Path, decision: Decision, head: Head) -> Iterator[str]:
    """What the run shows that its decision does not say."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {FILE}
    for name in sorted(there | set(decision.files)):
        if name not in there:
            yield f"{name} is gone"
        elif name not in decision.files:
            yield f"{name} was added"
        elif sha256_of((folder / name).read_bytes()) != decision.files[name]:
            yield f"{name} was changed"
    wanted = {"step": STEP, "task": decision.task, "git.commit": decision.git_commit, **decision.tags()}
    wanted["decision.digest"] = head.digest
    said = {key: text for key, text in run.data.tags.items() if key in wanted or key.startswith("decision.")}
    for key in sorted(said.keys() | wanted.keys()):
        if said.get(key) != wanted.get(key):
            yield f"tag {key} was changed"
    measured = decision.metrics()
    for key in sorted(run.data.metrics.keys() | measured.keys()):
        if run.data.metrics.get(key) != measured.get(key):
            yield f"metric {key} was changed"
