"""The two names that a task's versions are served by: `champion`, and `previous` for the one before it."""

from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

CHAMPION = "champion"
PREVIOUS = "previous"


class Aliases(NamedTuple):
    """Which version has which alias; None where none has it."""

    champion: int | None
    previous: int | None

    def __str__(self) -> str:
        return f"{CHAMPION} {_worded(self.champion)}, {PREVIOUS} {_worded(self.previous)}"


def read_aliases(client: MlflowClient, task: str) -> Aliases:
    """The aliases as the registry has them; a task without a registered model has none."""
    try:
        held = client.get_registered_model(task).aliases
    except MlflowException:
        return Aliases(None, None)
    return Aliases(*(int(held[name]) if name in held else None for name in (CHAMPION, PREVIOUS)))


def set_aliases(client: MlflowClient, task: str, wanted: Aliases) -> None:
    """Make the registry's aliases those that are wanted; a version changes hands in one call, so it is never without.

    An alias of a version that was deleted is left away.
    """
    held = read_aliases(client, task)
    for name, before, after in ((CHAMPION, held.champion, wanted.champion), (PREVIOUS, held.previous, wanted.previous)):
        if after is not None and not version_exists(client, task, after):
            after = None
        if after is not None and before != after:
            client.set_registered_model_alias(task, name, str(after))
        elif after is None and before is not None:
            client.delete_registered_model_alias(task, name)


def version_exists(client: MlflowClient, task: str, version: int) -> bool:
    """Whether a version is there and was not deleted."""
    try:
        client.get_model_version(task, str(version))
    except MlflowException:
        return False
    return True


def _worded(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
