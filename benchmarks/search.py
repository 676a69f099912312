"""What a search costs beside its trials, and whether drawing cleverly and pruning are worth it.

    python benchmarks/search.py [--part cost|share|memory|algorithms] [--data FOLDER] [--minutes 2] [--seeds 5]

`cost`: milliseconds a trial of asking, logging five epochs and telling, on sqlite with one worker, beside Optuna with
its own MLflow callback, which logs no epoch; and the seconds in which a trial's process starts, which are not counted.
`share`: what two workers lose in a search of one-minute trials. `memory`: of the coordinating process over 200 trials.
`algorithms`: TPE with pruning beside random search, at equal time, on val alone, images of --data at 32 px. Sides are
run in turns.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from secondread.config import load_config
from secondread.execution import core_count
from secondread.tracking.database import connect
from secondread.tracking.run import Run
from secondread.tracking.search import Search, open_search
from secondread.tracking.trial import join_search, open_trial
from tuning.engine import Engine, Outcome, Status, Trial
from tuning.engines import importances, open_engine, served
from tuning.plan import Plan
from tuning.publish import Publisher
from tuning.settings import SearchSettings
from tuning.space import Parameter, SearchSpace
from tuning.trial_process import TrialOrder, TrialProcess

TASK = "pneumonia"
TRIALS, EPOCHS = 60, 5
COST_MS, LOST = 150, 0.02
MINUTE_TRIALS, WORKERS, TRIAL_S = 4, 2, 60.0
MANY = 200
SPACE = SearchSpace(
    "benchmark",
    "the settings that matter most of a small network",
    (TASK,),
    (
        Parameter("model.width", low=16, high=48, step=8),
        Parameter("train.learning_rate", low=1e-4, high=3e-2, log=True),
        Parameter("train.batch_size", choices={"32": 32, "64": 64, "128": 128}),
        Parameter("train.optimizer", choices={"adam": "adam", "adamw": "adamw", "sgd": "sgd"}),
        Parameter("augment.rotation", low=0, high=30, step=5),
        Parameter("augment.zoom", low=0.0, high=0.3),
        Parameter("data.class_weights", choices={"yes": True, "no": False}),
    ),
)


@dataclass(frozen=True)
class _Images:
    """What the run of a search says of its images; here there are none."""

    name: str = "none"
    manifest_digest: str = "0" * 64
    store_digest: str = "0" * 64


def main(part: str | None, data: str, minutes: float, seeds: int) -> None:
    """Print the measurements that were asked for."""
    print(f"{core_count()} cores; load at the start {os.getloadavg()[0]:.1f}", flush=True)
    parts: dict[str, Callable[[], None]] = {
        "cost": compare_costs,
        "share": print_share,
        "memory": print_memory,
        "algorithms": lambda: compare_algorithms(data, minutes, seeds),
    }
    for name in parts if part is None else [part]:
        parts[name]()


@contextmanager
def searched(engine: str, trials: int, **settings: object) -> Iterator[tuple[Plan, Run]]:
    """A search in a tracking store of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.environ["SECONDREAD_HOME"] = str(folder / "home")
        chosen = SearchSettings(engine=engine, trials=trials, **settings)
        described = Search(engine, engine, load_config(TASK, {}), tuple(each.name for each in SPACE.parameters))
        connect()
        before = Path.cwd()
        os.chdir(folder)
        try:
            with open_search(described, _Images) as (run, _):
                yield Plan(engine, engine, TASK, {}, SPACE, chosen, folder / "search", run.id, run.experiment_id), run
        finally:
            os.chdir(before)


def tried(plan: Plan, engine: Engine, worker: str, epoch_s: float = 0.0) -> float:
    """Try trials that learn nothing until there are no more; the seconds that they themselves took."""
    search, slept = join_search(plan.run_id), 0.0
    while (trial := engine.ask(worker, plan.settings.trials)) is not None:
        config = plan.space.config(plan.task, plan.base, trial.sampled)
        with open_trial(search, trial.number, config, worker, sampled=trial.sampled) as run:
            value = 0.5
            for epoch in range(1, EPOCHS + 1):
                time.sleep(epoch_s)
                slept += epoch_s
                value = (
                    0.5 + 0.1 * epoch / EPOCHS + 0.3 * abs(np.log10(float(trial.sampled["train.learning_rate"]))) / 4
                )
                run.log_epoch({"train/loss": 1 - value, "val/loss": 1 - value, "val/auroc": value}, epoch)
                engine.report(trial, epoch, value)
            run.finish({"auroc": value})
        engine.tell(trial, Outcome(Status.FINISHED, (value,)))
    return slept


