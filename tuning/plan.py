"""What every process of a search knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secondread.storage import sha256_of
from tuning.settings import SearchSettings
from tuning.space import SearchSpace


@dataclass(frozen=True)
class Plan:
    """A search that has been opened.

    Args:
        key: names the search among all of its tracking store; see `search_key`.
        name: as the user called it.
        base: settings of every trial, as typed.
        folder: where this machine keeps the search's state and its trials' training.
        run_id: the parent run.
    """

    key: str
    name: str
    task: str
    base: Mapping[str, str]
    space: SearchSpace
    settings: SearchSettings
    folder: Path
    run_id: str
    experiment_id: str


def search_key(tracking_uri: str, task: str, engine: str, name: str) -> str:
    """Name a search by what makes it the same one: 16 hexadecimal digits."""
    return sha256_of("\n".join((tracking_uri, task, engine, name)).encode())[:16]
