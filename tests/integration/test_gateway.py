"""The gateway as `make serve` starts it: real nginx, TLS and workers, and clients that do everything wrong."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from integration.conftest import NewProject
from integration.gateway import (
    BIAS,
    SETTINGS,
    Client,
    Gateway,
    Reply,
    assert_says_little,
    metric,
    shared_gateway,
    started_gateway,
    wait_for,
)
from integration.tiny_champion import picture, register_tiny_champion

pytestmark = pytest.mark.slow  # gateways with their workers are started: some minutes

TASKS = ("hemorrhage", "pneumonia")
PRIMARY = {"hemorrhage": "any", "pneumonia": "pneumonia"}
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


def statuses(replies: list[Reply | Exception]) -> Counter[object]:
    return Counter(reply.status if isinstance(reply, Reply) else repr(reply) for reply in replies)


# --- one command


def test_both_champions_answer_behind_one_address(client: Client) -> None:
    for task in TASKS:
        reply = client.ask(task, picture(16), b"no image", picture(48))
        assert [answer["status"] for answer in reply.answers] == ["ok", "rejected", "ok"]
        given = [answer[f"probability_{PRIMARY[task]}"] for answer in reply.answers]
        assert given[0::2] == pytest.approx([probability(rows, BIAS[task]) for rows in (16, 48)], abs=1e-6)


def test_a_second_start_says_that_one_is_running(gateway: Gateway) -> None:
    again = gateway.make("serve")
    assert again.returncode != 0
    assert "a gateway is running from here already; `make reload` brings it new champions" in again.stderr


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
