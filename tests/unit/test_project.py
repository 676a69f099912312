"""MLproject, Makefile and CI say the same as the design and as each other."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.projects import _project_spec

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())
ENTRY_POINTS: dict[str, Any] = PROJECT["entry_points"]


def make_recipes() -> dict[str, str]:
    """Targets of the Makefile to their recipes."""
    found = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.M)
    return dict(found)


def test_conda_yaml_is_the_one_environment() -> None:
    assert PROJECT["conda_env"] == "conda.yaml"
    assert set(PROJECT) == {"name", "conda_env", "entry_points"}


def test_main_runs_without_parameters() -> None:
    assert "parameters" not in ENTRY_POINTS["main"]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_parameters_are_strings_with_defaults_and_reach_the_flag_of_their_name(name: str) -> None:
    parameters = ENTRY_POINTS[name].get("parameters", {})
    assert all(set(parameter) == {"type", "default"} for parameter in parameters.values())
    assert all(parameter["type"] == "string" for parameter in parameters.values())
    command = ENTRY_POINTS[name]["command"]
    assert re.findall(r"--(\w+) \{(\w+)\}", command) == [(key, key) for key in parameters]
    assert "${" not in command


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_command_finds_the_packages_without_an_installation(name: str) -> None:
    assert ENTRY_POINTS[name]["command"].startswith('PYTHONPATH="$PWD/src:$PWD" python -m ')


def test_an_undeclared_parameter_becomes_a_dotted_flag() -> None:
    train = _project_spec.load_project(ROOT).get_entry_point("train")
    command = train.compute_command({"task": "hemorrhage", "train.epochs": "5"}, storage_dir=None)
    assert command.endswith(
        "python -m secondread train --task hemorrhage --data phantom --model compact_resnet --train.epochs 5"
    )


def test_check_is_four_tools_and_nothing_else() -> None:
    assert make_recipes()["check"].split("\n")[:-1] == [
        "\truff format --check",
        "\truff check",
        "\tmypy",
        "\tlint-imports",
    ]


def test_ci_types_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^make ([a-z-]+)", script, re.M)
    assert commands == ["check", "test"]
    assert all(f"`make {name}`" in (ROOT / "README.md").read_text() for name in commands)
    assert set(commands) <= set(make_recipes())


@pytest.mark.parametrize(
    ("ci", "reason", "passes"),
    [
        ("true", "chromium is absent", False),
        ("true", "the folder ../shared with public images is absent", True),
        ("", "chromium is absent", True),
    ],
)
def test_only_the_absence_of_shared_excuses_a_skip_in_ci(ci: str, reason: str, passes: bool, tmp_path: Path) -> None:
    for module in (ROOT / "tests").glob("*.py"):  # the configuration and what it imports
        shutil.copy(module, tmp_path)
    (tmp_path / "test_skipped.py").write_text(f"import pytest\n\ndef test_it():\n    pytest.skip({reason!r})\n")
    command = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, env=os.environ | {"CI": ci}, capture_output=True, text=True)
    assert (result.returncode == 0) == passes, result.stdout
    assert "1 skipped" in result.stdout
