"""The figures, the page and the best configuration of a search, whatever became of its trials."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape

import pytest
import yaml
from found import BEGAN, findings, learned, plan, record

from secondread.config import load_config
from tuning.best import best_yaml, candidates
from tuning.engine import Status
from tuning.findings import Findings
from tuning.publish import draw
from tuning.report import report

NOW = BEGAN + 86_400
PNG = b"\x89PNG\r\n\x1a\n"
FAILED = record(1, status=Status.FAILED, reason="epoch 2: the loss is not finite")
FOUND: dict[str, Callable[[], Findings]] = {
    "nothing": lambda: findings([]),
    "one": lambda: findings([record(0, 0.9)]),
    "running": lambda: findings([record(0, status=Status.RUNNING)]),
    "pruned": lambda: findings([record(0), record(1)]),
    "failed": lambda: findings([FAILED]),
    "equal": lambda: findings([record(place, 0.5) for place in range(4)]),
    "many": lambda: findings([*learned(30), record(30), record(31, status=Status.RUNNING)], train__learning_rate=1.0),
    "two objectives": lambda: findings(
        [record(0, 0.9, 12.5), record(1, 0.8, 5.0), record(2, 0.7, 9.0), FAILED], "auroc", "latency"
    ),
}


def words(page: str) -> str:
    """What a reader sees."""
    shown = re.sub(r"<(style|script|head)\b.*?</\1>", " ", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def page_of(found: Findings) -> str:
    return report(plan(), found, dict.fromkeys(draw(found, NOW), PNG), NOW)


@pytest.mark.parametrize("name", FOUND)
def test_every_figure_can_be_drawn_whatever_became_of_the_trials(name: str) -> None:
    for figure in draw(FOUND[name](), NOW).values():
        figure.canvas.draw()


def test_a_figure_is_drawn_where_there_is_something_to_see() -> None:
    drawn = {name: set(draw(make(), NOW)) for name, make in FOUND.items()}
    always = {"best_so_far", "time_line"}
    assert drawn["nothing"] == set()
    assert drawn["pruned"] == drawn["failed"] == drawn["running"] == always
    assert drawn["one"] == always | {"parallel_coordinates", "slices"}
    assert drawn["many"] == drawn["one"] | {"importance"}
    assert drawn["two objectives"] == drawn["one"] | {"pareto"}


def test_a_few_very_bad_trials_do_not_flatten_the_good_ones() -> None:
    trials = [record(place, 0.9 + place / 1000) for place in range(30)]
    figure = draw(findings([*trials, record(30, 0.1)]), NOW)["best_so_far"]
    low, high = figure.axes[0].get_ylim()
    assert 0.8 < low < 0.9 < high < 1
    assert figure.axes[0].get_title(loc="left") == "Best so far: trial 29, AUROC .929"


@pytest.mark.parametrize("name", FOUND)
def test_the_page_needs_nothing_from_elsewhere_and_runs_its_own_script_alone(name: str) -> None:
    page = page_of(FOUND[name]())
    [script] = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in page or f"script-src 'sha256-{digest}'" in page
    assert not re.search(r"https?://|@import|url\(|\son\w+=|<link|<iframe", page)


def test_the_page_says_what_was_found_and_what_to_do() -> None:
    text = words(page_of(FOUND["many"]()))
    for said in (
        "Trial 7 is the best of 32: AUROC .9447",  # 18 of 19 steps of two decades: 10 ** -3.0526
        "Drawn by Optuna's TPE with median pruning from the space small, two numbers and two choices.",
        "30 measured, 1 pruned, 1 running in 1 d by 2 workers.",
        "python -m secondread train --config best.yaml",
        "train.learning_rate .000886 .0001 to .01, logarithmic 100%",
        "All 32 trials",
        "pruned at 2: .6",
    ):
        assert said in text


def test_failures_are_told_by_their_reason() -> None:
    text = words(page_of(FOUND["failed"]()))
    assert "None of 1 trial was measured" in text
    assert "1 trial failed Why Trials Epoch 2: the loss is not finite. 1" in text


def test_several_objectives_have_a_front() -> None:
    text = words(page_of(FOUND["two objectives"]()))
    assert "2 of 4 trials are the best compromises" in text
    assert "Trial AUROC latency (ms) trial 0 .9 12.5 trial 1 .8 5" in text


def test_what_a_trial_says_never_becomes_part_of_the_page() -> None:
    evil = "<script>alert(1)</script>"
    found = findings([record(0, 0.9), record(1, status=Status.FAILED, reason=evil)])
    page = report(replace(plan(), name=evil), found, {}, NOW)
    assert evil not in page
    assert page.count("<script>") == 1


def test_no_folder_of_images_is_told() -> None:
    best = record(0, 0.9)
    assert "/clinic" not in page_of(findings([best])) + best_yaml(plan(), best)


@pytest.mark.parametrize("number", [0, 1])
def test_the_best_configuration_is_what_the_trial_had(number: int) -> None:
    best, used = record(number, 0.9), plan()
    text = best_yaml(used, best)
    assert "# --data is to be given: it is another folder elsewhere" in text
    taken = load_config("pneumonia", {"data": "/clinic/films"}, yaml.safe_load(text))
    assert taken == used.space.config("pneumonia", used.base, best.trial.sampled)
    assert "data: phantom\n" in best_yaml(replace(used, base={"data": "phantom"}), best)


def test_candidates_differ_in_their_seed_alone() -> None:
    best = record(0, 0.9)
    made = candidates(plan(retrain=3), best)
    assert [config.train.seed for config in made] == [0, 1, 2]
    assert len({config.model_copy(update={"train": made[0].train}).model_dump_json() for config in made}) == 1
    assert candidates(plan(retrain=0), best) == []
