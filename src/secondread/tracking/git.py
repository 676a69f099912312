"""What the code was: commit, whether the tree was dirty, and the difference."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[3]
# What the difference is told of; a table or a note that somebody keeps in the checkout may name patients.
_CODE = ("*.py", "*.yaml", "*.toml", "*.jinja", "*.js", "*.html", "*requirements.txt", "*MLproject", "*Makefile")


@dataclass(frozen=True)
class GitState:
    """The checkout's state; `commit` is "unknown" outside a checkout.

    Args:
        diff: of code and settings alone.
    """

    commit: str
    dirty: bool
    diff: str


def git_state(folder: Path = PROJECT) -> GitState:
    """Read the state of the checkout that holds `folder`; files that git does not track make it dirty too."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return GitState("unknown", False, "")
    status = _git(folder, "status", "--porcelain", "--", ".") or ""
    diff = (_git(folder, "diff", "HEAD", "--", *_CODE) or "") if status.strip() else ""
    return GitState(commit.strip(), bool(status.strip()), diff)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
