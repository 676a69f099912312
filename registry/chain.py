"""The chain of a task's decisions: a head that names the newest, each of which names the one before it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.exceptions import MlflowException

from registry.aliases import Aliases, read_aliases, set_aliases
from registry.decision import FILE, Decision, read_decision
from secondread.errors import RegistryError
from secondread.storage import sha256_of
from secondread.tracking.decision import STEP

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
        return _none_yet(client, task) if tag == HEAD else None
    number, *names = said.split()
    if not number.isdecimal() or len(names) != 2:
        raise RegistryError(f"registered model {task}: its tag {tag} was changed to {said!r}; {_mend(client, task)}")
    return Head(int(number), *names)


def _none_yet(client: MlflowClient, task: str) -> None:
    if decision_runs(client, task):
        raise RegistryError(f"registered model {task}: its tag {HEAD} is gone; {_mend(client, task)}")


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


def read_newest(client: MlflowClient, task: str) -> tuple[Head, Decision] | None:
    """The newest decision, which must be whole; None where nothing was ever decided.

    Raises:
        RegistryError: it is damaged.
    """
    head = read_head(client, task)
    if head is None:
        return None
    [link] = list(walk(client, head, at_most=1))
    if link.decision is None or link.problems:
        raise RegistryError(
            f"{task}: decision {head.number} is not as it was made ({'; '.join(link.problems)}); see `python -m "
            f"registry history {task}`, and say which version shall serve: `python -m registry rollback {task} --to N`"
        )
    return head, link.decision


def walk(client: MlflowClient, head: Head | None, at_most: int | None = None) -> Iterator[Link]:
    """Give the decisions from the newest to the first, each with what is wrong with it."""
    steps = 0
    while head is not None and (at_most is None or steps < at_most):
        link, head = _read_link(client, head)
        steps += 1
        yield link


def _read_link(client: MlflowClient, head: Head) -> tuple[Link, Head | None]:
    """A decision, and the name of the one before it: its file says it, or else its run's tags."""
    name = f"decision {head.number}"
    try:
        run = client.get_run(head.run_id)
    except MlflowException:
        return Link(head, None, (f"{name}: its run {head.run_id} is gone",)), None
    problems = [] if run.info.lifecycle_stage == "active" else [f"{name}: its run {head.run_id} was deleted"]
    try:
        folder = Path(client.download_artifacts(head.run_id, ""))
        text = (folder / FILE).read_text()
        decision = read_decision(text)
    except (MlflowException, OSError, ValueError, RegistryError):
        problems.append(f"{name}: its {FILE} cannot be read")
        return Link(head, None, tuple(problems)), _former(run.data.tags, head.number)
    if sha256_of(text.encode()) != head.digest:
        problems.append(f"{name}: its {FILE} was changed")
    problems += [f"{name}: its {problem}" for problem in _changes(run, folder, decision, head)]
    return Link(head, decision, tuple(problems)), _former(tags_of(decision), head.number)


def _former(tags: dict[str, str], number: int) -> Head | None:
    run_id, digest = tags.get("decision.former_run_id"), tags.get("decision.former_digest")
    return Head(number - 1, run_id, digest) if run_id and digest else None


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
    said = {key: text for key, text in run.data.tags.items() if key.startswith("decision.")}
    wanted = tags_of(decision) | {"decision.digest": head.digest}
    for key in sorted(said.keys() | wanted.keys()):
        if said.get(key) != wanted.get(key):
            yield f"tag {key} was changed"
    measured = metrics_of(decision)
    for key in sorted(run.data.metrics.keys() | measured.keys()):
        if run.data.metrics.get(key) != measured.get(key):
            yield f"metric {key} was changed"


def tags_of(decision: Decision) -> dict[str, str]:
    """What a decision's run says of it in tags."""
    tags = {
        "decision.kind": decision.kind,
        "decision.number": str(decision.number),
        "decision.digest": decision.digest(),
        "decision.champion": "" if decision.champion_after is None else str(decision.champion_after),
    }
    if decision.former_run_id is not None and decision.former_digest is not None:
        tags |= {"decision.former_run_id": decision.former_run_id, "decision.former_digest": decision.former_digest}
    return tags


def metrics_of(decision: Decision) -> dict[str, float]:
    """What a decision's run shows in charts: each comparison's difference with its interval."""
    return {
        f"version_{judged.version}/{found.level}_{found.measure}_difference{bound}": value
        for judged in decision.candidates
        for found in judged.compared
        for bound, value in (("", found.difference), ("_low", found.low), ("_high", found.high))
    }


def settle(client: MlflowClient, task: str) -> None:
    """Finish a decision that was made but not carried out, because its process was killed. Call it `alone`.

    Raises:
        RegistryError: the decision is damaged.
    """
    head = read_head(client, task)
    if head is not None and head != read_head(client, task, APPLIED):
        newest = read_newest(client, task)
        assert newest is not None
        print(f"decision {head.number} about {task} was interrupted; carrying it out", flush=True)
        carry_out(client, *newest)


def commit(client: MlflowClient, former: Head | None, run_id: str, decision: Decision) -> None:
    """Make a decision whose run is complete the newest of the history, and carry it out. Call it `alone`.

    The head is one tag, set by one call: before it nothing was decided, after it everything else follows by `settle`.

    Raises:
        HeadMoved: another machine decided meanwhile.
    """
    if read_head(client, decision.task) != former:
        raise HeadMoved(f"another decision about {decision.task} was made meanwhile; decide anew")
    head = Head(decision.number, run_id, decision.digest())
    client.set_registered_model_tag(decision.task, HEAD, str(head))
    carry_out(client, head, decision)


def carry_out(client: MlflowClient, head: Head, decision: Decision) -> None:
    """Set the aliases that a decision says and end its run; doing it again changes nothing."""
    set_aliases(client, decision.task, Aliases(decision.champion_after, decision.previous_after))
    client.set_terminated(head.run_id, "FINISHED")
    if "error" in client.get_run(head.run_id).data.tags:
        client.delete_tag(head.run_id, "error")
    client.set_registered_model_tag(decision.task, APPLIED, str(head))


class HeadMoved(RegistryError):
    """The history grew while a decision was being made."""


def record(client: MlflowClient, run_id: str, decision: Decision) -> None:
    """Say a decision in its run's tags and metrics."""
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags_of(decision).items()])
    for key, value in metrics_of(decision).items():
        client.log_metric(run_id, key, value)


def standing(client: MlflowClient, task: str, newest: Decision | None) -> tuple[Aliases, bool]:
    """The aliases in force, and whether they are those that the history says."""
    held = read_aliases(client, task)
    return held, newest is None or held == Aliases(newest.champion_after, newest.previous_after)
