"""Who may enter a gateway, what it refuses, what an operator sees: of one task with one worker, which starts fast."""

import base64
import json
import re
import socket
import ssl
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from planted.requests import ADDRESSES, ANSWERED, INVOCATIONS, ODD, REFUSED, REPEATED
from planted.search import traces, traces_in_file

from integration import fuzz
from integration.conftest import NewProject
from integration.gateway import (
    BIAS,
    MARK,
    SETTINGS,
    Client,
    Gateway,
    Reply,
    assert_discreet,
    assert_says_little,
    body,
    metric,
    started_gateway,
    wait_for,
)
from integration.model_server import text
from integration.tiny_champion import picture, register_tiny_champion

TASK = "pneumonia"
IN_FLIGHT = 16


@pytest.fixture(scope="module")
def gateway(new_project: NewProject) -> Iterator[Gateway]:
    project = new_project()
    register_tiny_champion(project.client, TASK, project.folder / "files", BIAS[TASK])
    with started_gateway(project, tasks=[TASK], workers=1, in_flight_per_worker=IN_FLIGHT) as gateway:
        yield gateway.wait_until_it_serves()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    with closing(gateway.client()) as client:
        yield client


# --- one command


def test_it_says_where_it_answers_and_what_to_type(gateway: Gateway) -> None:
    said = gateway.command.said
    assert f"https://localhost:{gateway.port}" in said
    assert str(gateway.folder / "token") in said
    assert gateway.token not in said


def test_what_it_says_to_type_works(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "FILE").write_bytes(picture(48))
    typed = gateway.command.said.split("certificate.pem\n", 1)[1].split("`make reload`")[0]
    models, asked = (part for part in typed.split("\n\n") if part.strip())
    for command, wanted in ((models, '"operating_points"'), (asked, '"status": "ok"')):
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert wanted in done.stdout


def test_what_it_keeps_is_its_users_alone(gateway: Gateway) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [gateway.folder, *gateway.folder.iterdir()]}
    assert {path: mode for path, mode in modes.items() if mode & 0o077 and path.name != "lock"} == {}
    assert modes[gateway.folder / "token"] == modes[gateway.folder / "key.pem"] == 0o600


def test_workers_and_control_listen_at_no_port(gateway: Gateway) -> None:
    listening = {
        (process.name(), connection.laddr.port)
        for process in gateway.processes()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("nginx", gateway.port)}


