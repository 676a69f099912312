"""What a trained model pays attention to: the bleed, and neither the file that carries it nor the images beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
import pytest
from PIL import Image
from pydicom.uid import RLELossless
from sklearn.metrics import roc_auc_score

from secondread.bundle import ModelBundle, load_bundle
from secondread.config import load_config
from secondread.data.phantom.write import write_phantom
from secondread.data.prepare import Prepared, prepare
from secondread.imaging.dicom.read import read_dicom
from secondread.imaging.dicom.write import write_ct
from secondread.models.outputs import learner, probabilities
from secondread.tasks import load_task
from secondread.training import Images, train

Float32 = npt.NDArray[np.float32]
Hounsfield = npt.NDArray[np.int16]

BRAIN = (34, 4)  # HU of grey and white matter together: mean and deviation


@dataclass(frozen=True)
class Reader:
    """A network that learned to find bleeds in synthetic heads, and heads that it has not seen."""

    network: object
    data: Prepared

    @property
    def unseen(self) -> pd.DataFrame:
        """The test rows of the manifest."""
        return self.data.manifest[self.data.manifest["split"] == "test"]

    def answer(self, *files: bytes) -> Float32:
        """The probability of a bleed in each file, as a server would answer it."""
        pixels = np.stack([self.data.preprocess.pixels(file) for file in files])
        outputs = learner(self.network).predict_on_batch(pixels)
        answers: Float32 = probabilities(outputs, 1)[:, 0].astype(np.float32)
        return answers

    def file(self, path: str) -> bytes:
        return self.data.root.read(path)

    def mask(self, path: str) -> npt.NDArray[np.bool_]:
        """Where the slice's bleeds are, with a margin for their blurred edges."""
        drawn = np.asarray(cv2.imread(f"{self.data.root}/masks/{Path(path).stem}.png", cv2.IMREAD_GRAYSCALE))
        grown: npt.NDArray[np.bool_] = cv2.dilate((drawn > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return grown


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """About twenty seconds of training, for a network that is right about nine slices of ten."""
    folder = tmp_path_factory.mktemp("reader")
    write_phantom(folder / "heads", load_task("hemorrhage"), patients=100, seed=3)
    settings = {"preprocess.size": 64, "train.epochs": 8, "train.batch_size": 16}
    config = load_config("hemorrhage", {"data": str(folder / "heads"), **settings})
    data = prepare(config, folder / "home")

    def images(split: str) -> Images:
        chosen = data.manifest["split"] == split
        return Images(data.pixels, data.rows(chosen), data.manifest.loc[chosen, ["label_any"]].to_numpy(np.float32))

    trained = train(config, images("train"), images("val"), folder / "state", lambda epoch, values: None)
    return Reader(trained.model, data)


def hounsfield(file: bytes) -> Hounsfield:
    return np.rint(read_dicom(file).values).astype(np.int16)


def slice_of(values: Hounsfield) -> bytes:
    """A CT file of nobody."""
    return write_ct(
        values,
        patient_id="",
        study_uid="1",
        series_uid="1",
        sop_uid="1",
        instance=1,
        position=(0, 0, 0),
        spacing=(0.9, 0.9),
        thickness=5,
    )


def painted(values: Hounsfield, where: npt.NDArray[np.bool_]) -> Hounsfield:
    """Put brain where blood may be; bone and air stay."""
    soft = where & (values > 10) & (values < 110)
    changed = values.copy()
    changed[soft] = np.rint(np.random.default_rng(0).normal(*BRAIN, int(soft.sum()))).astype(np.int16)
    return changed


def logit(answers: Float32) -> Float32:
    result: Float32 = np.log(answers / (1 - answers))
    return result


def test_unseen_patients_are_told_apart(reader: Reader) -> None:
    answers = reader.answer(*map(reader.file, reader.unseen["path"]))
    assert roc_auc_score(reader.unseen["label_any"], answers) > 0.85


def test_a_bleed_that_is_painted_over_is_no_longer_found(reader: Reader) -> None:
    bleeding = reader.unseen[reader.unseen["label_any"] == 1]["path"]
    before = reader.answer(*map(reader.file, bleeding))
    without = [slice_of(painted(hounsfield(reader.file(path)), reader.mask(path))) for path in bleeding]
    after = reader.answer(*without)
    found = before > 0.5
    assert found.mean() > 0.7
    assert (after < before)[found].mean() > 0.95
    assert np.median((logit(before) - logit(after))[found]) > 2  # the odds fall to an eighth and less


def test_brain_painted_over_the_other_side_changes_less(reader: Reader) -> None:
    bleeding = reader.unseen[reader.unseen["label_any"] == 1]["path"]
    before = reader.answer(*map(reader.file, bleeding))
    lesion, mirrored = [], []
    for path in bleeding:
        values, mask = hounsfield(reader.file(path)), reader.mask(path)
        lesion.append(slice_of(painted(values, mask)))
        mirrored.append(slice_of(painted(values, mask[:, ::-1] & ~mask)))
    fall = logit(before) - logit(reader.answer(*lesion))
    control = logit(before) - logit(reader.answer(*mirrored))
    assert np.median(np.abs(control)) < np.median(fall) / 2


def test_probabilities_average_to_about_the_share_of_bleeds(reader: Reader) -> None:
    answers = reader.answer(*map(reader.file, reader.unseen["path"]))
    assert answers.mean() == pytest.approx(reader.unseen["label_any"].mean(), abs=0.25)
    truth = reader.unseen["label_any"].to_numpy()
    prior = reader.data.prior["any"]
    surprise = -np.log(np.where(truth == 1, answers, 1 - answers)).mean()
    of_the_prior = -np.log(np.where(truth == 1, prior, 1 - prior)).mean()
    assert surprise < of_the_prior


def test_a_slice_is_answered_alike_alone_and_among_others(reader: Reader) -> None:
    files = [reader.file(path) for path in reader.unseen["path"][:8]]
    alone = np.concatenate([reader.answer(file) for file in files])
    assert reader.answer(*files) == pytest.approx(alone, abs=1e-5)


def test_a_mirrored_head_is_answered_nearly_alike(reader: Reader) -> None:
    paths = reader.unseen["path"]
    mirrored = [slice_of(np.ascontiguousarray(hounsfield(reader.file(path))[:, ::-1])) for path in paths]
    answers, others = reader.answer(*map(reader.file, paths)), reader.answer(*mirrored)
    assert ((answers > 0.5) == (others > 0.5)).mean() > 0.9


def test_compressing_a_ct_without_loss_changes_no_answer(reader: Reader) -> None:
    file = slice_of(hounsfield(reader.file(reader.unseen["path"].iloc[0])))
    dcm = pydicom.dcmread(BytesIO(file))
    dcm.compress(RLELossless)
    compressed = BytesIO()
    dcm.save_as(compressed)
    assert compressed.getvalue() != file
    assert reader.answer(compressed.getvalue()) == reader.answer(file)


@pytest.fixture(scope="module")
def chest(two_trainings: Path) -> ModelBundle:
    """A model for chest X-rays, hardly trained: what it must keep does not depend on its weights."""
    (folder, *_) = sorted(two_trainings.glob("mlruns/*/*/artifacts/bundle"))
    return load_bundle(folder)


@pytest.mark.parametrize("container", ["PNG", "PNG in colour", "PNG of 16 bits", "PNG with alpha"])
def test_the_container_of_an_x_ray_changes_no_answer(
    container: str, chest: ModelBundle, phantom_source: Callable[[str], Path]
) -> None:
    jpeg = next(phantom_source("pneumonia").glob("test/PNEUMONIA/*.jpeg")).read_bytes()
    gray = np.asarray(Image.open(BytesIO(jpeg)))
    picture = {
        "PNG": Image.fromarray(gray),
        "PNG in colour": Image.fromarray(gray).convert("RGB"),
        "PNG of 16 bits": Image.fromarray(gray.astype(np.uint16) * 257),
        "PNG with alpha": Image.fromarray(gray).convert("RGBA"),
    }[container]
    file = BytesIO()
    picture.save(file, "PNG")
    pixels = chest.description.preprocess.pixels
    assert np.array_equal(pixels(file.getvalue()), pixels(jpeg))
    assert chest.answer(pixels(file.getvalue())[None]) == chest.answer(pixels(jpeg)[None])
