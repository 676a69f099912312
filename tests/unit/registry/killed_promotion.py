"""A promotion or rollback in a process of its own that dies by `kill -9` right after its n-th write to the store."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

_WRITES = (
    *("create_run", "log_batch", "log_param", "log_metric", "log_artifacts", "set_tag", "delete_tag", "set_terminated"),
    *("create_registered_model", "create_model_version", "delete_model_version"),
    *("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"),
)


def survives(work: str, environment: Mapping[str, str], folder: Path, writes: int) -> bool:
    """Do some work, killed after so many writes; True when it ended before that.

    Args:
        work: `promote` or `rollback`, of pneumonia.
        folder: where it runs.
    """
    context = multiprocessing.get_context("forkserver")  # imports once, and holds no connection to a store
    context.set_forkserver_preload(["registry.promote", "registry.rollback", "secondread.bundle"])
    process = context.Process(target=_die_after, args=(work, dict(environment), str(folder), writes))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def _die_after(work: str, environment: dict[str, str], folder: str, writes: int) -> None:
    from mlflow import MlflowClient

    from registry.promote import promote
    from registry.rollback import rollback

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    left = [writes]
    for name in _WRITES:
        setattr(MlflowClient, name, _deadly(getattr(MlflowClient, name), left))
    if work == "promote":
        promote("pneumonia", gates="demo")
    else:
        rollback("pneumonia")


def _deadly(write: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    @wraps(write)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = write(*args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call
