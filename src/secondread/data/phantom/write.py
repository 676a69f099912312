"""Write synthetic patients to a folder in a public data set's layout; equal arguments give equal bytes."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from secondread.data.phantom.bleeds import BLEEDS
from secondread.data.phantom.ct import CtSeries, draw_series
from secondread.data.phantom.xray import Finding, Xray, draw_xrays
from secondread.errors import ConfigError
from secondread.execution import map_in_processes
from secondread.imaging.dicom.write import write_ct
from secondread.storage import write_aside
from secondread.tasks import Task

_BLEEDING = 0.45  # share of CT patients
_PNEUMONIA = 0.55  # share of X-ray patients
_TEST, _VAL = 0.2, 0.03  # shares of X-ray patients; a small val, as in the original
_COMMENT = b"synthetic phantom, not a patient"
_CSV_KINDS = (*BLEEDS, "any")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _CtPatient:
    root: Path
    seed: int
    number: int
    kinds: frozenset[str]


@dataclass(frozen=True)
class _XrayPatient:
    root: Path
    seed: int
    number: int
    finding: Finding
    split: str


def write_phantom(root: Path, task: Task, patients: int, seed: int, workers: int | None = None) -> None:
    """Write a synthetic data set, all of it or nothing.

    `hemorrhage` is laid out as RSNA's 2019 challenge, `pneumonia` as Kermany's `chest_xray`. `masks/` holds a PNG for
    every image with a lesion: bit k of a CT pixel is set where `BLEEDS[k]` is; an X-ray pixel is 255 in an opacity.

    Args:
        root: the folder to make; one that exists is replaced.
        patients: at least 2, so that both classes exist.
        workers: processes; None is one a core.
    Raises:
        ConfigError: too few patients, or a task without a phantom.
    """
    if patients < 2:
        raise ConfigError(f"phantom: both classes need a patient each; ask for 2 or more. Received: {patients}")
    write = _of_task(task, {"hemorrhage": _write_ct_set, "pneumonia": _write_xray_set})
    with write_aside(root) as aside:
        (aside / "masks").mkdir(parents=True)
        write(aside, patients, seed, workers)


def phantom_image(task: Task, seed: int) -> bytes:
    """Make one image file that shows a lesion: a DICOM slice of a head, or a JPEG of a chest."""
    return _of_task(task, {"hemorrhage": _ct_example, "pneumonia": _xray_example})(seed)


def _of_task(task: Task, choices: dict[str, Callable[..., Result]]) -> Callable[..., Result]:
    if task.name not in choices:
        raise ConfigError(f"task={task.name}: no phantom is drawn for it; give images with `data=PATH`")
    return choices[task.name]


def _generator(seed: int, number: int) -> np.random.Generator:
    """Every patient's own stream, whoever draws it and when."""
    return np.random.default_rng(np.random.SeedSequence((seed, number)))


