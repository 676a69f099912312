"""One contract, kept by every engine: exactly the trials asked for, whoever dies, and each drawn from the space.

Both engines, and Optuna on a database that machines share, are asked the same.
"""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from engine_suite import (
    MIXED,
    SIX_POINTS,
    Planned,
    Searcher,
    done,
    in_order,
    is_a_point,
    open_engine,
    opened,
    search,
)

from tuning.engine import Outcome, Status, Trial
from tuning.space import Sampled

ENGINES: dict[str, dict[str, Any]] = {
    "optuna": {},
    "optuna on postgres": {"storage": "postgres"},
    "bayesian": {"engine": "keras_tuner"},
    "random": {"engine": "keras_tuner", "algorithm": "random"},
    "hyperband": {"engine": "keras_tuner", "algorithm": "hyperband"},
    "grid": {"engine": "keras_tuner", "algorithm": "grid"},
}


@pytest.fixture(params=ENGINES)
def planned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Planned]:
    """Plans searches of one of the engines."""
    given = dict(ENGINES[request.param])
    if given.get("storage") == "postgres":
        given["storage"] = request.getfixturevalue("postgres").url
    planned = Planned(tmp_path, given)
    yield planned
    planned.close()


def begun(trial: Trial | None) -> Trial:
    assert trial is not None
    return trial


def test_numbers_count_from_0_and_every_sample_is_a_point_of_the_space(planned: Planned) -> None:
    with opened(planned()) as engine:
        tried = search(engine, "one", 12)
    assert [trial.number for trial in tried] == list(range(12))
    assert all(is_a_point(MIXED, trial.sampled) for trial in tried)
    if planned().settings.draws_by != "grid":  # which comes to the large ones last
        assert {trial.sampled["model.name"] for trial in tried} == {"small", "large"}  # with and without the condition
    assert not any(trial.taken_over for trial in tried)


def test_four_processes_try_each_number_once_and_never_one_too_many(planned: Planned) -> None:
    plan = planned()
    searchers = [Searcher(plan, "finish", worker=f"worker {index}", trials=14, slowness=0.02) for index in range(4)]
    said = []
    for searcher in searchers:
        with searcher:
            said += searcher.rest()
    assert sorted(line["number"] for line in said) == list(range(14))
    assert all(line["told"] and not line["taken_over"] for line in said)
    assert [each["status"] for each in in_order(plan)] == ["FINISHED"] * 14
    assert len({str(line["sampled"]) for line in said}) == 14


def test_a_trial_whose_worker_was_killed_is_taken_over_with_number_and_sample(planned: Planned) -> None:
    plan = planned()
    with Searcher(plan, "hang") as other, opened(plan) as engine:
        lost = other.said()
        other.kill()
        trial = begun(engine.ask("one", 10))
        assert (trial.number, dict(trial.sampled), trial.taken_over) == (0, lost["sampled"], True)
        assert not engine.report(trial, 0, 0.5)  # told again
        assert engine.tell(trial, done(trial.sampled))
        assert begun(engine.ask("one", 10)).number == 1
        assert engine.records()[0].reported == {0: 0.5}


def test_a_trial_is_taken_over_although_all_that_were_asked_for_are_begun(planned: Planned) -> None:
    plan = planned()
    with Searcher(plan, "hang", trials=1) as other, opened(plan) as engine:
        other.said()
        assert engine.ask("one", 1) is None
        other.kill()
        assert begun(engine.ask("one", 1)).taken_over


def test_a_living_worker_keeps_its_trial(planned: Planned) -> None:
    plan = planned()
    with Searcher(plan, "hang") as other, opened(plan) as engine:
        assert other.said()["number"] == 0
        assert begun(engine.ask("one", 10)).number == 1
        assert begun(engine.ask("one", 10)).number == 2
        other.go()
        assert other.said() == {"stop": False, "told": True}


def test_who_lost_a_trial_is_told_so_and_what_it_says_is_forgotten(planned: Planned) -> None:
    plan = planned()
    with opened(plan) as engine:
        trial = begun(engine.ask("one", 10))
        engine.close()
        with opened(plan) as other:
            again = begun(other.ask("two", 10))
            assert (again.number, again.taken_over) == (0, True)
            assert not engine.tell(trial, Outcome(Status.FINISHED, (9.0,)))
            assert other.tell(again, Outcome(Status.FINISHED, (0.25,)))
            assert not other.tell(again, Outcome(Status.FINISHED, (8.0,)))  # it ended
            assert [record.outcome.values for record in other.records()] == [(0.25,)]


