"""Serving: one answer an image, in order, whatever its neighbours are."""

import base64
import json
import threading
import time
from itertools import count
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow.exceptions import MlflowException
from tiny_bundle import description, first_answer, network, picture

from secondread.bundle import ModelBundle, save_bundle
from secondread.config import Window
from secondread.data.phantom.write import phantom_image
from secondread.errors import BundleError, ImageRejected
from secondread.evaluation.calibration import Calibration
from secondread.evaluation.explanation import UNCHECKED, Explanation
from secondread.evaluation.scope import learn_scope
from secondread.explanation.grad_cam import GradCam
from secondread.explanation.heat_maps import Allowance, HeatMaps
from secondread.explanation.integrated_gradients import IntegratedGradients
from secondread.imaging.appearance import appearance
from secondread.imaging.decoder_pool import DecoderPool
from secondread.imaging.dicom.write import write_xray
from secondread.models.outputs import sigmoids
from secondread.serving import ServedModel, signature
from secondread.tasks import load_task

LABELS = load_task("hemorrhage").labels
ANSWERED = ("any", "subdural")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tmp_path_factory.mktemp("served") / "bundle"
    save_bundle(folder, description(), network())
    served = ServedModel()
    served.load_context(SimpleNamespace(artifacts={"bundle": str(folder)}))
    return served


def ask(model: ServedModel, *images: object, **params: object) -> list[dict[str, Any]]:
    return model.predict(None, pd.DataFrame({"image": pd.Series(list(images), dtype=object)}), params)


def test_rows_are_answered_in_order_with_rejected_ones_between(model: ServedModel) -> None:
    answers = ask(model, picture(48), b"no image", picture(16), b"", picture(32))
    assert [answer["status"] for answer in answers] == ["ok", "rejected", "ok", "rejected", "ok"]
    shares = [answer["probability_any"] for answer in answers]
    assert shares[0::2] == pytest.approx([0.731059, 0.268941, 0.5], abs=1e-6)  # sigmoid(1), sigmoid(-1), sigmoid(0)
    assert shares[1::2] == [None, None]
    assert answers[0]["probability_subdural"] == pytest.approx(0.268941, abs=1e-6)


def test_an_answer_says_everything_of_the_contract_in_its_order(model: ServedModel) -> None:
    columns = [f"probability_{label}" for label in LABELS] + [f"positive_{label}" for label in LABELS]
    for answer in ask(model, picture(48), b"no image"):
        assert list(answer) == ["status", "rule", "reason", *columns, "heatmap"]
        assert answer["heatmap"] is None


def test_labels_that_the_network_does_not_answer_are_none(model: ServedModel) -> None:
    [answer] = ask(model, picture(48))
    silent = [label for label in LABELS if label not in ANSWERED]
    assert len(silent) == 4
    assert {answer[f"{what}_{label}"] for what in ("probability", "positive") for label in silent} == {None}
    assert (answer["positive_any"], answer["positive_subdural"]) == (True, False)
    assert (answer["rule"], answer["reason"]) == (None, None)


def test_a_rejected_image_has_a_rule_a_reason_and_nothing_else(model: ServedModel) -> None:
    [answer] = ask(model, b"no image")
    assert (answer.pop("status"), answer.pop("rule")) == ("rejected", "format")
    assert answer.pop("reason") == "the file is neither DICOM nor JPEG nor PNG"
    assert set(answer.values()) == {None}


@pytest.mark.parametrize("width", [None, 76])
def test_a_file_may_come_as_bytes_or_as_base64_text(model: ServedModel, width: int | None) -> None:
    text = base64.b64encode(picture(48)).decode()
    lines = text if width is None else "\r\n".join(text[start : start + width] for start in range(0, len(text), width))
    assert ask(model, lines) == ask(model, picture(48))


