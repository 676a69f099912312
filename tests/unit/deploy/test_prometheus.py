"""Metrics from nginx's log: counted by hand."""

import json
from pathlib import Path

from deploy.events import EventLog, rotate
from deploy.metrics import Metric, Requests, Sample, connections, exposition


def log(path: Path, *requests: tuple[str, int, float]) -> None:
    with path.open("a") as file:
        for route, status, seconds in requests:
            file.write(json.dumps({"route": route, "status": status, "seconds": seconds}) + "\n")


def test_a_metric_is_written_with_its_help_and_type() -> None:
    text = exposition([Metric("a_total", "counter", "Counts a.", [Sample({"x": "1", "y": "2"}, 1234567890)])])
    assert text == '# HELP a_total Counts a.\n# TYPE a_total counter\na_total{x="1",y="2"} 1234567890\n'


def test_requests_are_counted_by_route_and_status_and_time(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log(path, ("pneumonia", 200, 0.02), ("pneumonia", 200, 0.3), ("pneumonia", 503, 0.001), ("page", 200, 0.0))
    lines = exposition(Requests(path).metrics()).splitlines()
    for line in (
        'secondread_gateway_requests_total{route="pneumonia",status="200"} 2',
        'secondread_gateway_requests_total{route="pneumonia",status="503"} 1',
        'secondread_gateway_request_seconds_bucket{route="pneumonia",le="0.01"} 1',
        'secondread_gateway_request_seconds_bucket{route="pneumonia",le="0.025"} 2',
        'secondread_gateway_request_seconds_bucket{route="pneumonia",le="0.5"} 3',
        'secondread_gateway_request_seconds_bucket{route="pneumonia",le="+Inf"} 3',
        'secondread_gateway_request_seconds_sum{route="pneumonia"} 0.321',
        'secondread_gateway_request_seconds_count{route="pneumonia"} 3',
    ):
        assert line in lines


def test_a_line_that_is_half_written_is_counted_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    requests = Requests(path)
    for part in ('{"route": "page", "sta', 'tus": 200, "seconds": 0.1}\n'):
        assert "page" not in exposition(requests.metrics())
        with path.open("a") as file:
            file.write(part)
    assert 'requests_total{route="page",status="200"} 1' in exposition(requests.metrics())


def test_a_log_that_is_put_away_is_counted_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log(path, ("page", 200, 0.1))
    requests = Requests(path)
    requests.read()
    rotate(path)
    log(path.with_name("access.jsonl.1"), ("page", 200, 0.1))  # nginx writes on until it is told
    log(path, ("page", 200, 0.1))
    requests.read()
    assert 'requests_total{route="page",status="200"} 3' in exposition(requests.metrics())


def test_what_an_earlier_gateway_logged_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    log(path, ("page", 200, 0.1))
    requests = Requests(path)
    requests.skip()
    log(path, ("page", 404, 0.1))
    counted = exposition(requests.metrics())
    assert 'status="404"} 1' in counted
    assert 'status="200"' not in counted


def test_connections_are_read_from_nginxs_page() -> None:
    page = "Active connections: 3 \nserver accepts handled requests\n 9 9 20 \nReading: 0 Writing: 1 Waiting: 2 \n"
    values = {sample.labels["state"]: sample.value for sample in connections(page).samples}
    assert values == {"active": 3, "reading": 0, "writing": 1, "waiting": 2}
    assert list(connections("").samples) == []


def test_a_log_keeps_four_old_files(tmp_path: Path) -> None:
    path = tmp_path / "gateway.jsonl"
    for number in range(7):
        EventLog(path).write("event", number=number)
        rotate(path)
    kept = {file.name: json.loads(file.read_text())["number"] for file in tmp_path.iterdir()}
    assert kept == {"gateway.jsonl.1": 6, "gateway.jsonl.2": 5, "gateway.jsonl.3": 4, "gateway.jsonl.4": 3}
