"""Registration: a run's model becomes a version, once, and serves nobody until it is promoted."""

import itertools
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus

from registry.__main__ import main
from registry.register import register
from secondread.errors import RegistryError

TIMES = itertools.count(1_700_000_000_000, 1000)  # in ms, each later than the one before


@pytest.fixture
def client(tracked: MlflowClient) -> MlflowClient:
    for task in ("pneumonia", "hemorrhage"):
        tracked.create_experiment(task)
    return tracked


def trained(
    client: MlflowClient,
    task: str = "pneumonia",
    step: str = "train",
    status: str = "FINISHED",
    models: int = 1,
    experiment: str | None = None,
) -> str:
    """A run as a training leaves it; its model is a name without files."""
    number = client.get_experiment_by_name(experiment or task).experiment_id
    tags = {"task": task, "step": step, "manifest_digest": "m" * 64}
    run_id = str(client.create_run(number, tags=tags).info.run_id)
    for _ in range(models):
        log_model(client, run_id)
    if status != "RUNNING":
        client.set_terminated(run_id, status, end_time=next(TIMES))
    return run_id


def log_model(client: MlflowClient, run_id: str, whole: bool = True) -> str:
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, "model", source_run_id=run_id)
    if whole:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_id)


def versions(client: MlflowClient, task: str = "pneumonia") -> list[Any]:
    return list(client.search_model_versions(f"name = '{task}'"))


def test_a_runs_model_becomes_a_version_named_as_its_task_without_an_alias(client: MlflowClient) -> None:
    run_id = trained(client)
    assert register("pneumonia") == (
        f"pneumonia version 1 is run {run_id}; next: `python -m registry promote --task pneumonia --run {run_id}`"
    )
    [version] = versions(client)
    [output] = client.get_run(run_id).outputs.model_outputs
    assert (version.run_id, version.source) == (run_id, f"models:/{output.model_id}")
    assert version.tags["manifest_digest"] == "m" * 64
    model = client.get_registered_model("pneumonia")
    assert (model.description, model.aliases) == ("Pneumonia on frontal chest X-ray", {})


def test_it_is_the_newest_finished_training_of_the_task_wherever_it_ran(client: MlflowClient) -> None:
    client.create_experiment("mine")
    trained(client)
    newest = trained(client, experiment="mine")
    trained(client, task="hemorrhage")
    trained(client, step="fold")
    trained(client, step="trial")
    trained(client, step="evaluate")
    trained(client, status="FAILED")
    trained(client, status="KILLED")
    trained(client, status="RUNNING")
    assert f"is run {newest};" in register("pneumonia")


def test_it_is_the_one_that_ended_last_not_the_one_that_began_last(client: MlflowClient) -> None:
    slow = trained(client, status="RUNNING")
    trained(client)
    client.set_terminated(slow, "FINISHED", end_time=next(TIMES))
    assert f"is run {slow};" in register("pneumonia")


def test_a_given_run_is_registered_although_there_is_a_newer_one(client: MlflowClient) -> None:
    older = trained(client)
    trained(client)
    assert f"pneumonia version 1 is run {older};" in register("pneumonia", older)


def test_the_refit_of_a_search_is_a_training_too(client: MlflowClient) -> None:
    refit = trained(client, step="retrain")
    assert f"is run {refit};" in register("pneumonia")


def test_registering_again_changes_nothing(client: MlflowClient) -> None:
    trained(client)
    assert register("pneumonia") == register("pneumonia")
    assert len(versions(client)) == 1


def test_of_a_run_that_logged_its_model_more_than_once_the_last_counts(client: MlflowClient) -> None:
    run_id = trained(client, models=5)
    last = log_model(client, run_id)
    register("pneumonia")
    assert versions(client)[0].source == f"models:/{last}"


def test_a_model_that_was_being_logged_when_its_process_was_killed_does_not_count(client: MlflowClient) -> None:
    run_id = trained(client, models=0)
    whole = log_model(client, run_id)
    log_model(client, run_id, whole=False)
    register("pneumonia")
    assert versions(client)[0].source == f"models:/{whole}"


def test_without_a_training_the_next_step_is_named(client: MlflowClient) -> None:
    trained(client, task="hemorrhage")
    with pytest.raises(RegistryError) as caught:
        register("pneumonia")
    assert str(caught.value) == (
        "no finished training for pneumonia; run `python -m secondread train --task pneumonia` first"
    )
    assert client.search_registered_models() == []


@pytest.mark.parametrize(
    ("made", "received"),
    [
        ({"task": "hemorrhage"}, "a FINISHED train for hemorrhage"),
        ({"step": "evaluate"}, "a FINISHED evaluate for pneumonia"),
        ({"status": "FAILED"}, "a FAILED train for pneumonia"),
        ({"status": "RUNNING"}, "a RUNNING train for pneumonia"),
    ],
)
def test_a_run_of_another_kind_is_refused_by_what_it_is(
    client: MlflowClient, made: dict[str, Any], received: str
) -> None:
    run_id = trained(client, **made)
    with pytest.raises(RegistryError) as caught:
        register("pneumonia", run_id)
    assert str(caught.value) == f"run {run_id}: expected a FINISHED training for pneumonia. Received: {received}"


def test_a_launchers_run_is_refused(client: MlflowClient) -> None:
    run_id = client.create_run("0").info.run_id
    with pytest.raises(RegistryError, match="Received: a RUNNING run of another kind for no task"):
        register("pneumonia", run_id)


@pytest.mark.parametrize("run_id", ["0" * 32, "no id at all"])
def test_a_run_that_is_not_there_is_refused(client: MlflowClient, run_id: str) -> None:
    with pytest.raises(RegistryError, match=f"run {run_id}: there is no such run in this tracking store"):
        register("pneumonia", run_id)


def test_a_deleted_run_is_refused_and_can_come_back(client: MlflowClient) -> None:
    run_id = trained(client)
    client.delete_run(run_id)
    with pytest.raises(RegistryError, match=f"run {run_id}: it was deleted; `mlflow runs restore --run-id {run_id}`"):
        register("pneumonia", run_id)


def test_a_run_without_a_model_is_refused(client: MlflowClient) -> None:
    run_id = trained(client, models=0)
    with pytest.raises(RegistryError, match=f"run {run_id}: it has no logged model any more; train again"):
        register("pneumonia")
    assert client.search_registered_models() == []


def test_a_run_whose_model_was_deleted_is_refused(client: MlflowClient) -> None:
    run_id = trained(client)
    client.delete_logged_model(client.get_run(run_id).outputs.model_outputs[-1].model_id)
    with pytest.raises(RegistryError, match=f"run {run_id}: it has no logged model any more; train again"):
        register("pneumonia")


def test_the_command_says_what_happened(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = trained(client)
    main(["register", "--task", "pneumonia", "--run", run_id])
    assert capsys.readouterr().out.startswith(f"pneumonia version 1 is run {run_id}; next: ")


def test_the_command_refuses_in_one_line(client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["register", "--task", "hemorrhage"])
    assert caught.value.code == 1
    assert capsys.readouterr().err == (
        "error: no finished training for hemorrhage; run `python -m secondread train --task hemorrhage` first\n"
    )