@pytest.mark.parametrize("image", [None, float("nan"), 5, "", "no base64!", "картинка", "QUJD", ["a"], b"\x89PNG\r\n"])
def test_what_is_no_file_is_rejected_and_its_neighbours_are_answered(model: ServedModel, image: object) -> None:
    before, answer, after = ask(model, picture(48), image, picture(16))
    assert (before["status"], answer["status"], after["status"]) == ("ok", "rejected", "ok")
    assert answer["reason"]
    assert after["probability_any"] == pytest.approx(first_answer(16), abs=1e-6)


def test_answers_are_valid_json(model: ServedModel) -> None:
    answers = ask(model, picture(48), None, picture(16))
    assert json.loads(json.dumps(answers, allow_nan=False)) == answers
    assert {type(answers[0][name]) for name in ("probability_any", "positive_any")} == {float, bool}


def test_more_images_than_fit_in_memory_are_answered_in_small_batches(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    answer = ModelBundle.answer

    def counted(self: ModelBundle, pixels: Any) -> Any:
        sizes.append(len(pixels))
        return answer(self, pixels)

    monkeypatch.setattr(ModelBundle, "answer", counted)
    rows = [4 + 4 * (number % 15) for number in range(37)]
    images: list[object] = [picture(white) for white in rows]
    images.insert(20, b"no image")
    answers = ask(model, *images)
    assert answers.pop(20)["status"] == "rejected"
    assert [found["probability_any"] for found in answers] == pytest.approx([first_answer(n) for n in rows], abs=1e-6)
    assert sizes == [16, 15, 6]  # rows 0 to 15; 16 to 31 without the rejected one; 32 to 37


def test_no_image_is_no_answer_and_only_bad_ones_are_all_rejected(model: ServedModel) -> None:
    assert ask(model) == []
    assert [answer["status"] for answer in ask(model, b"a", b"b")] == ["rejected", "rejected"]


def test_the_operating_point_decides_what_is_positive(model: ServedModel) -> None:
    image = picture(16)  # any .27, subdural .73
    [balanced] = ask(model, image)
    [sensitive] = ask(model, image, operating_point="sensitive", explain=False)
    assert (balanced["positive_any"], balanced["positive_subdural"]) == (False, True)
    assert (sensitive["positive_any"], sensitive["positive_subdural"]) == (True, True)
    assert sensitive["probability_any"] == balanced["probability_any"]


def test_a_probability_at_the_threshold_is_positive(model: ServedModel) -> None:
    [answer] = ask(model, picture(32))
    assert (answer["probability_any"], answer["positive_any"], answer["positive_subdural"]) == (0.5, True, True)


def test_without_parameters_it_is_the_balanced_point(model: ServedModel) -> None:
    images = pd.DataFrame({"image": [picture(16)]})
    assert model.predict(None, images) == ask(model, picture(16), operating_point="balanced")


def test_an_unknown_operating_point_is_a_bad_request_that_quotes_no_image(model: ServedModel) -> None:
    with pytest.raises(BundleError, match="operating_point: this model has balanced, sensitive") as caught:
        ask(model, picture(16), operating_point="bold")
    refused = caught.value
    assert isinstance(refused, MlflowException)
    refused.message = "Failed to predict data 'SECRET'."  # as MLflow's server does with the request's images
    assert refused.get_http_status_code() == 400
    told = json.loads(refused.serialize_as_json())
    assert told["message"] == "operating_point: this model has balanced, sensitive"
    assert "SECRET" not in str(told)


def test_a_picture_of_another_size_is_answered_through_the_models_own_preprocessing(model: ServedModel) -> None:
    pixels = np.zeros((256, 128), np.uint8)
    pixels[:192] = 255
    [answer] = ask(model, bytes(cv2.imencode(".png", pixels)[1]))
    assert answer["probability_any"] == pytest.approx(0.731059, abs=1e-6)  # three quarters are white


def test_the_signature_names_what_goes_in_and_what_comes_out() -> None:
    said = signature(LABELS)
    assert said.inputs.input_names() == ["image"]
    columns = [f"{what}_{label}" for what in ("probability", "positive") for label in LABELS]
    assert said.outputs.input_names() == ["status", "rule", "reason", *columns, "heatmap"]
    defaults = {param.name: param.default for param in said.params.params}
    assert defaults == {"operating_point": "balanced", "explain": False, "label": ""}


def test_a_served_answer_is_calibrated_and_decided_on_its_calibrated_scale(tmp_path: Any) -> None:
    doubled = Calibration(method="platt", slope=2, intercept=-1)
    said = description()
    save_bundle(
        tmp_path / "bundle", said.model_copy(update={"calibration": said.calibration | {"any": doubled}}), network()
    )
    served = ServedModel()
    served.load_context(SimpleNamespace(artifacts={"bundle": str(tmp_path / "bundle")}))
    first, second = ask(served, picture(32), picture(48))
    # The network's logits are 0 and 1; calibrated they are -1 and 1, and .5 is decided between them.
    assert (first["probability_any"], first["positive_any"]) == (pytest.approx(0.268941, abs=1e-6), False)
    assert (second["probability_any"], second["positive_any"]) == (pytest.approx(0.731059, abs=1e-6), True)
    assert first["probability_subdural"] == pytest.approx(0.5)


def served(folder: Path, network: keras.Model, explanation: Explanation = UNCHECKED, **parts: Any) -> ServedModel:
    save_bundle(folder / "bundle", description().model_copy(update={"explanation": explanation}), network, **parts)
    model = ServedModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(folder / "bundle")}))
    return model


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model that has learned what its pictures look like: white above, black below."""
    files = [picture(4 * (1 + number % 15)) for number in range(90)]
    looks = np.stack([appearance(description().preprocess.pixels(file)) for file in files])
    patients = [str(number) for number in range(90)]
    scope = learn_scope(looks, patients, np.arange(90) < 60, np.full(90, -1))
    return served(tmp_path_factory.mktemp("careful"), network(), scope=scope)


def test_a_picture_of_another_kind_is_out_of_scope_between_its_neighbours(careful: ServedModel) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    before, foreign, after = ask(careful, picture(48), bytes(cv2.imencode(".png", noise)[1]), picture(16))
    assert [answer["status"] for answer in (before, foreign, after)] == ["ok", "out_of_scope", "ok"]
    assert (foreign.pop("status"), foreign.pop("rule")) == ("out_of_scope", "appearance")
    assert foreign.pop("reason") == "the picture does not look like those that the model learned from"
    assert set(foreign.values()) == {None}
    assert after["probability_any"] == pytest.approx(first_answer(16), abs=1e-6)


def test_blank_pictures_and_dicom_of_another_kind_are_out_of_scope(model: ServedModel) -> None:
    blank = bytes(cv2.imencode(".png", np.full((64, 64), 7, np.uint8))[1])
    chest = write_xray(
        np.arange(4096, dtype=np.uint16).reshape(64, 64),
        bits=12,
        photometric="MONOCHROME2",
        window=Window(center=2048, width=4096),
        patient_id="SECRET",
        study_uid="2.25.1",
        series_uid="2.25.2",
        sop_uid="2.25.3",
    )
    answers = ask(model, blank, chest)
    assert [answer["status"] for answer in answers] == ["out_of_scope"] * 2
    assert [answer["rule"] for answer in answers] == ["constant", "modality"]
    assert answers[0]["reason"] == "the picture is blank: every pixel has the same value"
    assert answers[1]["reason"] == "the model reads CT; Modality (0008,0060) is another"
    assert {answer["probability_any"] for answer in answers} == {None}


def test_a_network_that_finds_no_number_gives_no_probability(tmp_path: Path) -> None:
    broken = network()
    broken.get_layer("logit").set_weights([np.array([[np.nan, -4.0]]), np.array([-2.0, 2.0])])
    [answer] = ask(served(tmp_path, broken), picture(48))
    assert (answer.pop("status"), answer.pop("rule")) == ("rejected", "not_finite")
    assert answer.pop("reason") == "the model found no number for this image"
    assert set(answer.values()) == {None}


def test_a_row_that_is_a_list_of_its_one_value_is_answered(model: ServedModel) -> None:
    assert ask(model, [base64.b64encode(picture(48)).decode()]) == ask(model, picture(48))


def test_a_file_that_hangs_its_decoder_leaves_its_neighbours_answered(tmp_path: Path) -> None:
    model = served(tmp_path, network())
    model._decoders = DecoderPool(description().preprocess, seconds=1)
    head = phantom_image(load_task("hemorrhage"), seed=0)
    elements = (pack("<HH2sH", 0x7FE1 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 0) for n in range(1_000_000))
    before, hostile, after = ask(model, picture(48), head + b"".join(elements), picture(16))
    assert [answer["status"] for answer in (before, hostile, after)] == ["ok", "rejected", "ok"]
    assert hostile["reason"] == "the file was not decoded within 1 seconds"


def test_a_machine_that_starts_no_decoder_leaves_neighbours_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(tmp_path, network())
    model._decoders = DecoderPool(description().preprocess)
    monkeypatch.setattr("secondread.imaging.decoder_pool._START", "raise SystemExit")
    with_exif = picture(16).replace(b"IDAT", b"eXIf")  # which is never decoded here
    answers = ask(model, picture(16), with_exif, picture(32))
    assert [answer["status"] for answer in answers] == ["ok", "rejected", "ok"]
    assert answers[1]["reason"] == "no decoder could be started; send this one again"


@pytest.mark.parametrize("explain", [False, True])
def test_memory_stays_flat_however_many_requests(explaining: ServedModel, explain: bool) -> None:
    images = [picture(4 + 4 * (number % 15)) for number in range(4 if explain else 64)]

    def after(requests: int) -> int:
        for _ in range(requests):
            ask(explaining, *images, explain=explain)
        held: int = psutil.Process().memory_info().rss
        return held

    first = after(10)
    assert after(90) - first < 20e6  # 64 more images in each of 90 requests would be 24 MB as files alone


# --- heat maps


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    """A model whose integrated gradients passed their checks."""
    passed = Explanation(method="integrated_gradients", reason="it passed every check")
    return served(tmp_path_factory.mktemp("explaining"), network(), passed)


def drawn(answer: dict[str, Any]) -> Any:
    """An answer's heat map, shape (height, width, 3), BGR."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(answer["heatmap"]), np.uint8), cv2.IMREAD_COLOR)