# --- who may enter


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic Og==", "Bearer {half}", "{token}"])
@pytest.mark.parametrize("target", ["/pneumonia/invocations", "/models", "/metrics"])
def test_nobody_enters_without_the_token(client: Client, header: str | None, target: str) -> None:
    said = header and header.format(half=client.token[:32], token=client.token)
    method = "POST" if "invocations" in target else "GET"
    reply = client.send(method, target, body(text(picture(16))) if method == "POST" else None, Authorization=said)
    assert (reply.status, reply.content["error"]) == (401, "unauthorized")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_plain_http_is_told_to_speak_https(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"This port speaks https." in plain.makefile("rb").read()


@pytest.mark.parametrize(
    "target",
    [
        *("/docs", "/openapi.json", "/redoc", "/version", "/ping", "/invocations", "/pneumonia", "/pneumonia/"),
        *("/load", "/reload", "/stop", "/status", "/index.html", "//etc/passwd", "/..%2f..%2ftoken", "/models/x"),
    ],
)
def test_there_is_nothing_else(client: Client, target: str) -> None:
    for method in ("GET", "POST"):
        reply = client.send(method, target, b"{}" if method == "POST" else None)
        assert (reply.status, reply.content["error"]) in {(404, "not_found"), (400, "bad_request")}


# --- limits


def test_a_large_body_is_refused(client: Client) -> None:
    large = body("A" * (SETTINGS["body_mb"] * 1024 * 1024))
    reply = client.send("POST", "/pneumonia/invocations", large)
    assert (reply.status, reply.content["error"]) == (413, "too_large")


def test_who_asks_too_often_is_told_when_to_come_back_and_others_are_not(gateway: Gateway, client: Client) -> None:
    source = gateway.client().source

    def hurry(_: int) -> list[Reply]:
        with closing(gateway.client(source)) as greedy:
            return [greedy.send("GET", "/models") for _ in range(220)]

    with ThreadPoolExecutor(4) as pool:
        replies = [reply for some in pool.map(hurry, range(4)) for reply in some]
    counted = Counter(reply.status for reply in replies)
    assert set(counted) == {200, 429}
    assert counted[200] >= SETTINGS["burst"]
    refused = next(reply for reply in replies if reply.status == 429)
    assert (refused.headers["Retry-After"], refused.content["error"]) == ("1", "too_many")
    assert client.ask("pneumonia", picture(16)).status == 200


def test_clients_who_send_slowly_hold_no_worker(gateway: Gateway, client: Client) -> None:
    whole = body(text(picture(16)))
    head = f"POST /pneumonia/invocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {gateway.token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(whole)}\r\n\r\n"
    trusting = ssl.create_default_context(cafile=str(gateway.folder / "certificate.pem"))
    slow = []
    for _ in range(IN_FLIGHT + 16):
        plain = socket.create_connection(("127.0.0.1", gateway.port), 30)
        slow.append(trusting.wrap_socket(plain, server_hostname="localhost"))
        slow[-1].sendall(head.encode() + whole[: len(whole) // 2])
    assert {client.ask("pneumonia", picture(16)).status for _ in range(20)} == {200}
    for one in slow:
        one.sendall(whole[len(whole) // 2 :])
    got = {one.recv(4096).split(b" ")[1] for one in slow}
    assert got <= {b"200", b"503"}
    assert b"200" in got
    for one in slow:
        one.close()


# --- errors


BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"x"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"dataframe_records": "x"}',
    b'{"dataframe_records": {}}',
    b'{"dataframe_records": []}',
    b'{"dataframe_records": [5]}',
    b'{"dataframe_records": [{"patient": "Mustermann_Erika"}]}',
    b'{"dataframe_records": [{"image": {"a": ["Mustermann_Erika"]}}]}',
    b'{"dataframe_records": [{"image": NaN}]}',
    b'{"dataframe_split": {"columns": ["image"], "data": [["a", "Mustermann_Erika"]]}}',
    b'{"dataframe_split": {"columns": ["Mustermann_Erika"], "data": [["a"]]}}',
    b'{"dataframe_split": 5}',
    b'{"inputs": {"image": 5}}',
    b'{"inputs": [[["Mustermann_Erika"]]]}',
    b'{"inputs": "Mustermann_Erika"}',
    b'{"instances": [{"image": "a"}, {"b": "Mustermann_Erika"}]}',
    b'{"instances": {"image": ["a", 5]}}',
    b'{"messages": [{"role": "user", "content": "Mustermann_Erika"}]}',
    b'{"dataframe_records": [{"image": "a"}], "inputs": ["Mustermann_Erika"]}',
    b'{"dataframe_records": [{"image": "a"}], "params": {"operating_point": "Mustermann_Erika"}}',
    b'{"dataframe_records": [{"image": "a"}], "params": {"operating_point": 1e400}}',
    b'{"dataframe_records": [{"image": "a"}], "params": {"Mustermann_Erika": 1}}',
    b'{"dataframe_records": [{"image": "a"}], "params": "Mustermann_Erika"}',
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: repr(broken[:60]))
def test_an_error_is_short_and_repeats_nothing(client: Client, broken: bytes) -> None:
    reply = client.send("POST", "/pneumonia/invocations", broken)
    assert_says_little(reply)
    assert reply.status in {200, 400}


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"a": 1}', "not_a_table"),
        (b'{"dataframe_records": [{"patient": "a"}]}', "not_a_table"),
        (b'{"dataframe_records": [{"image": "a"}], "params": {"operating_point": "bold"}}', "bad_params"),
        (b'{"dataframe_records": [{"image": "a"}], "params": {"explain": true, "label": "bold"}}', "bad_params"),
    ],
)
def test_an_error_says_what_is_wrong(client: Client, broken: bytes, error: str) -> None:
    reply = client.send("POST", "/pneumonia/invocations", broken)
    assert (reply.status, reply.content["error"]) == (400, error)
    assert reply.content["message"]


