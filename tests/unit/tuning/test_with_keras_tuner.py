"""What Keras Tuner's oracles do here, and do not do by themselves: whole files, whole grids, rounds that end."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from engine_suite import MIXED, SIX_POINTS, done, is_a_point, plan_of
from keras_tuner import oracles
from threadpoolctl import threadpool_limits

from secondread.errors import SearchError
from tuning import with_keras_tuner
from tuning.engine import Outcome, Status, Trial
from tuning.plan import Plan
from tuning.space import Parameter, Sampled, SearchSpace
from tuning.with_keras_tuner import KerasTunerOracle

FAILED = Outcome(Status.FAILED, reason="the loss is not finite in epoch 1")
WORKER = "a worker of another machine"


@contextmanager
def oracle_of(plan: Plan, worker: str = WORKER) -> Iterator[KerasTunerOracle]:
    """An oracle and its one worker, which never leaves."""
    oracle = KerasTunerOracle(plan)
    oracle.joined(worker)
    try:
        yield oracle
    finally:
        oracle.close()


def asked(oracle: KerasTunerOracle, trials: int = 1000, worker: str = WORKER) -> Trial | None:
    return oracle.ask(worker, uuid4().hex, trials, local=False)[0]


def tried(oracle: KerasTunerOracle, trials: int, outcome: Any = done, worker: str = WORKER) -> list[Trial]:
    """Try until there is no more to try."""
    found = []
    while trial := asked(oracle, trials, worker):
        assert oracle.tell(worker, trial.number, outcome(trial.sampled))
        found.append(trial)
    return found


def keras_tuner_plan(
    folder: Path, algorithm: str, space: SearchSpace = MIXED, *, epochs: int = 9, trials: int = 10
) -> Plan:
    plan = plan_of(folder / "search", space, engine="keras_tuner", algorithm=algorithm, trials=trials)
    return replace(plan, base={"train.epochs": str(epochs)})


def test_hyperband_goes_on_with_the_best_of_a_round(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "hyperband")) as oracle:
        trials = tried(oracle, 13)
    first, second, last = trials[:9], trials[9:12], trials[12]
    assert {(trial.epochs, trial.continues) for trial in first} == {(1, None)}
    best = sorted(first, key=lambda each: -done(each.sampled).values[0])[:3]
    assert [trial.continues for trial in second] == [each.number for each in best]
    assert [trial.sampled for trial in second] == [each.sampled for each in best]
    assert {trial.epochs for trial in second} == {3}
    assert (last.epochs, last.continues, last.sampled) == (9, second[0].number, best[0].sampled)


def test_hyperband_ends_a_round_although_trials_of_it_failed(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "hyperband")) as oracle:
        for _ in range(9):
            trial = asked(oracle)
            assert trial
            oracle.tell(WORKER, trial.number, FAILED if trial.number in (1, 4, 5) else done(trial.sampled))
        trials = tried(oracle, 13)
    assert [trial.epochs for trial in trials] == [3, 3, 3, 9]
    assert not {1, 4, 5} & {trial.continues for trial in trials}


def test_hyperband_begins_anew_until_there_are_as_many_trials_as_asked_for(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "hyperband", epochs=2)) as oracle:
        assert len(tried(oracle, 40)) == 40


def test_hyperband_waits_for_others_alone(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "hyperband", SIX_POINTS, epochs=9)) as oracle:
        first = [trial for trial in (asked(oracle) for _ in range(6)) if trial]
        assert len(first) == 6  # of a round of nine
        assert oracle.ask(WORKER, "one more", 20, local=False) == (None, False)
        assert oracle.ask("another", "one more", 20, local=False) == (None, True)
        for trial in first:
            oracle.tell(WORKER, trial.number, done(trial.sampled))
        assert oracle.ask("another", "one more", 20, local=False) == (None, False)


def test_a_grid_has_every_point_once_in_order_also_after_a_restart(tmp_path: Path) -> None:
    plan = keras_tuner_plan(tmp_path, "grid", SIX_POINTS)
    trials: list[Trial] = []
    for _ in range(7):
        with oracle_of(plan) as oracle:
            trials += tried(oracle, len(trials) + 1)
    assert [tuple(trial.sampled.values()) for trial in trials] == [
        ("small", 1),
        ("small", 2),
        ("large", 1, 1),
        ("large", 1, 2),
        ("large", 2, 1),
        ("large", 2, 2),
    ]


def test_a_grid_waits_for_nobody(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "grid", SIX_POINTS)) as oracle:
        assert [getattr(asked(oracle), "number", None) for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]


def test_no_number_lies_outside_its_range(tmp_path: Path) -> None:
    space = SearchSpace(
        "edges",
        "where Keras Tuner's own numbers lie beside",
        ("pneumonia",),
        (
            Parameter("preprocess.size", 8, 9, log=True),
            Parameter("augment.zoom", 0.0, 1.0, step=0.1),
            Parameter("train.learning_rate", 1e-4, 1e-1, log=True),
        ),
    )
    with oracle_of(keras_tuner_plan(tmp_path, "random", space)) as oracle:
        trials = tried(oracle, 200, lambda sampled: FAILED)
        assert all(is_a_point(space, trial.sampled) for trial in trials)
        assert sorted({trial.sampled["augment.zoom"] for trial in trials}) == [index / 10 for index in range(11)]
        for place in (np.zeros(3), np.ones(3)):
            values = oracles.BayesianOptimizationOracle._vector_to_values(oracle._oracle, place)
            assert is_a_point(space, with_keras_tuner._sampled(space, values))


def test_a_proposal_is_as_good_as_keras_tuners_own(tmp_path: Path) -> None:
    two = replace(MIXED, parameters=(MIXED.parameters[0], MIXED.parameters[5]))
    with oracle_of(keras_tuner_plan(tmp_path, "bayesian", two, trials=30)) as oracle, threadpool_limits(1):
        tried(oracle, 10)
        bayesian: Any = oracle._oracle
        theirs: list[Any] = []
        ours = bayesian.proposal()
        bayesian._vector_to_values = theirs.append
        oracles.BayesianOptimizationOracle.populate_space(bayesian, "0010")
        assert bayesian.bound(ours[None])[0] <= bayesian.bound(theirs[0][None])[0] + 1e-3


def test_bayesian_optimization_learns(tmp_path: Path) -> None:
    space = SearchSpace("one", "", ("pneumonia",), (Parameter("augment.rotation", 0.0, 10.0),))

    def near_seven(sampled: Sampled) -> Outcome:
        return Outcome(Status.FINISHED, (-abs(float(sampled["augment.rotation"]) - 7),))

    with oracle_of(keras_tuner_plan(tmp_path, "bayesian", space, trials=12)) as oracle:
        trials = tried(oracle, 12, near_seven)
    assert min(abs(float(trial.sampled["augment.rotation"]) - 7) for trial in trials[3:]) < 0.1


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband", "grid"])
def test_a_kill_between_any_two_files_loses_no_trial_and_invents_none(
    algorithm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = tmp_path / "states"
    states.mkdir()
    known: list[list[tuple[Trial, Outcome]]] = []  # what workers know when a state is on disk
    plan = keras_tuner_plan(tmp_path, algorithm, trials=7)
    given: dict[int, tuple[Trial, Outcome]] = {}

    def write(path: Path, content: Any) -> None:
        _write(path, content)
        shutil.copytree(plan.folder / "keras_tuner", states / str(len(known)))
        known.append(list(given.values()))

    _write = with_keras_tuner._write
    monkeypatch.setattr(with_keras_tuner, "_RETURN_S", 0)
    with pytest.MonkeyPatch.context() as patched, oracle_of(plan) as oracle:
        patched.setattr(with_keras_tuner, "_write", write)
        for _ in range(5):
            trial = asked(oracle)
            assert trial
            given[trial.number] = (trial, Outcome(Status.RUNNING))
            oracle.report(WORKER, trial.number, 0, 0.5)
            outcome = FAILED if trial.number % 4 == 1 else done(trial.sampled)
            oracle.tell(WORKER, trial.number, outcome)
            given[trial.number] = (trial, outcome)
    assert len(known) == 5 * 5  # a new trial, the oracle, a report, an end, the oracle again
    for number, before in enumerate(known):
        shutil.rmtree(plan.folder)
        shutil.copytree(states / str(number), plan.folder / "keras_tuner")
        with oracle_of(plan, "another") as oracle:
            records = oracle.records()
            assert len(before) <= len(records) <= len(before) + 1
            for (trial, outcome), record in zip(before, records, strict=False):
                assert record.trial == trial
                assert record.outcome == outcome or outcome.status is Status.RUNNING
            tried(oracle, 7, worker="another")
            assert [record.trial.number for record in oracle.records()] == list(range(7))
            assert {record.outcome.status for record in oracle.records()} <= {Status.FINISHED, Status.FAILED}
            if algorithm != "hyperband":  # which goes on with points
                assert len({str(record.trial.sampled) for record in oracle.records()}) == 7


def test_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "random")) as oracle:
        first, _ = oracle.ask(WORKER, "a question", 10, local=False)
        assert first is not None
        assert oracle.ask(WORKER, "a question", 10, local=False) == (first, False)  # its answer was lost
        assert oracle.tell(WORKER, first.number, done(first.sampled))
        assert oracle.tell(WORKER, first.number, done(first.sampled))
        assert len(oracle.records()) == 1


def test_points_that_wait_survive_a_restart_and_are_tried_in_order(tmp_path: Path) -> None:
    plan = keras_tuner_plan(tmp_path, "random")
    with oracle_of(plan) as oracle:
        assert oracle.enqueue({"model.name": "small", "augment.zoom": 0.4})
        assert oracle.enqueue({"model.name": "large", "augment.rotation": 3.0, "unknown": 1})
        assert not oracle.enqueue({"model.name": "small", "augment.zoom": 0.4})
        assert not oracle.enqueue({"model.name": "huge", "augment.rotation": 11.0})
    with oracle_of(plan) as oracle:
        first, second, third = tried(oracle, 3)
    assert (first.sampled["model.name"], first.sampled["augment.zoom"]) == ("small", 0.4)
    assert (second.sampled["model.name"], second.sampled["augment.rotation"]) == ("large", 3.0)
    assert all(is_a_point(MIXED, trial.sampled) for trial in (first, second, third))


def test_another_space_is_refused(tmp_path: Path) -> None:
    with oracle_of(keras_tuner_plan(tmp_path, "random")) as oracle:
        tried(oracle, 1)
    with (
        pytest.raises(SearchError, match="another space"),
        oracle_of(keras_tuner_plan(tmp_path, "random", SIX_POINTS)),
    ):
        pass


def test_the_files_are_json_without_paths(tmp_path: Path) -> None:
    plan = keras_tuner_plan(tmp_path, "bayesian")
    with oracle_of(plan) as oracle:
        tried(oracle, 2)
    files = sorted((plan.folder / "keras_tuner").iterdir())
    assert [file.name for file in files] == ["oracle.json", "trial-0.json", "trial-1.json"]
    assert all(isinstance(json.loads(file.read_text()), dict) for file in files)
    assert not any(str(tmp_path) in file.read_text() for file in files)
