"""A tracking store that is away for a while does not end the work."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE
from sqlalchemy.exc import OperationalError

from secondread.tracking.steady import Steady, is_away, retried


class Store:
    """Answers after it was away so many times."""

    def __init__(self, away: int, error: MlflowException) -> None:
        self.away, self.error, self.asked = away, error, 0

    def get_run(self, run_id: str) -> str:
        self.asked += 1
        if self.asked <= self.away:
            raise self.error
        return f"run {run_id}"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


def gone() -> MlflowException:
    return MlflowException("the server closed the connection", error_code=TEMPORARILY_UNAVAILABLE)


def test_a_call_is_tried_again_with_growing_pauses_until_the_store_answers(pauses: list[float]) -> None:
    store = Store(3, gone())
    assert Steady(store).get_run("a") == "run a"
    assert (store.asked, pauses) == (4, [0.1, 0.2, 0.4])


def test_pauses_stay_short_enough_to_notice_that_the_store_is_back(pauses: list[float]) -> None:
    Steady(Store(12, gone())).get_run("a")
    assert max(pauses) == 10


def test_what_the_store_answers_is_not_asked_again() -> None:
    store = Store(9, MlflowException("no such run", error_code=INTERNAL_ERROR))
    with pytest.raises(MlflowException, match="no such run"):
        Steady(store).get_run("a")
    assert store.asked == 1


def test_patience_ends() -> None:
    with pytest.raises(MlflowException, match="closed"):
        Steady(Store(99, gone()), patience_s=0).get_run("a")


def test_a_lost_connection_is_known_however_deep_it_lies() -> None:
    def fail() -> None:
        try:
            raise OperationalError("INSERT", {}, Exception("server closed the connection"))
        except OperationalError as error:
            raise MlflowException("internal") from error

    with pytest.raises(MlflowException) as caught:
        fail()
    assert is_away(caught.value)
    assert not is_away(MlflowException("internal"))


def test_other_errors_pass_at_once(pauses: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        retried(lambda: 1 / 0)
    assert pauses == []
