"""Killed at any moment, a decision is made whole or not at all: one champion, and a history that is whole."""

import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from killed_promotion import survives
from mlflow import MlflowClient
from trained_runs import prepare_store, restore_store, trained

from registry.aliases import Aliases, read_aliases
from registry.chain import APPLIED, HEAD, read_head, walk
from registry.history import history
from registry.promote import promote


def serve(client: MlflowClient) -> None:
    """Version 2 serves, 1 was before it, and another training waits."""
    for _ in range(2):
        trained(client)
        promote("pneumonia", gates="demo")
    trained(client)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    folder = tmp_path_factory.mktemp("served") / "store"
    prepare_store(folder, empty_database, serve)
    return folder


def test_a_decision_that_counts_and_was_not_carried_out_is_carried_out_by_whoever_comes_next(
    store: Path, workplace: Path
) -> None:
    client = restore_store(store, workplace)
    client.set_registered_model_alias("pneumonia", "champion", "1")  # as it was when the process died
    client.delete_registered_model_tag("pneumonia", APPLIED)
    assert history("pneumonia") == ()
    assert read_aliases(client, "pneumonia") == Aliases(2, 1)
    tags = client.get_registered_model("pneumonia").tags
    assert tags[HEAD] == tags[APPLIED]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("work", "after"), [("promote", Aliases(3, 2)), ("rollback", Aliases(1, 2))])
def test_killed_after_each_of_its_writes(
    work: str, after: Aliases, store: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    before = Aliases(2, 1)
    outcomes: list[bool] = []
    ended = False
    while not ended:
        folder = workplace / f"killed after {len(outcomes) + 1}"
        folder.mkdir()
        shutil.copy(store / "mlflow.db", folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        client = MlflowClient()
        ended = survives(work, os.environ, folder, writes=len(outcomes) + 1)

        aliases = read_aliases(client, "pneumonia")
        assert aliases.champion in (before.champion, after.champion)  # one and only one, before anyone mends anything
        counts = str(read_head(client, "pneumonia")).startswith("3 ")
        assert history("pneumonia") == ()
        assert read_aliases(client, "pneumonia") == (after if counts else before)
        tags = client.get_registered_model("pneumonia").tags
        assert tags[HEAD] == tags[APPLIED]
        statuses = [
            client.get_run(link.head.run_id).info.status for link in walk(client, read_head(client, "pneumonia"))
        ]
        assert statuses == ["FINISHED"] * (3 if counts else 2)
        outcomes.append(counts)
        if len(outcomes) == 4:  # its run was complete, and did not count: the same command, given again, decides
            assert not counts
            assert survives(work, os.environ, folder, writes=1000)
            assert read_aliases(client, "pneumonia") == after
            assert history("pneumonia") == ()
    # Before the head moved nothing was decided, and after it everything was.
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) >= 4
    assert outcomes.count(True) >= 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_random_kills_of_the_command(store: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = restore_store(store, workplace)
    environment = os.environ | {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    command = [sys.executable, "-m", "registry", "promote", "--task", "pneumonia", "--gates", "demo"]
    generator = random.Random(0)
    duration, committed, killed = 4.0, 0, 0
    while killed < 20:
        run_id = trained(client)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(("version ", "decision "))  # it is loaded, and begins
            began = time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(generator.uniform(0, duration))
            if process.poll() is None:
                process.kill()
                killed += 1
            else:
                duration = time.monotonic() - began
        champion = client.get_model_version_by_alias("pneumonia", "champion")
        assert history("pneumonia") == ()
        head = read_head(client, "pneumonia")
        assert head is not None
        newest = next(walk(client, head)).decision
        assert newest is not None
        assert int(champion.version) in (newest.champion_before, newest.champion_after)
        assert read_aliases(client, "pneumonia").champion == newest.champion_after
        committed += any(judged.run_id == run_id for judged in newest.candidates)
        print(f"kill {killed}: decision {head.number}, champion {newest.champion_after}")
    assert committed > 0
    trained(client)
    assert promote("pneumonia", gates="demo").kind == "promotion"
    assert history("pneumonia") == ()
