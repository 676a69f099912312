"""Gates are data: each asks one thing, says what it found, and names the next step when it is not passed."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from trained_runs import CLEAN, GOOD, manifest, trained

from registry.contender import Contender
from registry.gates import Finding, GateSet, gate_names, load_gates
from registry.register import make_version
from secondread.data.manifest import shareable
from secondread.errors import BundleError, RegistryError
from secondread.tasks import load_task
from secondread.tracking.answer import Latency


def contender(client: MlflowClient, run_id: str, task: str = "pneumonia") -> Contender:
    run = client.get_run(run_id)
    return Contender(client, load_task(task), int(make_version(client, task, run).version), run)


def judged(client: MlflowClient, gate: dict[str, Any], **made: Any) -> Finding:
    """What a gate finds of a training, without a champion."""
    [one] = GateSet.model_validate({"gates": [gate]}).gates
    return one.judge(contender(client, trained(client, **made), made.get("task", "pneumonia")), None)


def figures(**values: float) -> dict[str, float]:
    """Metrics with an interval of .05 to both sides; `study__` begins a study's name."""
    found = {}
    for name, value in values.items():
        group, metric = ("study", name.removeprefix("study__")) if "__" in name else ("test", name)
        for bound, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.05)):
            found[f"{group}/{metric}{bound}"] = value + shift
    return found


# --- figures


@pytest.mark.parametrize(
    ("gate", "metrics", "passed", "found"),
    [
        ({"gate": "skill"}, figures(skill=0.051), True, ".051 (.001 to .101)"),
        ({"gate": "skill"}, figures(skill=0.049), False, ".049 (-.001 to .099)"),
        ({"gate": "skill", "above": 0.2}, figures(skill=0.24), False, ".240 (.190 to .290)"),
        ({"gate": "skill", "level": "study"}, figures(skill=-1, study__skill=0.3), True, ".300 (.250 to .350)"),
        ({"gate": "skill"}, {}, False, "not measured"),
        ({"gate": "calibration", "at_most": 0.1}, figures(ece=0.1), True, ".100 (.050 to .150)"),
        ({"gate": "calibration", "at_most": 0.1}, figures(ece=0.11), False, ".110 (.060 to .160)"),
    ],
)
def test_a_figure_is_judged_with_its_interval(
    tracked: MlflowClient, gate: dict[str, Any], metrics: dict[str, float], passed: bool, found: str
) -> None:
    finding = judged(tracked, gate, metrics=metrics)
    assert (finding.passed, finding.found) == (passed, found)
    assert passed or finding.advice


@pytest.mark.parametrize(
    ("point", "by", "passed"),
    [
        ("high_sensitivity", "value", True),
        ("high_sensitivity", "low", False),
        ("balanced", "value", False),
        ("high_specificity", "value", False),
    ],
)
def test_sensitivity_is_that_of_an_operating_point(tracked: MlflowClient, point: str, by: str, passed: bool) -> None:
    gate = {"gate": "sensitivity", "operating_point": point, "at_least": 0.92, "by": by}
    metrics = figures(sensitivity_at_high_sensitivity=0.95, sensitivity=0.9)
    assert judged(tracked, gate, metrics=metrics).passed == passed


def test_a_study_gate_without_studies_names_the_way_out(tracked: MlflowClient) -> None:
    finding = judged(tracked, {"gate": "skill", "level": "study"}, metrics=GOOD)
    assert (finding.passed, finding.found) == (False, "not measured")
    assert finding.advice == "train on images whose studies are known, or leave out the gates of studies: --gates FILE"


# --- the run and its model


@pytest.mark.parametrize(
    ("gate", "tags", "passed", "found"),
    [
        ("audit", {}, True, "clean"),
        ("audit", {"audit": "leaks"}, False, "leaks"),
        ("git", {}, True, "commit cccccccccccc"),
        ("git", {"git.dirty": "true"}, False, "commit cccccccccccc, with changes that were not committed"),
        ("git", {"git.commit": "unknown"}, False, "trained outside a checkout"),
    ],
)
def test_what_the_training_was_made_from(
    tracked: MlflowClient, gate: str, tags: dict[str, str], passed: bool, found: str
) -> None:
    finding = judged(tracked, {"gate": gate}, tags=CLEAN | tags)
    assert (finding.passed, finding.found) == (passed, found)


def test_a_run_from_before_the_audit_was_noted_is_to_be_trained_again(tracked: MlflowClient) -> None:
    finding = judged(tracked, {"gate": "audit"}, tags={})
    assert finding == (False, "clean", "not measured", "train again, which measures it", None, None)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "both are there"),
        ({"requirements.txt": b"\n"}, "no requirements"),
        ({"MLmodel": b"flavors: {}\n"}, "no signature"),
        ({"MLmodel": b"", "requirements.txt": b""}, "no requirements and no signature"),
    ],
)
def test_a_model_says_what_it_needs_and_takes(tracked: MlflowClient, files: dict[str, bytes], found: str) -> None:
    finding = judged(tracked, {"gate": "packaging"}, files=files)
    assert (finding.passed, finding.found) == (found == "both are there", found)


def test_a_bundle_fits_its_budget(tracked: MlflowClient) -> None:
    assert judged(tracked, {"gate": "size", "megabytes": 0.1}).found == "0.0 MB"
    assert not judged(tracked, {"gate": "size", "megabytes": 0.0001}).passed


