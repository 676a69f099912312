"""Optuna's search, made safe to kill: who works on a trial holds its lock, and whose lock is free is taken over."""

import json
import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from secondread.errors import ConfigError, SearchError
from secondread.storage import sha256_of
from tuning.database import Away, Database, patiently
from tuning.engine import Outcome, Record, Status, Trial
from tuning.locks import LOCAL, Lock, Locks, open_locks
from tuning.plan import Plan
from tuning.points import highest, is_finite, key_of, points
from tuning.settings import Direction, SearchSettings
from tuning.space import Parameter, Sampled

Result = TypeVar("Result")

_STATES = {
    Status.FINISHED: TrialState.COMPLETE,
    Status.PRUNED: TrialState.PRUNED,
    Status.FAILED: TrialState.FAIL,
}
_STATUSES = {state: status for status, state in _STATES.items()} | {TrialState.RUNNING: Status.RUNNING}
# What a trial carries besides Optuna's own: who works on it, how it ended, what it was asked to be.
_HOLDER, _END, _ASKED_FOR = "holder", "end", "asked_for"
# What a lost connection looks like; the last one where Optuna asked again over it, in another way.
_LOST = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, sqlalchemy.exc.PendingRollbackError)
_REDRAWS = 10  # of a point that was tried already
_COUNTABLE = 10_000  # points of a space that is searched until none is left
_ENOUGH = 8  # finished trials, before it can be said what mattered


@dataclass(frozen=True)
class _Claim:
    """A trial that this process works on; the token is in the database too, until somebody else takes it over."""

    trial_id: int
    token: str
    lock: Lock


class _Storage(RDBStorage):
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep what pruners note; TPE's half of a drawing is not needed by others, who wait until all is drawn."""
        if not key.startswith("tpe:"):
            super().set_trial_system_attr(trial_id, key, value)


