"""`open_search`: one run for one search, found again however it ended, and only by the same search."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from mlflow import MlflowClient
from test_run import Data

from secondread.config import load_config
from secondread.errors import SourceError, TrackingError
from secondread.tracking.launcher import circumstances, lock_of
from secondread.tracking.run import Run, open_run
from secondread.tracking.search import Search, open_search, retrained

SEARCH = Search(
    key="0123456789abcdef",
    name="first",
    config=load_config("pneumonia", {"train.epochs": 3}),
    searched=("train.learning_rate", "preprocess"),
    fixed={"engine": "optuna", "objectives": "auroc", "space_digest": "a" * 32},
    told={"trials": "10"},
)


@contextmanager
def opened(search: Search = SEARCH, data: Data | None = None, **more: Any) -> Iterator[Run]:
    with open_search(search, lambda: data or Data(), **more) as (run, _):
        yield run


def finished(search: Search = SEARCH, **more: Any) -> Run:
    with opened(search, **more) as run:
        return run


def ended_by(error: BaseException, **more: Any) -> Run:
    """A search that did not come to its end."""
    made: list[Run] = []

    def work() -> None:
        with opened(**more) as run:
            made.append(run)
            raise error

    with pytest.raises(type(error)):
        work()
    return made[0]


def with_settings(**overrides: object) -> Search:
    given = {"train.epochs": 3} | {name.replace("__", "."): value for name, value in overrides.items()}
    return replace(SEARCH, config=load_config("pneumonia", given))


def searches(client: MlflowClient, experiment: str = "pneumonia") -> list[Any]:
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


def test_a_search_says_what_it_is_and_ends_finished(tracked: MlflowClient) -> None:
    with opened() as run:
        assert tracked.get_run(run.id).info.status == "RUNNING"
        with pytest.raises(TrackingError, match="is doing exactly this work already"):
            finished()
    kept = tracked.get_run(run.id)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "search first on chest_xray")
    told = {"step": "search", "task": "pneumonia", "search_key": SEARCH.key, "search": "first", "search.trials": "10"}
    told |= {"manifest_digest": "m" * 64, **circumstances()}
    assert told.items() <= kept.data.tags.items()
    assert {"search.engine": "optuna", "train.epochs": "3"}.items() <= kept.data.params.items()


def test_what_the_space_draws_is_no_setting_of_the_search(tracked: MlflowClient) -> None:
    params = tracked.get_run(finished().id).data.params
    assert not [name for name in params if name.startswith("preprocess") or name == "train.learning_rate"]
    assert "train.batch_size" in params


def test_the_same_search_is_continued_however_it_ended(tracked: MlflowClient) -> None:
    made = finished()
    assert ended_by(ZeroDivisionError()).id == made.id
    assert tracked.get_run(made.id).info.status == "FAILED"
    with opened() as run:
        kept = tracked.get_run(run.id)
        assert (run.id, run.resumed, kept.info.status, "error" in kept.data.tags) == (made.id, True, "RUNNING", False)
    assert ended_by(KeyboardInterrupt()).id == made.id
    assert tracked.get_run(made.id).info.status == "KILLED"
    more = replace(SEARCH, told={"trials": "20"})
    assert finished(more).id == made.id
    assert tracked.get_run(made.id).data.tags["search.trials"] == "20"
    assert len(searches(tracked)) == 1


def test_a_search_is_found_in_whichever_experiment_it_was_begun(
    tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    made = finished()
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    again = finished()
    assert (again.id, again.experiment_id) == (made.id, made.experiment_id)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (with_settings(train__epochs=4), "train.epochs=3 instead of 4"),
        (replace(SEARCH, fixed={**SEARCH.fixed, "space_digest": "b" * 32}), "search.space_digest=aaaa.* instead of bb"),
        (with_settings(augment__zoom=0.1, augment__shear=1, train__seed=1, train__epochs=9), "and 1 more"),
    ],
    ids=["setting", "space", "many"],
)
def test_another_search_of_the_same_name_is_refused_and_the_first_one_left_alone(
    tracked: MlflowClient, other: Search, named: str
) -> None:
    made = finished()
    with pytest.raises(TrackingError, match=f"search first was begun with .*{named}.*; name another search, or go on"):
        finished(other)
    assert tracked.get_run(made.id).info.status == "FINISHED"


def test_other_images_are_refused(tracked: MlflowClient) -> None:
    finished()
    with pytest.raises(TrackingError, match=r"other images .manifest mmmmmmmmmmmm instead of nnnnnnnnnnnn"):
        finished(data=Data(manifest_digest="n" * 64))


def test_where_the_same_images_lie_and_how_many_work_does_not_matter(tracked: MlflowClient) -> None:
    made = finished()
    assert finished(with_settings(data__path="elsewhere", execution__workers=2)).id == made.id


def test_what_the_space_draws_may_differ_in_what_was_typed(tracked: MlflowClient) -> None:
    made = finished()
    assert finished(with_settings(train__learning_rate=0.5, preprocess__size=64)).id == made.id


def test_who_joins_leaves_the_run_to_its_leader(tracked: MlflowClient) -> None:
    with opened() as leader:
        before = tracked.get_run(leader.id).data.tags
        assert ended_by(KeyboardInterrupt(), leads=False).id == leader.id
        kept = tracked.get_run(leader.id)
        assert (kept.info.status, kept.data.tags) == ("RUNNING", before)


def test_who_joins_first_creates_the_run_that_the_leader_finds(tracked: MlflowClient) -> None:
    with opened(leads=False) as first, opened() as leader:
        assert leader.id == first.id
    assert tracked.get_run(first.id).info.status == "FINISHED"


def test_a_search_that_has_ended_leaves_its_run_to_whoever_leads_next(tracked: MlflowClient) -> None:
    with opened() as leader, pytest.raises(Timeout):
        lock_of(leader.id).acquire(timeout=0)
    with lock_of(leader.id).acquire(timeout=0) as lock:
        assert lock.is_locked


def test_data_that_do_not_come_leave_a_failed_run_that_the_next_attempt_continues(tracked: MlflowClient) -> None:
    def absent() -> Data:
        raise SourceError("no images")

    with pytest.raises(SourceError), open_search(SEARCH, absent):
        pass
    [kept] = searches(tracked)
    assert (kept.info.status, kept.data.tags["error"]) == ("FAILED", "SourceError")
    assert finished().id == kept.info.run_id
    with pytest.raises(SourceError), open_search(SEARCH, absent):
        pass
    assert tracked.get_run(kept.info.run_id).info.status == "FINISHED"  # nothing of it was touched


def test_no_path_is_told(tracked: MlflowClient, workplace: Path) -> None:
    kept = tracked.get_run(finished(with_settings(data__path="/clinic/DOE^JANE")).id)
    told = [*kept.data.tags.values(), *(value for name, value in kept.data.params.items() if name != "data.path")]
    assert not any(str(path) in text for text in told for path in (workplace, "/clinic"))


def test_what_was_trained_once_more_is_found_when_it_is_finished(tracked: MlflowClient) -> None:
    best = load_config("pneumonia", {"train.learning_rate": 0.01})
    with opened() as search:
        assert retrained(search, best) is None
        with open_run("retrain", best, Data, parent=search) as (run, _):
            assert retrained(search, best) is None
        assert retrained(search, best) == run.id
        assert retrained(search, load_config("pneumonia", {"train.seed": 1})) is None
    child = tracked.get_run(run.id)
    assert (child.info.status, child.data.tags["mlflow.parentRunId"]) == ("FINISHED", search.id)
