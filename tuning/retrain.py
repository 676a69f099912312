"""The best configuration trained again, whole and measured, as candidates for the registry."""

import subprocess
import sys
from dataclasses import dataclass

from pydantic import TypeAdapter

from secondread.config import RunConfig
from secondread.errors import SearchError
from secondread.tracking.run import Run
from secondread.tracking.search import retrained
from secondread.tracking.trial import join_search
from tuning.best import candidates
from tuning.engine import Record
from tuning.plan import Plan


@dataclass(frozen=True)
class _Order:
    """What a retraining process reads from standard input."""

    config: RunConfig
    run_id: str


def retrain_best(plan: Plan, run: Run, best: Record) -> None:
    """Train the best configuration once a seed, each in a process of its own, unless that was done before.

    Raises:
        SearchError: a training failed.
    """
    configs = candidates(plan, best)
    for place, config in enumerate(configs, 1):
        done = retrained(run, config)
        if done is None:
            print(f"training the best again, {place} of {len(configs)}", flush=True)
            _train(plan, _Order(config, run.id))
        else:
            print(f"the best was trained again already: run {done}", flush=True)
    if configs:
        print(f"next: mlflow run . --env-manager local -e promote -P task={plan.task}", flush=True)


def _train(plan: Plan, order: _Order) -> None:
    line = TypeAdapter(_Order).dump_json(order) + b"\n"
    ended = subprocess.run([sys.executable, "-m", "tuning", "retrain"], input=line, check=False)
    if ended.returncode:
        raise SearchError(f"search {plan.name}: training the best again failed; mend it, and the same command goes on")


def train_as_told() -> None:
    """Train what standard input says, as a part of a search."""
    order = TypeAdapter(_Order).validate_json(sys.stdin.buffer.readline())
    from secondread.steps.retrain import retrain  # loads TensorFlow

    retrain(order.config, join_search(order.run_id).run)
