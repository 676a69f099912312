"""From what `data` names to images that are divided and audited."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from secondread.config import WINDOWS, RunConfig, load_config
from secondread.data import near_duplicates
from secondread.data import prepare as prepare_module
from secondread.data.phantom.write import write_phantom
from secondread.data.prepare import Prepared, prepare
from secondread.data.store import StoreDescription, store_digest
from secondread.errors import AuditError, ConfigError, SecondReadError, SourceError, StoreError
from secondread.imaging.preprocess import Preprocess
from secondread.steps.preprocess import preprocess
from secondread.tasks import task_names

SIZE = 16
SPLITS = ["train"] * 24 + ["val"] * 8 + ["test"] * 8


@pytest.fixture
def home(workplace: Path) -> Path:
    return workplace / "home"


@pytest.fixture
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "_PHANTOM_PATIENTS", dict.fromkeys(task_names(), 12))


def settings(data: Path | str, task: str = "pneumonia", **others: object) -> RunConfig:
    """Small gray images; a setting's dot is written `__`."""
    model = {"model": "chest_cnn" if task == "pneumonia" else "slice_mlp", "preprocess.size": SIZE}
    typed = {name.replace("__", "."): value for name, value in others.items()}
    return load_config(task, model | {"data": str(data), "execution.workers": 1} | typed)


def ready(data: Path | str, home: Path, **others: object) -> Prepared:
    return prepare(settings(data, **others), home, say=lambda line: None)  # type: ignore[arg-type]  # settings as they come


def write_png(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8))


def write_folders(root: Path, images: int = 40, seed: int = 0) -> Path:
    """Noise pictures in folders named by class, every second one with pneumonia, each a patient of its own."""
    for number in range(images):
        write_png(root / ("PNEUMONIA" if number % 2 else "NORMAL") / f"{number:02d}.png", seed + number)
    return root


def write_table(root: Path, labels: Sequence[int], splits: Sequence[str] | None = None, seed: int = 0) -> Path:
    """Noise pictures and a table with a patient an image, and a split where one is given."""
    lines = ["path,patient,pneumonia" + (",split" if splits else "")]
    for number, label in enumerate(labels):
        write_png(root / f"{number:02d}.png", seed + number)
        lines.append(f"{number:02d}.png,{seed}-{number},{label}" + (f",{splits[number]}" if splits else ""))
    (root / "table.csv").write_text("\n".join(lines))
    return root


