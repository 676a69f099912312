"""What every engine's tests share: spaces, objectives without training, and processes that search."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tuning.engine import Engine, Outcome, Status, Trial
from tuning.plan import Plan
from tuning.settings import SearchSettings
from tuning.space import Parameter, Sampled, SearchSpace

MIXED = SearchSpace(
    "mixed",
    "every kind of parameter",
    ("pneumonia",),
    (
        Parameter("model.name", choices={"small": "compact_resnet", "large": "resnet50"}),
        Parameter("train.learning_rate", 1e-4, 1e-1, log=True),
        Parameter("preprocess.size", 32, 100, step=32),  # 32, 64 and 96
        Parameter("train.batch_size", 8, 64, log=True),
        Parameter("augment.zoom", 0.0, 0.5, step=0.2),  # 0, 0.2 and 0.4
        Parameter("augment.rotation", 0.0, 10.0),
        Parameter("train.frozen_epochs", 1, 3, when={"model.name": ("large",)}),
    ),
)
SIX_POINTS = SearchSpace(
    "six",
    "four points of large, two of small",
    ("pneumonia",),
    (
        Parameter("model.name", choices={"small": 1, "large": 2}),
        Parameter("train.epochs", 1, 2),
        Parameter("train.frozen_epochs", 1, 2, when={"model.name": ("large",)}),
    ),
)
SPACES = {space.name: space for space in (MIXED, SIX_POINTS)}


def plan_of(folder: Path, space: SearchSpace = MIXED, **settings: object) -> Plan:
    """A search whose key is its folder's name."""
    return Plan(
        key=folder.name,
        name="a search",
        task="pneumonia",
        base={"train.epochs": "81"},  # of which Hyperband makes a first round of 81 trials
        space=space,
        settings=SearchSettings.model_validate(settings),
        folder=folder,
        run_id="none",
        experiment_id="none",
    )


def open_engine(plan: Plan) -> Engine:
    """The engine that a plan names."""
    if plan.settings.engine == "optuna":
        from tuning.with_optuna import OptunaEngine  # each is loaded only where it is tested

        return OptunaEngine(plan)
    from tuning.chief import open_keras_tuner

    return open_keras_tuner(plan)


