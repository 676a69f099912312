"""Tell a task's decisions from the first to the newest, and show up whatever was changed since."""

from collections.abc import Iterator, Sequence

from mlflow import MlflowClient

from registry.aliases import version_exists
from registry.chain import Link, decision_runs, walk
from registry.commit import settle
from registry.decision import Decision, Judged
from registry.lock import alone_if_free
from registry.standing import Standing, stand
from secondread.tasks import load_task
from secondread.tracking.database import connect


def history(task_name: str) -> tuple[str, ...]:
    """Print a task's history.

    Returns:
        the problems that were found, which are printed too.
    Raises:
        RegistryError: the head of the history was changed or is gone.
    """
    task = load_task(task_name).name
    client = connect()
    with alone_if_free(task) as free:
        if free:
            settle(client, task)
        standing = stand(client, task)
        links = list(walk(client, standing.head))
        deciding = not free
    for line in _story(task, links):
        print(line)
    if deciding:
        print(f"another process is deciding about {task} now; ask again when it has ended to see its decision")
    problems = tuple(_problems(client, standing, links, deciding))
    for problem in problems:
        print(f"PROBLEM  {problem}")
    if links and not problems:
        print("the history is whole")
    return problems


def _story(task: str, links: Sequence[Link]) -> Iterator[str]:
    if not links:
        yield f"nothing was decided about {task} yet; next: `python -m registry promote --task {task}`"
    for link in reversed(links):
        decision = link.decision
        if decision is None:
            yield f"{link.head.number:>3}  ?  run {link.head.run_id}"
            continue
        yield (
            f"{decision.number:>3}  {decision.at}  {decision.kind:<9}  champion {_change(decision)}  "
            f"run {link.head.run_id}"
        )
        for judged in decision.candidates:
            yield f"     version {judged.version}, {judged.model}: {_verdict(judged)}"
        if not decision.candidates:
            yield f"     {decision.reason}"


def _change(decision: Decision) -> str:
    before, after = (
        "nobody" if one is None else str(one) for one in (decision.champion_before, decision.champion_after)
    )
    return f"{before} -> {after}"


def _verdict(judged: Judged) -> str:
    return judged.verdict + (f" by {', '.join(judged.failed)}" if judged.failed else "")


def _problems(client: MlflowClient, standing: Standing, links: Sequence[Link], deciding: bool) -> Iterator[str]:
    """What is not as it was when it was decided."""
    task = standing.task
    for link in reversed(links):
        yield from link.problems
    if links and links[-1].head.number > 1:
        yield f"decision {links[-1].head.number - 1}: nothing leads to it and to those before it any more"
    versions = {version: link.head.number for link in links if link.decision for version in link.decision.versions}
    for version, number in sorted(versions.items()):
        if not version_exists(client, task, version):
            yield f"decision {number}: version {version}, which it names, was deleted"
    if deciding:  # its run and its aliases may be on their way
        return
    named = {link.head.run_id for link in links}
    for run in decision_runs(client, task):
        if run.info.run_id not in named:
            yield f"run {run.info.run_id}: a decision about {task} that the history does not name"
    if not standing.problems and standing.held != standing.said:
        yield f"the aliases were moved: the registry has {standing.held}, and the history says {standing.said}"
