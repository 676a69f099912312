"""What a map over a real Dask cluster keeps, and what it says where it cannot work."""

import importlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_cluster import DaskCluster

import secondread
from secondread.errors import ExecutionError, ImageRejected
from secondread.execution import cluster as door
from secondread.execution.cluster import map_on_cluster

NAME = "DOE^JANE"


def square_late(number: int) -> int:
    """The first items take longest, so that results would come in the wrong order."""
    time.sleep(0.02 * max(0, 3 - number))
    return number**2


def process_id(number: int) -> int:
    time.sleep(0.01)  # or one worker would do it all
    return os.getpid()


def reject(name: str) -> str:
    if name == NAME:
        raise ImageRejected("odd", f"{name} is refused")
    return name


@pytest.fixture
def unmanned(tmp_path: Path) -> Iterator[DaskCluster]:
    """A scheduler whose workers, should any come, run other code than this, without these tests' functions."""
    shutil.copytree(Path(secondread.__file__).parent, tmp_path / "other" / "secondread")
    with (tmp_path / "other" / "secondread" / "errors.py").open("a") as code:
        code.write("# another version\n")
    cluster = DaskCluster(tmp_path, workers=0, environment={"PYTHONPATH": str(tmp_path / "other")})
    yield cluster
    cluster.close()


def test_results_come_in_the_items_order_from_every_worker(dask_cluster: DaskCluster) -> None:
    # more than the queue of four a worker
    assert list(map_on_cluster(square_late, range(30), dask_cluster.address)) == [number**2 for number in range(30)]
    workers = {worker.pid for worker in dask_cluster.workers}
    assert set(map_on_cluster(process_id, range(30), dask_cluster.address)) == workers


def test_an_error_of_the_work_comes_back_as_itself_and_dask_is_told_nothing_of_it(dask_cluster: DaskCluster) -> None:
    results = map_on_cluster(reject, ["first", NAME, "third"], dask_cluster.address)
    assert next(results) == "first"
    with pytest.raises(ImageRejected, match="is refused") as caught:
        next(results)
    assert caught.value.rule == "odd"
    assert "in reject" in caught.value.__notes__[0]  # where in the worker
    assert "Registered to" in dask_cluster.log()
    assert NAME not in dask_cluster.log()


def test_without_a_scheduler_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "_CONNECT_S", 0.5)
    expected = r"execution.dask=tcp://127.0.0.1:9: no Dask scheduler answers; start one \(`dask scheduler`\), or leave"
    with pytest.raises(ExecutionError, match=expected):
        list(map_on_cluster(square_late, range(3), "tcp://127.0.0.1:9"))


def test_without_a_worker_it_says_how_to_start_some_and_refuses_those_of_other_code(
    unmanned: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hasty:
        hasty.setattr(door, "_CONNECT_S", 0.5)
        with pytest.raises(ExecutionError, match="has no worker; start some: `dask worker"):
            list(map_on_cluster(square_late, range(3), unmanned.address))
    unmanned.add_worker()
    expected = r"a worker on \S+ has secondread \w{12} instead of \w{12}; install the same checkout"
    with pytest.raises(ExecutionError, match=expected):
        list(map_on_cluster(square_late, range(3), unmanned.address))


def test_a_cluster_without_this_project_is_told_to_install_it(
    dask_cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def do_work(order: bytes) -> bytes:\n    return order\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(door, "do_work", importlib.import_module("only_here").do_work)
    with pytest.raises(ExecutionError, match="cannot load this project's code; install the same checkout there"):
        list(map_on_cluster(square_late, range(3), dask_cluster.address))


def test_another_version_of_dask_is_refused_with_the_machine_that_has_it() -> None:
    ours = dict.fromkeys(("python", "dask", "distributed", "cloudpickle", "msgpack", "tornado"), "1.0")
    versions = {
        "client": {"packages": ours},
        "scheduler": {"packages": ours},
        "workers": {"tcp://far:1": {"packages": ours | {"distributed": "0.9"}}},
    }
    with pytest.raises(ExecutionError, match=r"tcp://far:1 has distributed 0\.9, and this command 1\.0; install the"):
        door._refuse_other_versions(versions, "tcp://here:1")
