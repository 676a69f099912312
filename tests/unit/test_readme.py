"""The README is right about what is here."""

import re
import subprocess
from pathlib import Path, PurePosixPath

import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def tree() -> dict[str, str]:
    """Paths of the README's file tree to their glosses; a folder's path ends with a slash."""
    block = README.split("## What is where")[1].split("```")[1]
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block.strip("\n").splitlines():
        match = re.fullmatch(r"((?:  )*)(\S+) +(\S.*)", line)
        assert match, f"not a line of the tree: {line!r}"
        depth = len(match[1]) // 2
        folders = [*folders[:depth], match[2]]
        found["".join(folders)] = match[3]
    return found


def project_files() -> list[PurePosixPath]:
    """Files that git tracks, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [PurePosixPath(name) for name in listed if (ROOT / name).exists()]


def test_each_path_in_the_tree_exists_as_what_it_is_called() -> None:
    wrong = [path for path in tree() if (ROOT / path).is_dir() != path.endswith("/") or not (ROOT / path).exists()]
    assert wrong == []


def test_the_tree_names_every_entry_at_the_top() -> None:
    named = {PurePosixPath(path).parts[0] for path in tree()}
    assert {file.parts[0] for file in project_files()} == named


def test_the_tree_names_every_module() -> None:
    modules = [
        str(file)
        for file in project_files()
        if file.parts[0] in ("src", "tuning", "registry") and file.suffix == ".py" and file.name != "__init__.py"
    ]
    assert sorted(set(modules) - set(tree())) == []


def test_a_gloss_has_at_most_six_words() -> None:
    assert {path: gloss for path, gloss in tree().items() if len(gloss.split()) > 6} == {}


def test_the_table_of_entry_points_is_that_of_mlproject() -> None:
    table = README.split("## Entry points")[1].split("\n\n")[1]
    named = re.findall(r"^\| `(\w+)`", table, re.M)
    assert named == list(yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])


def test_every_make_target_it_names_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"\bmake ([a-z-]+)`", README)) <= set(targets)


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert all((ROOT / link).exists() for link in links)