def compare_costs() -> None:
    """Milliseconds a trial, engine and tracking."""
    print(f"\ncost of engine and tracking, {TRIALS} trials of {EPOCHS} epochs, sqlite, one worker (goal {COST_MS} ms)")
    for name in ("optuna", "keras_tuner"):
        took = []
        for _ in range(3):
            with (
                searched(name, TRIALS, pruner="none") as (plan, _),
                served(plan),
                closing(open_engine(plan)) as engine,
            ):
                began = time.perf_counter()
                tried(plan, engine, "worker-0")
                took.append(1000 * (time.perf_counter() - began) / TRIALS)
        print(f"  {name:12} {median(took):6.1f} ms a trial ({min(took):.1f} to {max(took):.1f})", flush=True)
    took = [peer_cost() for _ in range(3)]
    print(f"  peer: Optuna's own MLflowCallback, no epochs: {median(took):.1f} ms ({min(took):.1f} to {max(took):.1f})")
    print(f"  not counted: the process of a trial, {start_of_a_trial():.1f} s from its start to its first epoch's end")


def peer_cost() -> float:
    """Milliseconds a trial of Optuna on sqlite with the callback that its integration package ships."""
    with tempfile.TemporaryDirectory() as folder:
        code = PEER.format(folder=folder, trials=TRIALS)
        found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return float(found.stdout.split()[-1])


PEER = """
import time, warnings
warnings.simplefilter("ignore")
import optuna
from optuna_integration import MLflowCallback

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(storage="sqlite:///{folder}/optuna.db", study_name="peer", direction="maximize")
callback = MLflowCallback("sqlite:///{folder}/mlflow.db", metric_name="auroc", create_experiment=True)


def objective(trial):
    trial.suggest_int("width", 16, 48, step=8)
    rate = trial.suggest_float("rate", 1e-4, 3e-2, log=True)
    trial.suggest_categorical("batch", [32, 64, 128])
    trial.suggest_categorical("optimizer", ["adam", "adamw", "sgd"])
    trial.suggest_int("rotation", 0, 30, step=5)
    trial.suggest_float("zoom", 0, .3)
    trial.suggest_categorical("weights", [True, False])
    return rate


study.optimize(objective, n_trials=1, callbacks=[callback])
began = time.perf_counter()
study.optimize(objective, n_trials={trials}, callbacks=[callback])
print(1000 * (time.perf_counter() - began) / {trials})
"""


def start_of_a_trial() -> float:
    """Seconds until a trial's process has trained one short epoch on the phantom, its images being ready."""
    with tempfile.TemporaryDirectory() as name:
        os.environ["SECONDREAD_HOME"] = name
        given = {"train.epochs": 1, "preprocess.size": 32, "data.limit": 200, "model.width": 16}
        order = TrialOrder(config=load_config(TASK, given), objectives=("auroc",), folder=Path(name) / "trial")
        took = []
        for turn in range(3):
            began = time.perf_counter()
            with TrialProcess.start(order.model_copy(update={"folder": Path(name) / f"trial-{turn}"})) as process:
                for message in process:
                    if "epoch" in message:
                        took.append(time.perf_counter() - began)
                    process.answer("go")
    return min(took)


def print_share() -> None:
    """What two workers lose between trials of a minute."""
    print(
        f"\n{MINUTE_TRIALS} trials of {TRIAL_S:.0f} s by {WORKERS} workers (goal: less than {LOST:.0%} lost)",
        flush=True,
    )
    for name in ("optuna", "keras_tuner"):
        with searched(name, MINUTE_TRIALS, pruner="none") as (plan, _), served(plan):
            context = multiprocessing.get_context("spawn")
            with context.Pool(WORKERS) as pool:
                pool.map(_ready, range(WORKERS))
                told = [(plan, f"worker-{place}") for place in range(WORKERS)]
                lost = pool.starmap(_lost, told, chunksize=1)
        print(f"  {name:12} {max(lost):.2%} of a worker's time", flush=True)


def _ready(place: int) -> None:
    time.sleep(1)


def _lost(plan: Plan, worker: str) -> float:
    with closing(open_engine(plan)) as engine:
        began = time.perf_counter()
        slept = tried(plan, engine, worker, TRIAL_S / EPOCHS)
        took = time.perf_counter() - began
    return 1 - slept / took


