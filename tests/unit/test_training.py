"""Training: choosing the best epoch, and going on after a kill as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest

from secondread.config import RunConfig, load_config
from secondread.errors import TrainingError
from secondread.training import Images, OnEpoch, predict, train

SIZE = 16


class Bright:
    """Stored images whose brightness tells the class, by row."""

    def __init__(self, labels: np.ndarray) -> None:
        noise = np.random.default_rng(0).integers(0, 80, (len(labels), SIZE, SIZE, 1))
        self._images = (noise + 170 * labels[:, :1, None, None]).astype(np.uint8)

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: np.ndarray) -> np.ndarray:
        taken: np.ndarray = self._images[indices]
        return taken


def images(count: int = 48) -> Images:
    labels = (np.arange(count) % 2).astype(np.float32)[:, None]
    return Images(Bright(labels), np.arange(count), labels)


def config(**settings: object) -> RunConfig:
    overrides = {"model": "slice_mlp", "preprocess.size": SIZE, "train.batch_size": 8, "augment.horizontal_flip": True}
    return load_config("hemorrhage", overrides | {name.replace("__", "."): value for name, value in settings.items()})


class Killed(Exception):
    """Stands for the end of the process."""


def kill_after(last: int) -> OnEpoch:
    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        if epoch == last:
            raise Killed

    return on_epoch


def nothing(epoch: int, values: dict[str, float]) -> None:
    """An `on_epoch` that keeps nothing."""


def test_a_bright_class_is_learned(tmp_path: Path) -> None:
    trained = train(config(train__epochs=12, train__learning_rate=0.005), images(), images(), tmp_path, nothing)
    answers = predict(trained.model, images(), channels=1)
    assert answers.shape == (48, 1)
    assert answers[1::2].mean() > answers[::2].mean() + 0.2


@pytest.mark.parametrize("last", [1, 3])
def test_a_killed_training_ends_as_the_undisturbed_one(tmp_path: Path, last: int) -> None:
    asked = config(train__epochs=4, train__plateau={"monitor": "val/loss", "mode": "max", "factor": 0.5, "patience": 1})
    whole = train(asked, images(), images(), tmp_path / "whole", nothing)
    with pytest.raises(Killed):
        train(asked, images(), images(), tmp_path / "killed", kill_after(last))
    went_on: list[int] = []
    resumed = train(asked, images(), images(), tmp_path / "killed", lambda epoch, values: went_on.append(epoch))
    assert went_on == list(range(last, 5))  # the last one again: who was killed may not have told it
    columns = ["train/loss", "val/loss", "train/learning_rate"]
    np.testing.assert_allclose(resumed.history[columns], whole.history[columns], rtol=1e-4)
    np.testing.assert_allclose(
        predict(resumed.model, images(), 1), predict(whole.model, images(), 1), rtol=1e-3, atol=1e-5
    )


def test_the_best_epoch_by_val_is_kept_and_last_keeps_the_last(tmp_path: Path) -> None:
    # At this rate the loss soon grows again, so the last epoch is not the best.
    settings = {"train__epochs": 6, "train__learning_rate": 0.3}
    best = train(config(**settings, train__best="val/loss"), images(), images(), tmp_path / "best", nothing)
    assert best.best_epoch == int(best.history["val/loss"].argmin()) + 1
    last = train(config(**settings, train__best="last"), images(), images(), tmp_path / "last", nothing)
    assert last.best_epoch == 6


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    trained = train(config(train__epochs=2, train__best="val/loss"), images(), None, tmp_path, nothing)
    assert trained.best_epoch == 2
    assert "val/loss" not in trained.history


def test_early_stopping_stops_and_a_later_process_does_not_go_on(tmp_path: Path) -> None:
    stopping = {"monitor": "train/loss", "mode": "max", "patience": 1}
    asked = config(train__epochs=9, train__early_stopping=stopping)
    first = train(asked, images(), images(), tmp_path, nothing)
    assert len(first.history) < 9
    again = train(asked, images(), images(), tmp_path, kill_after(len(first.history) + 1))
    assert len(again.history) == len(first.history)


def test_cosine_ends_near_zero(tmp_path: Path) -> None:
    trained = train(
        config(train__epochs=4, train__schedule="cosine", train__learning_rate=0.1), images(), None, tmp_path, nothing
    )
    # .1 * (1 + cos(pi * epoch / 4)) / 2 for epochs 0 to 3
    np.testing.assert_allclose(trained.history["train/learning_rate"], [0.1, 0.085355, 0.05, 0.014645], rtol=1e-4)


def test_a_network_trained_in_mixed_precision_answers_in_float32(tmp_path: Path) -> None:
    trained = train(config(train__epochs=1, train__precision="mixed_bfloat16"), images(), images(), tmp_path, nothing)
    assert {layer.dtype_policy.name for layer in trained.model.layers} == {"float32"}
    assert np.isfinite(predict(trained.model, images(), 1)).all()


def test_class_weights_let_a_rare_class_weigh_as_much(tmp_path: Path) -> None:
    rare = images()
    few = Images(rare.pixels, rare.rows[:], np.where(rare.rows[:, None] < 4, rare.labels, 0).astype(np.float32))
    plain = train(config(train__epochs=1), few, None, tmp_path / "plain", nothing)
    weighted = train(config(train__epochs=1, data__class_weights=True), few, None, tmp_path / "weighted", nothing)
    # 2 of 48 positive: each weighs 48 / (2 * 2) = 12, so the network leans further towards yes.
    assert predict(weighted.model, few, 1).mean() > predict(plain.model, few, 1).mean()


def test_a_training_that_was_ended_early_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    asked = config(train__epochs=4, train__schedule="cosine", train__learning_rate=0.01)
    whole = train(asked, images(), images(), tmp_path / "whole", nothing)
    short = train(asked, images(), images(), tmp_path / "short", nothing, until=2)
    # The learning rate falls as over all four epochs.
    np.testing.assert_allclose(short.history["train/learning_rate"], whole.history["train/learning_rate"][:2])
    assert short.best_epoch <= 2
    longer = train(asked, images(), images(), tmp_path / "short", nothing, until=9)
    np.testing.assert_allclose(longer.history["val/loss"], whole.history["val/loss"], rtol=1e-4)


def test_more_can_be_measured_of_each_epoch(tmp_path: Path) -> None:
    trained = train(
        config(train__epochs=2), images(), images(), tmp_path, nothing, measure=lambda said: {"val/mean": said.mean()}
    )
    last = predict(trained.model, images(), channels=1).mean()
    assert trained.history["val/mean"][trained.best_epoch - 1] == pytest.approx(last, rel=1e-4)
    again = train(config(train__epochs=2), images(), images(), tmp_path, nothing)
    assert list(again.history["val/mean"]) == list(trained.history["val/mean"])  # kept with the epoch


def test_a_loss_that_is_no_number_ends_the_training_and_says_when(tmp_path: Path) -> None:
    told: list[int] = []
    with pytest.raises(TrainingError, match=r"the loss is not finite in epoch 1; lower train.learning_rate"):
        train(
            config(train__learning_rate=3e38, train__optimizer="sgd"),
            images(),
            images(),
            tmp_path,
            lambda epoch, values: told.append(epoch),
        )
    assert told == []