def test_a_heat_map_comes_with_the_same_answer_and_is_of_its_image(explaining: ServedModel) -> None:
    images = (picture(48), b"no image", picture(16))
    plain, explained = ask(explaining, *images), ask(explaining, *images, explain=True)
    first, rejected, last = (answer.pop("heatmap") for answer in explained)
    assert [answer.pop("heatmap") for answer in plain] == [None, rejected, None] == [None] * 3
    assert explained == plain
    assert first != last
    height, width, _ = drawn({"heatmap": first}).shape
    assert height >= 64
    assert width >= 64


def test_what_speaks_for_one_label_is_red_and_against_the_other_blue(explaining: ServedModel) -> None:
    """White rows raise the first label's logit, 4 w - 2, and lower the second's."""
    blue, red = 0, 2
    for label, stronger, weaker in (("any", red, blue), ("subdural", blue, red)):
        [answer] = ask(explaining, picture(32), explain=True, label=label)
        white = drawn(answer)[71:95, 164:220].astype(int)  # 67 rows of words, 160 columns of margin
        assert (white[..., stronger] > white[..., weaker]).all()
    assert ask(explaining, picture(32), explain=True) == ask(explaining, picture(32), explain=True, label="any")


def seeing() -> keras.Model:
    """The same answers by a network with a convolution, which Grad-CAM can look into."""
    images = keras.Input((16, 16, 1))
    seen = keras.layers.Conv2D(1, 1, use_bias=False)(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, sigmoids(keras.layers.GlobalAveragePooling2D()(seen), labels=2))
    model.layers[2].set_weights([np.ones((1, 1, 1, 1))])
    model.get_layer("logit").set_weights([np.array([[4.0, -4.0]]), np.array([-2.0, 2.0])])
    return model


