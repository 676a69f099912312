"""The gateway as `make serve` starts it: real nginx, TLS and workers, and clients that do everything wrong."""

import json
import re
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.conftest import NewProject
from integration.gateway import BIAS, SETTINGS, Client, Gateway, Reply, metric, shared_gateway, started_gateway
from integration.model_server import text
from integration.tiny_champion import picture, register_tiny_champion

pytestmark = pytest.mark.slow  # gateways with their workers are started: some minutes

TASKS = ("hemorrhage", "pneumonia")
PRIMARY = {"hemorrhage": "any", "pneumonia": "pneumonia"}
MARK = "Mustermann_Erika"
ANSWERED = {200, 429, 503}


@pytest.fixture(scope="module")
def gateway(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Gateway:
    return shared_gateway(pytestconfig, tmp_path_factory, empty_database)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    with closing(gateway.client()) as client:
        yield client


def probability(white_rows: int, bias: float) -> float:
    """What a tiny champion answers."""
    return float(1 / (1 + np.exp(-4 * white_rows / 64 - bias)))


def body(*images: str) -> bytes:
    return json.dumps({"dataframe_records": [{"image": image} for image in images]}).encode()


@contextmanager
def load(gateway: Gateway, task: str, clients: int = 3) -> Iterator[list[Reply | Exception]]:
    """Clients that ask without a pause, in connections that stay open, until the block ends; they note every reply."""
    replies: list[Reply | Exception] = []
    ended = threading.Event()

    def ask() -> None:
        with closing(gateway.client()) as client:
            while not ended.is_set():
                try:
                    replies.append(client.ask(task, picture(32)))
                except Exception as error:
                    replies.append(error)

    with ThreadPoolExecutor(clients) as pool:
        for _ in range(clients):
            pool.submit(ask)
        try:
            yield replies
        finally:
            ended.set()


def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"it did not happen within {seconds} s"
        time.sleep(0.1)


def statuses(replies: list[Reply | Exception]) -> Counter[object]:
    return Counter(reply.status if isinstance(reply, Reply) else repr(reply) for reply in replies)


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


def test_both_champions_answer_behind_one_address(client: Client) -> None:
    for task in TASKS:
        reply = client.ask(task, picture(16), b"no image", picture(48))
        assert [answer["status"] for answer in reply.answers] == ["ok", "rejected", "ok"]
        given = [answer[f"probability_{PRIMARY[task]}"] for answer in reply.answers]
        assert given[0::2] == pytest.approx([probability(rows, BIAS[task]) for rows in (16, 48)], abs=1e-6)


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


def test_a_second_start_says_that_one_is_running(gateway: Gateway) -> None:
    again = gateway.make("serve")
    assert again.returncode != 0
    assert "a gateway is running from here already; `make reload` brings it new champions" in again.stderr


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
    for _ in range(SETTINGS["workers"] * SETTINGS["in_flight_per_worker"] + 16):
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


def assert_says_little(reply: Reply) -> None:
    assert reply.status in {200, 400, 411, 413, 415, 429, 503}
    assert reply.headers["Content-Type"] == "application/json"
    assert MARK not in reply.text
    assert not re.search(r'Traceback|File "|\.py|/(root|home|tmp|work|usr)|mlflow|nginx|<html', reply.text)
    if reply.status != 200:
        assert set(reply.content) == {"error", "message"}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: repr(broken[:60]))
def test_an_error_is_short_and_repeats_nothing(client: Client, broken: bytes) -> None:
    reply = client.send("POST", "/hemorrhage/invocations", broken)
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
    ],
)
def test_an_error_says_what_is_wrong(client: Client, broken: bytes, error: str) -> None:
    reply = client.send("POST", "/pneumonia/invocations", broken)
    assert (reply.status, reply.content["error"]) == (400, error)
    assert reply.content["message"]


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/json; charset=utf-16", MARK, "text/csv"])
def test_another_kind_of_body_is_refused(client: Client, kind: str | None) -> None:
    reply = client.send("POST", "/pneumonia/invocations", f"{MARK}\n1\n".encode(), Content_Type=kind)
    assert_says_little(reply)
    assert reply.status in {400, 415}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(MARK),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("image"), inner, max_size=3),
    max_leaves=8,
)
TABLES = st.sampled_from(["dataframe_records", "dataframe_split", "inputs", "instances", "params", "image"])
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(TABLES, JSON, max_size=3).map(lambda value: json.dumps(value).encode())
    | st.lists(st.fixed_dictionaries({"image": JSON}), max_size=3).map(
        lambda rows: json.dumps({"dataframe_records": rows}).encode()
    )
)


