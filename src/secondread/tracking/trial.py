"""The run of one trial of a search: few calls, curves in batches, its true status, and every epoch once."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from secondread.config import RunConfig
from secondread.tracking.database import connect
from secondread.tracking.git import git_state
from secondread.tracking.launcher import circumstances
from secondread.tracking.run import Run, all_of, end_with, hold, opened, points, reopen
from secondread.tracking.steady import Steady, retried

FLUSH_S = 5.0
_WAIT_S = 30.0  # until the process that lost a trial has let go of its run
_PATIENCE_AT_THE_END_S = 10.0  # of someone who pressed ctrl-C
_LONGEST_REASON = 500
_JOURNAL = "epochs.jsonl"
_CURVES = ("train/", "val/")


@dataclass(frozen=True)
class Joined:
    """A search as its workers see it.

    Args:
        tags: what each of its trials' runs says of the search.
    """

    run: Run
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrialSeen:
    """A trial's run as MLflow has it.

    Args:
        status: MLflow's.
        pruned: it was stopped because it lagged behind; its status is KILLED.
    """

    number: int
    run_id: str
    status: str
    pruned: bool
    error: str
    worker: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Ended:
    """How a trial ended, in MLflow's words."""

    status: str
    tags: Mapping[str, str]

    @classmethod
    def finished(cls) -> "Ended":
        """It was measured."""
        return cls("FINISHED", {})

    @classmethod
    def pruned(cls) -> "Ended":
        """It was stopped because it lagged behind."""
        return cls("KILLED", {"pruned": "true"})

    @classmethod
    def failed(cls, reason: str) -> "Ended":
        """It could not be trained or measured; the reason names no patient."""
        return cls("FAILED", {"error": reason[:_LONGEST_REASON]})


def join_search(run_id: str) -> Joined:
    """Take part in a search that another process opened."""
    client = connect()
    found = client.get_run(run_id)
    tags = {key: found.data.tags[key] for key in ("task", "search_key", "manifest_digest") if key in found.data.tags}
    code = git_state()
    tags |= {"git.commit": code.commit, "git.dirty": str(code.dirty).lower(), "mlflow.parentRunId": run_id}
    return Joined(opened(Steady(client), found, resumed=True), tags)


class TrialRun:
    """An open run of a trial; exactly one of `finish`, `prune`, `fail` and `leave` ends it.

    Args:
        logged: names and steps that an earlier process of this trial logged.
        flush_s: epochs are sent to MLflow so often at most, and at the end.
    """

    def __init__(self, run: Run, logged: set[tuple[str, int]], flush_s: float) -> None:
        self._run = run
        self._logged = logged
        self._flush_s = flush_s
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()
        self._journal = run.folder / _JOURNAL
        self.ended = False
        for epoch, values in self._journalled():
            self._wait(values, epoch)

    @property
    def id(self) -> str:
        """MLflow's id of the run."""
        return self._run.id

    def log_epoch(self, values: Mapping[str, float], epoch: int) -> None:
        """Log an epoch's values, once however often they are told; a killed process loses none of them."""
        if self._wait(values, epoch):
            with self._journal.open("a") as file:
                file.write(json.dumps([epoch, dict(values)]) + "\n")
        if time.monotonic() - self._flushed >= self._flush_s:
            self._flush({})

    def finish(self, objectives: Mapping[str, float], metrics: Mapping[str, float] | None = None) -> None:
        """End it as measured: `objective/NAME`, and further values."""
        self._wait({f"objective/{name}": value for name, value in objectives.items()} | dict(metrics or {}), 0)
        self._end(Ended.finished())

    def prune(self) -> None:
        """End it as stopped on the way, because it lagged behind."""
        self._end(Ended.pruned())

    def fail(self, reason: str) -> None:
        """End it as failed, for a reason that names no patient."""
        self._end(Ended.failed(reason))

    def leave(self) -> None:
        """Leave the run as it is: another worker has the trial."""
        self.ended = True

    def interrupt(self, error: BaseException) -> None:
        """End it for now, for whoever takes the trial over."""
        self.ended = True
        client = Steady(self._run.client.client, _PATIENCE_AT_THE_END_S)
        with suppress(MlflowException):  # the store is away: what is left here is told by whoever goes on
            replace(self._run, client=client).log_points(self._waiting)
            end_with(client, self.id, error)

    def _end(self, ended: Ended) -> None:
        self._flush(ended.tags)
        self._run.client.set_terminated(self.id, ended.status)
        self.ended = True
        shutil.rmtree(self._run.folder, ignore_errors=True)

    def _wait(self, values: Mapping[str, float], step: int) -> bool:
        new = [point for point in points(values, step) if (point.key, step) not in self._logged]
        self._logged |= {(point.key, step) for point in new}
        self._waiting += new
        return bool(new)

    def _flush(self, tags: Mapping[str, str]) -> None:
        self._run.log_points(self._waiting, tags)
        self._waiting = []
        self._flushed = time.monotonic()

    def _journalled(self) -> Iterator[tuple[int, dict[str, float]]]:
        if self._journal.exists():
            for line in self._journal.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # a process killed in the middle leaves half a line
                    epoch, values = json.loads(line)
                    yield epoch, values


