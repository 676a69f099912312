"""Keras Tuner draws the trials: its oracles, and who works on what, in one process and in files that are always whole.

Importing this loads TensorFlow; only the chief's process does (`tuning/chief.py`).
"""

import json
import math
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from keras_tuner import HyperParameters, Objective, Oracle, oracles
from keras_tuner.engine.trial import Trial as KerasTunerTrial
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from secondread.errors import SearchError
from secondread.storage import remove_unfinished, sha256_of, write_aside
from tuning.engine import Outcome, Record, Status, Trial
from tuning.locks import LOCAL, open_locks
from tuning.plan import Plan
from tuning.points import is_finite, key_of, points
from tuning.space import Parameter, Sampled, SearchSpace

FloatArray = NDArray[np.float64]
Values = dict[str, int | float | str]  # as Keras Tuner draws them

_RETURN_S = 5.0  # so long after its start, a chief waits for the workers of other machines to come back


class KerasTunerOracle:
    """A search's oracle and its state in `PLAN.folder/keras_tuner`: `oracle.json`, and a file a trial.

    A worker is known by its session; one on this machine holds the lock `trial-N` of what it works on, and one
    elsewhere its connection. Keras Tuner's own files are not written: they are cut short by a kill, leave out the
    place in a grid, and are first complete when a trial ends.

    Raises:
        ConfigError: the settings do not fit together.
        SearchError: the folder holds a search of another space.
    """

    def __init__(self, plan: Plan) -> None:
        self._space = plan.space
        self._folder = plan.folder / "keras_tuner"
        self._mutex = threading.RLock()
        self._sessions: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._given: set[int] = set()  # to a worker of this machine, which has not taken the lock yet
        self._began = time.monotonic()
        self._locks = open_locks(LOCAL, plan.folder)
        self._oracle: Any = _oracle(plan)
        self._works: dict[int, _Work] = {}
        self._asked_for: list[str] = []
        self._alone = self._locks.take("oracle", wait=True)
        remove_unfinished(self._folder)
        if (self._folder / "oracle.json").exists():
            self._restore()

    def joined(self, session: str) -> None:
        """A worker's connection was opened."""
        with self._mutex:
            self._sessions[session] += 1
            self._seen.add(session)

    def left(self, session: str) -> None:
        """A worker's connection was lost or closed."""
        with self._mutex:
            self._sessions[session] -= 1
            self._sessions += Counter()  # drops what is zero

    def knows(self, session: str) -> bool:
        """Whether a worker's connection is open."""
        return self._sessions[session] > 0

    def enqueue(self, sampled: Sampled) -> bool:
        """See `Engine.enqueue`."""
        with self._mutex:
            note = json.dumps(key_of(sampled))
            fitting = _drawn(self._space, sampled)
            if not fitting or note in self._asked_for or not self._oracle.wait_with(fitting):
                return False
            self._asked_for.append(note)
            self._save()
            return True

    def ask(self, session: str, request: str, trials: int, *, local: bool) -> tuple[Trial | None, bool]:
        """Give a trial: again what this request was given, else one whose worker died, else a new one.

        Args:
            local: the worker sees this machine's locks.
        Returns:
            the trial, or None when there is no more to try; and whether that may change when others end theirs.
        """
        with self._mutex:
            work = self._asked(request) or self._orphan(session, request, local=local)
            if work is None:
                if len(self._works) >= trials:
                    return None, any(self._may_return(each) for each in self._running())
                drawn = self._oracle.create_trial(str(len(self._works)))
                if drawn.status != "RUNNING":
                    others = any(each.session != session for each in self._running())
                    idle = drawn.status == "IDLE" and others
                    return None, idle or any(self._may_return(each) for each in self._running())
                work = _Work(int(drawn.trial_id), dict(drawn.hyperparameters.values), session, request, local)
                self._works[work.number] = work
                self._save_trial(work)
                self._save()  # from here on the trial counts
            if local:
                self._given.add(work.number)
            return self._trial(work), False

    def confirm(self, session: str, number: int) -> bool:
        """A worker has taken the lock of its trial; false when the trial is another's by now."""
        with self._mutex:
            work = self._works[number]
            if not work.is_of(session):
                return False
            self._given.discard(number)
            return True

    def report(self, session: str, number: int, step: int, value: float) -> bool:
        """See `Engine.report`; Keras Tuner stops no trial, but one that is another's by now should stop."""
        with self._mutex:
            work = self._works[number]
            if not work.is_of(session):
                return True
            work.reported[step] = value
            self._save_trial(work)
            return False

    def tell(self, session: str, number: int, outcome: Outcome) -> bool:
        """See `Engine.tell`."""
        with self._mutex:
            work = self._works[number]
            if work.session == session and work.outcome == self._sound(outcome):
                return True  # it was told, and the answer was lost
            if not work.is_of(session):
                return False
            work.outcome, work.ended = self._sound(outcome), time.time()
            self._given.discard(number)
            self._save_trial(work)  # from here on the trial has ended
            self._end(work)
            self._save()
            return True

    def records(self) -> list[Record]:
        """See `Engine.records`."""
        with self._mutex:
            return [
                Record(self._trial(work), work.outcome, dict(work.reported), work.began, work.ended)
                for _, work in sorted(self._works.items())
            ]

    def close(self) -> None:
        """Let another process keep the state."""
        self._locks.close()

    def _running(self) -> "list[_Work]":
        return [work for _, work in sorted(self._works.items()) if work.outcome.status is Status.RUNNING]

    def _asked(self, request: str) -> "_Work | None":
        return next((work for work in self._running() if work.request == request), None)

    def _orphan(self, session: str, request: str, *, local: bool) -> "_Work | None":
        orphan = next((work for work in self._running() if self._is_free(work)), None)
        if orphan:
            orphan.session, orphan.request, orphan.local, orphan.taken_over = session, request, local, True
            self._save_trial(orphan)
        return orphan

    def _is_free(self, work: "_Work") -> bool:
        if work.local:
            if work.number in self._given and self._sessions[work.session]:
                return False
            lock = self._locks.take(f"trial-{work.number}", wait=False)
            if lock is None:
                return False
            lock.release()
            return True
        return not self._sessions[work.session] and not self._may_return(work)

    def _may_return(self, work: "_Work") -> bool:
        """Whether a worker of another machine has not come back yet since this chief began."""
        return not work.local and work.session not in self._seen and time.monotonic() < self._began + _RETURN_S

    def _trial(self, work: "_Work") -> Trial:
        past = work.values.get("tuner/trial_id")
        return Trial(
            work.number,
            _sampled(self._space, work.values),
            int(work.values["tuner/epochs"]) if "tuner/epochs" in work.values else None,
            None if past is None else int(past),
            work.taken_over,
        )

    def _sound(self, outcome: Outcome) -> Outcome:
        """A result that is no number is a failure."""
        if outcome.status is not Status.FINISHED or (len(outcome.values) == 1 and math.isfinite(outcome.values[0])):
            return outcome
        return Outcome(Status.FAILED, reason=f"{self._oracle.objective.name}: no number")

    def _end(self, work: "_Work") -> None:
        """Tell Keras Tuner; it knows no pruned trials, and learns from finished ones alone."""
        trial = self._oracle.trials[_id(work.number)]
        name = self._oracle.objective.name
        if work.outcome.status is Status.FINISHED:
            trial.metrics = type(trial.metrics)()  # none from before a takeover
            self._oracle.update_trial(
                trial.trial_id, {name: work.outcome.values[0]}, step=max(work.reported, default=0)
            )
            trial.status = "COMPLETED"
        else:
            trial.status, trial.message = "FAILED", work.outcome.reason
        self._oracle.end_trial(trial)

    def _save(self) -> None:
        state = {name: value for name, value in self._oracle.get_state().items() if name != "hyperparameters"}
        waiting = {"waiting": self._oracle.waiting, "asked_for": self._asked_for}
        kept = {"space": self._space.digest, **waiting, "keras_tuner": state}
        _write(self._folder / "oracle.json", kept)

    def _save_trial(self, work: "_Work") -> None:
        _write(self._folder / f"trial-{work.number}.json", work.described())

    def _restore(self) -> None:
        """Go on from the files; a kill between two of them left a trial that nobody was given, or one too old."""
        kept = json.loads((self._folder / "oracle.json").read_text())
        if kept["space"] != self._space.digest:
            raise SearchError("this search was begun with another space; give it another name")
        state = kept["keras_tuner"]
        for number in range(len(state["start_order"])):
            work = _Work.of(json.loads((self._folder / f"trial-{number}.json").read_text()))
            self._works[number] = work
            hyperparameters = self._oracle.get_space()
            hyperparameters.values = dict(work.values)
            self._oracle.trials[_id(number)] = KerasTunerTrial(hyperparameters, _id(number), "RUNNING")
        state["ongoing_trials"] = {str(number): _id(number) for number in self._works}
        ended, state["end_order"] = state["end_order"], []
        self._oracle.set_state({**state, "hyperparameters": self._oracle.get_space().get_config()})
        self._oracle.waiting, self._asked_for = kept["waiting"], kept["asked_for"]
        unsaved = [_id(number) for number in self._works if _id(number) not in ended]
        for each in [*ended, *unsaved]:
            if self._works[int(each)].outcome.status is not Status.RUNNING:
                self._end(self._works[int(each)])


