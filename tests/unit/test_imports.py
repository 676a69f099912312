"""Imports go one way, each heavy library has its door, and importing does nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import registry
import secondread
import tuning

ROOT = Path(__file__).resolve().parents[2]

IMPORT_EVERYTHING = """
import importlib, pkgutil, random
import keras, matplotlib, mlflow, numpy  # what these draw while they load is not ours
before = random.getstate(), numpy.random.get_state()[1].tolist()
for name in ("secondread", "tuning", "registry"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
assert before == (random.getstate(), numpy.random.get_state()[1].tolist()), "an import drew or seeded"
"""


def test_every_import_contract_is_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_packages_are_those_of_this_checkout() -> None:
    assert Path(secondread.__file__).parent == ROOT / "src" / "secondread"
    assert Path(tuning.__file__).parent == ROOT / "tuning"
    assert Path(registry.__file__).parent == ROOT / "registry"


def test_importing_every_module_writes_nothing_and_draws_nothing(workplace: Path) -> None:
    result = subprocess.run([sys.executable, "-c", IMPORT_EVERYTHING], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("storage.py", "import secondread.config", "rooms"),
        ("config.py", "import tuning", "users"),
        ("data/audit.py", "import pydicom", "pydicom"),
        ("training.py", "import mlflow", "mlflow"),
        ("training.py", "import tensorflow", "tensorflow"),
        ("cli.py", "import keras", "keras"),
        ("cli.py", "import optuna", "searchers"),
        ("imaging/window.py", "import secondread.data.feed", "workers"),
    ],
)
def test_a_wrong_import_breaks_its_contract(room: str, line: str, contract: str, tmp_path: Path) -> None:
    for package in ("src", "tuning", "registry"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "src" / "secondread" / room).open("a") as file:
        file.write(f"\n{line}\n")
    lint = "import sys; sys.path[:0] = ['src', '.']; from importlinter.cli import lint_imports_command as c; c()"
    command = [sys.executable, "-c", lint, "--no-cache", "--contract", contract]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout
