"""Let another version serve: the one before by default, or any that a person names; it is a decision like others."""

from registry.aliases import Aliases
from registry.chain import walk
from registry.commit import settle
from registry.contender import DESCRIPTION, Contender, refuse_changes
from registry.decide import Draft, decide
from registry.decision import Decision
from registry.lock import alone
from registry.standing import Standing, stand
from secondread.errors import RegistryError
from secondread.tasks import load_task
from secondread.tracking.database import connect


def rollback(task_name: str, version: int | None = None, reason: str = "") -> Decision:
    """Make a version champion without asking gates; doing it twice goes back and forth.

    Args:
        version: by default the one that the history calls `previous`.
        reason: for whoever asks later.
    Raises:
        RegistryError: there is no such version, or its bundle is damaged.
    """
    task = load_task(task_name)
    client = connect()
    with alone(task.name):
        settle(client, task.name)
        standing = stand(client, task.name)
        to = standing.said.previous if version is None else version
        if to is None:
            raise RegistryError(f"{task.name}: there is no version to go back to; name one with --to")
        if standing.is_sound and to == standing.held.champion:
            raise RegistryError(f"{task.name}: version {to} is champion already")
        past = [link.decision for link in walk(client, standing.head) if link.decision]
        refuse_changes(Contender.of(client, task, to), past, [DESCRIPTION])
        previous = next((one for one in standing.said if one not in (None, to, *standing.gone)), None)
        draft = Draft("rollback", Aliases(to, previous), _reason(standing, to, reason))
        return decide(client, standing, {"task": task.name, "to": str(to)}, lambda: draft)


def _reason(standing: Standing, to: int, given: str) -> str:
    """What the person said, and what was found not to be as the history says."""
    parts = [given or f"a person went back to version {to}", *standing.problems]
    parts += [f"version {version} had been deleted" for version in standing.gone]
    for name, held, said in zip(Aliases._fields, standing.held, standing.said, strict=True):
        if held is not None and held != said:
            parts.append(f"the alias {name} had been moved to version {held}")
    return "; ".join(parts)