@dataclass
class _Work:
    """A trial, as its file keeps it.

    Args:
        values: as Keras Tuner drew them, with what Hyperband adds.
        request: names the question that it answers; the same question, asked again, has the same answer.
        local: its worker holds the lock on this machine.
    """

    number: int
    values: Values
    session: str
    request: str
    local: bool
    taken_over: bool = False
    outcome: Outcome = field(default_factory=lambda: Outcome(Status.RUNNING))
    reported: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    ended: float | None = None

    def is_of(self, session: str) -> bool:
        """Whether a worker is working on it."""
        return self.session == session and self.outcome.status is Status.RUNNING

    def described(self) -> dict[str, object]:
        return asdict(self) | {"reported": list(self.reported.items())}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> "_Work":
        told = described["outcome"]
        outcome = Outcome(Status(told["status"]), tuple(told["values"]), told["reason"])
        return cls(**{**described, "outcome": outcome, "reported": dict(described["reported"])})


def _write(path: Path, content: Mapping[str, object]) -> None:
    with write_aside(path) as aside:
        aside.write_text(json.dumps(content))


def _id(number: int) -> str:
    return f"{number:04d}"  # Keras Tuner's own form of an oracle without a limit


class _Kept(Oracle):  # type: ignore[misc]  # keras_tuner ships no types
    """An oracle whose state is written by `KerasTunerOracle`."""

    space: SearchSpace
    waiting: list[Values]

    def save(self) -> None:
        """Written elsewhere."""

    def _save_trial(self, trial: KerasTunerTrial) -> None:
        """Written elsewhere."""

    def wait_with(self, values: Values) -> bool:
        """Have a point tried next, with what it lacks drawn; false when it was tried."""
        whole = HyperParameters()
        for parameter in self.hyperparameters.space:
            whole.merge([parameter])
            if whole.is_active(parameter):
                drawn = parameter.random_sample(self._seed_state)
                whole.values[parameter.name] = values.get(parameter.name, drawn)
                self._seed_state += 1
        if self._duplicate(whole.values) or whole.values in self.waiting:
            return False
        self.waiting.append(dict(whole.values))
        return True

    def _waiting_values(self) -> Values | None:
        while self.waiting:
            values = self.waiting.pop(0)
            if not self._duplicate(values):
                return values
        return None

    def _random_values(self) -> Values | None:
        """Draw a point that was not tried; None when there is none left."""
        values = self._waiting_values()
        if values is not None:
            return values
        # Keras Tuner gives up after twenty points that were tried; of few points, some are left then.
        drawn: Values | None = super()._random_values()
        return drawn if drawn is not None or not is_finite(self.space) else self._left()

    def _left(self) -> Values | None:
        every = (_drawn(self.space, sampled) for sampled in points(self.space))
        return next((values for values in every if not self._duplicate(values)), None)


