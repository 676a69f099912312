"""What starts recurring searches in production: units and CronJobs that are valid and like the schedule."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuning.timetable import read_timetable, trigger_of

ROOT = Path(__file__).resolve().parents[3]
UNITS = ROOT / "deploy" / "systemd"
CRONJOBS = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "cronjob.yaml").read_text()))
SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("cronjob_batch_v1.json").read_text())
JOBS = read_timetable(ROOT / "tuning" / "schedule.yaml").jobs
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@pytest.fixture(scope="module")
def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is absent; on Debian: deploy/install_systemd")
    return program


def verify(analyze: str, folder: Path, change: tuple[str, str] = ("", "")) -> str:
    """What systemd says about the units, as installed from this checkout; nothing when all is well."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/secondread/.venv/bin/python", sys.executable)
        (folder / unit.name).write_text(text.replace("/opt/secondread", str(ROOT)).replace(*change))
    command = [analyze, "verify", *sorted(map(str, folder.iterdir()))]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr + ("" if result.returncode == 0 else f"status {result.returncode}")


def test_systemd_finds_nothing_wrong_with_the_units(analyze: str, tmp_path: Path) -> None:
    assert verify(analyze, tmp_path) == ""


@pytest.mark.parametrize("change", [("Sat *-*-*", "Someday"), ("Restart=on-abnormal", "Restart=perhaps")])
def test_systemd_would_say_what_is_wrong(change: tuple[str, str], analyze: str, tmp_path: Path) -> None:
    assert verify(analyze, tmp_path, change) != ""


@pytest.mark.parametrize("job", JOBS)
def test_a_timer_elapses_when_the_schedule_says(job: str, analyze: str) -> None:
    timer = (UNITS / f"secondread-schedule-{job}.timer").read_text()
    assert f"Unit=secondread-schedule@{job}.service\n" in timer
    when = re.findall(r"^OnCalendar=(.*)$", timer, re.M)
    command = [analyze, "calendar", "--iterations=1", f"--base-time={MONDAY:%Y-%m-%d %H:%M:%S} UTC", *when]
    said = subprocess.run(command, env=os.environ | {"TZ": "UTC"}, capture_output=True, text=True, check=True).stdout
    due = trigger_of(JOBS[job].cron, "UTC").get_next_fire_time(None, MONDAY)
    assert f"Next elapse: {due:%a %Y-%m-%d %H:%M:%S} UTC" in said


def test_a_firing_of_systemd_is_that_of_the_command() -> None:
    service = (UNITS / "secondread-schedule@.service").read_text()
    assert "-m tuning schedule --schedule tuning/schedule.yaml --once --job %i\n" in service


def wrong(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Where a value is not as a JSON schema says, as far as Kubernetes' schemas say anything."""
    if "$ref" in schema:
        yield from wrong(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], place)
        return
    if "oneOf" in schema:
        if all(list(wrong(value, each, place)) for each in schema["oneOf"]):
            yield f"{place}: {value!r}"
        return
    types = schema.get("type", list(_TYPES))
    allowed = [each for name in ([types] if isinstance(types, str) else types) for each in _TYPES[name]]
    if type(value) not in allowed:
        yield f"{place}: {value!r} is no {types}"
        return
    if value not in schema.get("enum", [value]):
        yield f"{place}: {value!r} is none of {schema['enum']}"
    if isinstance(value, dict):
        yield from (f"{place}: lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, each in value.items():
            rest = schema.get("additionalProperties", True)
            of_name = schema.get("properties", {}).get(name, rest)
            if of_name is False:
                yield f"{place}: {name} is unknown"
            elif isinstance(of_name, dict):
                yield from wrong(each, of_name, f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            yield from wrong(each, schema["items"], f"{place}[{number}]")


@pytest.mark.parametrize("cronjob", CRONJOBS, ids=lambda each: each["metadata"]["name"])
def test_a_cronjob_is_as_kubernetes_schema_says(cronjob: dict[str, Any]) -> None:
    assert list(wrong(cronjob, SCHEMA)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("concurrencyPolicy", "concurencyPolicy", ".spec: concurencyPolicy is unknown"),
        ("backoffLimit: 4", "backoffLimit: four", ".spec.jobTemplate.spec.backoffLimit: 'four' is no"),
        ("schedule: ", "suspend: false #", ".spec: lacks schedule"),
        ("batch/v1", "batch/v1beta1", ".apiVersion: 'batch/v1beta1' is none of ['batch/v1']"),
    ],
)
def test_the_schema_would_find_what_is_wrong(old: str, new: str, said: str) -> None:
    text = (ROOT / "deploy" / "kubernetes" / "cronjob.yaml").read_text().partition("\n---")[0]
    assert said in "\n".join(wrong(yaml.safe_load(text.replace(old, new, 1)), SCHEMA))


def test_each_job_has_a_cronjob_that_does_the_same_when_the_schedule_says() -> None:
    named = {
        each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"][0]: each for each in CRONJOBS
    }
    assert named.keys() == JOBS.keys()
    for name, cronjob in named.items():
        assert cronjob["metadata"]["name"] == f"secondread-{name}"
        assert (cronjob["spec"]["schedule"], cronjob["spec"]["timeZone"]) == (JOBS[name].cron, "Etc/UTC")
        assert cronjob["spec"]["concurrencyPolicy"] == "Forbid"
        container = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
        command = [*container["command"], *container["args"]]
        expected = f"python -m tuning schedule --schedule tuning/schedule.yaml --once --job {name}"
        assert command == expected.split()
