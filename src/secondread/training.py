"""A configuration and stored images to a trained network; a killed training continues from its last epoch."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from keras import ops
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from secondread.config import RunConfig, TrainSettings
from secondread.data.feed import Labels, PixelTable, Rows, ordered_feed, steps_per_epoch, training_feed
from secondread.data.prepare import Prepared
from secondread.errors import AuditError, TrainingError
from secondread.execution import refresh_s
from secondread.models.architectures import answers_primary_alone, build_model, starts_pretrained
from secondread.models.losses import ClassWeights, loss_function
from secondread.models.outputs import learner, logits, probabilities
from secondread.models.pretrained import freeze_features, unfreeze_features
from secondread.storage import write_aside
from secondread.tasks import Task

Float32 = npt.NDArray[np.float32]
OnEpoch = Callable[[int, dict[str, float]], None]
Measure = Callable[[npt.NDArray[np.float64]], dict[str, float]]

_STATE = "epoch-{:04d}"
_WEIGHTS = "model.weights.h5"
_BEST = "best.weights.h5"
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Images:
    """Some stored images and what is known of them.

    Args:
        rows: places in `pixels`, shape (n,).
        labels: 1, 0 or NaN, shape (n, labels).
    """

    pixels: PixelTable
    rows: Rows
    labels: Labels

    @classmethod
    def of(cls, data: Prepared, chosen: pd.Series, labels: Sequence[str]) -> "Images":
        """Take the chosen rows of the manifest, with these labels."""
        columns = [f"label_{label}" for label in labels]
        return cls(data.pixels, data.rows(chosen), data.manifest.loc[chosen, columns].to_numpy(np.float32))


@dataclass(frozen=True)
class Trained:
    """A trained network, in float32 with the best epoch's weights.

    Args:
        history: one row an epoch, columns as logged; `epoch` is counted from 1.
        best_epoch: counted from 1.
    """

    model: keras.Model
    history: pd.DataFrame
    best_epoch: int


@dataclass
class _Progress:
    """What a later process needs to go on, besides the weights."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    stopped: bool = False
    callbacks: list[dict[str, float]] = field(default_factory=list)


def answered_labels(task: Task, config: RunConfig, manifest: pd.DataFrame) -> tuple[str, ...]:
    """The task's labels that training images know both with and without; others cannot be learned.

    Raises:
        AuditError: the primary label is not among them.
    """
    training = manifest[manifest["split"] == "train"] if not config.data.folds else manifest
    learnable = [label for label in task.labels if set(training[f"label_{label}"].dropna().unique()) == {0.0, 1.0}]
    if task.primary not in learnable:
        raise AuditError(f"train has not both images with and without {task.primary}; add images of the missing class")
    return (task.primary,) if answers_primary_alone(config.model.name) else tuple(learnable)


def train(
    config: RunConfig,
    training: Images,
    validation: Images | None,
    folder: Path,
    on_epoch: OnEpoch,
    *,
    until: int | None = None,
    measure: Measure | None = None,
) -> Trained:
    """Train the configuration's network.

    Args:
        validation: None trains without choosing: the last epoch is kept.
        folder: keeps the state after every epoch; a training of the same arguments continues from it.
        on_epoch: called with the epoch (from 1) and its values, once its state is kept; a process that continues tells
            the last epoch again, for the one that was killed may not have come to it.
        until: end after this epoch, as if interrupted there; a later training goes on from it.
        measure: more values of each epoch, from the probabilities of the validation images.
    Raises:
        TrainingError: the loss is no number any more.
    """
    keras.utils.set_random_seed(config.train.seed)
    shape = (config.preprocess.size, config.preprocess.size, config.preprocess.channels)
    labels = training.labels.shape[1]
    with _precision(config.train.precision):
        model = build_model(config.model, shape, labels)
        learns = learner(model)
    keeper = _Keeper(config.train, folder, on_epoch, choose=validation is not None)
    keeper.tell_again()
    for first, last, frozen in _phases(config, until):
        if keeper.done >= last or keeper.progress.stopped:
            continue
        if starts_pretrained(config.model):
            (freeze_features if frozen else unfreeze_features)(model)
        continued = keeper.done > first
        if not continued:
            keeper.load_into(learns)  # before compiling: the optimizer begins anew with the phase
        _compile(learns, config.train, training.labels, frozen=frozen, weighted=config.data.class_weights)
        if continued:
            learns.optimizer.build(learns.trainable_variables)
            keeper.load_into(learns)
        _fit(learns, config, training, _Validation(validation, config, measure), keeper, last)
    return _finish(config, shape, labels, keeper)