class _Random(_Kept, oracles.RandomSearchOracle):  # type: ignore[misc]  # keras_tuner ships no types
    pass


class _Bayesian(_Kept, oracles.BayesianOptimizationOracle):  # type: ignore[misc]  # keras_tuner ships no types
    def populate_space(self, trial_id: str) -> dict[str, object]:
        """Draw a point that was not tried, alike in every process that goes on with the search."""
        values = self._waiting_values()
        known = sum(trial.status == "COMPLETED" for trial in self.trials.values())
        if values is None and known >= self.num_initial_points:
            values = self._vector_to_values(self.proposal())
        if values is None or self._duplicate(values):
            return self._random_populate_space()  # type: ignore[no-any-return]  # untyped
        return {"status": "RUNNING", "values": values}

    def proposal(self) -> FloatArray:
        """Where Keras Tuner's Gaussian process has its best confidence bound.

        Keras Tuner looks for it from fifty places by chance, a point at a time: seconds, for what takes a tenth of one
        from the best five of a thousand.
        """
        # Threads that wait for each other cost a matrix of a hundred rows more than they spare it.
        with threadpool_limits(1), warnings.catch_warnings():
            # A length at its bound: a parameter without influence yet, of which nothing follows.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.gpr.fit(*self._vectorize_trials())
            random = np.random.default_rng([self.seed, len(self.trials)])
            places = random.uniform(size=(1000, len(self._nonfixed_space())))
            starts = places[np.argsort(self.bound(places))[:5]]
            within = [(0.0, 1.0)] * places.shape[1]
            found = [minimize(self._bound_and_slope, start, jac=True, bounds=within) for start in starts]
        best: FloatArray = min(found, key=lambda each: float(each.fun)).x
        return best

    def bound(self, places: FloatArray) -> FloatArray:
        """The confidence bound of places in the unit cube; the lower, the better."""
        mean, deviation = self.gpr.predict(places, return_std=True)
        bound: FloatArray = mean - self.beta * deviation
        return bound

    def _bound_and_slope(self, place: FloatArray) -> tuple[float, FloatArray]:
        here, *beside = self.bound(np.vstack([place, place + 1e-6 * np.eye(len(place))]))
        return float(here), (np.array(beside) - here) / 1e-6