class Planned:
    """Plans searches of one engine, the same one each time unless `name` differs, and begins what they need.

    Args:
        folder: of all their folders.
        settings: of all of them.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._folder = folder
        self._settings = settings
        self._plans: dict[Path, Plan] = {}
        self._chiefs = ExitStack()

    def __call__(self, space: SearchSpace = MIXED, name: str = "", below: str = "", **settings: object) -> Plan:
        folder = self._folder / below / f"{self._folder.name}{name}"
        plan = plan_of(folder, space, **{**self._settings, **settings})
        if folder not in self._plans:
            self._plans[folder] = plan
            self._begin(plan)
        return plan

    def restart(self) -> None:
        """End what keeps the searches, and begin it again from what is on disk."""
        self.close()
        for plan in self._plans.values():
            self._begin(plan)

    def close(self) -> None:
        """End what keeps the searches."""
        self._chiefs.close()

    def _begin(self, plan: Plan) -> None:
        if plan.settings.engine == "keras_tuner":
            from tuning.chief import serve
            from tuning.with_keras_tuner import KerasTunerOracle

            oracle = KerasTunerOracle(plan)
            self._chiefs.callback(oracle.close)
            self._chiefs.enter_context(serve(oracle, plan, "127.0.0.1:0"))


@contextmanager
def opened(plan: Plan) -> Iterator[Engine]:
    """An engine that is closed at the end."""
    engine = open_engine(plan)
    try:
        yield engine
    finally:
        engine.close()


def value_of(sampled: Sampled) -> float:
    """What a training would be measured with: the larger network and the smaller rotation are better."""
    return float(sampled["model.name"] == "large") - 0.01 * float(sampled.get("augment.rotation", 0))


def done(sampled: Sampled) -> Outcome:
    """How its training would end."""
    return Outcome(Status.FINISHED, (value_of(sampled),))


def search(engine: Engine, worker: str, trials: int) -> list[Trial]:
    """Try until there is no more to try."""
    tried: list[Trial] = []
    while trial := engine.ask(worker, trials):
        assert engine.tell(trial, done(trial.sampled))
        tried.append(trial)
    return tried


def in_order(plan: Plan) -> list[dict[str, Any]]:
    """Number, sample and status of each trial so far."""
    with opened(plan) as engine:
        return [
            {"number": each.trial.number, "sampled": each.trial.sampled, "status": each.outcome.status}
            for each in engine.records()
        ]


def is_a_point(space: SearchSpace, sampled: Sampled) -> bool:
    """Whether a sample is one that the space knows: all that is active and nothing else, within bounds, on steps."""
    active = [parameter for parameter in space.parameters if space.active(parameter, sampled)]
    return {parameter.name for parameter in active} == set(sampled) and all(
        _is_a_value(parameter, sampled[parameter.name]) for parameter in active
    )


def _is_a_value(parameter: Parameter, value: int | float | str) -> bool:
    if parameter.kind == "choice":
        return value in parameter.choices
    assert parameter.low is not None
    assert parameter.high is not None
    if not isinstance(value, int if parameter.kind == "int" else float):
        return False
    steps = (value - parameter.low) / (parameter.step or 1)
    on_a_step = (parameter.kind == "float" and not parameter.step) or abs(steps - round(steps)) < 1e-9
    return parameter.low <= value <= parameter.high and on_a_step


class Searcher:
    """Another process that searches; what it does is a line on its output each.

    Args:
        does: `finish`: trials until there are none; `pause`: the same, with a wait for `go` after the first; `hang`:
            ask for one, report its first epoch, and wait for `go` before it tells.
        slowness: seconds that a trial takes.
    """

    def __init__(self, plan: Plan, does: str, *, worker: str = "other", trials: int = 10, slowness: float = 0) -> None:
        order = {
            "folder": str(plan.folder),
            "space": plan.space.name,
            "settings": plan.settings.model_dump(mode="json"),
            "does": does,
            "worker": worker,
            "trials": trials,
            "slowness": slowness,
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, Any]:
        """The next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"ended with {self.process.wait()}"
        said: dict[str, Any] = json.loads(line)
        return said

    def go(self) -> None:
        """Let it go on, to its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def rest(self) -> list[dict[str, Any]]:
        """All further lines, once it has ended well."""
        assert self.process.stdout is not None
        lines = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait() == 0
        return lines

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def _say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def _finish(engine: Engine, order: Mapping[str, Any]) -> None:
    while trial := engine.ask(order["worker"], order["trials"]):
        time.sleep(order["slowness"])
        told = engine.tell(trial, done(trial.sampled))
        _say(number=trial.number, sampled=dict(trial.sampled), taken_over=trial.taken_over, told=told)
        if order["does"] == "pause":
            sys.stdin.readline()  # once it is closed, at once


def _hang(engine: Engine, order: Mapping[str, Any]) -> None:
    trial = engine.ask(order["worker"], order["trials"])
    assert trial is not None
    engine.report(trial, 0, 0.5)
    _say(number=trial.number, sampled=dict(trial.sampled), taken_over=trial.taken_over)
    sys.stdin.readline()
    _say(stop=engine.report(trial, 1, 0.6), told=engine.tell(trial, done(trial.sampled)))


def main() -> None:
    """Search as the order on the input says."""
    order = json.loads(sys.stdin.readline())
    plan = plan_of(Path(order["folder"]), SPACES[order["space"]], **order["settings"])
    with opened(plan) as engine:
        {"finish": _finish, "pause": _finish, "hang": _hang}[order["does"]](engine, order)


if __name__ == "__main__":
    main()
