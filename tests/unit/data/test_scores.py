"""The folder of answers: parts are whole or absent, and only an equal job is continued."""

import json
import os
import platform
from pathlib import Path

import pandas as pd
import pytest

from secondread.data import scores
from secondread.data.scores import Job, ScoresFolder, check_out, open_scores, shown
from secondread.data.unlabelled import Listed, write_listing
from secondread.errors import ConfigError

FILES = 5


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Five files, in parts of two."""
    monkeypatch.setattr(scores, "PART", 2)
    with (tmp_path / "listing").open("w") as out:
        _, digest = write_listing([Listed(f"{number}.png", 1) for number in range(FILES)], out)
    return Job(task="hemorrhage", model="m", operating_point="balanced", files=FILES, listing=digest)


def opened(tmp_path: Path, job: Job) -> ScoresFolder:
    return open_scores(tmp_path / "out", job, tmp_path / "listing", ["any"])


def row(path: str, probability: float = 0.5) -> dict[str, object]:
    return {"path": path, "status": "ok", "study": "s", "order": None, "probability_any": probability, "heatmap": None}


def test_parts_are_given_until_they_are_written(tmp_path: Path, job: Job) -> None:
    first = opened(tmp_path, job)
    assert [[file.path for file in part.files] for part in first.waiting()] == [
        ["0.png", "1.png"],
        ["2.png", "3.png"],
        ["4.png"],
    ]
    first.write_part(1, [row("2.png"), row("3.png")])
    again = opened(tmp_path, job)
    assert [part.number for part in again.waiting()] == [0, 2]
    assert again.count_done() == 2


def test_answers_come_back_in_the_order_of_the_listing_with_nulls_for_what_is_missing(tmp_path: Path, job: Job) -> None:
    folder = opened(tmp_path, job)
    folder.write_part(2, [row("4.png", 0.4)])
    folder.write_part(0, [row("0.png"), {"path": "1.png", "status": "rejected", "reason": "no image"}])
    folder.write_part(1, [row("2.png"), row("3.png")])
    answers = folder.answers()
    assert list(answers["path"]) == [f"{number}.png" for number in range(FILES)]
    assert answers["probability_any"].isna().tolist() == [False, True, False, False, False]
    assert answers.loc[4, "probability_any"] == 0.4


def test_a_part_that_a_power_cut_tore_is_answered_again(tmp_path: Path, job: Job) -> None:
    folder = opened(tmp_path, job)
    folder.write_part(0, [row("0.png"), row("1.png")])
    part = tmp_path / "out" / "unfinished" / "parts" / "000000.parquet"
    part.write_bytes(part.read_bytes()[:50])
    assert [part.number for part in opened(tmp_path, job).waiting()] == [0, 1, 2]


def test_what_a_killed_process_left_is_removed(tmp_path: Path, job: Job) -> None:
    opened(tmp_path, job)
    left = tmp_path / "out" / "unfinished" / "parts" / f".000000.parquet.4194999@{platform.node()}.part"
    left.write_text("half")
    opened(tmp_path, job)
    assert not left.exists()


def test_a_finished_job_keeps_its_tables_and_summary_and_no_parts(tmp_path: Path, job: Job) -> None:
    folder = opened(tmp_path, job)
    assert folder.summary is None
    folder.write_table(pd.DataFrame({"path": ["a, b"], "probability_any": [0.1]}), "slices")
    folder.write_table(pd.DataFrame({"path": ["c"]}), "put_aside", parquet=False)
    folder.finish({"files": FILES})
    assert opened(tmp_path, job).summary == {"files": FILES}
    names = ["job.json", "put_aside.csv", "slices.csv", "slices.parquet", "summary.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for table in (pd.read_csv(tmp_path / "out" / "slices.csv"), pd.read_parquet(tmp_path / "out" / "slices.parquet")):
        assert table.to_dict("list") == {"path": ["a, b"], "probability_any": [0.1]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "another"}, r"begun with another model \(if its alias has moved since, .*\); choose another `out`"),
        ({"operating_point": "sensitive"}, "begun at another operating point"),
        ({"listing": "another"}, "with other files, or with files that have changed since"),
        ({"files": 4}, "begun with other files"),
        ({"task": "pneumonia"}, "begun for another task"),
    ],
)
def test_another_job_is_refused(tmp_path: Path, job: Job, changed: dict[str, object], message: str) -> None:
    opened(tmp_path, job)
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path, job.model_copy(update=changed))


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path, job: Job) -> None:
    (tmp_path / "out").mkdir()
    check_out(tmp_path / "out")
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="holds something else than scores; choose another `out`"):
        opened(tmp_path, job)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


def test_a_damaged_description_is_refused(tmp_path: Path, job: Job) -> None:
    opened(tmp_path, job)
    (tmp_path / "out" / "job.json").write_text(json.dumps({"format": 9}))
    with pytest.raises(ConfigError, match="damaged, or of another version"):
        opened(tmp_path, job)


def test_a_path_is_text_whatever_bytes_it_holds() -> None:
    assert shown("Müller.png") == "Müller.png"
    assert shown(os.fsdecode(b"Andr\xe9.png")) == r"Andr\xe9.png"
