"""What lies on S3 is scored, explained and copied as the same files are here, whatever happens on the way."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from s3_server import S3Server

from integration.counting_model import CountingModel, picture, write_pictures
from integration.tiny_champion import picture as halves
from integration.tiny_champion import register_tiny_champion
from secondread.cli import main
from secondread.data.phantom.write import phantom_image
from secondread.imaging import sandbox
from secondread.imaging.limits import MOST_BYTES
from secondread.tasks import load_task
from secondread.tracking.answer import Answer, AnsweringModel

ODD_NAME = "Übergröße %s + 胸部.PNG"


@dataclass(frozen=True)
class Source:
    """A bucket's folder, which is written to as a folder of this machine."""

    server: S3Server
    bucket: str

    @property
    def folder(self) -> Path:
        """Where its files are on the server's own disk."""
        return self.server.folder / self.bucket.removeprefix("s3://") / "source"

    @property
    def address(self) -> str:
        """As a user types it."""
        return f"{self.bucket}/source"

    def put(self, files: dict[str, bytes]) -> None:
        """Write files below it."""
        for path, content in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(content)


@pytest.fixture
def source(s3: S3Server, tmp_path: Path) -> Iterator[Source]:
    """An empty one; the server is there again afterwards."""
    yield Source(s3, s3.bucket(tmp_path.name.replace("_", "-")[:60]))
    s3.stop()
    s3.start()


@pytest.fixture
def model(tracked: MlflowClient, workplace: Path) -> CountingModel:
    return CountingModel(workplace / "model")


def score(model: CountingModel, source: str | Path, out: str) -> dict[str, bytes]:
    """Score a source; give the tables, by name."""
    given = ["--task", "hemorrhage", "--model_uri", str(model.folder), "--source", str(source)]
    main(["score", *given, "--out", out])
    return {path.name: path.read_bytes() for path in Path(out).iterdir() if path.name != "job.json"}


def left_at_home() -> list[str]:
    """Folders for a while that are still there."""
    return [path.name for path in Path("home").glob(".*")]


def watch(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int, Sequence[Path]], None]) -> None:
    """Let something happen before each request to the model: it is told the request's number, from 1, and files."""
    answer, requests = AnsweringModel.answer, iter(range(1, 1000))

    def watched(child: AnsweringModel, files: Sequence[Path]) -> list[Answer]:
        happens(next(requests), files)
        return answer(child, files)

    monkeypatch.setattr(AnsweringModel, "answer", watched)


# --- scores


def test_scores_of_a_folder_are_those_of_the_same_folder_here(
    source: Source, model: CountingModel, capfd: pytest.CaptureFixture[str]
) -> None:
    source.put(
        {
            "calm/deep/er/1.png": picture(4, 0),
            "calm/deep/er/white.png": picture(6, 63),
            f"calm/{ODD_NAME}": picture(5, 20),
            "calm-er/3.png": picture(7, 30),
            "slice": phantom_image(load_task("hemorrhage"), seed=0),
            "urgent/2": picture(2, 56),
            "notes.txt": b"dear colleague",
            "empty.dcm": b"",
            "damaged.dcm": bytes(128) + b"DICM" + b"\1" * 50,
            ".hidden.png": picture(9, 9),
            "__MACOSX/1.png": picture(9, 9),
        }
    )
    with (source.folder / "film.avi").open("wb") as film:
        film.truncate(max(MOST_BYTES.values()) + 1)
    here = score(model, source.folder, "here")
    there = score(model, source.address, "there")
    assert set(there) == {
        "put_aside.csv",
        "slices.csv",
        "slices.parquet",
        "studies.csv",
        "studies.parquet",
        "summary.json",
    }
    assert there == here
    aside = pd.read_csv(Path("there") / "put_aside.csv")
    assert set(aside["path"]) == {
        "calm/deep/er/white.png",
        "damaged.dcm",
        "empty.dcm",
        "film.avi",
        "notes.txt",
        "slice",
    }
    assert f"calm/{ODD_NAME}" in set(pd.read_csv(Path("there") / "slices.csv")["path"])
    assert left_at_home() == []
    assert score(model, source.address, "there") == there
    said = capfd.readouterr()
    assert "there: finished already" in said.out
    assert not any(name in said.out + said.err for name in ("Übergröße", "calm", "notes"))


