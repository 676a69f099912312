"""The history tells what was decided, and shows up whatever was changed since."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from trained_runs import GOOD, prepare_store, restore_store, trained

from registry.__main__ import main
from registry.chain import APPLIED, HEAD, Head, read_head
from registry.history import history
from registry.lock import alone
from registry.promote import promote
from registry.rollback import rollback
from secondread.errors import RegistryError

Tamper = Callable[[MlflowClient, list[str]], object]


def decide_three_times(client: MlflowClient) -> list[str]:
    """The runs of three decisions: a promotion, a refusal and a promotion; versions 1 and 3 serve."""
    runs = []
    for low in (0.4, -0.1, 0.4):
        trained(client, metrics=GOOD | {"test/skill_low": low})
        promote("pneumonia", gates="demo")
        head = read_head(client, "pneumonia")
        assert head is not None
        runs.append(head.run_id)
    return runs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("three_decisions") / "store"
    return folder, prepare_store(folder, empty_database, decide_three_times)


@pytest.fixture
def client(store: tuple[Path, list[str]], workplace: Path) -> MlflowClient:
    """A client of a store with three decisions."""
    return restore_store(store[0], workplace)


@pytest.fixture
def decided(store: tuple[Path, list[str]], client: MlflowClient) -> list[str]:
    """The runs of the three decisions."""
    return store[1]


def problems_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    found = history("pneumonia")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("PROBLEM  ")]
    assert said == [f"PROBLEM  {problem}" for problem in found]
    return list(found)


def test_nothing_was_decided_yet(tracked: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    main(["history", "pneumonia"])
    assert capsys.readouterr().out == (
        "nothing was decided about pneumonia yet; next: `python -m registry promote --task pneumonia`\n"
    )


def test_a_whole_history_is_told_from_the_first_decision_on(
    decided: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rollback("pneumonia", reason="the new one is slow")
    capsys.readouterr()
    main(["history", "pneumonia"])
    lines = capsys.readouterr().out.splitlines()
    told = [" ".join(word for word in line.split() if not word.startswith("20")) for line in lines]
    assert told[:7] == [
        f"1 promotion champion nobody -> 1 run {decided[0]}",
        "version 1, compact_resnet: promoted",
        f"2 refusal champion 1 -> 1 run {decided[1]}",
        "version 2, compact_resnet: refused by skill",
        f"3 promotion champion 1 -> 3 run {decided[2]}",
        "version 3, compact_resnet: promoted",
        "4 rollback champion 3 -> 1 run " + lines[6].rpartition(" ")[2],
    ]
    assert told[7:] == ["the new one is slow", "the history is whole"]


def artifacts(client: MlflowClient, run_id: str) -> Path:
    return Path(client.get_run(run_id).info.artifact_uri)


def rewrite(name: str, run: int) -> Tamper:
    def tamper(client: MlflowClient, runs: list[str]) -> None:
        path = artifacts(client, runs[run]) / name
        path.write_text(path.read_text().replace("refused", "praised"))

    return tamper


def add_a_file(client: MlflowClient, runs: list[str]) -> None:
    (artifacts(client, runs[0]) / "excuse.txt").write_text("it was not me")


@pytest.mark.parametrize(
    ("tamper", "shown"),
    [
        (rewrite("decision.json", 1), ["decision 2: its decision.json cannot be read"]),
        (rewrite("report.html", 1), ["decision 2: its report.html was changed"]),
        (add_a_file, ["decision 1: its excuse.txt was added"]),
        (lambda c, runs: (artifacts(c, runs[0]) / "report.html").unlink(), ["decision 1: its report.html is gone"]),
        (
            lambda c, runs: (artifacts(c, runs[0]) / "decision.json").unlink(),
            ["decision 1: its decision.json cannot be read"],
        ),
        (
            lambda c, runs: c.set_tag(runs[0], "decision.kind", "refusal"),
            ["decision 1: its tag decision.kind was changed"],
        ),
        (lambda c, runs: c.log_metric(runs[1], "auroc", 1), ["decision 2: its metric auroc was changed"]),
        (lambda c, runs: c.delete_run(runs[1]), ["decision 2: its run RUN was deleted"]),
        (
            lambda c, runs: c.delete_model_version("pneumonia", "2"),
            ["decision 2: version 2, which it names, was deleted"],
        ),
        (
            lambda c, runs: c.set_registered_model_alias("pneumonia", "champion", "2"),
            [
                "the aliases were moved: the registry has champion version 2, previous version 1, and the history says "
                "champion version 3, previous version 1"
            ],
        ),
    ],
)
def test_what_was_changed_is_shown_up(
    client: MlflowClient,
    decided: list[str],
    capsys: pytest.CaptureFixture[str],
    tamper: Tamper,
    shown: list[str],
) -> None:
    assert problems_of(capsys) == []
    tamper(client, decided)
    assert problems_of(capsys) == [text.replace("RUN", decided[1]) for text in shown]
    with pytest.raises(SystemExit) as caught:
        main(["history", "pneumonia"])
    assert caught.value.code == 1


def test_a_number_in_a_decision_that_was_changed(
    client: MlflowClient, decided: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = artifacts(client, decided[1]) / "decision.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    assert problems_of(capsys) == ["decision 2: its decision.json was changed"]


def test_a_head_set_back_shows_up_the_decision_that_it_drops(
    client: MlflowClient, decided: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    older = Head(2, decided[1], client.get_run(decided[1]).data.tags["decision.digest"])
    for tag in (HEAD, APPLIED):
        client.set_registered_model_tag("pneumonia", tag, str(older))
    dropped, moved = problems_of(capsys)
    assert dropped == f"run {decided[2]}: a decision about pneumonia that the history does not name"
    assert moved.startswith("the aliases were moved")


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_head_that_is_gone_or_changed_stops_everything_and_can_be_mended(
    client: MlflowClient, decided: list[str], capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    before = client.get_registered_model("pneumonia").tags[HEAD]
    if damage == "gone":
        client.delete_registered_model_tag("pneumonia", HEAD)
    else:
        client.set_registered_model_tag("pneumonia", HEAD, "no head at all, is it")
    for stopped in (lambda: history("pneumonia"), lambda: promote("pneumonia", gates="demo")):
        with pytest.raises(RegistryError, match=f"its tag history.head .*; set it to `{before}`, which the newest"):
            stopped()
    client.set_registered_model_tag("pneumonia", HEAD, before)
    assert problems_of(capsys) == []


def test_a_run_that_is_gone_for_good_ends_the_chain(
    client: MlflowClient, decided: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client._tracking_client.store._hard_delete_run(decided[1])
    assert problems_of(capsys) == [
        f"decision 2: its run {decided[1]} is gone",
        "decision 1: nothing leads to it and to those before it any more",
        f"run {decided[0]}: a decision about pneumonia that the history does not name",
    ]


def test_a_damaged_newest_decision_stops_promotion_until_a_person_says_who_serves(
    client: MlflowClient, decided: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite("report.html", 2)(client, decided)
    (artifacts(client, decided[2]) / "report.html").write_text("all is well")
    trained(client)
    with pytest.raises(RegistryError, match=r"decision 3: its report.html was changed; .* rollback pneumonia --to 3"):
        promote("pneumonia", gates="demo")
    decision = rollback("pneumonia", 3)
    assert decision.reason == "a person went back to version 3; decision 3: its report.html was changed"
    assert promote("pneumonia", gates="demo").number == 5
    assert problems_of(capsys) == ["decision 3: its report.html was changed"]


def test_while_another_process_decides_the_history_is_told_without_waiting(
    decided: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with alone("pneumonia"):
        assert history("pneumonia") == ()
    assert "another process is deciding about pneumonia now" in capsys.readouterr().out
