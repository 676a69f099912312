"""Every preset is a whole configuration; those of earlier projects say what their projects said."""

import pytest

from secondread.config import RunConfig, load_config, load_preset, preset_names
from secondread.errors import ConfigError
from secondread.tasks import task_names

EARLIER = {
    "head_ct_cnn": "hemorrhage",
    "chest_cnn": "pneumonia",
    "slice_mlp": "hemorrhage",
    "separable_cnn": "pneumonia",
    "window_cnn": "hemorrhage",
}


def preset(name: str, **overrides: object) -> RunConfig:
    return load_config(load_preset(name)["tasks"][0], {"model": name, **overrides})


def test_the_presets_are_those_of_the_projects_and_ours() -> None:
    assert preset_names() == tuple(sorted([*EARLIER, "inception_v3", "resnet50", "compact_resnet", "mobilenet_v2"]))


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_for_each_of_its_tasks_and_says_what_it_is_in_a_line(name: str) -> None:
    about, tasks = load_preset(name)["about"], load_preset(name)["tasks"]
    assert 20 < len(about) < 120
    assert set(tasks) <= set(task_names())
    for task in tasks:
        assert load_config(task, {"model": name}).model.name == name


@pytest.mark.parametrize(("name", "task"), EARLIER.items())
def test_an_earlier_projects_preset_serves_its_task_alone(name: str, task: str) -> None:
    other = next(other for other in task_names() if other != task)
    with pytest.raises(ConfigError, match=f"model={name}: this preset is for {task}, not for {other}"):
        load_config(other, {"model": name})


@pytest.mark.parametrize(
    ("name", "size", "channels", "epochs", "optimizer", "loss", "best"),
    [
        ("head_ct_cnn", 256, 1, 50, "adam", "cross_entropy", "last"),
        ("chest_cnn", 150, 1, 5, "rmsprop", "cross_entropy", "last"),
        ("slice_mlp", 50, 1, 10, "adam", "cross_entropy", "last"),
        ("separable_cnn", 150, 3, 10, "adam", "cross_entropy", "val/loss"),
        ("window_cnn", 128, 3, 10, "adam", "weighted_log_loss", "last"),
    ],
)
def test_earlier_projects_keep_their_size_and_their_training(
    name: str, size: int, channels: int, epochs: int, optimizer: str, loss: str, best: str
) -> None:
    config = preset(name)
    assert (config.preprocess.size, config.preprocess.channels) == (size, channels)
    assert (config.train.epochs, config.train.batch_size, config.train.optimizer) == (epochs, 32, optimizer)
    assert (config.train.learning_rate, config.train.schedule) == (1e-3, "constant")
    assert (config.train.loss, config.train.best) == (loss, best)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head_ct_cnn", {"rotation": 25, "zoom": 0.25, "shear": 0.25, "horizontal_flip": True}),
        ("chest_cnn", {"rotation": 30, "zoom": 0.2, "shift": 0.1, "horizontal_flip": True}),
        ("separable_cnn", {"zoom": 0.3, "vertical_flip": True}),
        ("slice_mlp", {}),
        ("window_cnn", {}),
    ],
)
def test_earlier_projects_keep_their_augmentation(name: str, expected: dict[str, object]) -> None:
    assert preset(name).augment.model_dump(exclude_defaults=True) == expected


def test_chest_cnn_cuts_its_rate_when_validation_accuracy_rests() -> None:
    plateau = preset("chest_cnn").train.plateau
    assert plateau is not None
    assert (plateau.monitor, plateau.mode, plateau.factor, plateau.patience) == ("val/accuracy", "max", 0.3, 2)
    assert plateau.minimum == 1e-6


def test_separable_cnn_keeps_its_authors_slip_and_his_unused_early_stopping() -> None:
    train = preset("separable_cnn").train
    assert train.plateau is not None
    assert train.early_stopping is not None
    assert (train.plateau.monitor, train.plateau.mode, train.plateau.factor) == ("val/loss", "max", 0.3)
    assert (train.early_stopping.min_delta, train.early_stopping.patience) == (0.1, 1)
    assert not train.early_stopping.enabled


def test_head_ct_cnn_stops_when_its_training_loss_rests() -> None:
    stopping = preset("head_ct_cnn").train.early_stopping
    assert stopping is not None
    assert (stopping.monitor, stopping.patience, stopping.enabled) == ("train/loss", 5, True)


def test_slice_mlp_takes_75_pixels_by_an_override() -> None:
    assert preset("slice_mlp", **{"preprocess.size": "75"}).preprocess.size == 75


@pytest.mark.parametrize("name", ["inception_v3", "resnet50"])
def test_pretrained_networks_learn_frozen_first_and_then_at_a_smaller_rate(name: str) -> None:
    config = preset(name)
    assert config.model.weights == "imagenet"
    assert 0 < config.train.frozen_epochs < config.train.epochs
    assert config.train.fine_tune_learning_rate is not None
    assert config.train.fine_tune_learning_rate < config.train.learning_rate
