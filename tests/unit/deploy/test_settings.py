"""The gateway's settings: one file, checked before anything starts."""

from pathlib import Path

import pytest
import yaml

from deploy.settings import read_settings
from secondread.errors import ConfigError

FILE = Path(__file__).resolve().parents[3] / "deploy" / "gateway.yaml"


def test_the_file_that_is_delivered_serves_both_tasks_by_two_workers_each() -> None:
    settings = read_settings(FILE)
    assert (settings.tasks, settings.workers) == (("hemorrhage", "pneumonia"), 2)


def test_a_whole_dicom_file_fits_into_a_body() -> None:
    assert read_settings(FILE).body_mb >= 64 * 4 / 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": 0}, "port: Input should be greater than or equal to 1. Received: 0"),
        ({"wrokers": 2}, "wrokers: Extra inputs are not permitted"),
        ({"tasks": ["a; include /etc/passwd"]}, "tasks.0: String should match pattern"),
        ({"host": "a b"}, "host: String should match pattern"),
        ({"workers": None}, "workers: Input should be a valid integer"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(FILE.read_text()) | change))
    with pytest.raises(ConfigError) as error:
        read_settings(path)
    assert str(error.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("content", ["a: [", "5", ""])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"deploy/gateway\.yaml shows every setting"):
        read_settings(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_settings(tmp_path / "absent.yaml")
