"""A job on a cluster and an S3 server, parts of which die: it ends as an undisturbed one here."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from dask_cluster import DaskCluster
from s3_server import S3Server

from integration.command import Command, started
from secondread.data.phantom.write import write_phantom
from secondread.report.data_set import PAGE
from secondread.tasks import load_task


@dataclass(frozen=True)
class Job:
    """What is preprocessed, and how badly it is disturbed meanwhile.

    Args:
        patients: synthetic heads.
        away_s: seconds that the S3 server is away.
    """

    patients: int
    away_s: float


@pytest.fixture(
    params=[Job(patients=24, away_s=2), pytest.param(Job(patients=410, away_s=20), marks=pytest.mark.slow)],
    ids=["hundreds of files", "5,000 files"],
)
def job(request: pytest.FixtureRequest) -> Job:
    job: Job = request.param
    return job


@pytest.fixture
def whole_s3(s3_server: S3Server) -> Iterator[S3Server]:
    """The S3 server, which is there again afterwards."""
    yield s3_server
    s3_server.stop()
    s3_server.start()


def test_a_disturbed_job_on_s3_through_dask_ends_with_the_digests_of_an_undisturbed_one_here(
    job: Job, whole_s3: S3Server, dask_cluster: DaskCluster, tmp_path: Path
) -> None:
    bucket = whole_s3.bucket(f"scale-{job.patients}")
    source = whole_s3.folder / bucket.removeprefix("s3://") / "source"
    write_phantom(source, load_task("hemorrhage"), job.patients, seed=3)
    environment = {**outside(), **whole_s3.environment, "SECONDREAD_HOME": str(tmp_path / "home")}

    typed = preprocess(str(source), str(tmp_path / "here"))
    with started(typed, tmp_path, environment, tmp_path / "here.txt") as here:
        assert here.process.wait() == 0, here.said

    typed = preprocess(f"{bucket}/source", f"{bucket}/store", "--execution.dask", dask_cluster.address)
    with started(typed, tmp_path, environment, tmp_path / "there.txt") as there:
        shards = source.with_name("store") / "shards"
        there.wait_until(lambda: len(list(shards.glob("*.parquet"))) >= 2 or None)
        disturb(job, whole_s3, dask_cluster, there)
        assert there.process.wait() == 0, there.said
    assert digests(source.with_name("store")) == digests(tmp_path / "here")
    pages = [(store / PAGE).read_text() for store in (source.with_name("store"), tmp_path / "here")]
    assert "<img" in pages[0]
    assert pages[0] == pages[1]
    said = f"{sum(1 for _ in source.rglob('*.dcm')):,} files, a worker killed, the server away for {job.away_s} s"
    print(f"{said}: {digests(tmp_path / 'here')['manifest_digest']}")


def disturb(job: Job, server: S3Server, cluster: DaskCluster, command: Command) -> None:
    """Kill a worker in the midst of the work, and take the server away for a while."""
    assert not command.said.count("store of"), "it was over before anything happened"
    cluster.kill_worker()
    server.stop()
    time.sleep(job.away_s)
    assert command.process.poll() is None, command.said
    server.start()
    cluster.add_worker()


def digests(store: Path) -> Mapping[str, object]:
    """What a store holds: the digest of every shard and of the manifest."""
    described = json.loads((store / "store.json").read_text())
    return {name: described[name] for name in ("manifest_digest", "preprocess", "shards")}


def preprocess(source: str, out: str, *more: str) -> list[str]:
    """What a user types."""
    verb = [sys.executable, "-m", "secondread", "preprocess", "--task", "hemorrhage", "--source", source, "--out", out]
    return [*verb, "--preprocess.size", "64", *more]


def outside() -> dict[str, str]:
    """A user's terminal, outside any MLflow run and any cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