@pytest.mark.parametrize("looks", [True, False])
def test_grad_cam_begins_with_what_the_answer_found_and_draws_the_same_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    model = served(tmp_path, seeing(), Explanation(method="grad_cam", reason="it passed every check"))
    whole = ask(model, picture(48), picture(16), explain=True)
    runs: list[object] = []
    if looks:  # the network may not run again
        monkeypatch.setattr(GradCam, "explain", lambda *_: runs.append(_))
    else:  # it cannot give both at once
        monkeypatch.setattr(HeatMaps, "_both", None)
    assert ask(model, picture(48), picture(16), explain=True) == whole
    assert runs == []
    assert [answer["probability_any"] for answer in whole] == pytest.approx(
        [first_answer(48), first_answer(16)], abs=1e-6
    )
    assert whole[0]["heatmap"] != whole[1]["heatmap"]


def test_heat_maps_of_a_batch_are_those_of_each_image_alone_and_found_in_one_run_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = served(tmp_path, seeing(), Explanation(method="grad_cam", reason="it passed every check"))
    images: list[object] = [picture(4 + 4 * (number % 15)) for number in range(37)]
    images.insert(20, b"no image")
    alone = [ask(model, image, explain=True)[0] for image in images]
    sizes: list[int] = []
    explain = GradCam.explain_features

    def counted(self: GradCam, network: keras.Model, features: Any, label: int) -> Any:
        sizes.append(len(features))
        return explain(self, network, features, label)

    monkeypatch.setattr(GradCam, "explain_features", counted)
    assert ask(model, *images, explain=True) == alone
    assert sizes == [16, 15, 6]
    assert [answer["heatmap"] is None for answer in alone] == [number == 20 for number in range(38)]