class OptunaEngine:
    """Keeps `tuning.engine.Engine` with Optuna's samplers and pruners, in sqlite or on a shared Postgres.

    A trial is written WAITING, whole, in one transaction, and begun by whoever holds its lock; only numbers below what
    was asked for are begun. Thus neither a death at any moment nor a lost database can lose one or begin one too many.

    Args:
        plan: the search; its folder's name is the same on every machine.
    Raises:
        ConfigError: storage is no address, or the search was begun with other objectives.
        SearchError: the database cannot be reached.
    """

    def __init__(self, plan: Plan) -> None:
        # A condition makes TPE draw that parameter alone, which Optuna would remark on in every trial.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._plan = plan
        self._claims: dict[int, _Claim] = {}
        self._database = None if plan.settings.storage == LOCAL else Database(plan.settings.storage)
        self._name = str(self._database or "the search's database")
        self._pruner = _pruner(plan.settings)
        self._distributions = {each.name: _distribution(each) for each in plan.space.parameters}
        self._locks: Locks = open_locks(plan.settings.storage, plan.folder)
        try:
            self._storage = self._opened()
            self._study = self._reaching(self.study)
            self._study_id = self._reaching(lambda: self._storage.get_study_id_from_name(plan.key))
            self._refuse_other_objectives()
        except BaseException:
            self._locks.close()
            raise

    def ask(self, worker: str, trials: int) -> Trial | None:
        """See `Engine.ask`."""
        return self._reaching(lambda: self._ask(worker, trials))

    def enqueue(self, sampled: Sampled) -> bool:
        """Let a point be tried next, after those that were enqueued before; what of it does not fit is drawn.

        Returns:
            false when nothing of it fits this space, or it was enqueued or tried before.
        """
        return self._reaching(lambda: self._enqueue(sampled))

    def report(self, trial: Trial, step: int, value: float) -> bool:
        """See `Engine.report`; a trial that is no longer this worker's should stop too."""
        return self._reaching(lambda: self._report(trial, step, value))

    def tell(self, trial: Trial, outcome: Outcome) -> bool:
        """See `Engine.tell`."""
        return self._reaching(lambda: self._tell(trial, outcome))

    def records(self) -> list[Record]:
        """See `Engine.records`."""
        return self._reaching(lambda: [_record(each) for each in self._trials() if each.state != TrialState.WAITING])

    def close(self) -> None:
        """See `Engine.close`."""
        self._claims.clear()
        self._locks.close()
        self._storage.remove_session()
        self._engine.dispose()

    @property
    def directions(self) -> list[Direction]:
        """Which way each objective is better."""
        return list(self._plan.settings.directions)

    def finished(self) -> list[FrozenTrial]:
        """Every trial that has its values, as Optuna sees it."""
        return self._reaching(lambda: [each for each in self._trials() if each.state == TrialState.COMPLETE])

    def study(self, sampler: BaseSampler | None = None) -> optuna.Study:
        """The search as Optuna sees it; a sampler takes a new one each time, which knows the latest trials."""
        return optuna.Study(self._plan.key, self._storage, sampler, self._pruner)

    def _opened(self) -> BaseStorage:
        """Open the database, and make its tables and the search at first use: one process at a time."""
        # The tables are those of all searches in a database.
        locks = open_locks(self._plan.settings.storage, self._plan.folder.parent, scope="database")
        try:
            opening = self._reaching(lambda: locks.take("optuna", wait=True))
            assert opening is not None
            with opening:
                return self._reaching(self._open)
        finally:
            locks.close()

    def _open(self) -> BaseStorage:
        try:
            storage = self._postgres(self._database) if self._database else self._sqlite()
        except RuntimeError as error:  # its tables are another version's
            raise SearchError(f"{self._name}: {error}") from None
        self._engine = storage.engine
        cached = optuna.storages.get_storage(storage)  # one for good: each keeps the trials that are finished
        directions = list(self._plan.settings.directions)
        optuna.create_study(study_name=self._plan.key, storage=cached, directions=directions, load_if_exists=True)
        return cached

    def _sqlite(self) -> _Storage:
        self._plan.folder.mkdir(parents=True, exist_ok=True)
        path = self._plan.folder / "optuna.db"

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")  # many read while one writes
            connection.execute("PRAGMA synchronous=NORMAL")  # safe from any death of a process
            return connection

        return _Storage(f"sqlite:///{path}", {"creator": connect})

    def _postgres(self, database: Database) -> _Storage:
        # The address goes past SQLAlchemy and Optuna, whose messages repeat theirs.
        pool = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 2}
        return _Storage("postgresql+psycopg://", {"creator": database.connect, **pool})

    def _refuse_other_objectives(self) -> None:
        """One search answers one question."""
        asked = list(self._plan.settings.objectives)
        begun = self._reaching(lambda: self._storage.get_study_user_attrs(self._study_id)).get("objectives")
        if begun is None:
            self._reaching(lambda: self._storage.set_study_user_attr(self._study_id, "objectives", asked))
        elif begun != asked:
            raise ConfigError(
                f"objectives: the search {self._plan.name} was begun with {','.join(begun)}; give those, or another "
                f"name. Received: {','.join(asked)}"
            )

    def _reaching(self, call: Callable[[], Result]) -> Result:
        """Do what bears being done twice, again if the database was away meanwhile."""

        def attempt() -> Result:
            try:
                return call()
            except (StorageInternalError, sqlalchemy.exc.DBAPIError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                if not isinstance(cause, _LOST):
                    raise
                said = " ".join(str(getattr(cause, "orig", "the connection was lost")).split())
                if self._database is None and "locked" not in said and "full" not in said:
                    raise SearchError(f"{self._name} in {self._plan.folder.name}: {said}; see to the file") from None
                raise Away(self._database.scrubbed(said) if self._database else said) from None

        return patiently(attempt, self._name)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _ask(self, worker: str, trials: int) -> Trial | None:
        with self._in_turn():
            known = self._trials()
            for orphan in known:
                if orphan.state == TrialState.RUNNING and orphan.number not in self._claims:
                    taken = self._begin(orphan, worker, again=True)
                    if taken:
                        return taken
            while True:
                for waiting in known[:trials]:
                    if waiting.state == TrialState.WAITING:
                        begun = self._begin(waiting, worker, again=False)
                        if begun:
                            return begun
                if len(known) >= trials:
                    return None
                sampled = self._new_point(worker, known, trials)
                if sampled is None:
                    return None
                self._write(sampled, {})
                known = self._trials()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """One asks at a time, so that each draws knowing what all others try."""
        turn = self._locks.take("ask", wait=True)
        assert turn is not None
        with turn:
            yield

    def _begin(self, frozen: FrozenTrial, worker: str, *, again: bool) -> Trial | None:
        """Take a trial that nobody works on; None when somebody does, or it has ended by now."""
        lock = self._locks.take(f"trial-{frozen.number}", wait=False)
        if lock is None:
            return None
        claim = _Claim(frozen._trial_id, uuid.uuid4().hex, lock)
        try:
            now = self._storage.get_trial(claim.trial_id)
            began = now.user_attrs.get(_HOLDER, {}).get("began", time.time())
            holder = {"token": claim.token, "worker": worker, "began": began}
            self._storage.set_trial_user_attr(claim.trial_id, _HOLDER, holder)
            if not again and not self._storage.set_trial_state_values(claim.trial_id, TrialState.RUNNING):
                lock.release()
                return None
        except UpdateFinishedTrialError:
            lock.release()
            return None
        except BaseException:
            lock.release()
            raise
        self._claims[frozen.number] = claim
        return Trial(frozen.number, dict(frozen.params), taken_over=again)

    def _write(self, sampled: Sampled, notes: Mapping[str, Any]) -> None:
        """Add a point to those that wait."""
        distributions = {name: self._distributions[name] for name in sampled}
        trial = optuna.trial.create_trial(
            state=TrialState.WAITING, params=dict(sampled), distributions=distributions, user_attrs=dict(notes)
        )
        self._storage.create_new_trial(self._study_id, trial)

    def _new_point(self, worker: str, known: list[FrozenTrial], trials: int) -> Sampled | None:
        """Draw a point that was not tried; None when every one was."""
        tried = {key_of(each.params) for each in known}
        seed = self._seed(worker, len(known))
        draw = self._drawing(seed, len(known), trials)
        for _ in range(_REDRAWS):
            sampled = draw({})
            if key_of(sampled) not in tried:
                return sampled
        if not is_finite(self._plan.space):
            return sampled
        all_points = list(islice(points(self._plan.space), _COUNTABLE + 1))
        left = [point for point in all_points if key_of(point) not in tried]
        if left:
            return left[int(np.random.default_rng(seed).integers(len(left)))]
        return sampled if len(all_points) > _COUNTABLE else None

    def _seed(self, worker: str, number: int) -> int:
        """A seed of its own for each drawing: one seed for all would draw the same points again after a restart."""
        text = f"{self._plan.settings.seed}/{self._plan.key}/{worker}/{number}"
        return int(sha256_of(text.encode())[:8], 16)

    def _drawing(self, seed: int, number: int, trials: int) -> Callable[[Sampled], Sampled]:
        """Give a function that draws a point, of which some values may be given."""
        sampler: BaseSampler = RandomSampler(seed=seed)
        if self._plan.settings.draws_by == "tpe":
            # Optuna's ten first points by chance would be all of a small search.
            sampler = TPESampler(seed=seed, n_startup_trials=max(4, min(10, trials // 4)))
        study = self.study(sampler)
        blank = optuna.trial.create_trial(state=TrialState.RUNNING)
        blank.number = number
        together = sampler.infer_relative_search_space(study, blank)

        def draw(given: Sampled) -> Sampled:
            jointly = sampler.sample_relative(study, blank, together)
            sampled: dict[str, int | float | str] = {}
            for parameter in self._plan.space.parameters:
                name, distribution = parameter.name, self._distributions[parameter.name]
                if not self._plan.space.active(parameter, sampled):
                    continue
                if name in given:
                    sampled[name] = given[name]
                elif distribution.single():
                    sampled[name] = distribution.to_external_repr(_only(distribution))
                elif name in jointly:
                    sampled[name] = jointly[name]
                else:
                    sampled[name] = sampler.sample_independent(study, blank, name, distribution)
            return sampled

        return draw

    def _enqueue(self, sampled: Sampled) -> bool:
        fitting = {name: value for name, value in sampled.items() if self._fits(name, value)}
        if not fitting:
            return False
        with self._in_turn():
            known = self._trials()
            note = json.dumps(key_of(sampled))
            if any(each.user_attrs.get(_ASKED_FOR) == note for each in known):
                return False
            whole = self._drawing(self._seed("enqueued", len(known)), len(known), len(known))(fitting)
            if key_of(whole) in {key_of(each.params) for each in known}:
                return False
            self._write(whole, {_ASKED_FOR: note})
        return True

    def _fits(self, name: str, value: int | float | str) -> bool:
        distribution = self._distributions.get(name)
        if distribution is None or isinstance(distribution, CategoricalDistribution) != isinstance(value, str):
            return False
        try:
            return distribution._contains(distribution.to_internal_repr(value))
        except ValueError:
            return False

    def _own(self, trial: Trial) -> _Claim | None:
        """The claim on a trial, if nobody has taken it over; else it is forgotten."""
        claim = self._claims.get(trial.number)
        if claim is None:
            return None
        holder = self._storage.get_trial(claim.trial_id).user_attrs[_HOLDER]
        if claim.lock.held() and holder["token"] == claim.token:
            return claim
        self._forget(trial)
        return None

    def _forget(self, trial: Trial) -> None:
        self._claims.pop(trial.number).lock.release()

    def _report(self, trial: Trial, step: int, value: float) -> bool:
        claim = self._own(trial)
        if claim is None:
            return True
        self._storage.set_trial_intermediate_value(claim.trial_id, step, value)
        if len(self._plan.settings.objectives) > 1:  # which of two trials lags behind has no answer
            return False
        return self._pruner.prune(self._study, self._storage.get_trial(claim.trial_id))

    def _tell(self, trial: Trial, outcome: Outcome) -> bool:
        claim = self._own(trial)
        if claim is None:
            return False
        outcome = self._sound(outcome)
        now = self._storage.get_trial(claim.trial_id)
        if not now.state.is_finished():  # else told, though the database's answer was lost
            values = list(outcome.values) if outcome.status == Status.FINISHED else None
            if outcome.status == Status.PRUNED and len(self._plan.settings.objectives) == 1:
                last = now.intermediate_values.get(now.last_step) if now.last_step is not None else None
                values = None if last is None or math.isnan(last) else [last]
            self._storage.set_trial_user_attr(claim.trial_id, _END, {"reason": outcome.reason, "ended": time.time()})
            self._storage.set_trial_state_values(claim.trial_id, _STATES[outcome.status], values)
        self._forget(trial)
        return True

    def _sound(self, outcome: Outcome) -> Outcome:
        """A result that is no number, or not one an objective, is a failure."""
        if outcome.status != Status.FINISHED:
            return outcome
        names = self._plan.settings.objectives
        if len(outcome.values) != len(names):
            return Outcome(Status.FAILED, reason=f"{len(outcome.values)} values for {', '.join(names)}")
        lacking = [name for name, value in zip(names, outcome.values, strict=True) if not math.isfinite(value)]
        return Outcome(Status.FAILED, reason=f"{', '.join(lacking)}: no number") if lacking else outcome


def importances(engine: OptunaEngine) -> dict[str, float]:
    """Say which parameters mattered for the first objective: shares that sum to 1, the largest first.

    A parameter with a condition counts by the trials that drew it.

    Returns:
        {} when too few trials are finished to say, or all came out alike.
    Source: fANOVA, Hutter, Hoos and Leyton-Brown 2014. PED-ANOVA, Optuna's default, could not tell a parameter of
        middling influence from one of none with 30 trials.
    """
    finished = [each for each in engine.records() if each.outcome.status == Status.FINISHED]
    if len(finished) < _ENOUGH or len({each.outcome.values[0] for each in finished}) < 2:
        return {}
    everywhere = {name for name in finished[0].trial.sampled if all(name in each.trial.sampled for each in finished)}
    found = _shares(engine, finished, everywhere)
    for name in sorted({name for each in finished for name in each.trial.sampled} - everywhere):
        drew = [each for each in finished if name in each.trial.sampled]
        if len(drew) >= _ENOUGH and len({each.outcome.values[0] for each in drew}) > 1:
            found[name] = _shares(engine, drew, everywhere | {name})[name] * len(drew) / len(finished)
    total = sum(found.values())
    shares = sorted(found.items(), key=lambda each: -each[1])
    return {name: float(share / total) for name, share in shares} if total else {}


def _shares(engine: OptunaEngine, records: list[Record], names: set[str]) -> dict[str, float]:
    # scikit-learn, which no worker needs: two thirds of what this module would take to load.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = optuna.create_study(directions=engine.directions)
    study.add_trials([each for each in engine.finished() if each.number in {record.trial.number for record in records}])
    evaluator = FanovaImportanceEvaluator(n_trees=32, seed=0)
    chosen = sorted(names)
    try:
        return get_param_importances(study, evaluator=evaluator, params=chosen, target=lambda each: each.values[0])
    finally:
        _forget_trees()


def _forget_trees() -> None:
    """Let go of the forest's trees: Optuna 5 caches what their methods said for ever, 5 MB for 200 trials each time."""
    from optuna.importance._fanova._tree import _FanovaTree

    for method in vars(_FanovaTree).values():
        if hasattr(method, "cache_clear"):
            method.cache_clear()


def _only(distribution: BaseDistribution) -> float:
    """The one value there is, as Optuna keeps it: a choice's is its place."""
    return distribution.low if isinstance(distribution, IntDistribution | FloatDistribution) else 0


def _record(frozen: FrozenTrial) -> Record:
    """A trial as Optuna keeps it, with clocks that know no time zone left aside."""
    end: Mapping[str, Any] = frozen.user_attrs.get(_END, {}) if frozen.state.is_finished() else {}
    status = _STATUSES[frozen.state]
    values = tuple(frozen.values or ()) if status == Status.FINISHED else ()
    return Record(
        Trial(frozen.number, dict(frozen.params)),
        Outcome(status, values, end.get("reason", "")),
        dict(frozen.intermediate_values),
        frozen.user_attrs[_HOLDER]["began"],
        end.get("ended"),
    )


def _pruner(settings: SearchSettings) -> BasePruner:
    if len(settings.objectives) > 1 or settings.pruner == "none":
        return NopPruner()
    # The first epoch says little: a network has not yet left its initial weights.
    return MedianPruner(n_startup_trials=4, n_warmup_steps=1) if settings.pruner == "median" else HyperbandPruner()


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.kind == "choice":
        return CategoricalDistribution(list(parameter.choices))
    assert parameter.low is not None
    high = highest(parameter)  # as Optuna would mend it, with a warning
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(parameter.low, high, log=parameter.log, step=parameter.step)