@settings(max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=BODIES)
def test_whatever_is_sent_the_answer_is_no_server_error(client: Client, sent: bytes) -> None:
    assert_says_little(client.send("POST", "/pneumonia/invocations", sent))


# --- what an operator sees


def test_health_needs_no_token_and_tells_versions(client: Client) -> None:
    said = client.send("GET", "/health", Authorization=None)
    assert said.status == 200
    for task in TASKS:
        assert {"status": "ok", "workers": 2, "ready": 2}.items() <= said.content["models"][task].items()
        assert int(said.content["models"][task]["version"]) >= 1


def test_metrics_count_requests_by_task_and_status(gateway: Gateway, client: Client) -> None:
    before = gateway.metrics()
    for rows in (b"no json", body(text(picture(16))), body(text(picture(32)))):
        client.send("POST", "/hemorrhage/invocations", rows)
    after = gateway.metrics()
    name = "secondread_gateway_requests_total"
    for status, more in (("200", 2), ("400", 1)):
        counted = [metric(said, name, route="hemorrhage", status=status) for said in (before, after)]
        assert counted[1] - counted[0] == more
    all_of_them = metric(after, "secondread_gateway_request_seconds_count", route="hemorrhage")
    slowest = metric(after, "secondread_gateway_request_seconds_bucket", route="hemorrhage", le="+Inf")
    assert all_of_them == slowest >= 3
    assert metric(after, "secondread_worker_resident_bytes", task="hemorrhage", worker="0") > 100e6