def test_a_store_there_and_its_source_are_read_as_those_here(source: Source, model: CountingModel) -> None:
    numbers = range(8)
    source.put({f"p{number}.png": picture(number, 4 + 7 * number) for number in numbers})
    table = pd.DataFrame({"path": [f"p{number}.png" for number in numbers], "any": [0, 1] * 4})
    table = table.assign(patient=[number // 2 for number in numbers], study=[number // 4 for number in numbers])
    table.to_csv(source.folder / "table.csv", index=False)
    words = ["--task", "hemorrhage", "--preprocess.size", "16", "--execution.workers", "1"]
    stores = {"here": "store", "there": f"{source.bucket}/store"}
    main(["preprocess", "--source", str(source.folder), "--out", stores["here"], *words])
    main(["preprocess", "--source", source.address, "--out", stores["there"], *words])
    (source.folder / "p7.png").unlink()
    scores = {out: score(model, store, out) for out, store in stores.items()}
    assert scores["there"] == scores["here"]
    assert pd.read_csv(Path("there") / "put_aside.csv")["reason"].tolist() == ["the file cannot be opened"]
    assert len(pd.read_csv(Path("there") / "studies.csv")) == 2


def test_an_interrupted_job_goes_on_and_an_outage_ends_none(
    source: Source, model: CountingModel, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("secondread.data.scores.PART", 8)
    monkeypatch.setattr("secondread.steps.score.BATCH", 3)
    write_pictures(source.folder, 40)
    undisturbed = score(model, source.folder, "undisturbed")
    answered = len(model.answered)

    def disturb(request: int, files: Sequence[Path]) -> None:
        if request == 3:
            source.server.stop()
            time.sleep(0.5)
            source.server.start()
        if request == 6:  # the next files are being fetched
            raise KeyboardInterrupt

    with monkeypatch.context() as disturbed:
        watch(disturbed, disturb)
        with pytest.raises(KeyboardInterrupt):
            score(model, source.address, "out")
    assert not (Path("out") / "slices.csv").exists()
    assert left_at_home() == []
    assert score(model, source.address, "out") == undisturbed
    assert 40 <= len(model.answered) - answered < 40 + 8
    said = capfd.readouterr()
    assert not any(name in said.out + said.err for name in ("Mustermann", "kopf"))


def test_there_are_copies_for_two_requests_without_names_and_a_file_that_is_gone_is_put_aside(
    source: Source, model: CountingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"Mustermann/{number:02}.png": picture(number, number) for number in range(20)}
    source.put(files)
    most = 4 * max(map(len, files.values()))
    monkeypatch.setattr("secondread.steps.score._MOST_COPIED", most)
    held: list[int] = []

    def look(request: int, sent: Sequence[Path]) -> None:
        (source.folder / "Mustermann" / "19.png").unlink(missing_ok=True)
        time.sleep(0.05)  # in which the next ones arrive
        copies = [path for path in Path("home").rglob("*") if path.is_file() and path.name.isdecimal()]
        held.append(sum(path.stat().st_size for path in copies))
        assert {path.name for path in sent} <= {str(number) for number in range(20)}
        assert all(path.is_relative_to(Path("home").absolute()) for path in sent)

    watch(monkeypatch, look)
    score(model, source.address, "out")
    assert len(held) >= 20 // 5
    assert most < max(held) <= 2 * most
    assert sorted(pd.read_csv(Path("out") / "slices.csv")["path"]) == sorted(files)[:19]
    aside = pd.read_csv(Path("out") / "put_aside.csv")[["path", "rule", "reason"]]
    assert aside.to_numpy().tolist() == [["Mustermann/19.png", "unreadable", "the file cannot be opened"]]


def test_what_cannot_be_used_is_refused_with_the_next_step(
    source: Source, model: CountingModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, read in (("score", "--source"), ("explain", "--data"), ("deidentify", "--source"), ("diff", "a")):
        with pytest.raises(SystemExit):
            main([verb, read, source.address, "--out", f"{source.bucket}/out"])
        assert (
            f"out={source.bucket}/out: this is written on this machine; choose a folder here" in capsys.readouterr().err
        )
    with pytest.raises(SystemExit):
        score(model, source.address, "out")
    assert f"{source.address}: there is no such folder; give a folder of DICOM" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        score(model, "s3://nowhere-at-all/Mustermann", "out")
    assert "the S3 server refuses (NoSuchBucket); see to bucket and endpoint" in capsys.readouterr().err
    assert not any(Path(name).exists() for name in ("s3:", "out"))
    assert list((source.server.folder / source.bucket.removeprefix("s3://")).iterdir()) == []


# --- explanations and copies


@pytest.mark.slow
def test_explanations_are_those_of_the_same_images_here(source: Source, tracked: MlflowClient, workplace: Path) -> None:
    register_tiny_champion(tracked, "pneumonia", workplace / "model", bias=-2)
    source.put({"Mustermann/1.png": halves(48), "Mustermann/2.png": halves(16), "Mustermann/notes.txt": b"colleague"})
    for data, out in ((source.folder, "here"), (source.address, "there")):
        main(["explain", "--data", str(data), "--out", out])
    written = {
        out: {path.relative_to(out): path.read_bytes() for path in Path(out).rglob("*.*") if path.suffix != ".html"}
        for out in ("here", "there")
    }
    here, there = (pd.read_csv(Path(out) / "explanations.csv").drop(columns="seconds") for out in written)
    assert len(here) == 2
    pd.testing.assert_frame_equal(here, there)
    for name in ("explain.json", "explanations.csv"):  # when files were changed; how long it took
        assert all(files.pop(Path(name)) for files in written.values())
    assert written["there"] == written["here"]
    assert sum(path.suffix == ".png" for path in written["there"]) == 2
    assert pd.read_csv(Path("there") / "put_aside.csv")["path"].tolist() == ["Mustermann/notes.txt"]
    assert left_at_home() == []
    sandbox._pool.cache_clear()


@pytest.mark.slow
def test_one_file_that_is_bad_is_called_as_it_was_typed(
    source: Source, tracked: MlflowClient, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_tiny_champion(tracked, "pneumonia", workplace / "model", bias=-2)
    source.put({"Mustermann/1.png": halves(48), "Mustermann/notes.txt": b"colleague"})
    typed = f"{source.address}/Mustermann/notes.txt"
    with pytest.raises(SystemExit):
        main(["explain", "--data", typed, "--out", "one"])
    said = capsys.readouterr()
    assert f"{typed}: rejected: the file is neither DICOM nor JPEG nor PNG" in said.err
    assert not Path("one").exists()
    main(["explain", "--data", f"{source.address}/Mustermann/1.png", "--out", "one"])
    assert len(pd.read_csv(Path("one") / "explanations.csv")) == 1
    sandbox._pool.cache_clear()


def test_copies_without_who_it_is_are_those_of_the_same_files_here(
    source: Source, workplace: Path, phantom_source: Callable[[str], Path]
) -> None:
    slices = sorted(phantom_source("hemorrhage").rglob("*.dcm"))[:12]
    source.put({f"Mustermann/{path.name}": path.read_bytes() for path in slices} | {"notes.txt": b"dear colleague"})
    for address, out in ((source.folder, "here"), (source.address, "there")):
        main(["deidentify", "--source", str(address), "--out", out])
    copies = [
        {path.relative_to(out): path.read_bytes() for path in Path(out).rglob("*.*")} for out in ("here", "there")
    ]
    assert len(copies[0]) == 12 + 1
    assert copies[0] == copies[1]
    reports = [path.read_bytes() for path in Path("home", "deidentified").glob("*/report.csv")]
    assert len(reports) == 2
    assert reports[0] == reports[1]
