"""The bundle: what is saved comes back, and what was changed does not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit
from tiny_bundle import (
    LABELS,
    NONE,
    description,
    first_answer,
    network,
    network_of_two_classes,
    picture,
    point,
    studied,
)

from secondread.bundle import BundleDescription, ModelBundle, load_bundle, load_description, save_bundle, verify_bundle
from secondread.errors import BundleError
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.evaluation.scope import learn_scope
from secondread.models.outputs import learner, probabilities
from secondread.storage import sha256_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "bundle", description(), network())
    return tmp_path / "bundle"


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_bundle_is_two_files_and_describes_itself(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["bundle.json", "model.keras"]
    content = json.loads((folder / "bundle.json").read_text())
    assert (content["format"], content["task"], content["labels"]) == (2, "hemorrhage", list(LABELS))
    assert content["files"] == {"model.keras": sha256_of((folder / "model.keras").read_bytes())}


def test_what_was_saved_comes_back(folder: Path) -> None:
    loaded = load_bundle(folder)
    assert loaded.description.model_copy(update={"files": {}}) == description()
    pixels = np.stack([loaded.description.preprocess.pixels(picture(rows)) for rows in (16, 32, 48)])
    # sigmoid(-1), sigmoid(0), sigmoid(1)
    assert loaded.answer(pixels)[:, 0] == pytest.approx([0.268941, 0.5, 0.731059], abs=1e-6)
    assert loaded.answer(pixels)[:, 1] == pytest.approx([0.731059, 0.5, 0.268941], abs=1e-6)


def test_the_network_alone_is_loaded_by_bare_keras(folder: Path) -> None:
    alone = keras.saving.load_model(folder / "model.keras", compile=False)
    pixels = description().preprocess.pixels(picture(48))[np.newaxis]
    assert float(alone.predict_on_batch(pixels)[0, 0]) == pytest.approx(first_answer(48), abs=1e-6)


def test_a_network_of_two_classes_answers_the_second(tmp_path: Path) -> None:
    one = description().model_copy(
        update={
            "labels": ("any",),
            "operating_points": (point("any", "balanced", 0.5),),
            "calibration": {"any": NONE},
        }
    )
    save_bundle(tmp_path / "bundle", one, network_of_two_classes())
    pixels = one.preprocess.pixels(picture(48))[np.newaxis]
    answer = load_bundle(tmp_path / "bundle").answer(pixels)
    assert answer.shape == (1, 1)
    assert float(answer[0, 0]) == pytest.approx(first_answer(48), abs=1e-6)


def test_saving_again_replaces_the_whole_bundle(folder: Path) -> None:
    (folder / "stray").write_text("of an earlier bundle")
    save_bundle(folder, description().model_copy(update={"git_commit": "later"}), network())
    assert load_bundle(folder).description.git_commit == "later"
    assert not (folder / "stray").exists()


def test_a_changed_network_is_refused(folder: Path) -> None:
    path = folder / "model.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"bundle: model\.keras is missing or not the file that was saved; log the"):
        load_bundle(folder)


def test_a_missing_network_is_refused(folder: Path) -> None:
    (folder / "model.keras").unlink()
    with pytest.raises(BundleError, match=r"bundle: model\.keras is missing or not the file that was saved"):
        load_bundle(folder)


def test_a_network_that_no_digest_vouches_for_is_refused(folder: Path) -> None:
    rewrite(folder, lambda content: content.update(files={}))
    with pytest.raises(BundleError, match=r"model\.keras is missing or not the file that was saved"):
        load_bundle(folder)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere/bundle\.json: missing or damaged; log the model anew"):
        load_bundle(tmp_path / "nowhere")


def test_a_later_format_asks_for_a_later_version(folder: Path) -> None:
    rewrite(folder, lambda content: content.update(format=3))
    with pytest.raises(
        BundleError, match=r"bundle\.json: format 3; this version reads formats 1 and 2: update Second Read"
    ):
        load_description(folder)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"format": 1, "task": "hemorrhage"}', b'{"format": 1, "calibration": 1}'],
)
def test_a_damaged_description_is_refused(folder: Path, text: bytes) -> None:
    (folder / "bundle.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"bundle\.json: missing or damaged; log the model anew"):
        load_bundle(folder)


def test_an_operating_point_is_found_by_its_name_for_each_label() -> None:
    points = description().points("sensitive")
    assert {label: found.threshold for label, found in points.items()} == {"any": 0.25, "subdural": 0.25}
    assert description().point_names == ("balanced", "sensitive")


def test_an_unknown_operating_point_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BundleError, match="operating_point: this model has balanced, sensitive"):
        description().points("bold")


def test_each_label_has_each_operating_point() -> None:
    said = description().model_dump()
    with pytest.raises(ValidationError, match="operating point 'sensitive' is not given for each of"):
        type(description()).model_validate(said | {"operating_points": said["operating_points"][:3]})


def test_each_label_has_a_calibration() -> None:
    said = description().model_dump()
    with pytest.raises(ValidationError, match="calibration is not given for each of"):
        type(description()).model_validate(said | {"calibration": {"any": said["calibration"]["any"]}})


def calibrated(**calibration: Calibration) -> BundleDescription:
    return description().model_copy(update={"calibration": dict.fromkeys(LABELS, NONE) | calibration})


def test_a_bundle_answers_the_calibrated_probability_of_each_label() -> None:
    halved = Calibration(method="temperature", slope=0.5)
    moved = Calibration(method="platt", slope=2, intercept=1)
    bundle = ModelBundle(calibrated(any=halved, subdural=moved), network())
    pixels = np.stack([description().preprocess.pixels(picture(rows)) for rows in (16, 48)])
    # The network says logits -1 and 1 of the first label, 1 and -1 of the second.
    assert bundle.answer(pixels) == pytest.approx(expit(np.array([[-0.5, 3], [0.5, -1]])), abs=1e-6)


def test_without_calibration_the_answer_is_the_networks_own_to_the_last_bit() -> None:
    bundle = ModelBundle(description(), network())
    pixels = np.stack([description().preprocess.pixels(picture(rows)) for rows in (16, 32, 48)])
    own = probabilities(learner(bundle.network).predict_on_batch(pixels), 2)
    np.testing.assert_array_equal(bundle.answer(pixels), own)
    assert bundle.answer(pixels) == pytest.approx(np.asarray(bundle.network.predict_on_batch(pixels)), abs=1e-6)


def test_a_calibration_comes_back_from_its_file_to_the_last_bit(tmp_path: Path) -> None:
    isotonic = Calibration(method="isotonic", knots=(-1 / 3, 0.1), values=(1 / 7, 0.7), log_losses={"none": 2 / 3})
    saved = calibrated(any=Calibration(method="temperature", slope=1 / 3), subdural=isotonic)
    save_bundle(tmp_path / "bundle", saved, network())
    assert load_description(tmp_path / "bundle").calibration == saved.calibration


def in_format_1(content: dict[str, Any]) -> None:
    content.update(format=1, calibration=dict.fromkeys(LABELS, "none"))
    for name in ("study_rules", "study_operating_points", "study_prior"):
        content.pop(name)
    for operating_point in content["operating_points"]:
        operating_point.pop("target")


def test_a_bundle_of_format_1_is_read_as_one_without_calibration(folder: Path) -> None:
    before = load_bundle(folder)
    rewrite(folder, in_format_1)
    upgraded = load_bundle(folder)
    assert upgraded.description == before.description
    assert upgraded.description.calibration == {"any": NONE, "subdural": NONE}
    pixels = description().preprocess.pixels(picture(48))[np.newaxis]
    np.testing.assert_array_equal(upgraded.answer(pixels), before.answer(pixels))


def test_a_bundle_is_verified_without_loading_its_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(keras.saving, "load_model")
    assert verify_bundle(folder) == load_description(folder)
    (folder / "model.keras").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.keras is missing or not the file that was saved"):
        verify_bundle(folder)


def test_rules_for_whole_studies_travel_with_the_bundle(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", studied(), network())
    said = load_description(tmp_path / "bundle")
    assert said.study_rules == studied().study_rules
    assert (said.study_labels, said.study_points("sensitive")["any"].threshold) == (("any",), 0.5)
    assert (description().study_labels, description().study_points("balanced")) == ((), {})
    with pytest.raises(BundleError, match="operating_point: this model has balanced, sensitive"):
        said.study_points("bold")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study_operating_points": ()}, "operating point 'balanced' is not given for each of"),
        ({"study_prior": {}}, "of which the prior or the image's answer is missing"),
        ({"study_rules": (), "study_operating_points": ()}, "of which the prior or the image's answer is missing"),
    ],
)
def test_each_study_rule_has_its_points_and_its_prior(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BundleDescription.model_validate(studied().model_dump() | change)


def test_a_scope_travels_with_the_bundle_and_its_file_is_vouched_for(tmp_path: Path) -> None:
    looks = np.random.default_rng(0).normal(size=(80, 43))
    scope = learn_scope(looks, np.arange(80).astype(str), np.arange(80) < 50, np.full(80, -1))
    save_bundle(tmp_path / "bundle", description(), network(), scope)
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["bundle.json", "model.keras", "scope.json"]
    assert load_bundle(tmp_path / "bundle").scope == scope
    (tmp_path / "bundle" / "scope.json").write_text("{}")
    with pytest.raises(BundleError, match=r"scope\.json is missing or not the file that was saved"):
        load_bundle(tmp_path / "bundle")


def test_how_to_explain_travels_with_the_bundle_and_so_does_what_images_are_compared_with(tmp_path: Path) -> None:
    chosen = Explanation(method="occlusion", reason="it passed")
    usual = np.full((1, 16, 16, 1), 90, np.uint8)
    save_bundle(
        tmp_path / "bundle", description().model_copy(update={"explanation": chosen}), network(), background=usual
    )
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.description.explanation == chosen
    np.testing.assert_array_equal(loaded.background, usual)


def test_a_bundle_of_before_explanations_says_that_none_was_checked(folder: Path) -> None:
    rewrite(folder, lambda content: content.pop("explanation"))
    loaded = load_bundle(folder)
    assert (loaded.description.explanation, loaded.background) == (UNCHECKED, None)


def test_without_a_scope_every_image_is_held(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.scope is None
    assert bundle.holds(np.zeros((16, 16, 1), np.uint8))
