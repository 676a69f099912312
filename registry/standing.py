"""Where a task stands: its newest decision, and whether the registry still is as that decision says."""

from dataclasses import dataclass, replace

from mlflow import MlflowClient

from registry.aliases import Aliases, read_aliases, version_exists
from registry.chain import Head, read_head, walk
from registry.decision import Decision
from secondread.errors import RegistryError


@dataclass(frozen=True)
class Standing:
    """Where a task stands.

    Args:
        head: the newest decision; None where there was none.
        newest: the same; None also where it is damaged, which `problems` tells.
        held: the aliases in force.
        gone: versions that should have an alias and were deleted.
    """

    task: str
    head: Head | None
    newest: Decision | None
    problems: tuple[str, ...]
    held: Aliases
    gone: tuple[int, ...] = ()

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
        if self.is_sound:
            return
        wrong = [*self.problems, *(f"version {version} was deleted behind our back" for version in self.gone)]
        if not wrong:
            wrong = [f"the aliases were moved: the registry has {self.held}, and the history says {self.said}"]
        there = next((version for version in self.said if version is not None and version not in self.gone), "N")
        raise RegistryError(
            f"{self.task}: {'; '.join(wrong)}; see `python -m registry history {self.task}`, and say which version "
            f"shall serve: `python -m registry rollback {self.task} --to {there}`"
        )


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
    standing = Standing(task, head, None if link.problems else link.decision, link.problems, held)
    named = [version for version in standing.said if version is not None]
    return replace(standing, gone=tuple(version for version in named if not version_exists(client, task, version)))