def _write_ct_set(root: Path, patients: int, seed: int, workers: int | None) -> None:
    (root / "stage_2_train").mkdir()
    jobs = [_CtPatient(root, seed, number, kinds) for number, kinds in enumerate(_plan_bleeds(patients, seed))]
    slices = sorted(row for rows in map_in_processes(_write_ct_patient, jobs, workers, "phantom") for row in rows)
    slices += slices[:: max(1, len(slices) // 3)]  # as the original, the table repeats some of its rows
    lines = ["ID,Label"]
    lines += [f"{name}_{kind},{int(kind in shown)}" for name, shown in slices for kind in _CSV_KINDS]
    (root / "stage_2_train.csv").write_text("\n".join(lines) + "\n")


def _plan_bleeds(patients: int, seed: int) -> list[frozenset[str]]:
    """Which bleeds every patient has: each kind equally often, sometimes two together."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    bleeding = max(1, round(_BLEEDING * patients))
    plan = [frozenset[str]()] * (patients - bleeding)
    for index in range(bleeding):
        second = {str(rng.choice(BLEEDS))} if rng.random() < 0.3 else set()
        plan.append(frozenset({BLEEDS[index % len(BLEEDS)]} | second))
    return [plan[index] for index in rng.permutation(patients)]


def _write_ct_patient(patient: _CtPatient) -> list[tuple[str, tuple[str, ...]]]:
    """Write one patient's slices and give every slice's name and what it shows."""
    series = draw_series(_generator(patient.seed, patient.number), patient.kinds)
    rows = []
    for index, shown in enumerate(series.slices):
        name = _identifier(patient.seed, patient.number, index)
        data = _to_dicom(series, index, patient.seed, patient.number)
        (patient.root / "stage_2_train" / f"{name}.dcm").write_bytes(data)
        if shown.kinds:
            (patient.root / "masks" / f"{name}.png").write_bytes(_to_png(shown.mask))
        rows.append((name, (*sorted(shown.kinds), *(["any"] if shown.kinds else []))))
    return rows


def _identifier(*parts: object) -> str:
    """An id of RSNA's kind, in an order that tells nothing."""
    return "ID_" + sha256("/".join(map(str, parts)).encode()).hexdigest()[:9]


def _to_dicom(series: CtSeries, index: int, seed: int, number: int) -> bytes:
    shown = series.slices[index]
    sex, age = _person(seed, number)
    return write_ct(
        shown.hounsfield,
        patient_id=f"PHANTOM-{_number(seed, number):04d}",
        study_uid=_identifier(seed, number, "study"),
        series_uid=_identifier(seed, number, "series"),
        sop_uid=_identifier(seed, number, index),
        instance=shown.instance,
        position=shown.position,
        spacing=(series.spacing, series.spacing),
        thickness=series.thickness,
        sex=sex,
        age=age,
    )


def _person(seed: int, number: int) -> tuple[str, str]:
    """A patient's sex and age in DICOM's words, drawn from a stream of their own: no image depends on them."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, number, 1)))
    return str(rng.choice(("F", "M"))), f"{rng.integers(5, 96):03d}Y"


def _ct_example(seed: int) -> bytes:
    kinds = frozenset({BLEEDS[seed % len(BLEEDS)]})
    series = draw_series(_generator(seed, 0), kinds)
    areas = [np.count_nonzero(shown.mask) for shown in series.slices]
    return _to_dicom(series, int(np.argmax(areas)), seed, 0)


def _write_xray_set(root: Path, patients: int, seed: int, workers: int | None) -> None:
    for split in ("train", "val", "test"):
        for folder in ("NORMAL", "PNEUMONIA"):
            (root / split / folder).mkdir(parents=True)
    plan = _plan_findings(patients, seed)
    jobs = [_XrayPatient(root, seed, number, finding, split) for number, (finding, split) in enumerate(plan)]
    for _ in map_in_processes(_write_xray_patient, jobs, workers, "phantom"):
        pass


def _plan_findings(patients: int, seed: int) -> list[tuple[Finding, str]]:
    """What every patient has, and the split that the folder gives: the same shares in both classes."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    ill = max(1, round(_PNEUMONIA * patients))
    findings: list[list[Finding]] = [["normal"] * (patients - ill), [("bacteria", "virus")[i % 2] for i in range(ill)]]
    plan = [pair for group in findings for pair in zip(group, _splits(len(group)), strict=True)]
    return [plan[index] for index in rng.permutation(patients)]


def _splits(patients: int) -> Iterator[str]:
    """A class' patients in train, val and test; train has the first."""
    test = min(patients - 1, max(1, round(_TEST * patients)))
    val = min(patients - 1 - test, max(1, round(_VAL * patients)))
    yield from ["train"] * (patients - test - val) + ["val"] * val + ["test"] * test


def _write_xray_patient(patient: _XrayPatient) -> None:
    rng = _generator(patient.seed, patient.number)
    count = int(rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15)))
    folder = patient.root / patient.split / ("NORMAL" if patient.finding == "normal" else "PNEUMONIA")
    for index, xray in enumerate(draw_xrays(rng, patient.finding, count)):
        name = _kermany_name(patient, index)
        (folder / f"{name}.jpeg").write_bytes(_to_jpeg(xray, int(rng.integers(84, 96))))
        if xray.mask.any():
            (patient.root / "masks" / f"{name}.png").write_bytes(_to_png(xray.mask * np.uint8(255)))


def _number(seed: int, number: int) -> int:
    """A synthetic patient's number from 1; phantoms of other seeds hold other patients."""
    return 10_000 * seed + number + 1


def _kermany_name(patient: _XrayPatient, index: int) -> str:
    number = _number(patient.seed, patient.number)
    if patient.finding == "normal":
        return f"{'NORMAL2-' if number % 2 else ''}IM-{number:04d}-{index + 1:04d}"
    return f"person{number}_{patient.finding}_{3 * patient.number + index + 1}"


def _xray_example(seed: int) -> bytes:
    rng = _generator(seed, 0)
    return _to_jpeg(draw_xrays(rng, "bacteria", 1)[0], 90)


def _to_jpeg(xray: Xray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(xray.pixels).save(buffer, "JPEG", quality=quality, comment=_COMMENT)
    return buffer.getvalue()


def _to_png(mask: NDArray[np.uint8]) -> bytes:
    encoded: NDArray[np.uint8] = cv2.imencode(".png", mask)[1]
    return encoded.tobytes()
