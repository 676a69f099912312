"""What a search found: the best, the front, how it went, which parameters mattered, and what to try next."""

from dataclasses import replace

import pytest
from found import findings, learned, record

from tuning.advice import advice
from tuning.engine import Record, Status
from tuning.importance import forest_importances
from tuning.wording import duration, number, short_names

FAILED = Status.FAILED


def test_the_best_trial_is_the_largest_auroc_or_the_smallest_loss_and_of_equals_the_first() -> None:
    trials = [record(0, 0.7), record(1, 0.9), record(2), record(3, 0.9)]
    for objective, expected in (("auroc", 1), ("log_loss", 0)):
        best = findings(trials, objective).best
        assert best is not None
        assert best.trial.number == expected
    assert findings([record(0)]).best is None


def test_the_front_holds_what_no_other_trial_beats_in_every_objective() -> None:
    trials = [record(0, 0.9, 10), record(1, 0.8, 5), record(2, 0.8, 7), record(3, 0.95, 20), record(4)]
    found = findings(trials, "auroc", "latency")
    assert [each.trial.number for each in found.front] == [3, 0, 1]  # 2 is slower than 1 and no better


def test_the_course_counts_each_trial_that_ended_in_the_order_of_ending() -> None:
    late = replace(record(0, 0.99), ended=record(3).ended)
    trials = [late, record(1), record(2, 0.8), record(4, 0.7), record(5, status=Status.RUNNING)]
    assert findings(trials).course() == [(2, 0.8), (3, 0.99), (4, 0.99)]
    assert findings(trials, "log_loss").course() == [(2, 0.8), (3, 0.8), (4, 0.7)]


def test_the_table_has_a_row_a_trial_and_no_path() -> None:
    trials = [record(0, 0.7), record(1), record(2, status=FAILED, reason="out of memory"), record(3, 0.9)]
    table = findings(trials).table
    assert table["status"].tolist() == ["FINISHED", "PRUNED", "FAILED", "FINISHED"]
    assert table["best"].tolist() == [False, False, False, True]
    assert table["objective/auroc"].dropna().tolist() == [0.7, 0.9]
    assert (table["last_step"][1], table["last_reported"][1], table["seconds"][0]) == (2, 0.6, 30)
    assert table["reason"][2] == "out of memory"
    assert table["model.width"].tolist()[0] == 16
    assert table["model.width"].isna().tolist() == [False, True, False, True]
    assert "/" not in table.to_csv(header=False)


def test_a_forest_finds_the_one_parameter_that_matters() -> None:
    shares = forest_importances(findings(learned(40)))
    assert next(iter(shares)) == "train.learning_rate"
    assert shares["train.learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("trials", [learned(5), [record(place, 0.5) for place in range(30)], []])
def test_a_forest_is_silent_where_there_is_nothing_to_say(trials: list[Record]) -> None:
    assert forest_importances(findings(trials)) == {}


def said(trials: list[Record], **importances: float) -> str:
    return "\n".join(advice(findings(trials, **importances)))


def test_where_every_trial_was_pruned_or_failed_that_is_said() -> None:
    assert said([record(0), record(1)]).startswith("Every trial was pruned")
    broken = [record(place, status=FAILED, reason="epoch 2: the loss is not finite") for place in range(3)]
    assert said(broken).splitlines() == [
        "No trial was measured: mend what made them fail, and give the same command again under another name.",
        "3 of 3 trials failed, 3 of them with the same words: epoch 2: the loss is not finite. "
        "Narrow what makes them fail.",
    ]
    assert said([]) == ""


def test_few_trials_say_little() -> None:
    assert said([record(0, 0.7), record(1, 0.8)]) == (
        "2 trials measured: too few to say what matters; ask for at least 20."
    )


def test_a_best_trial_at_the_edge_of_what_could_be_drawn_asks_for_more_room() -> None:
    trials = [record(place, 0.5 + place / 100, train__learning_rate=10 ** (-4 + place / 10)) for place in range(21)]
    edge = "The best trial has train.learning_rate = .01, at the upper end of what could be drawn: allow larger values."
    assert edge in said(trials)
    assert edge not in said(trials, train__learning_rate=0.01, model__name=0.99)  # it did not matter
    low_is_good = [
        record(place, 0.72 - place / 100, train__learning_rate=10 ** (-4 + place / 10)) for place in range(20)
    ]
    assert edge not in said([*low_is_good, record(20, 0.99, train__learning_rate=0.01)])  # the next best are elsewhere


def test_a_choice_that_all_of_the_best_drew_is_named() -> None:
    trials = [record(place, 0.9 if place % 2 else 0.6) for place in range(40)]
    assert "The best 4 trials all have model.name = chest_cnn: leave out its other choices." in said(trials)


def test_what_did_not_matter_may_be_left_out_once_enough_was_measured() -> None:
    shares = {"train__learning_rate": 0.97, "augment__horizontal_flip": 0.01, "model__name": 0.02}
    assert "Without visible influence: augment.horizontal_flip, model.name. Take them out" in said(
        learned(40), **shares
    )
    assert "Without" not in said(learned(10), **shares)


def test_it_is_said_whether_going_on_is_worth_it() -> None:
    rising = [record(place, 0.5 + place / 100) for place in range(30)]
    assert "The best AUROC was found by the last trial: going on may well find a better one." in said(rising)
    assert "The last 29 of 30 trials found no better AUROC: more will hardly help" in said(
        [record(0, 0.9), *(record(place, 0.5) for place in range(1, 30))]
    )


def test_numbers_and_names_are_short() -> None:
    assert [number(value) for value in (0.98523, 1e-4, 3.2e-6, 128, 12.345, 0.0, "adam", 1_234_567, 6.325)] == [
        *(".9852", ".0001", "3.2e\N{MINUS SIGN}6", "128", "12.3", "0", "adam", "1,234,567", "6.325")
    ]
    assert [duration(seconds) for seconds in (0.4, 12, 60, 125, 7_260, 90_000)] == [
        *("0.4 s", "12 s", "1 min", "2 min 5 s", "2 h 1 min", "1 d 1 h")
    ]
    names = short_names(["model.name", "train.size", "preprocess.size", "train.loss"])
    assert list(names.values()) == ["model", "train.size", "preprocess.size", "loss"]
