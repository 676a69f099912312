"""A client of the tracking store that waits while the store is away, so that hours of work do not fail for a minute."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.exceptions import ConnectionError as Unreachable
from requests.exceptions import Timeout
from sqlalchemy.exc import InterfaceError, OperationalError

PATIENCE_S = 600.0  # longer than a database takes to restart
_FIRST_S, _LONGEST_S = 0.1, 10.0  # between two tries
_AWAY = (OperationalError, InterfaceError, Unreachable, Timeout)

Result = TypeVar("Result")


class Steady:
    """An MlflowClient each of whose calls is tried again while the store does not answer.

    What changes something twice when it is done twice must not be called through it: `create_run`.

    Args:
        patience_s: then the error is raised.
    """

    def __init__(self, client: MlflowClient, patience_s: float = PATIENCE_S) -> None:
        self.client = client
        self.patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return lambda *given, **named: retried(lambda: method(*given, **named), self.patience_s)


def retried(call: Callable[[], Result], patience_s: float = PATIENCE_S) -> Result:
    """Call until the store answers, with growing pauses.

    Raises:
        MlflowException: what the store answers; or that it was still away after `patience_s`.
    """
    deadline, pause = time.monotonic() + patience_s, _FIRST_S
    while True:
        try:
            return call()
        except MlflowException as error:
            if not is_away(error) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_S)


def is_away(error: BaseException) -> bool:
    """Whether the store could not be reached, so that the same call may do better in a while."""
    if isinstance(error, _AWAY) or getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE":
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_away(cause)
