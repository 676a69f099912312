"""Searches that were never run: trials whose values can be worked out by hand."""

import math
from collections.abc import Sequence
from pathlib import Path

from tuning.engine import Outcome, Record, Status, Trial
from tuning.findings import Done, Findings
from tuning.parameter import Parameter
from tuning.plan import Plan
from tuning.settings import OBJECTIVES, read_settings
from tuning.space import SearchSpace

SPACE = SearchSpace(
    "small",
    "two numbers and two choices",
    ("pneumonia",),
    (
        Parameter("model.name", choices={"compact_resnet": "compact_resnet", "chest_cnn": "chest_cnn"}),
        Parameter("model.width", low=16, high=40, step=8, when={"model.name": ("compact_resnet",)}),
        Parameter("train.learning_rate", low=1e-4, high=1e-2, log=True),
        Parameter("augment.horizontal_flip", choices={"true": True, "false": False}),
    ),
)
NETWORKS = ("compact_resnet", "chest_cnn")
BEGAN = 1_790_000_000.0


def record(number: int, *values: float, status: Status | None = None, reason: str = "", **sampled: object) -> Record:
    """Trial `number` began `number` minutes after the first and took half a minute; values make it FINISHED."""
    found = status or (Status.FINISHED if values else Status.PRUNED)
    network = NETWORKS[number % 2]
    drawn: dict[str, int | float | str] = {
        "model.name": network,
        **({"model.width": 16 + 8 * (number % 4)} if network == "compact_resnet" else {}),
        "train.learning_rate": 10 ** (-4 + 2 * ((number * 7) % 20) / 19),
        "augment.horizontal_flip": ("true", "false")[number // 2 % 2],
    }
    drawn |= {name.replace("__", "."): value for name, value in sampled.items() if isinstance(value, int | float | str)}
    reported = {1: 0.5, 2: 0.6} if found in (Status.PRUNED, Status.RUNNING) else {}
    began = BEGAN + 60 * number
    ended = None if found == Status.RUNNING else began + 30
    return Record(Trial(number, drawn), Outcome(found, values, reason), reported, began, ended)


def findings(records: Sequence[Record], *objectives: str, **importances: float) -> Findings:
    """What a search of these trials found."""
    names = objectives or ("auroc",)
    shares = {name.replace("__", "."): share for name, share in importances.items()}
    done = {each.trial.number: Done(f"worker {each.trial.number % 2}", f"{each.trial.number:032x}") for each in records}
    return Findings(SPACE, names, tuple(OBJECTIVES[name] for name in names), records, shares, done)


def learned(count: int) -> list[Record]:
    """Trials whose AUROC falls with the distance of the learning rate from .001, and with nothing else."""
    made = [record(number, 0.5) for number in range(count)]
    rates = [math.log10(float(each.trial.sampled["train.learning_rate"])) for each in made]
    return [record(number, 0.95 - 0.1 * abs(rate + 3)) for number, rate in enumerate(rates)]


def plan(run_id: str = "f" * 32, experiment_id: str = "1", **settings: object) -> Plan:
    """The plan of such a search."""
    base = {"data": "/clinic/films", "train.epochs": "3"}
    key, folder = "0123456789abcdef", Path("searches")
    return Plan(key, "first", "pneumonia", base, SPACE, read_settings(settings), folder, run_id, experiment_id)
