"""Promotion as a person types it: a challenger from other images answers the champion's, under its own code."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import Run

from integration.conftest import NewProject
from integration.easy_source import write_easy_source
from integration.privacy import planted_traces
from integration.project import Project, flags

# Two trainings, two promotions and an evaluation come before the first test.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SETTINGS = {"preprocess.size": 64, "train.epochs": 6, "train.batch_size": 8, "explanation.images": 0}
GATES = """
- {gate: packaging}
- {gate: audit}
- {gate: size, megabytes: 50}
- {gate: latency, median_ms: 20000}     # this machine runs a whole test suite besides
- {gate: labels}
- {gate: comparison, measure: auroc, asks: non_inferiority, margin: 0.9}
- {gate: comparison, measure: sensitivity, asks: non_inferiority, margin: 0.99}
"""


@dataclass(frozen=True)
class Contest:
    """A champion of one source, and a challenger of another that was judged beside it.

    Args:
        said: what the commands wrote.
    """

    project: Project
    source: Path
    gates: Path
    said: dict[str, str]

    def runs(self, step: str) -> list[Run]:
        """The task's runs of a step, the newest first."""
        return [run for run in self.project.runs("pneumonia") if run.data.tags["step"] == step]

    def champion(self) -> int:
        """The version that serves."""
        return int(self.project.client.get_model_version_by_alias("pneumonia", "champion").version)


@pytest.fixture(scope="module")
def contest(new_project: NewProject, tmp_path_factory: pytest.TempPathFactory) -> Contest:
    project, folder = new_project(), tmp_path_factory.mktemp("sources")
    source, other = write_easy_source(folder / "first", seed=1), write_easy_source(folder / "other", seed=2)
    gates = folder / "mine.yaml"
    gates.write_text(GATES)
    said = {}
    for name, data in (("first", source), ("second", other)):
        trained = project.secondread("train", *flags({"data": data, **SETTINGS}))
        assert trained.returncode == 0, trained.stderr
        promoted = project.registry("promote", "--task", "pneumonia", "--gates", str(gates))
        assert promoted.returncode == 0, promoted.stderr
        said[name] = promoted.stdout
        said[f"{name} aside"] = trained.stdout + trained.stderr + promoted.stderr
    return Contest(project, source, gates, said)


def test_the_first_has_nobody_to_meet(contest: Contest) -> None:
    assert len(re.findall("no champion to compare with", contest.said["first"])) == 3
    assert "now champion version 1, previous nobody" in contest.said["first"]


def test_the_second_answers_the_champions_images_and_is_compared_on_them(contest: Contest) -> None:
    [evaluation] = contest.runs("evaluate")
    assert evaluation.info.status == "FINISHED"
    assert evaluation.data.tags["evaluated_model"] == "models:/pneumonia/2"
    assert re.search(r"passed  auroc vs champion .* 8 images;", contest.said["second"])
    assert re.search(r"passed  latency .* ms over 30 images", contest.said["second"])
    assert "now champion version 2, previous version 1" in contest.said["second"]


def test_each_decision_is_a_finished_run_with_its_page_and_figures(contest: Contest) -> None:
    second, first = contest.runs("promote")
    assert (second.info.status, first.info.status) == ("FINISHED", "FINISHED")
    assert contest.project.files(first) >= {"decision.json", "report.html"}
    assert contest.project.files(second) >= {
        f"figures/version_2/{name}.png" for name in ("paired_roc", "agreement", "differences")
    }
    page = (contest.project.artifacts(second) / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3


def test_no_name_of_a_folder_or_file_reaches_a_decision(contest: Contest) -> None:
    assert planted_traces(contest.project, *contest.said.values()) == []


def test_rolled_back_and_told(contest: Contest) -> None:
    back = contest.project.registry("rollback", "pneumonia", "--reason", "asked for by the clinic")
    assert back.returncode == 0, back.stderr
    assert contest.champion() == 1
    told = contest.project.registry("history", "pneumonia")
    assert told.returncode == 0, told.stdout
    changes = [re.sub(r"\s+", " ", line) for line in told.stdout.splitlines() if "champion " in line]
    assert [re.findall(r"(promotion|rollback) champion (\w+ -> \w+)", line)[0] for line in changes] == [
        ("promotion", "nobody -> 1"),
        ("promotion", "1 -> 2"),
        ("rollback", "2 -> 1"),
    ]
    assert told.stdout.endswith("the history is whole\n")


def test_when_the_champions_images_have_gone_nobody_is_judged_and_the_alias_stays(contest: Contest) -> None:
    [challenger] = [run for run in contest.runs("train") if run.info.run_id in contest.said["second"]]
    for evaluation in contest.runs("evaluate"):
        contest.project.client.delete_run(evaluation.info.run_id)
    contest.source.rename(contest.source.with_name("gone"))
    try:
        asked = ("promote", "--task", "pneumonia", "--run", challenger.info.run_id, "--gates", str(contest.gates))
        refused = contest.project.registry(*asked)
    finally:
        contest.source.with_name("gone").rename(contest.source)
    assert refused.returncode == 1
    assert "error: models:/pneumonia/1: its test images: " in refused.stderr
    assert "bring them back, compare on the test images of the other with --manifest" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert contest.champion() == 1
    assert contest.project.registry("history", "pneumonia").returncode == 0


def test_a_changed_decision_is_shown_up(contest: Contest) -> None:
    first = contest.runs("promote")[-1]
    path = contest.project.artifacts(first) / "decision.json"
    kept = path.with_suffix(".kept")
    shutil.copy(path, kept)
    path.write_text(path.read_text().replace("audit", "Audit"))
    kept.replace(path.parent.parent / "kept.json")
    told = contest.project.registry("history", "pneumonia")
    (path.parent.parent / "kept.json").replace(path)
    assert told.returncode == 1
    assert "PROBLEM  decision 1: its decision.json was changed" in told.stdout
