"""From what `data` names (phantom, raw source or store) to images that a step can use, audited and divided."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock, Timeout

from secondread.config import DataSettings, RunConfig
from secondread.data.audit import AuditReport, audit
from secondread.data.manifest import manifest_digest, subgroup_columns
from secondread.data.near_duplicates import join_groups
from secondread.data.patient_key import load_secret
from secondread.data.phantom.write import write_phantom
from secondread.data.sources.detect import open_source
from secondread.data.sources.index import Index
from secondread.data.split import fold_by_patient, split_by_patient
from secondread.data.store import Pixels, Store, build_store, is_store, open_store, plan_digest, store_digest
from secondread.data.subset import limit, positive_fraction
from secondread.errors import ConfigError, StoreError
from secondread.imaging.preprocess import Preprocess
from secondread.storage import Folder, open_folder
from secondread.storage.cache import Cache
from secondread.tasks import Task, load_task

PHANTOM = "phantom"
OTHER_PHANTOM = "other_phantom"  # other patients, for a separate evaluation set
_PHANTOM_PATIENTS = {"hemorrhage": 240, "pneumonia": 900}
_PHANTOM_SEED = 7
_PHANTOM_VERSION = 2  # raised when equal seeds draw other bytes, so that none drawn before is used
Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Images, divided and audited.

    Args:
        name: the source's layout.
        root: the source's folder, below which the manifest's paths lie.
        manifest: one row an image; `row` is its place in `pixels`, `fold` its fold (-1 without folds).
        preprocess: how every image became its stored pixels.
        prior: by label, share of the training images that have it, before any change of the class balance.
        put_aside: how many files of the source could not be used, by rule.
    """

    name: str
    root: Folder
    manifest: pd.DataFrame
    pixels: Pixels
    preprocess: Preprocess
    prior: dict[str, float]
    report: AuditReport
    put_aside: Mapping[str, int]

    @property
    def manifest_digest(self) -> str:
        """Digest of source bytes, labels, patients and split."""
        return manifest_digest(self.manifest)

    @property
    def store_digest(self) -> str:
        """Digest of the manifest and the preprocessing."""
        return store_digest(self.manifest_digest, self.preprocess)

    def rows(self, chosen: pd.Series) -> npt.NDArray[np.int64]:
        """Places in `pixels` of the chosen rows of the manifest."""
        rows: npt.NDArray[np.int64] = self.manifest.loc[chosen, "row"].to_numpy(np.int64)
        return rows


def prepare(config: RunConfig, home: Path, say: Say = print, preprocess: Preprocess | None = None) -> Prepared:
    """Make a run's images ready: preprocess a raw source once, divide by patient, draw subsamples, audit.

    Args:
        home: where the phantom, the cached stores and the patient-key secret are kept.
        say: told what was recognised and found, a line at a time.
        preprocess: a model's own; by default what the configuration asks for of this source.
    Raises:
        SecondReadError: the source, the store or the split is not usable.
    """
    task = load_task(config.task)
    settings = config.data
    store = _open(settings.path, settings.layout, task, config, home, say, preprocess)
    manifest = store.manifest.assign(row=np.arange(len(store.manifest)), fold=-1)
    if settings.limit is not None:
        manifest = limit(manifest, settings.limit, settings.seed)
    manifest = split_by_patient(manifest, settings.val_fraction, settings.test_fraction, settings.seed)
    pixels, aside = store.pixels, store.put_aside()["rule"]
    if settings.evaluation is not None:
        if settings.folds:
            raise ConfigError("data.evaluation, data.folds: a separate evaluation set leaves nothing to cross-validate")
        manifest, pixels, also_aside = _with_evaluation(manifest, pixels, store, task, config, home, say)
        aside = pd.concat([aside, also_aside])
    prior = _prior(manifest, task, settings)
    if settings.positive_fraction is not None:
        manifest = positive_fraction(manifest, settings.positive_fraction, task.primary, settings.seed)
    manifest = manifest.reset_index(drop=True)
    if settings.folds:
        manifest = _fold(manifest, settings)
    root, form = open_folder(store.description.root), store.description.preprocess
    prepared = Prepared(store.name, root, manifest, pixels, form, prior, audit(manifest), counted(aside))
    say(prepared.report.text())
    return prepared


def counted(rules: pd.Series) -> dict[str, int]:
    """How many files were put aside, by rule."""
    return {str(rule): int(count) for rule, count in rules.value_counts().items()}


def source_index(path: str, layout: str, task: Task, config: RunConfig, home: Path, say: Say) -> Index:
    """Index a raw source, or the phantom, which is made at first use."""
    root: str | Path = path
    if path == PHANTOM:
        root = _phantom(task, _PHANTOM_SEED, config, home, say)
    elif path == OTHER_PHANTOM:
        root = _phantom(task, _PHANTOM_SEED + 1, config, home, say)
    index = open_source(root, task, layout, config.execution.who)
    for line in index.report:
        say(line)
    if config.data.limit is not None:
        index = replace(index, entries=limit(index.entries, config.data.limit, config.data.seed).reset_index(drop=True))
    return index


