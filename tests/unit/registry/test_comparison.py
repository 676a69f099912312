"""A candidate beside the champion: on whose images, without which of them, and how often it was challenged before."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from trained_runs import IMAGES, manifest, predictions, trained

from registry.aliases import read_aliases
from registry.chain import read_head
from registry.contender import Contender
from registry.decision import Decision
from registry.history import history
from registry.promote import promote
from registry.register import register
from secondread.config import RunConfig
from secondread.data.manifest import manifest_digest
from secondread.errors import RegistryError, SourceError
from secondread.evaluation.comparison import spent_alpha
from secondread.tasks import load_task

GATES = """
- {gate: comparison, measure: auroc, asks: superiority}
- {gate: comparison, measure: sensitivity, asks: non_inferiority, margin: 0.1}
"""
TESTED = 160  # of `IMAGES`, besides 40 of train and 40 of val


@pytest.fixture
def client(tracked: MlflowClient, tmp_path: Path) -> MlflowClient:
    """A client of a store with a champion whose every fifth answer is wrong, and `compare.yaml` beside it."""
    (tmp_path / "compare.yaml").write_text(GATES)
    trained(tracked, wrong=5)
    judged()
    return tracked


def judged(ground: Any = "champion", gates: str = "compare.yaml") -> Decision:
    return promote("pneumonia", gates=gates, ground=ground)


def results(decision: Decision) -> dict[str, str]:
    return {result.gate: result.found for result in decision.candidates[0].results}


# --- the same images


def test_without_a_champion_there_is_nothing_to_compare(tracked: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(GATES)
    trained(tracked)
    decision = judged()
    assert results(decision)["auroc vs champion"] == "no champion to compare with"
    assert (decision.kind, decision.candidates[0].compared) == ("promotion", ())


def test_a_better_one_displaces_the_champion_and_the_figures_are_kept(client: MlflowClient) -> None:
    trained(client, wrong=41)
    decision = judged()
    assert read_aliases(client, "pneumonia") == (2, 1)
    area, sensitivity = decision.candidates[0].compared
    assert (area.images, area.patients, area.left_out, area.met) == (TESTED, TESTED, 0, 0)
    assert area.champion < area.challenger
    assert area.difference == pytest.approx(area.challenger - area.champion)
    # Of 80 ill images every fifth is answered wrong, 16; and of those at places 41 and 123 of the table, 2.
    assert (sensitivity.champion, sensitivity.challenger) == (0.8, 0.975)
    assert set(decision.files) >= {
        f"figures/version_2/{name}.png" for name in ("paired_roc", "differences", "agreement")
    }
    head = read_head(client, "pneumonia")
    assert head is not None
    assert client.get_run(head.run_id).data.metrics["version_2/image_auroc_difference_low"] == area.low
    assert history("pneumonia") == ()


def test_an_equal_and_a_worse_one_are_refused(client: MlflowClient) -> None:
    trained(client, wrong=5)
    equal = judged()
    assert equal.candidates[0].failed == ("auroc vs champion",)
    assert equal.candidates[0].compared[0].difference == 0
    trained(client, wrong=3)
    assert judged().candidates[0].failed == ("auroc vs champion", "sensitivity vs champion")
    assert read_aliases(client, "pneumonia") == (1, None)


def test_each_challenger_that_the_champion_met_makes_the_next_ones_test_harder(client: MlflowClient) -> None:
    for met in range(3):
        trained(client, wrong=5)
        area, guard = judged().candidates[0].compared
        assert (area.met, area.alpha) == (met, spent_alpha(0.05, met))
        assert area.confidence == pytest.approx(1 - 2 * area.alpha)
        assert guard.alpha == 0.05
    trained(client, wrong=41)
    assert judged().kind == "promotion"
    trained(client, wrong=5)
    assert judged().candidates[0].compared[0].met == 0  # the new champion's first


def test_within_one_decision_the_next_meets_whoever_holds_the_title_by_then(client: MlflowClient) -> None:
    runs = [trained(client, wrong=wrong, metrics={"best/val_auroc": area}) for wrong, area in ((81, 0.7), (17, 0.8))]
    first, second = judged().candidates
    assert [first.run_id, second.run_id] == runs[::-1]
    assert (first.against, first.verdict) == (1, "bettered")
    assert (second.against, second.verdict) == (first.version, "promoted")
    assert read_aliases(client, "pneumonia") == (second.version, 1)


def test_who_fails_another_gate_is_compared_too_and_is_no_challenge(client: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("- {gate: size, megabytes: 0.00001}\n" + GATES)
    trained(client, wrong=41)
    decision = judged(gates="more.yaml")
    assert decision.candidates[0].failed == ("size",)
    assert [found.measure for found in decision.candidates[0].compared] == ["auroc", "sensitivity"]
    assert "figures/version_2/paired_roc.png" in decision.files
    trained(client, wrong=5)
    assert judged().candidates[0].compared[0].met == 0  # the other could not have displaced the champion


def test_a_champion_of_another_label_set(tracked: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("- gate: labels\n")
    trained(tracked, task="hemorrhage", labels=("any", "subdural"))
    assert promote("hemorrhage", gates="labels.yaml").kind == "promotion"
    trained(tracked, task="hemorrhage", labels=("any",))
    decision = promote("hemorrhage", gates="labels.yaml")
    [_, result] = decision.candidates[0].results
    assert (result.passed, result.asked, result.found) == (False, "the champion's labels: any, subdural", "any")
    assert "python -m registry rollback hemorrhage --to 2" in result.advice
    assert read_aliases(tracked, "hemorrhage") == (1, None)


# --- other images


class Evaluations:
    """In place of `steps.evaluate`: answers of the champion's test images, as `wrong` says."""

    def __init__(self, client: MlflowClient, images: pd.DataFrame, wrong: int) -> None:
        self.client = client
        self.images = images[images["split"] == "test"]
        self.wrong = wrong
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, config: RunConfig, uri: str, split: str) -> str:
        self.asked.append((config.data.path, uri, split))
        tags = {"task": "pneumonia", "step": "evaluate", "evaluated_model": uri}
        tags["manifest_digest"] = manifest_digest(self.images)
        run_id = str(self.client.create_run("1", tags=tags).info.run_id)
        path = Path("predictions.parquet")
        predictions(self.images, self.wrong).to_parquet(path)
        self.client.log_artifact(run_id, str(path))
        self.client.set_terminated(run_id)
        return run_id


