"""What only Optuna does: pruning, several objectives, points given beforehand, and what mattered."""

import gc
from pathlib import Path

import pytest
from engine_suite import MIXED, SIX_POINTS, is_a_point, opened, plan_of, search, value_of
from optuna.importance._fanova._tree import _FanovaTree

from secondread.errors import ConfigError
from tuning.engine import Outcome, Status, Trial
from tuning.plan import Plan
from tuning.with_optuna import OptunaEngine, importances


def planned(tmp_path: Path, **settings: object) -> Plan:
    return plan_of(tmp_path / "search", MIXED, **settings)


def begun(trial: Trial | None) -> Trial:
    assert trial is not None
    return trial


def curve(engine: OptunaEngine, level: float, epochs: int = 9) -> Trial:
    """A trial whose epochs are all worth `level`, ended as the engine wishes."""
    trial = begun(engine.ask("one", 100))
    for epoch in range(epochs):
        if engine.report(trial, epoch, level):
            engine.tell(trial, Outcome(Status.PRUNED))
            return trial
    engine.tell(trial, Outcome(Status.FINISHED, (level,)))
    return trial


def statuses(engine: OptunaEngine) -> list[Status]:
    return [record.outcome.status for record in engine.records()]


def test_the_median_pruner_stops_what_lags_behind_and_lets_the_best_go_on(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path))
    for level in (0.5, 0.6, 0.7, 0.8):
        curve(engine, level)
    assert statuses(engine) == [Status.FINISHED] * 4
    curve(engine, 0.6)  # the median is 0.65
    curve(engine, 0.9)
    assert statuses(engine)[4:] == [Status.PRUNED, Status.FINISHED]
    assert engine.records()[4].reported == {0: 0.6, 1: 0.6}  # the first epoch decides nothing
    assert engine.records()[4].outcome.values == ()
    engine.close()


def test_where_less_is_better_the_pruner_knows(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path, objectives="log_loss"))
    for level in (0.5, 0.6, 0.7, 0.8, 0.4, 0.9):
        curve(engine, level)
    assert statuses(engine)[4:] == [Status.FINISHED, Status.PRUNED]
    engine.close()


def test_hyperband_stops_most_of_what_lags_behind(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path, pruner="hyperband"))
    levels = [0.9 - 0.03 * number for number in range(20)]
    for level in levels:
        curve(engine, level)
    ended = statuses(engine)
    assert ended[0] == Status.FINISHED
    assert ended.count(Status.PRUNED) >= 10
    engine.close()


def test_without_a_pruner_none_is_stopped(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path, pruner="none"))
    for level in (0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
        curve(engine, level)
    assert statuses(engine) == [Status.FINISHED] * 6
    engine.close()


def test_with_several_objectives_none_is_stopped_and_both_values_are_kept(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path, objectives="auroc,latency"))
    while trial := engine.ask("one", 15):
        assert not engine.report(trial, 0, 0.0)
        engine.tell(trial, Outcome(Status.FINISHED, (value_of(trial.sampled), 20.0 + trial.number)))
    values = [record.outcome.values for record in engine.records()]
    assert [latency for _, latency in values] == [20.0 + number for number in range(15)]
    assert sum(importances(engine).values()) == pytest.approx(1)
    engine.tell(begun(engine.ask("one", 16)), Outcome(Status.FINISHED, (0.5,)))
    assert engine.records()[15].outcome == Outcome(Status.FAILED, reason="1 values for auroc, latency")
    engine.close()


def test_a_search_is_not_gone_on_with_for_another_objective(tmp_path: Path) -> None:
    with opened(planned(tmp_path)) as engine:
        search(engine, "one", 1)
    with pytest.raises(ConfigError, match=r"a search was begun with auroc; give those, or another name"):
        OptunaEngine(planned(tmp_path, objectives="auroc,latency"))
    with opened(planned(tmp_path, pruner="hyperband", algorithm="random", seed=3)) as engine:  # these may change
        assert len(search(engine, "one", 2)) == 1


