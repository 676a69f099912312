"""A whole search: opened, gone on with or joined; its trials tried, and the best trained again for the registry."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NoReturn

from tqdm import tqdm

from secondread.config import load_config
from secondread.data.prepare import Prepared, prepare
from secondread.errors import SearchError
from secondread.execution import refresh_s
from secondread.tracking.database import connect
from secondread.tracking.home import home
from secondread.tracking.run import Run
from secondread.tracking.search import Search, open_search
from tuning.budget import spent
from tuning.engine import Engine, Record, Status
from tuning.engines import importances, may_lead, open_engine, refuse_misfits, served
from tuning.findings import Findings
from tuning.locks import open_locks
from tuning.plan import Plan, search_key
from tuning.publish import Publisher, settle
from tuning.retrain import retrain_best
from tuning.settings import SearchSettings
from tuning.space import SearchSpace, load_space
from tuning.warm import enqueue_earlier
from tuning.workers import Workers

_LOOK_S = 1.0
_RETURN_S = 10.0  # until somebody asks again for what others may have left
# What a search may be given more of, or do elsewhere, when it is gone on with.
_MAY_CHANGE = ("trials", "minutes", "epochs", "patience", "workers", "storage", "retrain", "warm_start")


def search(task: str, name: str, space_name: str, settings: SearchSettings, base: Mapping[str, str]) -> None:
    """Search as told; the same name goes on with the same search, and joins it while it is running.

    Args:
        base: settings of every trial, as typed.
    Raises:
        SecondReadError: the space, the settings or the images cannot be used; workers or the retraining failed.
    """
    began = time.time()
    space = load_space(space_name, task, base)
    refuse_misfits(space, settings)
    key = search_key(connect().tracking_uri, task, settings.engine, name)
    folder = home() / "searches" / key
    folder.mkdir(parents=True, exist_ok=True)
    described = _described(task, key, name, space, settings, base)
    with closing(open_locks(settings.storage, folder)) as locks:
        leads = may_lead(settings) and locks.take(f"coordinator-{key}", wait=False) is not None
        with open_search(described, lambda: _audited(task, space, base), leads=leads) as (run, _):
            plan = Plan(key, name, task, dict(base), space, settings, folder, run.id, run.experiment_id)
            if leads:
                _lead(plan, run, began)
                return
            _join(plan, began)
        abandoned = may_lead(settings) and locks.take(f"coordinator-{key}", wait=False) is not None
    if abandoned:
        print("the process that led the search is gone; this one closes it", flush=True)
        search(task, name, space_name, settings, base)


def _described(
    task: str, key: str, name: str, space: SearchSpace, settings: SearchSettings, base: Mapping[str, str]
) -> Search:
    kept = {field: str(value) for field, value in settings.model_dump(mode="json").items()}
    kept["algorithm"] = settings.draws_by
    fixed = {field: value for field, value in kept.items() if field not in _MAY_CHANGE} | {"space": space.name}
    told = {field: kept[field] for field in _MAY_CHANGE if field != "storage"}
    searched = tuple(parameter.name for parameter in space.parameters)
    return Search(key, name, load_config(task, base), searched, fixed | {"space_digest": space.digest}, told)


def _audited(task: str, space: SearchSpace, base: Mapping[str, str]) -> Prepared:
    """Make the first point's images ready and audit them; a trial of another size makes its own."""
    config = space.config(task, base, space.first())
    data = prepare(config, home())
    data.report.refuse(config.data.acknowledge_leaks)
    return data


def _join(plan: Plan, began: float) -> None:
    """Work for a search that another process leads."""
    print(f"search {plan.name} is running: this command works for it", flush=True)
    workers = Workers(plan, began, f"{platform.node()}-{os.getpid()}-")
    try:
        workers.hire(plan.settings.workers)
        while workers.working:
            workers.look_after()
            time.sleep(_LOOK_S)
    finally:
        workers.dismiss()


def _lead(plan: Plan, run: Run, began: float) -> None:
    """Try every trial, say what was found, and train the best again."""
    with served(plan), closing(open_engine(plan)) as engine:
        known = engine.records()
        if known:
            print(
                f"search {plan.name} goes on: {_ended(known)} of {plan.settings.trials} trials have ended", flush=True
            )
        elif plan.settings.warm_start:
            enqueue_earlier(plan, engine)
        publisher = Publisher(run, plan)
        workers = Workers(plan, began, "worker-")
        try:
            _oversee(plan, engine, workers, publisher, began)
        except BaseException as error:
            if not isinstance(error, Exception):
                print(f"search {plan.name}: interrupted; the same command goes on where it was", flush=True)
            raise
        finally:
            workers.dismiss()
        records = engine.records()
        settle(run, records)
        publisher.publish(records, importances(plan, engine))
    best = _best(plan, records)
    if best is None:
        raise SearchError(
            f"search {plan.name}: none of its {len(records)} trials came to an end; the reasons are in the report of "
            f"run {run.id}. Mend them and search under another name, or ask for more trials"
        )
    _say(plan, run, records, best)
    retrain_best(plan, run, best)


def _oversee(plan: Plan, engine: Engine, workers: Workers, publisher: Publisher, began: float) -> None:
    """Keep the workers at it until every trial has ended."""
    asked = time.monotonic()
    workers.hire(plan.settings.workers)
    bar: tqdm[NoReturn]
    with tqdm(total=plan.settings.trials, desc="trials", unit="trial", mininterval=refresh_s()) as bar:
        while True:
            records = engine.records()
            if _ended(records) > bar.n:
                workers.progressed()
                _advance(bar, plan, records)
            if publisher.due():
                publisher.publish(records, importances(plan, engine))
            workers.look_after()
            if not workers.working:
                if all(record.outcome.status is not Status.RUNNING for record in engine.records()):
                    break
                if time.monotonic() - asked > _RETURN_S:  # others work on what is left, or left it
                    workers.hire(1)
                    asked = time.monotonic()
            time.sleep(_LOOK_S)
        records = engine.records()
        _advance(bar, plan, records)
    over = spent(plan.settings, records, (time.time() - began) / 60)
    if len(records) < plan.settings.trials:
        print(f"search {plan.name} ends after {len(records)} trials: {over or 'every point was tried'}", flush=True)


def _best(plan: Plan, records: Sequence[Record]) -> Record | None:
    """The trial that is best in the first objective; None before one is measured."""
    return Findings(plan.space, plan.settings.objectives, plan.settings.directions, records, {}, {}).best


def _ended(records: Sequence[Record]) -> int:
    return sum(record.outcome.status is not Status.RUNNING for record in records)


def _advance(bar: "tqdm[NoReturn]", plan: Plan, records: Sequence[Record]) -> None:
    best = _best(plan, records)
    if best is not None:
        bar.set_postfix_str(f"best {best.outcome.values[0]:.4f}, trial {best.trial.number}", refresh=False)
    bar.update(_ended(records) - bar.n)


def _say(plan: Plan, run: Run, records: Sequence[Record], best: Record) -> None:
    counts = {status: sum(record.outcome.status is status for record in records) for status in Status}
    ended = ", ".join(f"{count} {status.lower()}" for status, count in counts.items() if count)
    values = " ".join(
        f"{name} {value:.4f}" for name, value in zip(plan.settings.objectives, best.outcome.values, strict=True)
    )
    print(f"search {plan.name}: {ended}; best is trial {best.trial.number}: {values}", flush=True)
    print(f"its report and best.yaml: artifacts of run {run.id}", flush=True)