def test_a_model_answers_in_time(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secondread.tracking.answer.time_answers", lambda model, image: Latency(2.0, 40.0, 30))
    finding = judged(tracked, {"gate": "latency", "median_ms": 40})
    assert (finding.passed, finding.found) == (True, "40.0 ms over 30 images, loaded in 2.0 s")
    assert not judged(tracked, {"gate": "latency", "median_ms": 39}).passed


def test_a_model_that_does_not_answer_is_not_in_time(tracked: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Path, image: bytes) -> Latency:
        raise BundleError("exit status 1")

    monkeypatch.setattr("secondread.tracking.answer.time_answers", fail)
    finding = judged(tracked, {"gate": "latency", "median_ms": 1000})
    assert (finding.passed, finding.found, finding.advice) == (False, "the model does not answer", "exit status 1")


# --- subgroups


def with_sex(ill_only: bool = False) -> pd.DataFrame:
    """Every fourth image is a woman's, half of whom are ill; or, with `ill_only`, every second, all of them ill."""
    images = manifest()
    number = images.index.to_numpy()
    women = number % 2 == 1 if ill_only else number % 8 < 2
    images["subgroup_sex"] = ["F" if woman else "M" for woman in women]
    return shareable(images.assign(path="", group=0, given=False, row=0))


def test_nobody_is_worse_off_where_every_tenth_is_answered_wrongly(tracked: MlflowClient) -> None:
    finding = judged(tracked, {"gate": "subgroups", "margin": 0.2}, images=with_sex(), wrong=10)
    assert finding.passed
    assert finding.found.startswith("4 measured; the lowest: ")


def test_a_subgroup_that_is_surely_worse_off_is_named(tracked: MlflowClient) -> None:
    # Of the test's 160 images in 200 answered rows, every eighth answer is wrong: they are all of well women.
    finding = judged(tracked, {"gate": "subgroups", "margin": 0.2}, images=with_sex(), wrong=8)
    assert not finding.passed
    assert finding.found == ("4 measured; specificity 0.000 (0.000 to 0.161) of 20 images, sex F, everyone's 0.750")


def test_a_subgroup_of_too_few_images_is_not_judged(tracked: MlflowClient) -> None:
    gate = {"gate": "subgroups", "margin": 0.2, "at_least": 21}
    assert judged(tracked, gate, images=with_sex(), wrong=8).passed


def test_without_any_subgroup_there_is_nothing_to_say(tracked: MlflowClient) -> None:
    finding = judged(tracked, {"gate": "subgroups", "margin": 0.2})
    assert (finding.passed, finding.found) == (True, "no subgroup with 20 images is known")


def test_images_with_another_label_are_a_subgroup(tracked: MlflowClient) -> None:
    task = load_task("hemorrhage")
    images = manifest(labels=task.labels)
    for label in task.labels[1:]:
        images[f"label_{label}"] = 0.0
    images["label_subdural"] = (images.index.to_numpy() % 4 == 1).astype(float)
    found = judged(tracked, {"gate": "subgroups", "margin": 0.2}, task="hemorrhage", images=images, wrong=10).found
    assert found.startswith("1 measured; the lowest: sensitivity ")
    assert "of 40 images, with subdural" in found


# --- the files


@pytest.mark.parametrize("name", gate_names())
def test_every_set_that_comes_with_the_project_can_be_read(name: str) -> None:
    known, gates = load_gates(name, "pneumonia")
    assert known == name
    assert len(gates.gates) >= 3


@pytest.mark.parametrize("task", ["pneumonia", "hemorrhage"])
def test_a_tasks_own_gates_ask_all_that_promotion_promises(task: str) -> None:
    name, gates = load_gates("task", task)
    assert name == task
    asked = {gate.gate for gate in gates.gates}
    assert asked == {
        *("skill", "sensitivity", "calibration", "latency", "size", "audit", "git", "packaging"),
        *("subgroups", "labels", "comparison"),
    }
    assert ("study skill" in {gate.name for gate in gates.gates}) == (task == "hemorrhage")


def test_a_users_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- gate: skill\n  above: 0.5\n")
    name, gates = load_gates(str(path), "pneumonia")
    assert (name, [gate.name for gate in gates.gates]) == ("mine", ["skill"])


def test_the_digest_is_of_what_is_asked_not_of_how_it_is_written(tmp_path: Path) -> None:
    digests = []
    for text in ("- {gate: skill}", "# why\n- gate: skill\n  above: 0.0\n", "- {gate: skill, above: 0.1}"):
        (tmp_path / "mine.yaml").write_text(text)
        digests.append(load_gates(str(tmp_path / "mine.yaml"), "pneumonia")[1].digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {gate: skill, abvoe: 1}", "0.skill.abvoe: Extra inputs are not permitted"),
        ("- {gate: beauty}", "0: Input tag 'beauty' found using 'gate' does not match any of the expected tags"),
        ("- {gate: size}", "0.size.megabytes: Field required"),
        ("- {gate: audit}\n- {gate: audit}", "the file: audit: listed twice"),
        ("[]", "the file: Tuple should have at least 1 item"),
        ("gate: skill", "the file: Input should be a valid tuple"),
        ("- {gate: comparison, measure: auroc, asks: non_inferiority}", "non_inferiority takes a margin"),
        ("- {gate: comparison, measure: auroc, asks: superiority, margin: 1}", "superiority takes none"),
        ("- [", "cannot be read as YAML (ParserError)"),
    ],
)
def test_a_file_that_asks_what_no_gate_can_judge_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RegistryError) as caught:
        load_gates(str(tmp_path / "mine.yaml"), "pneumonia")
    assert str(caught.value).startswith(f"--gates {tmp_path / 'mine.yaml'}: ")
    assert message in str(caught.value)


def test_every_number_in_a_tasks_gates_is_explained() -> None:
    for name in gate_names():
        text = (Path(__file__).parents[3] / "registry" / "gates" / f"{name}.yaml").read_text()
        assert len(yaml.safe_load(text)) <= text.count("#") + 3