def test_metrics_are_in_prometheus_format(client: Client) -> None:
    reply = client.send("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    sample = r"[a-z_]+\{([a-z_]+=\"[^\"]*\")(,[a-z_]+=\"[^\"]*\")*\} [0-9.e+-]+"
    comment = r"# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))"
    assert [line for line in reply.text.splitlines() if not re.fullmatch(f"{sample}|{comment}", line)] == []


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


# --- nothing is lost


def test_three_hundred_at_once_are_all_answered(gateway: Gateway) -> None:
    source = gateway.client().source

    def ask(_: int) -> Reply:
        with closing(gateway.client(source)) as client:
            return client.ask("pneumonia", picture(32))

    with ThreadPoolExecutor(300) as pool:
        replies = list(pool.map(ask, range(600)))
    counted = Counter(reply.status for reply in replies)
    assert set(counted) <= ANSWERED
    assert counted[200] >= SETTINGS["workers"] * SETTINGS["in_flight_per_worker"]
    for reply in replies:
        if reply.status != 200:
            assert reply.headers["Retry-After"] == "1"
            assert_says_little(reply)


def test_killing_a_worker_loses_no_request_and_it_comes_back(gateway: Gateway) -> None:
    name = "secondread_worker_restarts_total"
    restarts = metric(gateway.metrics(), name, task="pneumonia")
    with load(gateway, "pneumonia") as replies:
        wait_for(lambda: len(replies) > 50)
        victim = gateway.workers("pneumonia")[0]
        victim.kill()
        wait_for(lambda: gateway.health("pneumonia")["ready"] == 1)
        seen = len(replies)
        wait_for(lambda: len(replies) > seen + 50)
        wait_for(lambda: gateway.health("pneumonia")["ready"] == 2)
    assert set(statuses(replies)) == {200}
    assert metric(gateway.metrics(), name, task="pneumonia") == restarts + 1
    assert victim.pid not in {worker.pid for worker in gateway.workers("pneumonia")}


def test_a_promotion_reaches_users_without_a_dropped_request(gateway: Gateway) -> None:
    before = gateway.health("hemorrhage")["version"]
    files = gateway.project.folder / f"hemorrhage_{int(before) + 1}"
    version = register_tiny_champion(gateway.project.client, "hemorrhage", files, bias=2.0)
    with load(gateway, "hemorrhage") as replies:
        wait_for(lambda: len(replies) > 50)
        said = gateway.make("reload")
        seen = len(replies)
        wait_for(lambda: len(replies) > seen + 50)
    assert said.returncode == 0, said.stderr
    assert f"hemorrhage: version {version} answers now, version {before} before" in said.stdout
    assert "pneumonia: version 1 stays" in said.stdout
    assert set(statuses(replies)) == {200}
    last = [reply.answers[0]["probability_any"] for reply in replies[-20:] if isinstance(reply, Reply)]
    assert last == pytest.approx([probability(32, 2.0)] * 20, abs=1e-6)
    assert gateway.health("hemorrhage") == {"status": "ok", "version": version, "workers": 2, "ready": 2}
    wait_for(lambda: len(gateway.workers("hemorrhage")) == 2, 60)
    gateway.project.client.set_registered_model_alias("hemorrhage", "champion", before)


def test_nginx_comes_back_when_it_is_killed(gateway: Gateway) -> None:
    def answers() -> bool:
        try:
            return bool(gateway.health("pneumonia")["ready"] == 2)
        except OSError:
            return False

    masters = [process for process in gateway.processes() if process.name() == "nginx"]
    next(process for process in masters if process.parent() not in masters).kill()
    wait_for(lambda: not any(process.is_running() for process in masters), 10)
    wait_for(answers, 30)
    assert gateway.health("pneumonia")["status"] == "ok"


def test_a_new_token_is_taken_by_a_reload(gateway: Gateway) -> None:
    file, old = gateway.folder / "token", gateway.token
    for new, refused in ((old[::-1], old), (old, old[::-1])):
        file.write_text(new)
        assert gateway.make("reload").returncode == 0
        time.sleep(1)  # nginx takes a signal when it comes to it
        with closing(gateway.client()) as client:
            assert client.send("GET", "/models", Authorization=f"Bearer {new}").status == 200
            assert client.send("GET", "/models", Authorization=f"Bearer {refused}").status == 401


def test_a_champion_that_does_not_start_leaves_the_one_before(gateway: Gateway) -> None:
    before = gateway.health("pneumonia")
    registry, files = gateway.project.client, gateway.project.folder / "pneumonia_broken"
    register_tiny_champion(registry, "pneumonia", files, bias=0.0)
    (files / "model" / "artifacts" / "bundle" / "model.keras").write_bytes(b"damaged")
    failed = gateway.make("reload")
    registry.set_registered_model_alias("pneumonia", "champion", before["version"])
    assert failed.returncode != 0
    assert "did not get warm; it said:" in failed.stderr
    assert "model.keras is missing or not the file that was saved" in failed.stderr
    assert gateway.health("pneumonia") == before
    with closing(gateway.client()) as client:
        assert client.ask("pneumonia", picture(32)).status == 200


def test_nothing_outlives_the_gateway(new_project: NewProject) -> None:
    project = new_project()
    register_tiny_champion(project.client, "pneumonia", project.folder / "pneumonia_1", bias=0.0)
    for end in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with started_gateway(project, workers=1) as gateway:
            gateway.wait_until_it_serves()
            with closing(gateway.client()) as client:
                assert client.ask("pneumonia", picture(32)).status == 200
                assert client.ask("hemorrhage", picture(32)).status == 503
            children = gateway.processes()
            supervisor = next(child for child in children if "deploy" in child.cmdline())
            supervisor.send_signal(end)
            _, left = psutil.wait_procs(children, timeout=30)
            assert left == []
    assert "no gateway answers from here; `make serve` starts one" in gateway.make("stop").stderr
