"""What every folder keeps, on this machine and on a real S3 server."""

import os
import pickle
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_server import S3Server

from secondread.errors import StorageError
from secondread.storage import Folder, open_around, open_folder, passing_folder, sha256_of
from secondread.storage.cache import Cache
from secondread.storage.folder import Entry
from secondread.storage.here import bring_here, path_here
from secondread.storage.s3 import S3Folder

FILES = {"a.txt": b"alpha", "b/c.txt": b"gamma", "b/d/e.txt": b"", "masks/f.txt": b"left out"}


def everything(name: str) -> bool:
    return False


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that does not exist yet."""
    if request.param == "local":
        return open_folder(tmp_path / "folder")
    server: S3Server = request.getfixturevalue("s3")
    return open_folder(f"{server.bucket(tmp_path.name.replace('_', '-')[:60])}/folder")


@pytest.fixture
def filled(folder: Folder) -> Folder:
    for path, data in FILES.items():
        folder.write(path, data)
    return folder


def test_what_is_written_is_read(filled: Folder) -> None:
    assert {path: filled.read(path) for path in FILES} == FILES
    assert filled.read("a.txt", 3) == b"alp"
    assert filled.read("a.txt", 99) == b"alpha"
    assert filled.read("b/d/e.txt", 3) == b""
    assert (filled.read("a.txt", 2, start=3), filled.read("a.txt", start=1)) == (b"ha", b"lpha")


def test_many_are_read_in_order_and_what_is_missing_is_an_error_in_its_place(filled: Folder) -> None:
    paths = ["a.txt", "gone.txt", "b/c.txt", "b/d/e.txt"] * 7
    read = list(filled.read_each(paths, 4))
    assert [data for data in read if not isinstance(data, OSError)] == [b"alph", b"gamm", b""] * 7
    missing = [data for data in read if isinstance(data, OSError)]
    assert [str(error.strerror) for error in missing] == ["No such file or directory"] * 7  # the same words everywhere


def test_a_file_is_replaced_whole(filled: Folder) -> None:
    filled.write("a.txt", b"second")
    assert filled.read("a.txt") == b"second"


def test_a_large_file_comes_back(folder: Folder) -> None:
    data = random.Random(7).randbytes(2**25 + 1)  # 33.5 MB: three parts, five ranges
    folder.write("large", memoryview(data))
    assert sha256_of(folder.read("large")) == sha256_of(data)
    whole, begun = *folder.read_each(["large"]), *folder.read_each(["large"], 20_000_001)
    assert (whole, begun) == (data, data[:20_000_001])
    assert folder.read("large", 9_000_000, start=20_000_001) == data[20_000_001:29_000_001]


def test_a_large_file_that_is_replaced_while_it_is_read_is_read_again(s3: S3Server) -> None:
    folder = S3Folder.at(s3.bucket("replaced"))
    folder.write("large", b"old" * 3_000_000)
    begun = folder._range("large", 0, None)
    folder.write("large", b"newer" * 3_000_000)
    assert folder._completed(begun, "large", 0, None) == b"newer" * 3_000_000


def test_what_is_directly_inside(filled: Folder) -> None:
    assert sorted(filled.entries()) == [Entry("a.txt", "file"), Entry("b", "folder"), Entry("masks", "folder")]
    assert sorted(filled.entries("b")) == [Entry("b/c.txt", "file"), Entry("b/d", "folder")]


def test_every_file_below_without_what_is_passed_over(filled: Folder) -> None:
    assert sorted(entry.path for entry in filled.walk("", everything)) == sorted(FILES)
    assert [entry.path for entry in filled.walk("", "masks".__eq__)] == ["a.txt", "b/c.txt", "b/d/e.txt"]
    assert [entry.path for entry in filled.walk("b", everything)] == ["b/c.txt", "b/d/e.txt"]


def test_a_folders_own_files_come_before_those_of_the_folders_in_it_by_their_names(folder: Folder) -> None:
    paths = ["z", "\u00fc", "a/z", "a/b/a", "a/b/c/d", "a/c/a", "a b/a", "a-b/a", "a.b/a", "aa/a", "\u00e4/a"]
    for path in reversed(paths):
        folder.write(path, b"x")
    assert [entry.path for entry in folder.walk("", everything)] == ["z", "\u00fc", *paths[2:6], *paths[6:]]


def test_more_files_than_a_page_of_a_listing(s3: S3Server) -> None:
    folder = open_folder(s3.bucket("pages"))
    names = [f"{number:04d}" for number in range(1003)]
    for name in names:
        (s3.folder / "pages" / name).touch()
    assert sorted(entry.path for entry in folder.walk("", everything)) == names
    assert [seen and seen.size for seen in folder.look([*names, "gone"])] == [0] * 1003 + [None]


def test_what_a_file_is_seen_from_outside(filled: Folder) -> None:
    first = filled.look(["a.txt", "gone.txt", "b/d/e.txt"])
    assert [seen and (seen.kind, seen.size) for seen in first] == [("file", 5), None, ("file", 0)]
    assert filled.look(["a.txt"]) == first[:1]
    filled.write("a.txt", b"other")
    assert pickle.loads(pickle.dumps(filled)).look(["a.txt"]) != first[:1]


def test_what_is_there(folder: Folder) -> None:
    assert (folder.is_there(), folder.is_vacant()) == (False, True)
    folder.write("b/a.txt", b"a")
    assert (folder.is_there(), folder.is_vacant()) == (True, False)
    assert (folder.has("b/a.txt"), folder.has("b"), folder.has("gone")) == (True, False, False)


def test_another_process_gets_the_address_alone(filled: Folder) -> None:
    list(filled.walk("", everything))
    sent = pickle.dumps(filled)
    assert len(sent) < 500
    assert b"secret" not in sent.lower()
    again = pickle.loads(sent)
    assert (again, again.address, str(again)) == (filled, filled.address, str(filled))
    assert again.read("a.txt") == b"alpha"


def test_files_are_here_for_a_while_without_their_names(filled: Folder, tmp_path: Path) -> None:
    with passing_folder(tmp_path / "home") as copies:
        with bring_here(filled, ["a.txt", "gone.txt", "b/c.txt"], copies, most=3) as here:
            there, gone, other = here.files
            assert [here.root.read(here.paths[place], 3) for place in (0, 2)] == [b"alp", b"gam"]
            assert not gone.exists()
            assert not filled.is_shared or "a.txt" not in str(there)
            assert (other.stat().st_size, other.is_relative_to(copies)) == (
                (3, True) if filled.is_shared else (5, False)
            )
        assert there.exists() == (not filled.is_shared)
        assert list(copies.iterdir()) == []
    assert list((tmp_path / "home").iterdir()) == []


def test_what_is_written_here_is_not_written_elsewhere() -> None:
    assert path_here("scores") == Path("scores")
    with pytest.raises(StorageError, match=r"out=s3://bucket/scores: .* choose a folder here"):
        path_here("s3://bucket/scores")


def test_what_lies_around_a_file(filled: Folder) -> None:
    around, name = open_around(f"{filled.address}/b/c.txt")
    assert (around.address, name, around.read(name)) == (f"{filled.address}/b", "c.txt", b"gamma")


def test_a_bucket_itself_is_a_folder(s3: S3Server) -> None:
    bucket = open_folder(s3.bucket("whole-bucket"))
    bucket.write("a/b", b"c")
    assert (bucket.address, bucket.name) == ("s3://whole-bucket", "whole-bucket")
    assert [entry.path for entry in bucket.walk("", everything)] == ["a/b"]


@pytest.mark.parametrize("address", ["s3://", "s3:///a", "s3://a b/c"])
def test_an_address_without_a_bucket_is_refused(address: str) -> None:
    with pytest.raises(StorageError, match="names no bucket; write s3://BUCKET/FOLDER"):
        open_folder(address)


def test_a_missing_bucket_is_named_and_nothing_below(s3: S3Server) -> None:
    with pytest.raises(StorageError) as caught:
        open_folder("s3://nowhere/root").write("DOE^JANE.dcm", b"")
    assert "s3://nowhere/root: the S3 server refuses (NoSuchBucket); see to bucket and endpoint" in str(caught.value)
    assert "DOE" not in str(caught.value)


def test_wrong_credentials_are_refused_at_once_and_not_told(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    address = s3.bucket("closed")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with pytest.raises(StorageError, match=r"the S3 server refuses \(\w+\); see to the credentials") as caught:
        open_folder(address).read("DOE^JANE.dcm")
    assert not any(word in str(caught.value) for word in ("hunter2", "DOE"))


def test_absent_credentials_say_what_to_set(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile"):
        open_folder("s3://any-bucket").is_there()


@pytest.fixture
def stoppable(s3: S3Server) -> Iterator[S3Server]:
    """The server, which runs again after the test."""
    yield s3
    s3.stop()
    s3.start()


def test_a_server_that_is_away_is_waited_for(stoppable: S3Server) -> None:
    folder = open_folder(stoppable.bucket("patient"))
    folder.write("a", b"a")
    stoppable.stop()
    with ThreadPoolExecutor() as threads:
        read = threads.submit(lambda: list(folder.read_each(["a"] * 20)))
        written = threads.submit(folder.write, "b", b"b")
        with pytest.raises(TimeoutError):
            read.result(timeout=0.5)
        assert not written.done()
        stoppable.start()
        assert read.result(timeout=60) == [b"a"] * 20
        written.result(timeout=60)
    assert folder.read("b") == b"b"


def test_a_server_that_goes_away_in_the_midst_of_files_is_asked_again(stoppable: S3Server) -> None:
    folder = open_folder(stoppable.bucket("midst"))
    folder.write("large", bytes(2**25))
    with ThreadPoolExecutor() as threads:
        read = threads.submit(lambda: [len(folder.read("large")) for _ in range(6)])
        for _ in range(3):
            time.sleep(0.1)
            stoppable.stop()
            stoppable.start()
        assert read.result(timeout=60) == [2**25] * 6


def test_a_server_that_stays_away_is_an_error(stoppable: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secondread.storage.s3.PATIENCE_S", 0.3)
    address = stoppable.bucket("away")
    stoppable.stop()
    with pytest.raises(StorageError, match=r"s3://away: the S3 server has not answered for \d+ s") as caught:
        open_folder(address).read("DOE^JANE.dcm")
    assert "DOE" not in str(caught.value)


def test_a_cache_holds_what_was_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10)
    contents = {sha256_of(data): data for data in (b"aaaa", b"bbbb", b"cccc")}
    first, second, third = contents
    for moment, digest in enumerate((first, second)):
        cache.keep(digest, contents[digest])
        os.utime(cache.path(digest), ns=(moment, moment))
    assert cache.has(first)  # which is a use
    cache.make_room(4)
    cache.keep(third, contents[third])
    assert [cache.has(digest) for digest in contents] == [True, False, True]
    cache.path(third).write_bytes(b"damaged")
    assert not cache.has(third)
    with pytest.raises(ValueError, match="another digest"):
        cache.keep(first, b"other")
