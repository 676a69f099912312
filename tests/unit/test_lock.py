"""pyproject.toml declares; requirements.txt and conda.yaml pin exactly that, and nothing about any machine."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEVELOPMENT = PROJECT["optional-dependencies"]["dev"]


def pins(lines: Iterable[str]) -> dict[str, str]:
    """Names to versions; anything but `name==version` is refused."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([a-z0-9-]+)==([0-9][a-z0-9.]*)", line)
        assert match, f"not an exact pin: {line}"
        found[match[1]] = match[2]
    return found


def locked() -> dict[str, str]:
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", "")
    return pins(line.split()[0] for line in text.splitlines())


def conda() -> dict[str, str]:
    *_, pip = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    return pins(pip["pip"])


def closure(declared: Iterable[str]) -> set[str]:
    """Names of everything that the declared requirements bring, read from what is installed here."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in declared]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            node = (canonicalize_name(requirement.name), extra)
            if node not in found:
                found.add(node)
                children = [Requirement(line) for line in requires(requirement.name) or []]
                waiting += [child for child in children if not child.marker or child.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


@pytest.mark.parametrize("line", PROJECT["dependencies"] + DEVELOPMENT)
def test_a_declared_dependency_is_locked_within_its_bounds(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_the_lock_holds_exactly_what_the_declarations_bring() -> None:
    assert set(locked()) == closure(PROJECT["dependencies"] + DEVELOPMENT)


def test_conda_pins_exactly_what_a_run_needs_at_the_locked_versions() -> None:
    versions = locked()
    assert conda() == {name: versions[name] for name in closure(PROJECT["dependencies"])}
    assert "tensorflow" in conda()


def test_what_is_installed_here_is_what_is_locked() -> None:
    installed = {name: distribution(name).version for name in locked()}
    assert installed == locked()


def test_every_locked_file_has_a_hash() -> None:
    entries = (ROOT / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)


def test_conda_yaml_names_python_a_public_channel_and_nothing_of_the_project() -> None:
    environment = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert environment["channels"] == ["conda-forge"]
    assert environment["dependencies"][:-1] == ["python=3.11", "pip"]
    assert PROJECT["name"] not in conda()


@pytest.mark.parametrize("name", ["requirements.txt", "conda.yaml"])
def test_a_lock_holds_no_address(name: str) -> None:
    assert not re.search(
        r"://|file:|^\s*-(e|r|i|f)\s|--(extra-)?index|--find-links|^#", (ROOT / name).read_text(), re.M
    )