@pytest.fixture
def count_preprocessed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Grows with every image that is preprocessed."""
    seen: list[bytes] = []
    pixels = Preprocess.pixels

    def counted(self: Preprocess, data: bytes) -> object:
        seen.append(data)
        return pixels(self, data)

    monkeypatch.setattr(Preprocess, "pixels", counted)
    return seen


@pytest.mark.parametrize("task", task_names())
def test_the_phantom_is_made_once_and_is_ready_for_training(
    home: Path, task: str, small_phantom: None, count_preprocessed: list[bytes]
) -> None:
    said: list[str] = []
    first = prepare(settings("phantom", task), home, said.append)
    assert said[0] == f"making a phantom of 12 synthetic patients for {task}"
    assert len(count_preprocessed) == len(first.manifest) == len(first.pixels)
    assert set(first.manifest["split"]) == {"train", "val", "test"}
    assert first.report.leaks == ()
    assert first.pixels.take(first.rows(first.manifest["split"] == "val")).shape[1:] == (SIZE, SIZE, 1)
    again = prepare(settings("phantom", task), home, said.append)
    assert said.count(said[0]) == 1
    assert len(count_preprocessed) == len(first.manifest)
    assert (again.manifest_digest, again.store_digest) == (first.manifest_digest, first.store_digest)


def test_the_other_phantom_holds_other_patients(home: Path, small_phantom: None) -> None:
    data = ready("phantom", home, data__evaluation="other_phantom")
    assert data.report.leaks == ()
    assert len(list((home / "phantom").iterdir())) == 2


def test_a_raw_folder_is_preprocessed_once(home: Path, workplace: Path, count_preprocessed: list[bytes]) -> None:
    folder = write_folders(workplace / "folder")
    data = ready(folder, home)
    assert len(count_preprocessed) == len(data.manifest) == 40
    assert ready(folder, home).store_digest == data.store_digest
    assert len(count_preprocessed) == 40
    ready(folder, home, preprocess__size=32)
    assert len(count_preprocessed) == 80


def test_rows_lead_to_the_pixels_of_their_files(home: Path, workplace: Path) -> None:
    data = ready(write_folders(workplace / "folder"), home, data__limit=10, data__positive_fraction=0.4)
    assert len(data.manifest) < 10
    for path, row in zip(data.manifest["path"], data.rows(data.manifest["split"] != ""), strict=True):
        pixels = data.preprocess.pixels(data.root.read(str(path)))
        assert np.array_equal(data.pixels.take(np.array([row]))[0], pixels)


def test_what_was_recognised_and_found_is_said(home: Path, workplace: Path) -> None:
    folder = write_folders(workplace / "folder")
    (folder / "NORMAL/note.png").write_text("no image")
    said: list[str] = []
    data = prepare(settings(folder), home, said.append)
    assert said[0] == "class_folders: folders named normal, pneumonia"
    assert any(line.startswith("store of 40 images in ") and line.endswith("; 1 put aside") for line in said)
    assert said[-1] == data.report.text()


def test_a_store_is_taken_as_it_is(home: Path, workplace: Path, count_preprocessed: list[bytes]) -> None:
    folder = write_folders(workplace / "folder")
    preprocess(settings(folder), workplace / "store")
    assert len(count_preprocessed) == 40
    data = ready(workplace / "store", home)
    assert len(count_preprocessed) == 40
    assert (data.name, data.root.address) == ("class_folders", str(folder))
    assert data.manifest_digest == ready(folder, home).manifest_digest


def test_a_store_is_divided_as_the_run_asks(home: Path, workplace: Path) -> None:
    preprocess(settings(write_folders(workplace / "folder")), workplace / "store")
    data = ready(workplace / "store", home, data__test_fraction=0.5, data__val_fraction=0.5)
    assert data.manifest["split"].value_counts().to_dict() == {"test": 20, "train": 10, "val": 10}


@pytest.mark.parametrize(
    ("others", "differing"),
    [
        ({"preprocess__size": 32}, "size"),
        ({"preprocess__aspect": "keep"}, "aspect"),
        ({"model": "separable_cnn"}, "channels"),
    ],
)
def test_a_store_for_another_model_is_refused_with_the_command_that_makes_the_right_one(
    home: Path, workplace: Path, others: dict[str, object], differing: str
) -> None:
    preprocess(settings(write_folders(workplace / "folder")), workplace / "store")
    model = others.get("model", "chest_cnn")
    with pytest.raises(StoreError) as caught:
        ready(workplace / "store", home, **others)
    assert str(caught.value) == (
        f"{workplace / 'store'}: its images have another {differing} than model {model} asks for; run "
        f"`python -m secondread preprocess --task pneumonia --model {model}` into another folder"
    )


def test_a_store_of_the_other_task_is_refused_whoever_asks(home: Path, workplace: Path) -> None:
    preprocess(settings(write_folders(workplace / "folder")), workplace / "store")
    model = Preprocess(unit="display", size=SIZE, channels=1, modalities=("CT",))
    for form in (None, model):
        with pytest.raises(StoreError, match="store: a store for pneumonia, not for hemorrhage; run `python -m second"):
            prepare(settings(workplace / "store", "hemorrhage"), home, preprocess=form)


def test_an_unfinished_store_is_refused(home: Path, workplace: Path) -> None:
    preprocess(settings(write_folders(workplace / "folder")), workplace / "store")
    (workplace / "store" / "store.json").unlink()
    with pytest.raises(StoreError, match="store: this store is unfinished; run the same preprocess command again"):
        ready(workplace / "store", home)


def test_a_folder_that_is_not_there_is_refused_and_nothing_is_written(home: Path, workplace: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: there is no such folder or file; check the path behind `data`"):
        ready("nowhere", home)
    assert list(workplace.iterdir()) == []


def test_a_limit_keeps_the_proportions_of_splits_and_classes(home: Path, workplace: Path) -> None:
    labels = ([0] * 18 + [1] * 6) + ([0] * 6 + [1] * 2) + ([0] * 6 + [1] * 2)
    folder = write_table(workplace / "folder", labels, SPLITS)
    kept = ready(folder, home, data__limit=20).manifest
    assert len(kept) == 20
    assert kept["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    assert kept["label_pneumonia"].sum() == 5
    assert ready(folder, home, data__limit=4000).manifest["split"].value_counts().to_dict() == {
        "train": 24,
        "val": 8,
        "test": 8,
    }


def test_a_limit_of_a_raw_folder_preprocesses_no_more_than_it_keeps(
    home: Path, workplace: Path, count_preprocessed: list[bytes]
) -> None:
    ready(write_folders(workplace / "folder"), home, data__limit=20)
    assert len(count_preprocessed) == 20


@pytest.mark.parametrize(("fraction", "positive", "negative"), [(0.5, 6, 6), (0.75, 6, 2), (0.1, 2, 18)])
def test_a_positive_fraction_draws_train_alone(
    home: Path, workplace: Path, fraction: float, positive: int, negative: int
) -> None:
    labels = ([0] * 18 + [1] * 6) + ([0] * 6 + [1] * 2) + ([0] * 6 + [1] * 2)
    data = ready(write_table(workplace / "folder", labels, SPLITS), home, data__positive_fraction=fraction)
    manifest = data.manifest
    assert manifest["split"].value_counts().to_dict() == {"train": positive + negative, "val": 8, "test": 8}
    assert manifest.loc[manifest["split"] == "train", "label_pneumonia"].sum() == positive
    assert list(manifest.index) == list(range(len(manifest)))
    assert data.manifest_digest != ready(workplace / "folder", home).manifest_digest


def test_without_folds_no_image_has_one(home: Path, workplace: Path) -> None:
    assert set(ready(write_folders(workplace / "folder"), home).manifest["fold"]) == {-1}


def test_folds_share_every_image_out_evenly_in_both_classes(home: Path, workplace: Path) -> None:
    manifest = ready(write_folders(workplace / "folder"), home, data__folds=5).manifest
    assert manifest.groupby("fold")["label_pneumonia"].agg(["size", "sum"]).to_numpy().tolist() == [[8, 4]] * 5


def test_folds_are_refused_where_a_test_is_given(home: Path, workplace: Path) -> None:
    folder = write_table(workplace / "folder", [0, 1] * 20, SPLITS)
    with pytest.raises(ConfigError, match=r"data\.folds: this source gives its own test images; leave data\.folds"):
        ready(folder, home, data__folds=5)


def test_folds_are_refused_beside_an_evaluation_set(home: Path, workplace: Path) -> None:
    folder = write_folders(workplace / "folder")
    with pytest.raises(ConfigError, match=r"data\.evaluation, data\.folds: a separate evaluation set leaves nothing"):
        ready(folder, home, data__folds=5, data__evaluation=str(folder))


def test_an_evaluation_set_is_the_test_and_everything_else_learns(home: Path, workplace: Path) -> None:
    folder = write_table(workplace / "folder", [0, 1] * 20, ["train"] * 32 + ["test"] * 8)
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    data = ready(folder, home, data__evaluation=str(apart), data__val_fraction=0.25)
    assert data.manifest["split"].value_counts().to_dict() == {"train": 30, "test": 10, "val": 10}
    assert data.report.problems == ()
    test = data.manifest["split"] == "test"
    for path, row in zip(data.manifest.loc[test, "path"], data.rows(test), strict=True):
        pixels = data.preprocess.pixels((apart / str(path)).read_bytes())
        assert np.array_equal(data.pixels.take(np.array([row]))[0], pixels)


def test_subgroups_that_one_of_two_sources_knows_are_unknown_of_the_other(home: Path, workplace: Path) -> None:
    folder = write_folders(workplace / "folder")
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    lines = (apart / "table.csv").read_text().splitlines()
    (apart / "table.csv").write_text("\n".join([f"{lines[0]},sex", *(f"{line},F" for line in lines[1:])]))
    manifest = ready(folder, home, data__evaluation=str(apart)).manifest
    assert manifest.groupby("split")["subgroup_sex"].unique().map(list).to_dict() == {
        "test": ["F"],
        "train": [""],
        "val": [""],
    }


def test_a_val_that_the_source_gives_stays_beside_an_evaluation_set(home: Path, workplace: Path) -> None:
    folder = write_table(workplace / "folder", [0, 1] * 20, SPLITS)
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    given = ready(folder, home).manifest
    manifest = ready(folder, home, data__evaluation=str(apart)).manifest
    assert manifest["split"].value_counts().to_dict() == {"train": 32, "test": 10, "val": 8}
    assert set(manifest.loc[manifest["split"] == "val", "image_key"]) == set(
        given.loc[given["split"] == "val", "image_key"]
    )


def copy_bytes(source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def copy_as_jpeg(source: Path, target: Path) -> None:
    """The same picture of other bytes, under a name that the table knows."""
    encoded = cv2.imencode(".jpeg", cv2.imread(str(source)), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    target.write_bytes(bytes(encoded))


@pytest.mark.parametrize("copy_image", [copy_bytes, copy_as_jpeg])
def test_an_image_in_training_and_evaluation_is_a_leak(
    home: Path, workplace: Path, copy_image: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", 3)  # images are compared block by block
    folder = write_table(workplace / "folder", [0, 1] * 20, SPLITS)
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    copy_image(folder / "05.png", apart / "03.png")  # one of train, under another patient
    data = ready(folder, home, data__evaluation=str(apart))
    assert [leak.partition(";")[0] for leak in data.report.leaks] == [
        "1 groups of near duplicates in both train (1 images) and test (1)"
    ]
    with pytest.raises(AuditError, match="1 groups of near duplicates"):
        data.report.refuse(acknowledge_leaks=False)


def test_a_patient_in_training_and_evaluation_is_a_leak(home: Path, workplace: Path) -> None:
    folder = write_table(workplace / "folder", [0, 1] * 20, SPLITS)
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    table = apart / "table.csv"
    table.write_text(table.read_text().replace("1000-3,", "0-5,"))
    data = ready(folder, home, data__evaluation=str(apart))
    assert [leak.partition(";")[0] for leak in data.report.leaks] == [
        "1 patients in both train (1 images) and test (1)"
    ]


def test_a_limit_leaves_the_evaluation_set_whole(home: Path, workplace: Path) -> None:
    folder = write_table(workplace / "folder", [0, 1] * 20, SPLITS)
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    manifest = ready(folder, home, data__evaluation=str(apart), data__limit=20).manifest
    assert manifest["split"].value_counts().to_dict() == {"train": 16, "test": 10, "val": 4}


def test_an_evaluation_store_must_hold_images_like_those_of_training(home: Path, workplace: Path) -> None:
    folder = write_folders(workplace / "folder")
    apart = write_table(workplace / "apart", [0, 1] * 5, seed=1000)
    preprocess(settings(apart), workplace / "same")
    preprocess(settings(apart, preprocess__size=32), workplace / "other")
    data = ready(folder, home, data__evaluation=str(workplace / "same"))
    assert (data.manifest["split"] == "test").sum() == 10
    with pytest.raises(StoreError, match="other: its images have another size than model chest_cnn asks for; run `py"):
        ready(folder, home, data__evaluation=str(workplace / "other"))


def test_an_evaluation_store_may_come_from_pictures_of_another_window(home: Path, workplace: Path) -> None:
    for name, shown in (("learn", "brain"), ("apart", "subdural")):
        folder = write_folders(workplace / name, seed=0 if name == "learn" else 1000)
        (folder / "PNEUMONIA").rename(folder / "Hemorrhage")
        preprocess(settings(folder, "hemorrhage"), workplace / f"{name}_store")
        path = workplace / f"{name}_store" / "store.json"
        description = StoreDescription.model_validate_json(path.read_text())
        other = description.preprocess.model_copy(update={"display_window": WINDOWS[shown]})
        path.write_text(description.model_copy(update={"preprocess": other}).model_dump_json())
    data = prepare(
        settings(workplace / "learn_store", "hemorrhage", data__evaluation=str(workplace / "apart_store")), home
    )
    assert data.preprocess.display_window == WINDOWS["brain"]
    assert (data.manifest["split"] == "test").sum() == 40


def test_a_models_own_preprocessing_wins_over_the_configurations(home: Path, workplace: Path) -> None:
    form = Preprocess(unit="display", size=24, channels=1, modalities=("CR", "DX"))
    data = prepare(settings(write_folders(workplace / "folder")), home, lambda line: None, form)
    assert data.preprocess == form
    assert data.pixels.take(np.array([0])).shape == (1, 24, 24, 1)
    assert data.store_digest == store_digest(data.manifest_digest, form)


def test_the_same_images_are_the_same_data_under_any_secret(home: Path, workplace: Path) -> None:
    folder = write_folders(workplace / "folder")
    first, second = ready(folder, home), ready(folder, workplace / "another_home")
    assert first.manifest_digest == second.manifest_digest
    assert set(first.manifest["patient_key"]).isdisjoint(second.manifest["patient_key"])


def test_two_processes_do_not_make_the_same_phantom(
    home: Path, small_phantom: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    waits = threading.Event()

    def write(*arguments: object) -> None:
        begun.append(arguments)
        waits.wait(20)
        write_phantom(*arguments)  # type: ignore[arg-type]  # passed on as they came

    def say(line: str) -> None:
        if line.startswith("another process is making these"):
            waits.set()

    errors: list[SecondReadError | OSError] = []

    def work() -> None:
        try:
            prepare(settings("phantom"), home, say)
        except (SecondReadError, OSError) as error:
            errors.append(error)

    monkeypatch.setattr(prepare_module, "write_phantom", write)
    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert (len(begun), errors, waits.is_set()) == (1, [], True)