class _Hyperband(_Kept, oracles.HyperbandOracle):  # type: ignore[misc]  # keras_tuner ships no types
    def populate_space(self, trial_id: str) -> dict[str, object]:
        """Draw with failed trials as the worst of their round: Keras Tuner would wait for them for ever."""
        failed = [trial for trial in self.trials.values() if trial.status == "FAILED"]
        worst = float("-inf" if self.objective.direction == "max" else "inf")
        for trial in failed:
            trial.status, trial.score = "COMPLETED", worst
        try:
            return super().populate_space(trial_id)  # type: ignore[no-any-return]  # untyped
        finally:
            for trial in failed:
                trial.status, trial.score = "FAILED", None


class _Grid(_Kept, oracles.GridSearchOracle):  # type: ignore[misc]  # keras_tuner ships no types
    place: Values | None = None  # the point of the grid that was given last

    def populate_space(self, trial_id: str) -> dict[str, object]:
        """Give the next point at once: Keras Tuner waits for the one before, which might bring new parameters."""
        values = self._waiting_values()
        while values is None:
            self.place = self._get_next_combination(self.place) if self.place else self._first()
            if self.place is None:
                return {"status": "STOPPED"}
            if not self._duplicate(self.place):
                values = dict(self.place)
        return {"status": "RUNNING", "values": values}

    def get_state(self) -> dict[str, Any]:
        """Keep the place in the grid, which Keras Tuner forgets."""
        return {**super().get_state(), "place": self.place}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        super().set_state(state)
        self.place = state["place"]

    def _first(self) -> Values:
        every = self.get_space()
        return {each.name: each.default for each in every.space if every.is_active(each)}


