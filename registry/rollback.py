"""Let another version serve: the one before by default, or any that a person names; it is a decision like others."""

from mlflow import MlflowClient

from registry.aliases import CHAMPION, PREVIOUS, Aliases, version_exists
from registry.chain import walk
from registry.commit import settle
from registry.contender import Contender
from registry.decide import Draft, Standing, decide, stand
from registry.decision import Decision
from registry.lock import alone
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
        _verify(client, standing, Contender.of(client, task, to))
        draft = Draft("rollback", Aliases(to, _previous(client, standing, to)), _reason(client, standing, to, reason))
        return decide(client, standing, {"task": task.name, "to": str(to)}, lambda: draft)


def _verify(client: MlflowClient, standing: Standing, contender: Contender) -> None:
    """Refuse a bundle whose files are not those that were saved, or not those that were judged."""
    assert contender.description  # every file is as `bundle.json` says
    for link in walk(client, standing.head):
        for judged in link.decision.candidates if link.decision else ():
            known = judged.digests.get("bundle.json")
            if judged.version == contender.version and known and known != contender.digests()["bundle.json"]:
                raise RegistryError(
                    f"{contender.uri}: its bundle is not the one that decision {link.head.number} judged; bring that "
                    "one back, or name another version with --to"
                )


def _previous(client: MlflowClient, standing: Standing, to: int) -> int | None:
    """The version to go back to from there: the champion until now, or else the one before, if it is still there."""
    for version in standing.said:
        if version is not None and version != to and version_exists(client, standing.task, version):
            return version
    return None


def _reason(client: MlflowClient, standing: Standing, to: int, given: str) -> str:
    """What the person said, and what was found not to be as the history says."""
    parts = [given or f"a person went back to version {to}", *standing.problems]
    held, said = standing.held, standing.said
    for version in dict.fromkeys(said):
        if version is not None and not version_exists(client, standing.task, version):
            parts.append(f"version {version} had been deleted")
    if held.champion is not None and held.champion != said.champion:
        parts.append(f"the alias {CHAMPION} had been moved to version {held.champion}")
    if held.previous is not None and held.previous != said.previous:
        parts.append(f"the alias {PREVIOUS} had been moved to version {held.previous}")
    return "; ".join(parts)