def _phantom(task: Task, seed: int, config: RunConfig, home: Path, say: Say) -> Path:
    patients = _PHANTOM_PATIENTS[task.name]
    root = home / "phantom" / f"{task.name}-{patients}-{seed}-v{_PHANTOM_VERSION}"
    with _alone(home, f"phantom-{root.name}", say):
        if not root.exists():
            say(f"making a phantom of {patients} synthetic patients for {task.name}")
            write_phantom(root, task, patients, seed, config.execution.workers)
    return root


@contextmanager
def _alone(home: Path, name: str, say: Say) -> Iterator[None]:
    """Let one process at a time make what several may want."""
    path = home / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another process is making these images ready; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open(
    path: str, layout: str, task: Task, config: RunConfig, home: Path, say: Say, preprocess: Preprocess | None
) -> Store:
    """Open a store, or build the cached one of a raw source."""
    cache = Cache.at_home(config.execution.cache_gb)
    if is_store(path):
        store = _of_task(open_store(path, cache), task)
        # A given preprocessing is a logged model's: it reads the files, and the stored pixels are only looked at.
        return _made_for(store, _wanted(store, task, config), config) if preprocess is None else store
    index = source_index(path, layout, task, config, home, say)
    form = preprocess or Preprocess.build(task, config.preprocess, index.unit, index.display_window)
    secret = load_secret(home)
    out = home / "stores" / plan_digest(index, task.name, form, secret)
    with _alone(home, f"store-{out.name}", say):
        store = build_store(index, task.name, form, config.data, out, secret, config.execution.who)
    put_aside = len(store.put_aside())
    say(f"store of {len(store.manifest):,} images in {out}" + (f"; {put_aside:,} put aside" if put_aside else ""))
    return store


def _of_task(store: Store, task: Task) -> Store:
    """Refuse a store of another task."""
    if store.description.task != task.name:
        raise StoreError(
            f"{store.folder}: a store for {store.description.task}, not for {task.name}; run "
            f"`python -m secondread preprocess --task {task.name}` into another folder"
        )
    return store


def _wanted(store: Store, task: Task, config: RunConfig) -> Preprocess:
    held = store.description.preprocess
    return Preprocess.build(task, config.preprocess, held.unit, held.display_window)


def _made_for(store: Store, wanted: Preprocess, config: RunConfig) -> Store:
    """Refuse a store whose pixels were made in another way than a training needs."""
    held = store.description.preprocess
    compared = set(type(held).model_fields) - {"display_window"}  # of CT DICOMs sent later; not in the pixels
    differing = sorted(name for name in compared if getattr(held, name) != getattr(wanted, name))
    if differing:
        name = config.model.name
        raise StoreError(
            f"{store.folder}: its images have another {', '.join(differing)} than model {name} asks for; "
            f"run `python -m secondread preprocess --task {config.task} --model {name}` into another folder"
        )
    return store


def _with_evaluation(
    manifest: pd.DataFrame, pixels: Pixels, store: Store, task: Task, config: RunConfig, home: Path, say: Say
) -> tuple[pd.DataFrame, Pixels, pd.Series]:
    """Let the test be a separate set: the first source's own test images become training images.

    Returns:
        the manifest of both, their pixels, and the rules of what the separate set put aside.
    """
    assert config.data.evaluation is not None
    preprocess = store.description.preprocess
    apart = _open(config.data.evaluation, "auto", task, _unlimited(config), home, say, preprocess)
    apart = _made_for(apart, preprocess, config)
    settings = config.data
    tested = manifest["split"] == "test"
    learning = manifest.assign(given=manifest["given"] & ~tested, split=manifest["split"].mask(tested, ""))
    test = apart.manifest.assign(
        row=np.arange(len(apart.manifest)) + len(pixels),
        fold=-1,
        split="test",
        given=True,
    )
    groups = join_groups(
        manifest["group"].to_numpy(np.int64),
        store.thumbnails()[manifest["row"]],
        apart.manifest["group"].to_numpy(np.int64),
        apart.thumbnails(),
    )
    both = pd.concat([learning, test], ignore_index=True).assign(group=groups)
    known = subgroup_columns(both)  # what one source knows, the other may not
    both[known] = both[known].fillna("")
    divided = split_by_patient(both, settings.val_fraction, settings.test_fraction, settings.seed)
    return divided, pixels.followed_by(apart.pixels), apart.put_aside()["rule"]


def _unlimited(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"data": config.data.model_copy(update={"limit": None})})


def _prior(manifest: pd.DataFrame, task: Task, settings: DataSettings) -> dict[str, float]:
    """What a model without skill would answer; a rebalanced training set would make chance look like skill."""
    training = manifest if settings.folds else manifest[manifest["split"] == "train"]
    return {label: float(training[f"label_{label}"].mean()) for label in task.labels}


def _fold(manifest: pd.DataFrame, settings: DataSettings) -> pd.DataFrame:
    if (manifest["given"] & (manifest["split"] == "test")).any():
        raise ConfigError("data.folds: this source gives its own test images; leave data.folds at 0")
    return fold_by_patient(manifest, settings.folds, settings.seed)
