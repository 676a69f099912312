"""Promotion: who is judged and in which order, who becomes champion, and what keeps the alias where it was."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from trained_runs import CLEAN, GOOD, trained

from registry.__main__ import main
from registry.aliases import Aliases, read_aliases
from registry.chain import HEAD, read_head, walk
from registry.decision import Decision
from registry.judge import judge
from registry.promote import promote
from registry.rollback import rollback
from secondread.errors import ConfigError, RegistryError

BAD_SKILL = GOOD | {"test/skill": 0.1, "test/skill_low": -0.1}


@pytest.fixture
def client(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return tracked


def demo(run_id: str | None = None) -> Decision:
    """Promote by the gates that look at no champion."""
    return promote("pneumonia", run_id, "demo")


def run_of(client: MlflowClient, decision: Decision) -> Any:
    [run] = [
        run
        for run in client.search_runs([client.get_experiment_by_name("pneumonia").experiment_id])
        if run.data.tags.get("decision.digest") == decision.digest()
    ]
    return run


# --- who becomes champion


def test_the_first_that_passes_is_champion_and_its_decision_is_a_finished_run(client: MlflowClient) -> None:
    run_id = trained(client)
    decision = demo()
    assert (decision.number, decision.kind, decision.former_run_id) == (1, "promotion", None)
    assert read_aliases(client, "pneumonia") == Aliases(1, None) == (decision.champion_after, decision.previous_after)
    [judged] = decision.candidates
    assert (judged.run_id, judged.version, judged.verdict, judged.against) == (run_id, 1, "promoted", None)
    assert [result.gate for result in judged.results] == ["files", "skill", "audit", "packaging"]
    run = run_of(client, decision)
    assert (run.info.status, run.data.tags["step"]) == ("FINISHED", "promote")
    assert run.data.params == {"task": "pneumonia", "run": "newest", "gates": "demo", "manifest": "champion"}
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"decision.json", "report.html"}


def test_the_next_that_passes_takes_over_and_the_champion_becomes_previous(client: MlflowClient) -> None:
    trained(client)
    first = demo()
    trained(client)
    second = demo()
    assert read_aliases(client, "pneumonia") == (2, 1)
    assert (second.number, second.former_digest) == (2, first.digest())
    assert second.former_run_id == run_of(client, first).info.run_id


def test_a_refusal_is_a_decision_that_moves_nothing(client: MlflowClient) -> None:
    trained(client)
    demo()
    trained(client, metrics=BAD_SKILL, tags=CLEAN | {"audit": "leaks"})
    decision = demo()
    assert (decision.kind, decision.number) == ("refusal", 2)
    assert decision.candidates[0].failed == ("skill", "audit")
    assert decision.reason == "version 2 failed skill, audit"
    assert read_aliases(client, "pneumonia") == (1, None)


def test_without_a_comparison_the_best_on_val_is_preferred_whenever_it_was_trained(client: MlflowClient) -> None:
    runs = [trained(client, metrics=GOOD | {"best/val_auroc": area}) for area in (0.8, 0.95, 0.9)]
    unknown = trained(client, metrics={key: value for key, value in GOOD.items() if key != "best/val_auroc"})
    decision = demo()
    assert [judged.run_id for judged in decision.candidates] == [runs[1], runs[2], runs[0], unknown]
    assert [judged.verdict for judged in decision.candidates] == ["promoted", "bettered", "bettered", "bettered"]
    assert read_aliases(client, "pneumonia").champion == decision.candidates[0].version


# --- who is judged


def test_nobody_is_judged_twice_unless_named(client: MlflowClient) -> None:
    run_id = trained(client, metrics=BAD_SKILL)
    demo()
    with pytest.raises(RegistryError, match="no candidate for pneumonia: each of its 1 finished trainings was judged"):
        demo()
    assert demo(run_id).number == 2


def test_the_newest_five_are_judged_and_the_older_are_counted(
    client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [trained(client) for _ in range(7)]
    assert {judged.run_id for judged in demo().candidates} == set(runs[2:])
    assert "2 older trainings wait; judge one of them with --run" in capsys.readouterr().out


def test_a_run_without_a_model_keeps_nobody_waiting(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    whole, empty = trained(client), trained(client)
    client.delete_logged_model(client.get_run(empty).outputs.model_outputs[0].model_id)
    assert [judged.run_id for judged in demo().candidates] == [whole]
    assert f"left out: run {empty}: it has no logged model any more; train again" in capsys.readouterr().out


def test_the_champion_itself_is_no_candidate(client: MlflowClient) -> None:
    run_id = trained(client)
    demo()
    with pytest.raises(RegistryError, match=f"run {run_id}: it is version 1, which is champion already"):
        demo(run_id)


# --- what was before this history


def test_a_champion_from_before_the_history_is_adopted(client: MlflowClient) -> None:
    trained(client)
    main(["register", "--task", "pneumonia"])
    client.set_registered_model_alias("pneumonia", "champion", "1")
    trained(client)
    decision = demo()
    assert (decision.champion_before, decision.champion_after, decision.previous_after) == (1, 2, 1)
    assert "version 1 was champion before this history began" in decision.reason
    assert [judged.version for judged in decision.candidates] == [2]


# --- what stops a promotion: the alias stays, and the next step is named


def test_without_a_training_the_next_step_is_named(client: MlflowClient) -> None:
    with pytest.raises(RegistryError, match="run `python -m secondread train --task pneumonia` first"):
        demo()


def test_a_champion_deleted_behind_our_back(client: MlflowClient) -> None:
    for _ in range(2):
        trained(client)
        demo()
    client.delete_model_version("pneumonia", "2")
    trained(client)
    with pytest.raises(RegistryError) as caught:
        demo()
    assert str(caught.value) == (
        "pneumonia: version 2 was deleted behind our back; see `python -m registry history pneumonia`, and say which "
        "version shall serve: `python -m registry rollback pneumonia --to 1`"
    )
    assert read_aliases(client, "pneumonia") == (None, 1)


def test_an_alias_moved_by_hand(client: MlflowClient) -> None:
    for _ in range(2):
        trained(client)
        demo()
    client.set_registered_model_alias("pneumonia", "champion", "1")
    trained(client)
    with pytest.raises(
        RegistryError, match=r"the aliases were moved: .* version 1, .* the history says champion versi"
    ):
        demo()
    assert read_aliases(client, "pneumonia") == (1, 1)
    rollback("pneumonia", 1)
    assert demo().champion_before == 1


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"left_out": ("predictions.parquet",)}, "it has no predictions.parquet; train again"),
        ({"left_out": ("manifest.parquet",)}, "it has no manifest.parquet; train again"),
        ({"files": {"artifacts/bundle/model.keras": b"another"}}, "model.keras is missing or not the file that was sa"),
        ({"files": {"artifacts/bundle/bundle.json": b"{"}}, "bundle.json: missing or damaged; log the model anew"),
    ],
)
def test_a_candidate_that_is_not_whole_is_refused_and_told_why(
    client: MlflowClient, made: dict[str, Any], words: str
) -> None:
    trained(client)
    demo()
    trained(client, **made)
    [judged] = demo().candidates
    assert judged.failed == ("files",)
    assert words in judged.results[0].advice
    assert read_aliases(client, "pneumonia") == (1, None)


def test_gates_that_cannot_be_read_are_refused_before_anything_happens(client: MlflowClient, tmp_path: Path) -> None:
    trained(client)
    with pytest.raises(RegistryError, match="--gates strict: no such set or file; use task, demo, hemorrhage, pneum"):
        promote("pneumonia", gates="strict")
    with pytest.raises(ConfigError, match="task=stroke: there is no such task"):
        promote("stroke")
    assert client.search_registered_models() == []


def test_a_failure_while_judging_leaves_a_failed_run_that_is_no_part_of_the_history(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(client)

    def fail(*_: object) -> None:
        raise RegistryError("the images are gone")

    monkeypatch.setattr("registry.contest.judge", fail)
    with pytest.raises(RegistryError, match="the images are gone"):
        demo()
    experiment = client.get_experiment_by_name("pneumonia").experiment_id
    [run] = client.search_runs([experiment], "tags.step = 'promote'")
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", "RegistryError")
    assert read_head(client, "pneumonia") is None
    monkeypatch.undo()


# --- several at once


def test_a_decision_overtaken_by_another_machines_is_made_anew(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = trained(client), trained(client, metrics=BAD_SKILL)

    def judge_late(*args: Any) -> Any:
        monkeypatch.setattr("registry.contest.judge", judge)
        with monkeypatch.context() as elsewhere:  # another machine, whose locks are not ours, decides meanwhile
            elsewhere.setattr("registry.promote.alone", nullcontext)
            demo(good)
        return judge(*args)

    monkeypatch.setattr("registry.contest.judge", judge_late)
    decision = demo()
    assert "another decision about pneumonia was made meanwhile; decide anew" in capsys.readouterr().out
    assert (decision.number, [judged.run_id for judged in decision.candidates]) == (2, [bad])
    assert [link.head.number for link in walk(client, read_head(client, "pneumonia"))] == [2, 1]
    assert read_aliases(client, "pneumonia").champion == decision.champion_before
    assert client.get_model_version_by_alias("pneumonia", "champion").run_id == good


def test_of_two_promotions_started_at_once_both_are_in_the_history(client: MlflowClient, tmp_path: Path) -> None:
    runs = [trained(client), trained(client)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "registry", "promote", "--task", "pneumonia", "--gates", "demo", "--run", run_id],
            env=os.environ | {"SECONDREAD_HOME": str(tmp_path / f"home of {run_id}")},
            stdout=subprocess.DEVNULL,
        )
        for run_id in runs
    ]
    assert [process.wait() for process in processes] == [0, 0]
    links = list(walk(client, read_head(client, "pneumonia")))
    assert [link.problems for link in links] == [(), ()]
    decisions = [link.decision for link in links if link.decision]
    assert {judged.run_id for decision in decisions for judged in decision.candidates} == set(runs)
    newest, first = decisions
    assert newest.champion_before == first.champion_after
    assert read_aliases(client, "pneumonia") == (newest.champion_after, first.champion_after)


# --- the command


def test_the_command_says_who_was_judged_by_what(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = trained(client)
    main(["promote", "--task", "pneumonia", "--gates", "demo"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"version 1, compact_resnet, run {run_id}"
    words = "passed skill .500 (.400 to .600); asked: above 0, with its whole interval"
    assert " ".join(lines[2].split()) == words
    assert lines[-2] == "decision 1 about pneumonia, a promotion: version 1 passed every gate"
    assert lines[-1].startswith("now champion version 1, previous nobody; report: ")
    report = Path(lines[-1].partition("report: ")[2])
    assert "Version 1 becomes champion" in report.read_text()


def test_the_decisions_file_is_what_its_digest_says(client: MlflowClient) -> None:
    trained(client)
    decision = demo()
    run = run_of(client, decision)
    kept = json.loads((Path(run.info.artifact_uri) / "decision.json").read_text())
    assert kept["candidates"][0]["digests"].keys() == {"bundle.json", "predictions.parquet", "manifest.parquet"}
    said = client.get_registered_model("pneumonia").tags[HEAD]
    assert said == f"1 {run.info.run_id} {decision.digest()}"
