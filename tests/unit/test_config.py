"""The one mapping from presets, YAML, flags and `-P` to a run's settings, and what it refuses."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from secondread.config import (
    WINDOWS,
    DataSettings,
    RunConfig,
    Window,
    dotted,
    load_config,
    load_preset,
    preset_names,
    setting_names,
)
from secondread.errors import ConfigError


def of(yaml_text: str) -> Any:
    return yaml.safe_load(yaml_text)


def refusal(overrides: Mapping[str, object], base: Mapping[str, Any] | None = None, task: str = "pneumonia") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(task, overrides, base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_anything_typed_it_is_the_phantom_with_our_own_network() -> None:
    config = load_config("pneumonia", {})
    assert (config.task, config.data, config.model.name) == ("pneumonia", DataSettings(), "compact_resnet")
    assert (config.data.path, config.data.folds, config.data.limit, config.execution.workers) == (
        "phantom",
        0,
        None,
        None,
    )
    assert config.train.epochs == load_preset("compact_resnet")["train"]["epochs"]


@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name in preset_names() for task in load_preset(name)["tasks"]]
)
def test_every_preset_loads_for_each_of_its_tasks_and_says_what_it_says(name: str, task: str) -> None:
    flat = load_config(task, {"model": name}).flat()
    said = {key: value for key, value in load_preset(name)["train"].items() if not isinstance(value, dict)}
    assert {key: flat[f"train.{key}"] for key in said} == said


def test_yaml_wins_over_the_preset_and_an_override_over_yaml() -> None:
    preset = load_config("pneumonia", {"model": "chest_cnn"}).train
    base = of("train: {epochs: 7, batch_size: 16}")
    config = load_config("pneumonia", {"model": "chest_cnn", "train.batch_size": "8"}, base).train
    assert (preset.epochs, preset.batch_size, preset.optimizer) == (5, 32, "rmsprop")
    assert (config.epochs, config.batch_size, config.optimizer) == (7, 8, "rmsprop")


def test_a_yaml_may_choose_the_preset_that_it_then_changes() -> None:
    config = load_config("hemorrhage", {}, of("model: {name: slice_mlp}\npreprocess: {size: 75}"))
    assert (config.model.name, config.preprocess.size, config.preprocess.channels) == ("slice_mlp", 75, 1)


def test_data_and_model_are_short_for_their_settings() -> None:
    assert load_config("pneumonia", {"data": "folder", "model": "chest_cnn"}) == load_config(
        "pneumonia", {"data.path": "folder", "model.name": "chest_cnn"}
    )


def test_a_yaml_takes_dotted_and_abbreviated_names_too() -> None:
    text = "model: chest_cnn\ndata: folder\ntrain.epochs: 3\ntrain: {batch_size: 4}\ntrain.plateau.patience: 9"
    config = load_config("pneumonia", {}, of(text))
    assert (config.model.name, config.data.path, config.train.epochs) == ("chest_cnn", "folder", 3)
    assert config.train.batch_size == 4
    assert config.train.plateau is not None
    assert (config.train.plateau.patience, config.train.plateau.factor) == (9, 0.3)


def test_a_yaml_is_not_changed_by_being_read() -> None:
    base = {"train": {"epochs": 3}, "train.batch_size": 4}
    load_config("pneumonia", {"train.seed": 1}, base)
    assert base == {"train": {"epochs": 3}, "train.batch_size": 4}


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "0.0001"])
def test_a_small_rate_may_be_written_in_each_way(text: str) -> None:
    assert load_config("pneumonia", {"train.learning_rate": text}).train.learning_rate == 1e-4
    # YAML 1.1 reads 1e-4 as text
    assert load_config("pneumonia", {}, of(f"train: {{learning_rate: {text}}}")).train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data.class_weights", "true", True),
        ("data.acknowledge_leaks", "false", False),
        ("data.limit", "null", None),
        ("data.limit", "200", 200),
        ("train.plateau", "null", None),
        ("data.evaluation", "123", "123"),
        ("data.path", "[draft] images", "[draft] images"),
        ("preprocess.size", "75", 75),
    ],
)
def test_typed_text_means_what_the_setting_is(name: str, text: str, value: object) -> None:
    setting: object = load_config("pneumonia", {"model": "chest_cnn", name: text})
    for part in name.split("."):
        setting = getattr(setting, part)
    assert setting == value
    assert type(setting) is type(value)


@pytest.mark.parametrize("typed", ["brain, subdural,soft", "[brain, subdural, soft]", "40/80,80/200,40/380"])
def test_windows_are_named_or_given_by_center_and_width(typed: str) -> None:
    config = load_config("hemorrhage", {"preprocess.windows": typed, "preprocess.channels": "3"})
    assert config.preprocess.windows == (WINDOWS["brain"], WINDOWS["subdural"], WINDOWS["soft"])


def test_windows_of_a_yaml_may_mix_the_three_forms() -> None:
    base = of("preprocess: {channels: 3, windows: [brain, -600/1500, {center: 80, width: 200}]}")
    assert load_config("hemorrhage", {}, base).preprocess.windows == (
        Window(center=40, width=80),
        Window(center=-600, width=1500),
        Window(center=80, width=200),
    )


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("train.epohcs", "train.epochs"),
        ("train.learningrate", "train.learning_rate"),
        ("trian.epochs", "train.epochs"),
        ("preproces.aspect", "preprocess.aspect"),
        ("epochs", "train.epochs"),
        ("train.plateau.patiance", "train.plateau.patience"),
        ("train.plateu", "train.plateau"),
        ("modle", "model"),
        ("dta", "data"),
        ("modell", "model"),
    ],
)
def test_a_typo_is_refused_with_the_nearest_right_name(typed: str, nearest: str) -> None:
    assert refusal({typed: "5"}) == f"{typed}: unknown setting; did you mean {nearest}?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epohcs: 5}", "train.epohcs: unknown setting; did you mean train.epochs?"),
        ("train: {plateau: {factr: .5}}", "train.plateau.factr: unknown setting; did you mean train.plateau.factor?"),
        ("trian: {epochs: 5}", "trian.epochs: unknown setting; did you mean train.epochs?"),
        ("modle: chest_cnn", "modle: unknown setting; did you mean model?"),
        ("train.epohcs: 5", "train.epohcs: unknown setting; did you mean train.epochs?"),
        ("1: {epochs: 5}", "1.epochs: unknown setting; did you mean train.epochs?"),
        ("train:", "train: expected settings below it. Received: None"),
        ("model:", "model: expected settings below it. Received: None"),
        ("train: 5", "train: expected settings below it. Received: 5"),
    ],
)
def test_a_yaml_with_a_wrong_key_is_refused_by_its_name(text: str, message: str) -> None:
    assert refusal({}, of(text)) == message


def test_a_name_near_none_is_answered_with_all() -> None:
    message = refusal({"xyzzy": "1"})
    assert message.startswith("xyzzy: unknown setting; use one of data, model, task, data.path, data.layout,")


@pytest.mark.parametrize(
    ("typed", "received", "message"),
    [
        ("data.folds", "50", "data.folds: Input should be less than or equal to 20. Received: '50'"),
        ("data.folds", "1", "data.folds: cross-validation takes at least 2 folds; 0 is one split. Received: '1'"),
        ("train.epochs", "0", "train.epochs: Input should be greater than or equal to 1. Received: '0'"),
        ("train.epochs", "many", "train.epochs: Input should be a valid integer"),
        ("train.learning_rate", "nan", "train.learning_rate: Input should be a finite number. Received: 'nan'"),
        ("data.val_fraction", "1", "data.val_fraction: Input should be less than 1. Received: '1'"),
        ("data.positive_fraction", "0", "data.positive_fraction: Input should be greater than 0. Received: '0'"),
        ("preprocess.channels", "2", "preprocess.channels: Input should be 1 or 3. Received: 2"),
        ("train.optimizer", "adan", "train.optimizer: Input should be 'adam', 'adamw', 'rmsprop' or 'sgd'"),
        ("preprocess.windows", "40/0", "preprocess.windows.0.width: Input should be greater than 1. Received: "),
        ("data.limit", "-1", "data.limit: Input should be greater than or equal to 1. Received: '-1'"),
    ],
)
def test_a_value_out_of_range_names_its_setting_and_what_came(typed: str, received: str, message: str) -> None:
    refused = refusal({"model": "slice_mlp", typed: received}, task="hemorrhage")
    assert refused.startswith(message)
    assert received.rpartition("/")[2] in refused.partition("Received: ")[2]


def test_a_window_without_a_name_is_answered_with_the_known_ones() -> None:
    message = refusal({"preprocess.windows": "lung,brain,soft"})
    assert "'lung' is no window; use one of brain, subdural, soft or CENTER/WIDTH such as 40/80" in message


def test_only_compact_resnet_has_a_width() -> None:
    assert load_config("pneumonia", {"model.width": "16"}).model.width == 16
    assert load_config("pneumonia", {}).model.width is None
    message = refusal({"model": "chest_cnn", "model.width": "16"})
    assert message.startswith("model: model.width=16: only compact_resnet has one, not chest_cnn; leave it out")


def test_reading_a_preset_twice_gives_each_reader_its_own() -> None:
    first = load_preset("chest_cnn")
    first["train"]["epochs"] = 99
    assert load_preset("chest_cnn")["train"]["epochs"] == 5


def test_settings_have_one_dotted_name_however_they_are_written() -> None:
    assert dotted({"model": "chest_cnn", "train": {"epochs": 3, "plateau": None}, "data": {"limit": 5}}) == {
        "model.name": "chest_cnn",
        "train.epochs": 3,
        "train.plateau": None,
        "data.limit": 5,
    }


def test_each_channel_has_a_window() -> None:
    message = refusal({"preprocess.windows": "brain", "preprocess.channels": "3"})
    assert message.startswith("preprocess: 1 windows for 3 channels; give one window a channel")


def test_a_preset_of_the_other_task_is_refused_with_those_that_fit() -> None:
    message = refusal({"model": "chest_cnn"}, task="hemorrhage")
    assert message.startswith("model=chest_cnn: this preset is for pneumonia, not for hemorrhage; use one of compact_")
    assert "window_cnn" in message
    assert "separable_cnn" not in message


def test_a_preset_that_does_not_exist_is_refused_with_the_nearest() -> None:
    assert refusal({"model": "chestcnn"}) == "model=chestcnn: there is no such preset; did you mean chest_cnn?"


def test_a_task_that_does_not_exist_is_refused_with_those_that_do() -> None:
    assert refusal({}, task="stroke") == "task=stroke: there is no such task; use one of hemorrhage, pneumonia"


def test_a_configuration_does_not_change() -> None:
    config = load_config("pneumonia", {})
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3  # type: ignore[misc]  # the test is that it is refused
    with pytest.raises(ValidationError, match="frozen"):
        config.task = "hemorrhage"  # type: ignore[misc]  # the test is that it is refused


@pytest.mark.parametrize("model", ["chest_cnn", "separable_cnn"])
def test_every_setting_is_logged_by_its_dotted_name(model: str) -> None:
    flat = load_config("pneumonia", {"model": model, "train.epochs": "3", "data": "folder"}).flat()
    assert (flat["task"], flat["train.epochs"], flat["data.path"], flat["model.name"]) == (
        "pneumonia",
        3,
        "folder",
        model,
    )
    for name, _, _ in setting_names():
        group = name.rpartition(".")[0]
        assert name in flat or flat[group] is None, name
    assert not any(isinstance(value, dict) for value in flat.values())


def test_windows_are_logged_by_their_numbers() -> None:
    flat = load_config("hemorrhage", {"model": "window_cnn"}).flat()
    assert flat["preprocess.windows"][0] == {"center": 40.0, "width": 80.0}


def test_equal_settings_are_equal_however_they_were_given() -> None:
    typed = load_config("pneumonia", {"train.learning_rate": "1e-3", "train.epochs": "5"})
    read = load_config("pneumonia", {}, of("train: {learning_rate: 0.001, epochs: 5}"))
    assert typed == read
    assert typed.flat() == read.flat()


def test_every_setting_has_a_description_and_shows_its_default_as_one_types_it() -> None:
    shown = {name: default for name, _, default in setting_names()}
    assert [name for name, description, _ in setting_names() if not description and name != "task"] == []
    assert (shown["preprocess.windows"], shown["data.limit"], shown["data.class_weights"]) == ("brain", "null", "false")
    typed = {name: default for name, default in shown.items() if default and len(name.split(".")) == 2}
    defaults = RunConfig(task="pneumonia")
    for name, default in typed.items():
        group, key = name.split(".")
        config = load_config("pneumonia", {"preprocess.windows": "brain", "preprocess.channels": "1", name: default})
        assert getattr(getattr(config, group), key) == getattr(getattr(defaults, group), key), name


def test_the_choices_of_a_setting_are_in_its_description() -> None:
    described = {name: description for name, description, _ in setting_names()}
    assert described["train.optimizer"].endswith("adam, adamw, rmsprop, sgd")
