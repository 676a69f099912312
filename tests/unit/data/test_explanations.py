"""The folder that explanations grow in: nothing half-written, nothing done twice, nobody else's folder touched."""

from pathlib import Path

import pandas as pd
import pytest

from secondread.data.explanations import PICTURES, Job, check_out, open_explanations
from secondread.errors import ConfigError

JOB = Job(task="pneumonia", model="m", method="grad_cam", labels=("pneumonia",), images=3, files="f")


def test_an_interrupted_job_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = open_explanations(out, JOB)
    assert list(begun.waiting()) == [0, 1, 2]
    begun.keep(1, {"status": "ok"}, ("key.png", b"a picture"))
    assert (out / PICTURES / "key.png").read_bytes() == b"a picture"

    again = open_explanations(out, JOB)
    assert list(again.waiting()) == [0, 2]
    assert again.summary is None
    for place in (0, 2):
        again.keep(place, {"status": "rejected", "reason": str(place)}, None)
    assert [each["status"] for each in again.said()] == ["rejected", "ok", "rejected"]

    again.write_table(pd.DataFrame({"image_key": ["key"]}), "explanations")
    again.finish({"images": 3})
    assert open_explanations(out, JOB).summary == {"images": 3}
    assert sorted(path.name for path in out.iterdir()) == ["explain.json", "explanations.csv", PICTURES, "summary.json"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"method": "occlusion"}, "begun with another method"),
        ({"model": "n"}, "begun with another model"),
        ({"files": "g"}, "begun with another choice of files, or files that have changed since"),
    ],
)
def test_another_job_is_refused(change: dict[str, str], why: str, tmp_path: Path) -> None:
    open_explanations(tmp_path / "out", JOB)
    with pytest.raises(ConfigError, match=why):
        open_explanations(tmp_path / "out", JOB.model_copy(update=change))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ConfigError, match="holds something else"):
        check_out(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "explain.json").write_text("no JSON")
    with pytest.raises(ConfigError, match="damaged"):
        open_explanations(tmp_path / "out", JOB)