def predict(model: keras.Model, images: Images, channels: int) -> npt.NDArray[np.float64]:
    """Answer stored images: probabilities of shape (n, labels), in their order, not calibrated."""
    return probabilities(_outputs(learner(model), images, channels), images.labels.shape[1])


def _outputs(learns: keras.Model, images: Images, channels: int) -> Float32:
    """What a `learner` says of stored images, in their order."""
    ds = ordered_feed(images.pixels, images.rows, images.labels, channels=channels, batch_size=64)
    return np.asarray(learns.predict(ds, verbose=0), np.float32)


def _phases(config: RunConfig, until: int | None) -> Iterator[tuple[int, int, bool]]:
    """Yield (first epoch, epoch after the last, features frozen), counted from 0."""
    settings = config.train
    epochs = settings.epochs if until is None else min(until, settings.epochs)
    frozen = min(settings.frozen_epochs, epochs) if starts_pretrained(config.model) else 0
    if frozen:
        yield 0, frozen, True
    if frozen < epochs:
        yield frozen, epochs, False


@contextmanager
def _precision(policy: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _learning_rate(settings: TrainSettings, frozen: bool) -> float:
    fine = settings.fine_tune_learning_rate
    return fine if fine is not None and settings.frozen_epochs and not frozen else settings.learning_rate


def _compile(model: keras.Model, settings: TrainSettings, labels: Labels, *, frozen: bool, weighted: bool) -> None:
    optimizers = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }
    model.compile(
        optimizer=optimizers[settings.optimizer](_learning_rate(settings, frozen)),
        loss=loss_function(settings.loss, _class_weights(labels) if weighted else None),
        metrics=[_accuracy],
        # On TensorFlow's CPU XLA compiles for minutes and gains nothing.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def _class_weights(labels: Labels) -> ClassWeights:
    """Weights by which both classes of a label count alike: n / (2 x images of the class)."""
    known = np.maximum(np.sum(~np.isnan(labels), axis=0), 1)
    positive = np.nansum(labels, axis=0)
    present = known / (2 * np.maximum(positive, 1))
    absent = known / (2 * np.maximum(known - positive, 1))
    return ClassWeights(present.tolist(), absent.tolist())


def _accuracy(labels: Any, outputs: Any) -> Any:
    """Share of right answers at .5 among the known labels."""
    answers = ops.cast(logits(outputs, labels.shape[-1]) > 0, "float32")
    known = ops.cast(ops.logical_not(ops.isnan(labels)), "float32")
    right = ops.cast(ops.equal(answers, labels), "float32")
    return ops.sum(right * known) / ops.maximum(ops.sum(known), 1.0)


def _fit(
    model: keras.Model, config: RunConfig, training: Images, validation: "_Validation", keeper: "_Keeper", last: int
) -> None:
    settings = config.train
    ds = training_feed(
        training.pixels,
        training.rows,
        training.labels,
        channels=config.preprocess.channels,
        augment=config.augment,
        batch_size=settings.batch_size,
        seed=settings.seed,
        first_epoch=keeper.done,
    )
    steps = steps_per_epoch(len(training.rows), settings.batch_size)
    measure = _Measure(validation, config.train.seed, _ProgressLine(steps, last))
    model.fit(
        ds,
        epochs=last,
        initial_epoch=keeper.done,
        steps_per_epoch=steps,
        verbose=0,
        shuffle=False,  # the feed has shuffled already
        callbacks=[measure, *keeper.library_callbacks(), keeper],
    )


class _ProgressLine:
    """The live line of one epoch."""

    def __init__(self, steps: int, epochs: int) -> None:
        self._steps = steps
        self._epochs = epochs

    def begin(self, epoch: int) -> None:
        description = f"epoch {epoch + 1}/{self._epochs}"
        self._bar = tqdm(total=self._steps, desc=description, leave=False, unit="batch", mininterval=refresh_s())

    def advance(self, loss: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._bar.update()

    def end(self, values: dict[str, float]) -> None:
        self._bar.close()
        print(self._bar.desc, " ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)


class _Measure(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Give an epoch's values their names, validation included, for the callbacks behind this one."""

    def __init__(self, validation: "_Validation", seed: int, line: _ProgressLine) -> None:
        super().__init__()
        self._validation = validation
        self._seed = seed
        self._line = line

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._began = time.monotonic()
        self._epoch = epoch
        self._line.begin(epoch)
        _reseed(self.model, self._seed, epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self._line.advance(_finite(logs["loss"], self._epoch))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        values = {"train/loss": logs["loss"], "train/accuracy": logs["_accuracy"]}
        values["train/learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        values["train/seconds"] = time.monotonic() - self._began
        values |= self._validation.values(self.model, epoch)
        logs.clear()
        logs.update(values)
        self._line.end(values)


class _Validation:
    """What an epoch is worth on the validation images; nothing without any."""

    def __init__(self, images: Images | None, config: RunConfig, measure: Measure | None) -> None:
        self._images = images
        self._channels = config.preprocess.channels
        self._loss = loss_function(config.train.loss)
        self._measure = measure

    def values(self, model: keras.Model, epoch: int) -> dict[str, float]:
        if self._images is None:
            return {}
        labels = self._images.labels
        outputs = _outputs(model, self._images, self._channels)
        answers = logits(outputs, labels.shape[1])
        known = ~np.isnan(labels)
        loss = float(ops.convert_to_numpy(self._loss(labels, answers)))
        values = {
            "val/loss": _finite(loss, epoch),
            "val/accuracy": float(((answers > 0) == labels)[known].mean()),
        }
        primary, sure = answers[:, 0], known[:, 0]
        if len(np.unique(labels[sure, 0])) == 2:
            values["val/auroc"] = float(roc_auc_score(labels[sure, 0], primary[sure]))
        return values | (self._measure(probabilities(outputs, labels.shape[1])) if self._measure else {})


def _finite(loss: float, epoch: int) -> float:
    """Give the loss back.

    Raises:
        TrainingError: it is no number; nothing that follows could mend that.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is not finite in epoch {epoch + 1}; lower train.learning_rate, or train with "
            "train.precision=float32"
        )
    return loss


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Let dropout depend on the seed and the epoch alone: weights files do not hold the state of its generators."""
    for place, layer in enumerate(model.layers):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.random.SeedSequence((seed, epoch, place)).generate_state(2))


class _Keeper(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Keep each epoch's state on disk, remember the best, and give a later process back what this one knew."""

    def __init__(self, settings: TrainSettings, folder: Path, on_epoch: OnEpoch, *, choose: bool) -> None:
        super().__init__()
        self._settings = settings
        self._folder = folder
        self._on_epoch = on_epoch
        self._best = settings.best if choose else "last"
        self.progress = _Progress()
        kept = self._newest()
        if kept is not None:
            self.progress = _Progress(**json.loads((kept / _PROGRESS).read_text()))

    @property
    def done(self) -> int:
        """Epochs that are finished."""
        return len(self.progress.history)

    def tell_again(self) -> None:
        """Tell the last finished epoch, if there is one."""
        if self.done:
            self._on_epoch(self.done, self.progress.history[-1])

    @property
    def best_weights(self) -> Path:
        """Weights of the best epoch so far."""
        return self._folder / _STATE.format(self.done) / _BEST

    def library_callbacks(self) -> list[keras.callbacks.Callback]:
        """Keras' own callbacks that the settings ask for."""
        self._library = [*self._plateau(), *self._early_stopping()]
        if self._settings.schedule == "cosine":
            return [keras.callbacks.LearningRateScheduler(self._cosine), *self._library]
        return list(self._library)

    def _plateau(self) -> Iterator[keras.callbacks.Callback]:
        wanted = self._settings.plateau
        if wanted is not None:
            yield keras.callbacks.ReduceLROnPlateau(
                wanted.monitor, wanted.factor, wanted.patience, mode=wanted.mode, min_lr=wanted.minimum
            )

    def _early_stopping(self) -> Iterator[keras.callbacks.Callback]:
        wanted = self._settings.early_stopping
        if wanted is not None and wanted.enabled:
            yield keras.callbacks.EarlyStopping(wanted.monitor, wanted.min_delta, wanted.patience, mode=wanted.mode)

    def load_into(self, model: keras.Model) -> None:
        """Load the last finished epoch's weights, and the optimizer's state where the model has one."""
        if self.done:
            model.load_weights(self._folder / _STATE.format(self.done) / _WEIGHTS)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        # Keras' callbacks reset themselves when a fit begins; theirs run before this one.
        for callback, counters in zip(self._library, self.progress.callbacks, strict=False):
            vars(callback).update(counters)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        # Keras' own callbacks add bare names such as `learning_rate`; ours say of which side they are.
        values = {name: float(value) for name, value in logs.items() if "/" in name}
        self.progress.history.append(values)
        best = self._is_best()
        if best:
            self.progress.best_epoch = epoch + 1
        self.progress.stopped = bool(self.model.stop_training)
        self.progress.callbacks = [_counters(callback) for callback in self._library]
        self._write(best)
        self._on_epoch(epoch + 1, values)

    def _cosine(self, epoch: int) -> float:
        rate = _learning_rate(self._settings, frozen=epoch < self._settings.frozen_epochs)
        return rate * 0.5 * (1 + math.cos(math.pi * epoch / self._settings.epochs))

    def _is_best(self) -> bool:
        if self._best == "last" or not self.progress.best_epoch:
            return True
        missing = math.inf if self._settings.best_mode == "min" else -math.inf
        now = self.progress.history[-1].get(self._best, missing)
        then = self.progress.history[self.progress.best_epoch - 1].get(self._best, missing)
        return now < then if self._settings.best_mode == "min" else now > then

    def _write(self, best: bool) -> None:
        before = self._newest()
        with write_aside(self._folder / _STATE.format(self.done)) as aside:
            aside.mkdir()
            self.model.save_weights(aside / _WEIGHTS)
            source = aside / _WEIGHTS if best or before is None else before / _BEST
            os.link(source, aside / _BEST)
            (aside / _PROGRESS).write_text(json.dumps(vars(self.progress)))
        if before is not None:
            for path in before.iterdir():
                path.unlink()
            before.rmdir()

    def _newest(self) -> Path | None:
        kept = sorted(self._folder.glob("epoch-*/" + _PROGRESS))
        return kept[-1].parent if kept else None


def _counters(callback: keras.callbacks.Callback) -> dict[str, float]:
    """A library callback's numbers, such as how long it has waited; the settings among them do not change."""
    return {
        name: float(value) if isinstance(value, np.floating) else value
        for name, value in vars(callback).items()
        if isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    }


def _finish(config: RunConfig, shape: tuple[int, int, int], labels: int, keeper: _Keeper) -> Trained:
    """Rebuild the network in float32, so that batches of any size are answered alike, with the best weights."""
    model = build_model(config.model.model_copy(update={"weights": "none"}), shape, labels)
    learner(model).load_weights(keeper.best_weights)
    history = pd.DataFrame(keeper.progress.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    return Trained(model, history, keeper.progress.best_epoch)
