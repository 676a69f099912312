"""One process that tries one trial after the other, each in a process of its own."""

import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from pydantic import TypeAdapter

from secondread.config import RunConfig, load_config
from secondread.errors import ConfigError
from secondread.tracking.run import interruptible
from secondread.tracking.trial import Joined, join_search, open_trial
from tuning.attempt import attempt, folder_of
from tuning.budget import spent
from tuning.engine import Engine, Outcome, Status, Trial
from tuning.engines import open_engine
from tuning.plan import Plan
from tuning.trial_process import LOG


@dataclass(frozen=True)
class Order:
    """What a worker is told when it starts.

    Args:
        worker: its name.
        began: when the command began, in seconds since 1970.
    """

    plan: Plan
    worker: str
    began: float


def write_order(order: Order) -> bytes:
    """An order as the line of JSON that a worker reads."""
    return TypeAdapter(Order).dump_json(order) + b"\n"


def work() -> None:
    """Do what standard input says until there is no more to try."""
    order = TypeAdapter(Order).validate_json(sys.stdin.buffer.readline())
    search = join_search(order.plan.run_id)
    with interruptible(), closing(open_engine(order.plan)) as engine:
        while (trial := engine.ask(order.worker, _trials(order, engine))) is not None:
            _try(order, search, engine, trial)


def _trials(order: Order, engine: Engine) -> int:
    """As many trials as the budget allows in all; one that was begun is ended whatever it says."""
    records = engine.records()
    over = spent(order.plan.settings, records, (time.time() - order.began) / 60)
    return order.plan.settings.trials if over is None else len(records)


def _try(order: Order, search: Joined, engine: Engine, trial: Trial) -> None:
    """Try a trial in its run, which has its status before the engine: who dies between does the little left again."""
    plan = order.plan
    if trial.taken_over:
        print(f"trial {trial.number}: goes on where its process ended", flush=True)
    began = time.monotonic()
    config, misfit = _configured(plan, trial)
    again, drawn = trial.taken_over, trial.sampled
    with open_trial(search, trial.number, config, order.worker, taken_over=again, sampled=drawn) as run:
        if misfit is None:
            outcome, figures = attempt(plan, engine.report, trial, config, run)
        else:
            outcome, figures = Outcome(Status.FAILED, reason=misfit), {}
        found = dict(zip(plan.settings.objectives, outcome.values, strict=False))
        if outcome.status is Status.FINISHED:
            run.finish(found, _of_best_epoch(figures))
        elif outcome.status is Status.PRUNED:
            run.prune()
        else:
            run.fail(outcome.reason)
    if engine.tell(trial, outcome):
        print(f"trial {trial.number}: {_said(outcome, found)} ({_drawn(trial)}), {_seconds(began)}", flush=True)
        if outcome.status is Status.FAILED and misfit is None:
            print(f"trial {trial.number}: its log is {folder_of(plan, trial.number) / LOG}", flush=True)
        elif not is_continued(plan):
            shutil.rmtree(folder_of(plan, trial.number), ignore_errors=True)


def _configured(plan: Plan, trial: Trial) -> tuple[RunConfig, str | None]:
    """A trial's configuration; or what its search has in common, and why what was drawn does not fit together."""
    try:
        return plan.space.config(plan.task, plan.base, trial.sampled), None
    except ConfigError as error:
        return load_config(plan.task, plan.base), str(error)


def _of_best_epoch(figures: Mapping[str, float]) -> dict[str, float]:
    """A trial's last figures by the names that a training gives them."""
    named = {name.replace("val/", "best/val_"): value for name, value in figures.items()}
    return {name: value for name, value in named.items() if name.startswith("best/")}


def is_continued(plan: Plan) -> bool:
    """Whether a later trial may go on with an earlier one's training."""
    return plan.settings.draws_by == "hyperband"


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _said(outcome: Outcome, found: Mapping[str, float]) -> str:
    if outcome.status is Status.FINISHED:
        return " ".join(f"{name} {value:.4f}" for name, value in found.items())
    return f"{outcome.status}, {outcome.reason}" if outcome.reason else str(outcome.status)


def _drawn(trial: Trial) -> str:
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in trial.sampled.items()
    )