@pytest.fixture
def evaluations(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Evaluations:
    made = Evaluations(client, manifest(), wrong=41)
    monkeypatch.setattr("secondread.steps.evaluate.evaluate", made)
    return made


def test_who_was_trained_on_other_images_answers_the_champions_anew(
    client: MlflowClient, evaluations: Evaluations
) -> None:
    trained(client, wrong=2, images=manifest(first=10_000))
    decision = judged()
    assert evaluations.asked == [("phantom", "models:/pneumonia/2", "test")]
    area, sensitivity = decision.candidates[0].compared
    assert (area.images, area.left_out, sensitivity.challenger) == (TESTED, 0, 0.975)
    assert decision.kind == "promotion"


def test_who_fails_another_gate_answers_no_images_anew(
    client: MlflowClient, evaluations: Evaluations, tmp_path: Path
) -> None:
    (tmp_path / "more.yaml").write_text("- {gate: size, megabytes: 0.00001}\n" + GATES)
    trained(client, images=manifest(first=IMAGES))
    decision = judged(gates="more.yaml")
    assert (decision.candidates[0].failed, decision.candidates[0].compared) == (("size",), ())
    assert evaluations.asked == []


def test_an_equal_evaluation_is_not_repeated(client: MlflowClient, evaluations: Evaluations) -> None:
    evaluations.wrong = 5
    run_id = trained(client, images=manifest(first=10_000))
    judged()
    promote("pneumonia", run_id, "compare.yaml")
    assert len(evaluations.asked) == 1


def test_images_that_the_candidate_was_trained_on_are_left_out(client: MlflowClient, evaluations: Evaluations) -> None:
    # Its 80 images of train and val begin 60 before the champion's test ends.
    trained(client, images=manifest(first=IMAGES - 60))
    area = judged().candidates[0].compared[0]
    assert (area.images, area.left_out) == (TESTED - 60, 60)


def test_of_a_patient_that_the_candidate_was_trained_on_no_image_counts(
    client: MlflowClient, evaluations: Evaluations
) -> None:
    other = manifest(first=10_000)
    other.loc[:9, "patient_key"] = manifest()["patient_key"].iloc[-10:].to_numpy()
    trained(client, images=other)
    assert judged().candidates[0].compared[0].left_out == 10


def test_a_cross_validated_candidate_was_trained_on_all_its_images(
    client: MlflowClient, evaluations: Evaluations
) -> None:
    other = manifest(first=1)  # the champion's, without the first
    other["fold"] = 0
    trained(client, images=other)
    decision = judged()
    [_, area, _] = decision.candidates[0].results
    assert (area.passed, area.found) == (False, "not compared")
    assert area.advice.startswith(
        f"0 with and 0 without pneumonia were answered by both, after {TESTED} that one of the"
    )
    assert decision.candidates[0].compared == ()
    assert read_aliases(client, "pneumonia") == (1, None)


def test_the_candidates_images_can_be_asked_for(client: MlflowClient, evaluations: Evaluations) -> None:
    images = manifest(first=10_000)
    evaluations.images = images[images["split"] == "test"]
    evaluations.wrong = 5
    trained(client, wrong=41, images=images)
    decision = judged(ground="candidate")
    assert evaluations.asked == [("phantom", "models:/pneumonia/1", "test")]
    assert decision.candidates[0].compared[1].champion == 0.8
    assert decision.kind == "promotion"


# --- the champion's images are gone


def test_a_manifest_that_has_gone(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: RunConfig, uri: str, split: str) -> str:
        raise SourceError("phantom: there is no such folder")

    monkeypatch.setattr("secondread.steps.evaluate.evaluate", fail)
    trained(client, images=manifest(first=10_000))
    with pytest.raises(RegistryError) as caught:
        judged()
    assert str(caught.value) == (
        "models:/pneumonia/1: its test images: phantom: there is no such folder; bring them back, compare on the test "
        "images of the other with --manifest champion or candidate, or say by hand which version shall serve: `python "
        "-m registry rollback pneumonia --to N`"
    )
    assert read_aliases(client, "pneumonia") == (1, None)
    assert history("pneumonia") == ()


def test_images_that_are_others_by_now(client: MlflowClient, evaluations: Evaluations) -> None:
    evaluations.images = evaluations.images.iloc[1:]
    trained(client, images=manifest(first=10_000))
    with pytest.raises(
        RegistryError, match="the images at phantom are not those that it was tested on; bring them back"
    ):
        judged()
    assert read_aliases(client, "pneumonia") == (1, None)


def test_a_champion_from_before_the_history_without_its_table_of_images(tracked: MlflowClient, tmp_path: Path) -> None:
    (tmp_path / "compare.yaml").write_text(GATES)
    trained(tracked, left_out=("manifest.parquet",))
    register("pneumonia")
    tracked.set_registered_model_alias("pneumonia", "champion", "1")
    trained(tracked, images=manifest(first=10_000))
    with pytest.raises(RegistryError, match=r"it has no manifest.parquet; train again, or restore the run's artifacts"):
        judged()
    assert read_aliases(tracked, "pneumonia") == (1, None)


@pytest.mark.parametrize("change", ["replaced", "gone"])
def test_a_champion_whose_answers_are_not_those_that_were_judged(client: MlflowClient, change: str) -> None:
    champion = Contender.of(client, load_task("pneumonia"), 1)
    path = Path(champion.run.info.artifact_uri) / "predictions.parquet"
    if change == "gone":
        path.unlink()
    else:
        predictions(manifest(), wrong=3).to_parquet(path)
    trained(client)
    with pytest.raises(RegistryError, match=r"models:/pneumonia/1: its predictions.parquet is not what decision 1 ju"):
        judged()
    assert read_aliases(client, "pneumonia") == (1, None)


def test_a_champion_whose_bundle_is_damaged(client: MlflowClient) -> None:
    (Contender.of(client, load_task("pneumonia"), 1).bundle / "model.keras").write_text("another")
    trained(client, wrong=41)
    with pytest.raises(
        RegistryError, match=r"version 1, the champion: .*model.keras is missing .* rollback pneumonia --to N"
    ):
        judged()
    assert read_aliases(client, "pneumonia") == (1, None)