def test_large_heat_maps_arrive_whole(client: Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    large = cv2.resize(noise, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", large, [cv2.IMWRITE_JPEG_QUALITY, 3])[1].tobytes()  # 170 kB, of which a PNG has 7 MB
    first, second = client.ask(TASK, jpeg, jpeg, explain=True).answers
    assert first["heatmap"] == second["heatmap"]
    whole = cv2.imdecode(np.frombuffer(base64.b64decode(first["heatmap"]), np.uint8), cv2.IMREAD_COLOR)
    assert whole is not None
    assert whole.shape[1] == 2048


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/json; charset=utf-16", MARK, "text/csv"])
def test_another_kind_of_body_is_refused(client: Client, kind: str | None) -> None:
    reply = client.send("POST", "/pneumonia/invocations", f"{MARK}\n1\n".encode(), Content_Type=kind)
    assert_says_little(reply)
    assert reply.status in {400, 415}


@pytest.mark.parametrize(
    ("first", "header"),
    [
        ("GET / HTTP/2.0", ""),
        ("GET / HTTP/1.1", "Range: bytes=999999-"),
        ("GET / HTTP/1.1", "If-Match: x"),
        (f"POST /{TASK}/invocations HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
        (f"POST /{TASK}/invocations HTTP/1.1", "Transfer-Encoding: chunked"),
    ],
)
def test_what_nginx_itself_refuses_is_a_bad_request_in_our_words(client: Client, first: str, header: str) -> None:
    lines = [first, "Host: localhost", *([header] if header else []), "Connection: close", "", "no chunk", ""]
    said = client.send_raw("\r\n".join(lines).encode())
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"] == "bad_request"


# --- whatever is sent


def searched(examples: int) -> settings:
    """Many requests to one gateway; how long one takes is not what is asked."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=checks)


class Whatever:
    """Whatever is sent, the answer is no server error, and repeats nothing."""

    def body(self, client: Client, sent: bytes) -> None:
        """Send a body."""
        assert_says_little(client.send("POST", f"/{TASK}/invocations", sent))

    def image(self, client: Client, sent: fuzz.Damaged) -> None:
        """Send an image; it is answered in its row."""
        reply = client.ask(TASK, sent.data)
        assert_says_little(reply)
        [answer] = reply.answers
        assert answer["status"] in {"ok", "rejected", "out_of_scope"}
        assert bool(answer["rule"]) == bool(answer["reason"]) == (answer["status"] != "ok")

    def words(self, client: Client, sent: fuzz.Raw) -> None:
        """Send what is hardly HTTP."""
        assert_discreet(client.send_raw(sent.written(client.token)))


class TestWhatever(Whatever):
    @searched(80)
    @given(sent=fuzz.BODIES)
    def test_bodies(self, client: Client, sent: bytes) -> None:
        self.body(client, sent)

    @searched(60)
    @given(sent=fuzz.IMAGES)
    def test_images(self, client: Client, sent: fuzz.Damaged) -> None:
        self.image(client, sent)

    @searched(150)
    @given(sent=fuzz.RAW)
    def test_words(self, client: Client, sent: fuzz.Raw) -> None:
        self.words(client, sent)


@pytest.mark.slow  # some minutes
class TestWhateverForLong(Whatever):
    @searched(8000)
    @given(sent=fuzz.BODIES)
    def test_bodies(self, client: Client, sent: bytes) -> None:
        self.body(client, sent)

    @searched(4000)
    @given(sent=fuzz.IMAGES)
    def test_images(self, client: Client, sent: fuzz.Damaged) -> None:
        self.image(client, sent)

    @searched(4000)
    @given(sent=fuzz.RAW)
    def test_words(self, client: Client, sent: fuzz.Raw) -> None:
        self.words(client, sent)


# --- what an operator sees


def test_health_needs_no_token_and_tells_versions(client: Client) -> None:
    said = client.send("GET", "/health", Authorization=None)
    assert said.status == 200
    assert said.content["models"] == {TASK: {"status": "ok", "version": "1", "workers": 1, "ready": 1}}


def test_metrics_count_requests_by_task_and_status(gateway: Gateway, client: Client) -> None:
    before = gateway.metrics()
    for rows in (b"no json", body(text(picture(16))), body(text(picture(32)))):
        client.send("POST", "/pneumonia/invocations", rows)
    after = gateway.metrics()
    name = "secondread_gateway_requests_total"
    for status, more in (("200", 2), ("400", 1)):
        counted = [metric(said, name, route="pneumonia", status=status) for said in (before, after)]
        assert counted[1] - counted[0] == more
    all_of_them = metric(after, "secondread_gateway_request_seconds_count", route="pneumonia")
    slowest = metric(after, "secondread_gateway_request_seconds_bucket", route="pneumonia", le="+Inf")
    assert all_of_them == slowest >= 3
    assert metric(after, "secondread_worker_resident_bytes", task="pneumonia", worker="0") > 100e6


def test_metrics_are_in_prometheus_format(client: Client) -> None:
    reply = client.send("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    sample = r"[a-z_]+\{([a-z_]+=\"[^\"]*\")(,[a-z_]+=\"[^\"]*\")*\} [0-9.e+-]+"
    comment = r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))"
    assert [line for line in reply.text.splitlines() if not re.fullmatch(f"{sample}|{comment}", line)] == []


def test_nothing_planted_in_a_request_is_answered_logged_or_kept(gateway: Gateway, client: Client) -> None:
    for requests in (ANSWERED, ODD, REFUSED, REPEATED, ADDRESSES):
        for why, asked in requests.items():
            path = f"/{TASK}{asked.path}" if asked.path.startswith(INVOCATIONS) else asked.path
            headers = {name.replace("-", "_"): value for name, value in asked.headers.items()}
            reply = client.send(asked.method, path, asked.body, **headers)
            assert traces(f"{reply.headers}\n{reply.text}".encode()) == [], why
            assert reply.status == 200 or requests is not ANSWERED, why
    wait_for(lambda: '"route": "other"' in gateway.logs(), 10)
    kept = [path for path in gateway.folder.rglob("*") if path.is_file() and "champions" not in path.parts]
    assert [line for path in kept for line in traces_in_file(path)] == []
    assert traces(gateway.logs().encode()) == []


def test_logs_hold_json_and_nothing_that_a_client_sent(gateway: Gateway, client: Client) -> None:
    client.send("POST", f"/pneumonia/invocations?patient={MARK}", body(MARK), X_Patient=MARK, User_Agent=MARK)
    client.send("GET", f"/{MARK}")
    client.send(MARK, "/pneumonia/invocations")
    client.send("POST", f"/pneumonia/invocations?{MARK}", body("A" * (SETTINGS["body_mb"] * 1024 * 1024)), Referer=MARK)
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as plain:
        plain.sendall(f"GET /{MARK} HTTP/1.1\r\nHost: {MARK}\r\n\r\n".encode())
        plain.recv(1000)
    last = 'status": 413'
    wait_for(lambda: last in gateway.logs(), 10)
    logs = gateway.logs()
    assert MARK not in logs
    assert gateway.token not in logs
    lines = [line for path in (gateway.folder / "logs").iterdir() for line in path.read_text().splitlines()]
    assert all("time" in json.loads(line) for line in lines)
    asked = json.loads((gateway.folder / "logs" / "access.jsonl").read_text().splitlines()[0])
    names = ("time", "request", "route", "method", "status", "seconds", "worker_seconds", "bytes_in", "bytes_out")
    assert set(asked) == {*names, "address"}