def print_memory() -> None:
    """Megabytes of the process that coordinates, which reads all records and publishes, while trials are tried."""
    print(f"\nmemory of the coordinating process over {MANY} trials", flush=True)
    for name in ("optuna", "keras_tuner"):
        with searched(name, MANY, pruner="none") as (plan, run), served(plan):
            context = multiprocessing.get_context("spawn")
            worker = context.Process(target=_lost_nothing, args=(plan,))
            worker.start()
            held: dict[int, float] = {}
            publisher = Publisher(run, plan)
            with closing(open_engine(plan)) as engine:
                while worker.is_alive():
                    records = engine.records()
                    if len(records) // 20 * 20 not in held and len(records) >= 20:
                        publisher.publish(records, importances(plan, engine))
                        held[len(records) // 20 * 20] = psutil.Process().memory_full_info().uss / 1e6
                    time.sleep(0.2)
            worker.join()
        sizes = list(held.values())
        print(f"  {name:12} " + ", ".join(f"{count}: {size:.0f} MB" for count, size in held.items()), flush=True)
        grown = sizes[-1] / sizes[1] - 1  # libraries load with the first publication
        print(f"  {'':12} {grown:+.1%} from the second publication to the last", flush=True)


def _lost_nothing(plan: Plan) -> None:
    with closing(open_engine(plan)) as engine:
        tried(plan, engine, "worker-0")


@dataclass(frozen=True)
class Arm:
    """One way of searching."""

    name: str
    algorithm: str
    pruner: str


ARMS = (Arm("TPE with pruning", "tpe", "median"), Arm("random search", "random", "none"))


def compare_algorithms(data: str, minutes: float, seeds: int) -> None:
    """Best value on val over time, by seed, both ways in turns in this process."""
    from tuning.trial_training import carry_out  # loads TensorFlow

    print(f"\n{seeds} seeds, {minutes:g} minutes each way, images of {data} at 32 px", flush=True)
    home = os.environ.get("SECONDREAD_HOME", str(Path.cwd() / ".secondread"))
    base = {"data": data, "preprocess.size": "32", "train.epochs": "6", "model": "compact_resnet"}
    marks = np.linspace(0, 60 * minutes, 13)[1:]
    curves: dict[str, list[list[float]]] = {arm.name: [] for arm in ARMS}
    counts: dict[str, list[int]] = {arm.name: [] for arm in ARMS}
    for seed in range(seeds):
        for arm in ARMS if seed % 2 == 0 else reversed(ARMS):
            settings = SearchSettings(algorithm=arm.algorithm, pruner=arm.pruner, trials=10_000, seed=seed)
            with tempfile.TemporaryDirectory() as name:
                plan = Plan(f"{arm.algorithm}{seed}", arm.name, TASK, base, SPACE, settings, Path(name), "", "")
                os.environ["SECONDREAD_HOME"] = home
                found = timed(plan, carry_out, 60 * minutes)
            curves[arm.name].append(
                [max((value for at, value in found if at <= mark), default=float("nan")) for mark in marks]
            )
            counts[arm.name].append(len(found))
            print(f"  seed {seed} {arm.name}: {len(found)} trials, best {curves[arm.name][-1][-1]:.4f}", flush=True)
    print("best val AUROC after seconds: median (smallest to largest) over the seeds")
    for mark, place in zip(marks, range(len(marks)), strict=True):
        row = [f"{arm.name} {spread([curve[place] for curve in curves[arm.name]])}" for arm in ARMS]
        print(f"  {mark:5.0f} s  " + "   ".join(row))
    print("trials: " + ", ".join(f"{arm.name} {counts[arm.name]}" for arm in ARMS))


def timed(plan: Plan, carry_out: Callable[..., dict[str, object]], seconds: float) -> list[tuple[float, float]]:
    """Search for so long; the second in which each trial ended and its value, NaN for those that were pruned."""
    found = []
    with closing(open_engine(plan)) as engine:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            trial = engine.ask("worker-0", plan.settings.trials)
            assert trial is not None
            config = plan.space.config(plan.task, plan.base, trial.sampled)
            order = TrialOrder(config=config, objectives=("auroc",), folder=plan.folder / str(trial.number))

            def may_go_on(message: dict[str, Any], trial: Trial = trial) -> bool:
                over = time.perf_counter() - began > seconds
                return not over and not engine.report(trial, message["epoch"], message["values"]["val/auroc"])

            with (plan.folder / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
                said = carry_out(order, may_go_on)
            done = said.get("done")
            value = done["values"][0] if isinstance(done, dict) else float("nan")
            status = Status.FINISHED if isinstance(done, dict) else Status.PRUNED
            engine.tell(trial, Outcome(status, (value,) if isinstance(done, dict) else ()))
            found.append((time.perf_counter() - began, value))
    return found


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{np.nanmedian(values):.4f} ({np.nanmin(values):.4f} to {np.nanmax(values):.4f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("cost", "share", "memory", "algorithms"), help="default: all")
    parser.add_argument("--data", default="phantom", help="for `algorithms` (default: synthetic images)")
    parser.add_argument("--minutes", type=float, default=2, help="each way and seed, for `algorithms` (default: 2)")
    parser.add_argument("--seeds", type=int, default=5, help="for `algorithms` (default: 5)")
    known = parser.parse_args()
    main(known.part, known.data, known.minutes, known.seeds)