def test_heat_maps_are_drawn_on_all_cores_while_the_network_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secondread.explanation.heat_maps.core_count", lambda: 2)
    model = served(tmp_path, seeing(), Explanation(method="grad_cam", reason="it passed every check"))
    together, display, answer = threading.Barrier(3), DecoderPool.display, HeatMaps.answer
    drawings, parts = count(), list[int]()

    def meeting(*given: Any) -> Any:
        if next(drawings) < 2:
            together.wait(30)
        return display(*given)

    def answering(self: HeatMaps, pixels: Any) -> Any:
        if parts:  # two of the first part's pictures are being drawn
            together.wait(30)
        parts.append(len(pixels))
        return answer(self, pixels)

    monkeypatch.setattr(DecoderPool, "display", meeting)
    monkeypatch.setattr(HeatMaps, "answer", answering)
    answers = ask(model, *[picture(32)] * 18, explain=True)
    assert parts == [16, 2]
    assert all(each["heatmap"] for each in answers)


def test_a_label_that_the_model_does_not_answer_is_a_bad_request(explaining: ServedModel) -> None:
    with pytest.raises(BundleError, match="label: this model answers any, subdural") as caught:
        ask(explaining, picture(16), explain=True, label="epidural")
    assert isinstance(caught.value, MlflowException)
    assert caught.value.get_http_status_code() == 400


