"""When a search has done enough."""

from tuning.budget import since_improvement, spent
from tuning.engine import Outcome, Record, Status, Trial
from tuning.settings import Direction, SearchSettings


def ended(*values: float | tuple[float, ...] | Status) -> list[Record]:
    """Trials that ended one after the other: finished with these values, or otherwise."""
    return [
        Record(Trial(number, {}), outcome(value), {1: 0.5, 3: 0.6}, began=float(number), ended=number + 0.5)
        for number, value in enumerate(values)
    ]


def outcome(value: float | tuple[float, ...] | Status) -> Outcome:
    if isinstance(value, Status):
        return Outcome(value)
    return Outcome(Status.FINISHED, value if isinstance(value, tuple) else (value,))


def test_without_a_budget_only_the_number_of_trials_ends_a_search() -> None:
    assert spent(SearchSettings(), ended(*[0.5] * 30), minutes=10_000) is None


def test_minutes_are_those_of_the_command() -> None:
    settings = SearchSettings(minutes=5)
    assert spent(settings, [], minutes=4.9) is None
    assert spent(settings, [], minutes=5) == "5 minutes are over"


def test_epochs_of_all_trials_count_also_of_those_that_failed() -> None:
    settings = SearchSettings(epochs=6)
    assert spent(settings, ended(0.5), minutes=0) is None
    assert spent(settings, ended(0.5, Status.FAILED), minutes=0) == "6 epochs are trained"


def test_patience_counts_trials_since_the_last_better_one_in_the_order_of_ending() -> None:
    settings = SearchSettings(patience=2)
    assert spent(settings, ended(0.5, 0.6, 0.6), minutes=0) is None
    assert spent(settings, ended(0.5, 0.6, 0.6, Status.PRUNED), minutes=0) == "2 trials brought nothing better"


def test_a_running_trial_is_not_counted_as_idle() -> None:
    running = Record(Trial(3, {}), Outcome(Status.RUNNING), began=9.0)
    assert since_improvement([*ended(0.5, 0.4), running], ["maximize"]) == 1


def test_with_several_objectives_a_trial_is_better_when_no_earlier_one_is_as_good_in_all() -> None:
    both: list[Direction] = ["maximize", "minimize"]
    assert since_improvement(ended((0.9, 10.0), (0.8, 5.0)), both) == 0  # less right, but faster
    assert since_improvement(ended((0.9, 10.0), (0.8, 11.0)), both) == 1
    assert since_improvement(ended((0.9, 10.0), (0.8, 11.0), (0.95, 9.0)), both) == 0
