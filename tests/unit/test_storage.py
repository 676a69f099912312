"""Files are written aside and renamed: whole or not at all."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from secondread.storage import passing_folder, remove_unfinished, sha256_of, write_aside

HERE = platform.node()


class Interrupted(Exception):
    """Stands for whatever ends the writing early."""


def write_half(path: Path) -> None:
    with write_aside(path) as aside:
        aside.write_text("half")
        raise Interrupted


def write_half_a_folder(path: Path) -> None:
    with write_aside(path) as aside:
        aside.mkdir()
        (aside / "half").write_text("half")
        raise Interrupted


def test_content_is_named_by_its_sha256() -> None:
    # FIPS 180-2, appendix B.1
    assert sha256_of(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_appears_when_it_is_whole_and_its_folders_with_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "file.txt"
    with write_aside(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.parent == path.parent  # a rename across disks would not be atomic
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_when_it_is_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("first", "second"):
        with write_aside(folder) as aside:
            aside.mkdir()
            (aside / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interrupted_file_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(Interrupted):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_text("old")
    with pytest.raises(Interrupted):
        write_half_a_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f".a.npy.{gone.pid}@{HERE}.part", f".b.npy.{os.getppid()}@{HERE}.part", ".notes.part", "c.npy"):
        (tmp_path / name).write_text("half")
    (tmp_path / f".d.{gone.pid}@{HERE}.part").mkdir()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f".b.npy.{os.getppid()}@{HERE}.part",
        ".notes.part",
        "c.npy",
    ]


def test_a_passing_folder_is_its_owners_alone_and_gone_at_the_end_also_that_of_a_killed_process(tmp_path: Path) -> None:
    code = "import os; from pathlib import Path; from secondread.storage import passing_folder\n"
    code += f"with passing_folder(Path({str(tmp_path / 'home')!r})) as folder:\n"
    code += "    (folder / 'copy').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    [left] = (tmp_path / "home").iterdir()
    assert (left / "copy").exists()
    with passing_folder(tmp_path / "home") as folder, passing_folder(tmp_path / "home") as other:
        assert not left.exists()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert sorted((tmp_path / "home").iterdir()) == sorted([folder, other])
    assert list((tmp_path / "home").iterdir()) == []


def test_what_another_users_process_writes_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, number: int) -> NoReturn:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / f".a.npy.1@{HERE}.part").write_text("half")
    remove_unfinished(tmp_path)
    assert (tmp_path / f".a.npy.1@{HERE}.part").exists()