def test_a_model_whose_methods_were_not_checked_or_did_not_pass_says_so_beside_its_probability(
    model: ServedModel, tmp_path: Path
) -> None:
    failing = served(tmp_path, network(), Explanation(method=None, reason="no method passed: occlusion did not change"))
    for asked, reason in (
        (model, "no heat map: no method was checked when this model was logged"),
        (failing, "no heat map: no method passed: occlusion did not change"),
    ):
        [answer] = ask(asked, picture(48), explain=True)
        assert (answer["status"], answer["heatmap"], answer["reason"]) == ("ok", None, reason)
        assert answer["probability_any"] == pytest.approx(first_answer(48), abs=1e-6)


def test_out_of_scope_and_numberless_answers_have_no_heat_map_and_keep_their_reason(
    explaining: ServedModel, tmp_path: Path
) -> None:
    blank = bytes(cv2.imencode(".png", np.full((64, 64), 7, np.uint8))[1])
    [answer] = ask(explaining, blank, explain=True)
    assert (answer["status"], answer["heatmap"]) == ("out_of_scope", None)
    assert answer["reason"] == "the picture is blank: every pixel has the same value"


@pytest.mark.parametrize("error", [MemoryError(), ValueError("SECRET"), KeyError("layer")])
def test_an_explanation_that_fails_leaves_the_probabilities(
    explaining: ServedModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(IntegratedGradients, "explain", fail)
    [answer] = ask(explaining, picture(48), explain=True)
    assert (answer["status"], answer["heatmap"]) == ("ok", None)
    assert answer["reason"] == f"no heat map: drawing it failed ({type(error).__name__})"
    assert answer["probability_any"] == pytest.approx(first_answer(48), abs=1e-6)


def test_a_method_that_does_not_fit_the_network_says_which_does(tmp_path: Path) -> None:
    model = served(tmp_path, network(), Explanation(method="grad_cam", reason="of another network"))
    [answer] = ask(model, picture(48), explain=True)
    assert answer["status"] == "ok"
    assert "no convolution to look into; use integrated_gradients" in answer["reason"]


def test_explanations_that_take_too_long_leave_the_probabilities(
    explaining: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, explain = threading.Event(), IntegratedGradients.explain
    begun: list[object] = []

    def slowly(*given: Any) -> Any:
        begun.append(given)
        ends.wait(30)
        return explain(*given)

    monkeypatch.setattr(IntegratedGradients, "explain", slowly)
    monkeypatch.setattr("secondread.serving.Allowance", lambda: Allowance(seconds=0.3))
    began = time.monotonic()
    answers = ask(explaining, *[picture(4 * rows) for rows in range(1, 16)], explain=True)
    assert time.monotonic() - began < 5
    assert {answer["reason"] for answer in answers} == {
        "no heat map: those of a request may take 10 seconds; send fewer images at a time"
    }
    shares = [answer["probability_any"] for answer in answers]
    assert shares == pytest.approx([first_answer(4 * rows) for rows in range(1, 16)], abs=1e-6)
    monkeypatch.undo()
    ends.set()
    [after] = ask(explaining, picture(48), explain=True)
    assert after["heatmap"]
    assert len(begun) == 1  # the others were never begun


def test_pictures_beyond_a_requests_bytes_are_left_out(
    explaining: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secondread.serving.Allowance", lambda: Allowance(bytes=1))
    first, second = ask(explaining, picture(48), picture(16), explain=True)
    assert first["heatmap"]
    assert second["reason"] == "no heat map: those of a request may have 32 MB; send fewer images at a time"
    assert second["probability_any"] == pytest.approx(first_answer(16), abs=1e-6)


def test_a_picture_that_cannot_be_had_leaves_the_probability(
    explaining: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rejects(*_: object) -> None:
        raise ImageRejected("timeout", "the file was not decoded within 5 seconds")

    monkeypatch.setattr(DecoderPool, "display", rejects)
    [answer] = ask(explaining, picture(48), explain=True)
    assert (answer["status"], answer["reason"]) == ("ok", "no heat map: the file was not decoded within 5 seconds")