@contextmanager
def open_trial(
    search: Joined,
    number: int,
    config: RunConfig,
    worker: str,
    *,
    taken_over: bool = False,
    sampled: Mapping[str, object] | None = None,
    flush_s: float = FLUSH_S,
) -> Iterator[TrialRun]:
    """Create the run of a trial, or continue the one that a worker left behind, while this worker has the trial.

    An interruption ends it KILLED, another error FAILED; the trial is then free for whoever takes it over.

    Args:
        taken_over: another worker, or an earlier process of this one, may have begun it.
        sampled: what was drawn; of a group of settings the label is told beside the settings themselves.
    Raises:
        TrackingError: the process that lost the trial has not let go of its run for half a minute.
    """
    found, created = _find_or_create(search, number, config, taken_over)
    run = opened(search.run.client, found or created, resumed=found is not None)
    lock = hold(run.id, wait_s=_WAIT_S)
    try:
        logged = _reopen(run, found) if found is not None else set()
        _tell(run, config, sampled or {}, {**circumstances(), "worker": worker}, found)
        trial = TrialRun(run, logged, flush_s)
        try:
            yield trial
        except BaseException as error:
            if not trial.ended:
                trial.interrupt(error)
            raise
        if not trial.ended:
            trial.interrupt(KeyboardInterrupt())
    finally:
        lock.release()


def trials_of(search: Run) -> list[TrialSeen]:
    """The runs of a search's trials, by number."""
    return sorted((_seen(run) for run in _children(search)), key=lambda seen: seen.number)


def epochs_of(search: Run, run_id: str) -> dict[str, dict[int, float]]:
    """What a trial logged by epoch: name to epoch to value; names that are no curve are left out."""
    names = [name for name in search.client.get_run(run_id).data.metrics if name.startswith(_CURVES)]
    return {
        name: {metric.step: metric.value for metric in search.client.get_metric_history(run_id, name)} for name in names
    }


def settle_trials(search: Run, ended: Mapping[int, Ended]) -> None:
    """Make every trial's run say what became of the trial, whichever process was killed before it could."""
    for run in _children(search):
        expected = ended.get(int(run.data.tags["trial"]))
        if expected is None:
            continue
        missing = {key: value for key, value in expected.tags.items() if run.data.tags.get(key) != value}
        if missing or run.info.status != expected.status:
            child = Run(search.client, run.info.run_id, run.info.experiment_id, resumed=True, folder=search.folder)
            child.set_tags(missing)
            search.client.set_terminated(child.id, expected.status)


def _children(search: Run) -> list[MlflowRun]:
    wanted = all_of({"mlflow.parentRunId": search.id, "step": "trial"})
    found, token = [], None
    while True:
        page = search.client.search_runs([search.experiment_id], wanted, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _seen(run: MlflowRun) -> TrialSeen:
    tags = run.data.tags
    return TrialSeen(
        number=int(tags["trial"]),
        run_id=str(run.info.run_id),
        status=str(run.info.status),
        pruned=tags.get("pruned") == "true",
        error=tags.get("error", ""),
        worker=tags.get("worker", ""),
        metrics=run.data.metrics,
    )


def _find_or_create(
    search: Joined, number: int, config: RunConfig, taken_over: bool
) -> tuple[MlflowRun | None, MlflowRun | None]:
    """The run that was left behind, or else a new one."""
    identity = {"step": "trial", "mlflow.parentRunId": search.run.id, "trial": str(number)}
    client, tried = search.run.client.client, taken_over

    def attempt() -> tuple[MlflowRun | None, MlflowRun | None]:
        nonlocal tried
        found = client.search_runs([search.run.experiment_id], all_of(identity), max_results=1) if tried else []
        tried = True  # a store that went away in the middle may have created it
        if found:
            return found[0], None
        tags = {**search.tags, **identity, "model": config.model.name}
        name = f"trial {number}: {config.model.name}"
        return None, client.create_run(search.run.experiment_id, tags=tags, run_name=name)

    return retried(attempt)


def _reopen(run: Run, found: MlflowRun) -> set[tuple[str, int]]:
    """Let a run that was left behind go on; what it has logged already."""
    reopen(run.client, found)
    return {(key, metric.step) for key in found.data.metrics for metric in run.client.get_metric_history(run.id, key)}


def _tell(
    run: Run, config: RunConfig, sampled: Mapping[str, object], tags: Mapping[str, str], found: MlflowRun | None
) -> None:
    """Log parameters that are not there yet, and with them who works on the run, now that its lock is held."""
    kept = found.data.params if found is not None else {}
    settings = dict(sampled) | config.flat()
    missing = [Param(key, str(value)) for key, value in settings.items() if key not in kept]
    told = [RunTag(key, value) for key, value in tags.items()]
    run.client.log_batch(run.id, params=missing[:100], tags=told)
    for start in range(100, len(missing), 100):
        run.client.log_batch(run.id, params=missing[start : start + 100])
