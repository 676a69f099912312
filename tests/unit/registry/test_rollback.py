"""Rollback lets another version serve and says so in the history; deletion keeps what the history names."""

from pathlib import Path

import pytest
from mlflow import MlflowClient
from trained_runs import prepare_store, restore_store, trained

from registry.__main__ import main
from registry.aliases import read_aliases
from registry.delete import delete
from registry.history import history
from registry.promote import promote
from registry.rollback import rollback
from secondread.errors import BundleError, RegistryError


def serve(client: MlflowClient) -> None:
    """Version 2 serves, 1 was before it, and 3 is registered only."""
    for _ in range(2):
        trained(client)
        promote("pneumonia", gates="demo")
    trained(client)
    main(["register", "--task", "pneumonia"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    folder = tmp_path_factory.mktemp("served") / "store"
    prepare_store(folder, empty_database, serve)
    return folder


@pytest.fixture
def served(store: Path, workplace: Path) -> MlflowClient:
    """A client of a store as `serve` makes it."""
    return restore_store(store, workplace)


def bundle_of(client: MlflowClient, version: str) -> Path:
    run = client.get_run(client.get_model_version("pneumonia", version).run_id)
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    return Path(model.artifact_location) / "artifacts" / "bundle"


# --- rollback


def test_back_and_forth(served: MlflowClient) -> None:
    back = rollback("pneumonia", reason="it is slow")
    assert (back.kind, back.number, back.reason, back.candidates) == ("rollback", 3, "it is slow", ())
    assert read_aliases(served, "pneumonia") == (1, 2)
    forth = rollback("pneumonia")
    assert (forth.champion_before, forth.former_digest) == (1, back.digest())
    assert read_aliases(served, "pneumonia") == (2, 1)
    assert history("pneumonia") == ()


def test_to_a_version_that_a_person_names(served: MlflowClient) -> None:
    main(["rollback", "pneumonia", "--to", "3", "--reason", "asked for by the clinic"])
    assert read_aliases(served, "pneumonia") == (3, 2)


def test_there_is_nothing_to_go_back_to(tracked: MlflowClient) -> None:
    with pytest.raises(RegistryError, match="pneumonia: there is no version to go back to; name one with --to"):
        rollback("pneumonia")
    trained(tracked)
    promote("pneumonia", gates="demo")
    with pytest.raises(RegistryError, match="there is no version to go back to"):
        rollback("pneumonia")
    with pytest.raises(RegistryError, match="pneumonia: version 1 is champion already"):
        rollback("pneumonia", 1)
    with pytest.raises(RegistryError, match="pneumonia version 7: it or its run is gone; say which version"):
        rollback("pneumonia", 7)
    assert read_aliases(tracked, "pneumonia") == (1, None)


def test_a_champion_that_was_deleted_behind_our_back_is_left_behind(served: MlflowClient) -> None:
    served.delete_model_version("pneumonia", "2")
    decision = rollback("pneumonia")
    assert decision.reason == "a person went back to version 1; version 2 had been deleted"
    assert read_aliases(served, "pneumonia") == (1, None)
    trained(served)
    assert promote("pneumonia", gates="demo").champion_before == 1


def test_a_deleted_version_before_the_champion_is_left_away(served: MlflowClient) -> None:
    served.delete_model_version("pneumonia", "1")
    with pytest.raises(RegistryError, match=r"version 1 was deleted behind our back; .* rollback pneumonia --to 2"):
        promote("pneumonia", gates="demo")
    rollback("pneumonia", 2)
    assert read_aliases(served, "pneumonia") == (2, None)
    assert promote("pneumonia", gates="demo").champion_before == 2


def test_an_alias_moved_by_hand_is_taken_back_or_recorded_as_intended(served: MlflowClient) -> None:
    served.set_registered_model_alias("pneumonia", "champion", "3")
    back = rollback("pneumonia")
    assert back.reason == "a person went back to version 1; the alias champion had been moved to version 3"
    assert (back.champion_before, read_aliases(served, "pneumonia")) == (2, (1, 2))
    served.set_registered_model_alias("pneumonia", "champion", "3")
    intended = rollback("pneumonia", 3, "intended")
    assert intended.reason == "intended; the alias champion had been moved to version 3"
    assert (intended.champion_before, read_aliases(served, "pneumonia")) == (1, (3, 1))
    assert history("pneumonia") == ()


@pytest.mark.parametrize("name", ["bundle.json", "model.keras"])
def test_a_version_whose_bundle_is_damaged_does_not_serve(served: MlflowClient, name: str) -> None:
    (bundle_of(served, "1") / name).write_text("{}")
    with pytest.raises(BundleError, match="log the model anew"):
        rollback("pneumonia")
    assert read_aliases(served, "pneumonia") == (2, 1)


def test_a_version_whose_bundle_was_replaced_does_not_serve(served: MlflowClient) -> None:
    path = bundle_of(served, "1") / "bundle.json"
    path.write_text(path.read_text().replace('"threshold":0.5', '"threshold":0.1'))
    with pytest.raises(RegistryError, match=r"models:/pneumonia/1: its bundle.json is not what decision 1 judged"):
        rollback("pneumonia")
    assert read_aliases(served, "pneumonia") == (2, 1)


# --- delete


def test_a_version_that_nobody_names_is_deleted_and_its_run_stays(
    served: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["delete", "pneumonia", "3"])
    assert capsys.readouterr().out == "pneumonia version 3 is deleted; its run stays\n"
    assert len(served.search_model_versions("name = 'pneumonia'")) == 2
    assert history("pneumonia") == ()


def test_what_an_alias_names_is_kept(served: MlflowClient) -> None:
    served.set_registered_model_alias("pneumonia", "trial", "3")
    for version, alias in ((1, "previous"), (2, "champion"), (3, "trial")):
        with pytest.raises(RegistryError, match=f"pneumonia version {version}: it is {alias}; let another serve first"):
            delete("pneumonia", version)


def test_what_the_history_names_is_kept(served: MlflowClient) -> None:
    for version in (3, 2):
        rollback("pneumonia", version)
    with pytest.raises(RegistryError, match="pneumonia version 1: decision 3 names it, and the history keeps what it"):
        delete("pneumonia", 1)


def test_where_the_history_cannot_be_read_nothing_is_deleted(served: MlflowClient) -> None:
    [run, _] = served.search_runs([served.get_experiment_by_name("pneumonia").experiment_id], "tags.step = 'promote'")
    (Path(run.info.artifact_uri) / "decision.json").unlink()
    with pytest.raises(RegistryError, match="so nobody knows which versions it names"):
        delete("pneumonia", 3)


def test_a_version_that_is_not_there(served: MlflowClient) -> None:
    for task in ("pneumonia", "hemorrhage"):
        with pytest.raises(RegistryError, match=f"{task} version 9: there is no such version"):
            delete(task, 9)