def _oracle(plan: Plan) -> Any:
    settings = plan.settings
    direction = "max" if settings.directions[0] == "maximize" else "min"
    common: dict[str, object] = {
        "objective": Objective(settings.objectives[0], direction),
        "hyperparameters": _hyperparameters(plan.space),
        "allow_new_entries": False,
        # Keras Tuner takes 0 for any seed, and draws alike with neighbouring ones.
        "seed": 1 + int(sha256_of(f"{plan.key}/{settings.seed}".encode())[:7], 16),
        "max_consecutive_failed_trials": None,
    }
    oracle = _ORACLES[settings.draws_by](plan, common)
    oracle.verbose = 0
    oracle.space = plan.space
    oracle.waiting = []
    return oracle


def _bayesian(plan: Plan, common: Mapping[str, object]) -> _Bayesian:
    # Keras Tuner's default, three points a parameter, would be a random search of the usual length.
    first = max(3, min(3 * len(plan.space.parameters), plan.settings.trials // 3))
    return _Bayesian(max_trials=None, num_initial_points=first, **common)


def _hyperband(plan: Plan, common: Mapping[str, object]) -> _Hyperband:
    epochs = plan.space.config(plan.task, plan.base, {}).train.epochs
    return _Hyperband(max_epochs=epochs, hyperband_iterations=None, **common)


_ORACLES: Mapping[str, Callable[[Plan, Mapping[str, object]], Any]] = {
    "random": lambda plan, common: _Random(max_trials=None, **common),
    "bayesian": _bayesian,
    "hyperband": _hyperband,
    "grid": lambda plan, common: _Grid(max_trials=None, **common),
}


def _hyperparameters(space: SearchSpace) -> HyperParameters:
    found = HyperParameters()
    for parameter in space.parameters:
        with ExitStack() as scope:
            for name, labels in parameter.when.items():
                scope.enter_context(found.conditional_scope(name, list(labels)))
            _add(found, parameter)
    return found


def _add(found: HyperParameters, parameter: Parameter) -> None:
    sampling = "log" if parameter.log else "linear"
    if parameter.kind == "choice":
        found.Choice(parameter.name, list(parameter.choices))
    elif parameter.kind == "int":
        found.Int(parameter.name, parameter.low, parameter.high, parameter.step, sampling)
    elif parameter.step:  # Keras Tuner's own steps lose the last number to rounding
        found.Int(parameter.name, 0, len(_steps(parameter)) - 1)
    else:
        found.Float(parameter.name, parameter.low, parameter.high, sampling=sampling)


def _steps(parameter: Parameter) -> list[float]:
    low, high, step = (Decimal(str(each)) for each in (parameter.low, parameter.high, parameter.step))
    return [float(low + index * step) for index in range(int((high - low) // step) + 1)]


def _sampled(space: SearchSpace, values: Values) -> Sampled:
    return {
        parameter.name: _shown(parameter, values[parameter.name])
        for parameter in space.parameters
        if parameter.name in values
    }


def _shown(parameter: Parameter, value: int | float | str) -> int | float | str:
    if parameter.kind == "choice":
        return str(value)
    low, high = parameter.bounds
    if parameter.kind == "int":
        return min(int(value), int(high))  # Keras Tuner's logarithm may reach one more
    if parameter.step:
        return _steps(parameter)[int(value)]
    return min(max(float(value), float(low)), float(high))


def _drawn(space: SearchSpace, sampled: Sampled) -> Values:
    """Give what of a point fits the space, as Keras Tuner would draw it."""
    drawn = {each.name: _place(each, sampled[each.name]) for each in space.parameters if each.name in sampled}
    return {name: value for name, value in drawn.items() if value is not None}


def _place(parameter: Parameter, value: int | float | str) -> int | float | str | None:
    if parameter.kind == "choice":
        return value if value in parameter.choices else None
    low, high = parameter.bounds
    if isinstance(value, str) or not low <= value <= high:
        return None
    if parameter.kind == "int":
        return int(value) if value == int(value) and (int(value) - low) % (parameter.step or 1) == 0 else None
    if not parameter.step:
        return float(value)
    return next((place for place, each in enumerate(_steps(parameter)) if math.isclose(each, value)), None)