def test_tpe_learns_where_the_good_points_are(tmp_path: Path) -> None:
    def late(algorithm: str) -> float:
        with opened(plan_of(tmp_path / algorithm, algorithm=algorithm)) as engine:
            tried = search(engine, "one", 24)
        return sum(value_of(trial.sampled) for trial in tried[12:]) / 12

    assert late("tpe") > late("random") + 0.2


def test_points_given_beforehand_are_tried_first_and_once(tmp_path: Path) -> None:
    best: dict[str, int | float | str] = {
        "model.name": "large",
        "train.learning_rate": 0.001,
        "preprocess.size": 64,
        "train.batch_size": 16,
        "augment.zoom": 0.2,
        "augment.rotation": 2.5,
        "train.frozen_epochs": 2,
    }
    engine = OptunaEngine(planned(tmp_path))
    assert engine.enqueue(best)
    assert not engine.enqueue(best)
    assert engine.enqueue({**best, "model.name": "small"})  # without what depends on the larger one
    assert engine.records() == []  # none is begun yet
    engine.close()

    engine = OptunaEngine(planned(tmp_path))
    assert not engine.enqueue(best)
    first, second, third = search(engine, "one", 3)
    assert first.sampled == best
    assert not first.taken_over
    assert second.sampled == {name: best[name] for name in best if name != "train.frozen_epochs"} | {
        "model.name": "small"
    }
    assert third.sampled not in (first.sampled, second.sampled)
    assert not engine.enqueue(best)
    engine.close()


def test_of_a_point_from_another_space_what_fits_is_taken_and_the_rest_drawn(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path))
    other: dict[str, int | float | str] = {
        "train.learning_rate": 0.01,
        "preprocess.size": 50,  # between two steps
        "train.batch_size": 128,  # above
        "model.name": "largest",
        "train.optimizer": "adam",
        "augment.zoom": "0.2",
    }
    assert engine.enqueue(other)
    assert not engine.enqueue(other)
    assert not engine.enqueue({"train.optimizer": "adam", "preprocess.size": 50})
    (trial,) = search(engine, "one", 1)
    assert is_a_point(MIXED, trial.sampled)
    assert trial.sampled["train.learning_rate"] == 0.01
    engine.close()


def test_no_more_are_begun_than_asked_for_however_many_were_given(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path))
    for rotation in (1.0, 2.0, 3.0):
        assert engine.enqueue({"augment.rotation": rotation})
    assert [trial.sampled["augment.rotation"] for trial in search(engine, "one", 2)] == [1.0, 2.0]
    assert len(engine.records()) == 2
    assert [trial.sampled["augment.rotation"] for trial in search(engine, "one", 3)] == [3.0]
    engine.close()


def test_what_mattered_is_said_once_enough_is_known(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path, algorithm="random"))
    search(engine, "one", 7)
    assert importances(engine) == {}
    search(engine, "one", 30)
    found = importances(engine)
    assert next(iter(found)) == "model.name"
    assert set(found) == {parameter.name for parameter in MIXED.parameters}  # with the one that has a condition
    assert sum(found.values()) == pytest.approx(1)
    assert found["model.name"] > 0.5
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is _FanovaTree]  # a week of asking keeps none
    engine.close()


def test_where_all_came_out_alike_nothing_mattered(tmp_path: Path) -> None:
    engine = OptunaEngine(planned(tmp_path))
    while trial := engine.ask("one", 10):
        engine.tell(trial, Outcome(Status.FINISHED, (0.5,)))
    assert importances(engine) == {}
    engine.close()


def test_a_failed_point_is_not_tried_again(tmp_path: Path) -> None:
    with opened(plan_of(tmp_path / "search", SIX_POINTS)) as engine:
        first = begun(engine.ask("one", 20))
        engine.tell(first, Outcome(Status.FAILED, reason="out of memory"))
        rest = search(engine, "one", 20)
    assert len(rest) == 5
    assert first.sampled not in [trial.sampled for trial in rest]