def test_records_say_what_became_of_each_trial(planned: Planned) -> None:
    outcomes = (
        Outcome(Status.FINISHED, (0.5,)),
        Outcome(Status.PRUNED),
        Outcome(Status.FAILED, reason="out of memory in epoch 1"),
        Outcome(Status.FAILED, reason="the loss is not finite"),
        Outcome(Status.FAILED, reason="out of memory in epoch 2"),
        Outcome(Status.FINISHED, (float("nan"),)),
    )
    with opened(planned()) as engine:
        for outcome in outcomes:
            trial = begun(engine.ask("one", 10))
            engine.report(trial, 0, 0.25)
            assert engine.tell(trial, outcome)
        running = begun(engine.ask("one", 10))
        records = engine.records()
    assert [record.outcome for record in records[:5]] == list(outcomes[:5])
    assert records[5].outcome.status == Status.FAILED  # what is no number is no result
    assert records[5].outcome.reason
    assert records[6].outcome == Outcome(Status.RUNNING)
    assert records[6].trial.sampled == running.sampled
    assert records[6].ended is None
    assert all(record.reported == {0: 0.25} for record in records[:6])
    assert [record.trial.number for record in records] == list(range(7))
    times = [time for record in records[:6] for time in (record.began, record.ended)]
    assert times == sorted(times)  # type: ignore[type-var]  # none is None, or sorting fails


def test_a_new_process_goes_on_where_the_last_one_ended(planned: Planned) -> None:
    plan = planned()
    with Searcher(plan, "finish", trials=3) as other:
        first = other.rest()
    with opened(plan) as engine:
        assert engine.ask("one", 3) is None
        assert [trial.number for trial in search(engine, "one", 5)] == [3, 4]
        records = engine.records()
    assert [dict(record.trial.sampled) for record in records[:3]] == [line["sampled"] for line in first]
    assert len({str(record.trial.sampled) for record in records}) == 5


def test_a_point_given_beforehand_is_tried_first_and_once(planned: Planned) -> None:
    plan = planned(SIX_POINTS)
    given: Sampled = {"model.name": "large", "train.epochs": 2, "train.frozen_epochs": 1}
    with opened(plan) as engine:
        assert engine.enqueue(given)
        assert not engine.enqueue({"train.optimizer": "adam"})  # nothing of it fits
        assert engine.records() == []
    with opened(plan) as engine:
        assert not engine.enqueue(given)
        tried = search(engine, "one", 20)
        assert not engine.enqueue(given)
    assert dict(tried[0].sampled) == given
    assert len(tried) == 6


def test_a_finite_space_is_tried_whole_and_no_point_twice(planned: Planned) -> None:
    with opened(planned(SIX_POINTS)) as engine:
        tried = search(engine, "one", 20)
    assert len(tried) == 6
    assert len({str(sorted(trial.sampled.items())) for trial in tried}) == 6
    assert all(is_a_point(SIX_POINTS, trial.sampled) for trial in tried)


def test_one_seed_draws_one_sequence_and_a_restart_does_not_repeat_it(planned: Planned) -> None:
    shared = planned().settings.storage != "local"

    def drawn(folder: str, seed: int, *, restart: bool) -> list[str]:
        plan = planned(name=folder, seed=seed) if shared else planned(below=folder, seed=seed)
        engine, points = open_engine(plan), []
        for _ in range(6):
            trial = begun(engine.ask("one", 6))
            points.append(str(sorted(trial.sampled.items())))
            engine.tell(trial, done(trial.sampled))
            if restart:
                engine.close()
                planned.restart()
                engine = open_engine(plan)
        engine.close()
        return points

    first = drawn("a", 1, restart=False)
    assert len(set(first)) == 6
    assert len(set(drawn("b", 1, restart=True))) == 6
    if planned().settings.draws_by != "grid":  # in which nothing is drawn
        assert set(drawn("c", 2, restart=False)).isdisjoint(first)
    if not shared:  # on a shared database the key must differ, and so does the seed
        assert drawn("d", 1, restart=True) == first


@pytest.mark.slow
def test_twenty_kills_cost_no_trial_and_add_none(planned: Planned) -> None:
    plan, luck = planned(), random.Random(0)
    with ExitStack() as stack:
        searchers: list[Searcher] = []

        def another() -> Searcher:
            return stack.enter_context(Searcher(plan, "finish", worker="any", trials=60, slowness=0.3))

        searchers = [another() for _ in range(3)]
        for _ in range(20):
            time.sleep(luck.uniform(0.2, 1.5))
            index = luck.randrange(3)
            searchers[index].kill()
            searchers[index] = another()
        for searcher in searchers:
            searcher.rest()
    with opened(plan) as engine:
        assert engine.ask("one", 60) is None
        records = engine.records()
    assert [record.trial.number for record in records] == list(range(60))
    assert {record.outcome.status for record in records} == {Status.FINISHED}
    assert all(record.outcome == done(record.trial.sampled) for record in records)
    assert len({str(record.trial.sampled) for record in records}) == 60
