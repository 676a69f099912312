"""The run of a search: found again by its key however it ended, and never continued with another search's settings."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType

from secondread.config import RunConfig
from secondread.errors import TrackingError
from secondread.tracking.database import connect
from secondread.tracking.launcher import circumstances, held, link, lock_of, sweep, take_launcher
from secondread.tracking.run import (
    Data,
    Described,
    Run,
    all_of,
    digest_of,
    end_with,
    experiment_of,
    hold,
    interruptible,
    log_data,
    log_git,
    log_parameters,
    opened,
    reopen,
)
from secondread.tracking.steady import Steady

# The manifest's digest says which images; where a machine keeps them is its own affair.
_WHERE = ("data.path", "data.evaluation", "execution.")


@dataclass(frozen=True)
class Search:
    """What makes a search itself.

    Args:
        key: names it in its tracking store; the run is found again by it.
        name: as the user called it.
        config: what every trial has in common.
        searched: settings, or groups of them, that the space draws.
        fixed: what else cannot change while the search lasts, such as its engine, objectives and `space_digest`.
        told: what may change when it is resumed, such as how many trials it has.
    """

    key: str
    name: str
    config: RunConfig
    searched: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)

    @property
    def common(self) -> dict[str, object]:
        """Settings that all trials share."""
        return {key: value for key, value in self.config.flat().items() if not _below(key, self.searched)}


@contextmanager
def open_search(search: Search, prepare: Callable[[], Data], *, leads: bool = True) -> Iterator[tuple[Run, Data]]:
    """Find or create the run of a search, and keep it while the search lasts.

    Args:
        prepare: makes the data ready; when it fails, a search that is not there yet keeps its settings in a FAILED run.
        leads: this process closes the search: it holds the run's lock and ends it with its true status. Others join,
            and leave the run as it is.
    Raises:
        TrackingError: the search was begun with other settings or images, or another process here leads it.
    """
    client = connect()
    launcher = take_launcher(os.environ)
    with lock_of("opening"):
        experiment_id = experiment_of(client, search.config.task, launcher)
        begun = _find(client, search)
        if begun is not None:
            _refuse_other_settings(search, begun)
        experiments = {experiment_id, begun.info.experiment_id if begun else experiment_id}
        sweep(client, experiments | ({launcher.experiment_id} if launcher.experiment_id else set()))
    with held(client, launcher), interruptible():
        try:
            data = prepare()
        except BaseException as error:
            if begun is None:
                _create_failed(client, experiment_id, search, error)
            raise
        with lock_of("opening"):  # of two equal commands typed at once, one creates the run and the other finds it
            run, lock = _find_or_create(client, experiment_id, search, data, leads)
        try:
            if leads or not run.resumed:
                link(run.client, launcher, run.id)
                _tell(run, search, data)
            yield run, data
        except BaseException as error:
            if leads:
                end_with(client, run.id, error)
            raise
        else:
            if leads:
                run.client.set_terminated(run.id, "FINISHED")
        finally:
            if lock is not None:
                lock.release()


def retrained(search: Run, config: RunConfig) -> str | None:
    """The FINISHED run below a search that trained a configuration once more, if there is one."""
    wanted = all_of({"step": "retrain", "mlflow.parentRunId": search.id, "config_digest": digest_of(config)})
    finished = f"attributes.status = 'FINISHED' and {wanted}"
    found = search.client.search_runs([search.experiment_id], finished, max_results=1)
    return str(found[0].info.run_id) if found else None


def _find(client: MlflowClient, search: Search) -> MlflowRun | None:
    """The search's run, in whichever experiment it was begun."""
    experiments = [each.experiment_id for each in client.search_experiments(ViewType.ACTIVE_ONLY)]
    wanted = all_of({"step": "search", "search_key": search.key})
    found = client.search_runs(experiments, wanted, order_by=["attributes.start_time ASC"], max_results=1)
    return found[0] if found else None


def _find_or_create(
    client: MlflowClient, experiment_id: str, search: Search, data: Described, leads: bool
) -> tuple[Run, FileLock | None]:
    """The search's run, RUNNING and with its lock held if this process leads."""
    found = _find(client, search)
    if found is not None:
        _refuse_other_settings(search, found)
        _refuse_other_images(search, found, data.manifest_digest)
    kept = found or _create(client, experiment_id, search, f"{search.name} on {data.name}")
    lock = hold(kept.info.run_id) if leads else None
    if leads and found is not None:
        reopen(client, found)
    return opened(Steady(client), kept, resumed=found is not None), lock


def _create(client: MlflowClient, experiment_id: str, search: Search, name: str) -> MlflowRun:
    tags = {"step": "search", "task": search.config.task, "search_key": search.key, "search": search.name}
    return client.create_run(experiment_id, tags={**tags, **circumstances()}, run_name=f"search {name}")


def _create_failed(client: MlflowClient, experiment_id: str, search: Search, error: BaseException) -> None:
    failed = _create(client, experiment_id, search, search.name).info.run_id
    log_parameters(client, failed, _parameters(search))
    end_with(client, failed, error)


def _tell(run: Run, search: Search, data: Described) -> None:
    log_parameters(run.client, run.id, _parameters(search))
    digests = {"manifest_digest": data.manifest_digest, "store_digest": data.store_digest}
    run.set_tags({**circumstances(), **digests, **{f"search.{key}": value for key, value in search.told.items()}})
    log_git(run.client, run.id)
    log_data(run.client, run.id, data)


def _parameters(search: Search) -> dict[str, object]:
    return search.common | {f"search.{key}": value for key, value in search.fixed.items()}


def _refuse_other_settings(search: Search, begun: MlflowRun) -> None:
    kept = begun.data.params
    now = {key: str(value) for key, value in _parameters(search).items() if not _below(key, _WHERE)}
    names = [key for key in now.keys() | kept.keys() if not _below(key, _WHERE) and kept.get(key) != now.get(key)]
    if kept and names:
        _refuse(search, [f"{key}={kept.get(key)} instead of {now.get(key)}" for key in sorted(names)])


def _refuse_other_images(search: Search, begun: MlflowRun, digest: str) -> None:
    kept = begun.data.tags.get("manifest_digest", digest)
    if kept != digest:
        _refuse(search, [f"other images (manifest {kept[:12]} instead of {digest[:12]})"])


def _refuse(search: Search, differences: list[str]) -> None:
    shown = ", ".join(differences[:3]) + (f" and {len(differences) - 3} more" if len(differences) > 3 else "")
    raise TrackingError(f"search {search.name} was begun with {shown}; name another search, or go on as it was begun")


def _below(key: str, names: tuple[str, ...]) -> bool:
    """Whether a setting is one of these, or in a group of them."""
    return any(key == name or key.startswith(f"{name.rstrip('.')}.") for name in names)
