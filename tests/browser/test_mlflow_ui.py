"""What a person sees of two runs in MLflow's own pages, looked at with a real Chromium."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from playwright.sync_api import Browser, Page, expect


@dataclass(frozen=True)
class Served:
    """A served tracking store with two finished runs in the experiment `pneumonia`."""

    address: str
    experiment: str
    runs: list[Run]
    figures: dict[str, list[str]]

    @property
    def names(self) -> list[str]:
        return [str(run.info.run_name) for run in self.runs]


def wait_until_healthy(address: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, "the MLflow server ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"the MLflow server did not answer within {seconds} s")


@pytest.fixture(scope="module")
def served(two_trainings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    store = f"sqlite:///{two_trainings}/mlflow.db"
    client = MlflowClient(store, store)
    experiment = client.get_experiment_by_name("pneumonia").experiment_id
    runs = client.search_runs([experiment])
    figures = {
        run.info.run_id: [file.path for file in client.list_artifacts(run.info.run_id, "figures")] for run in runs
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--port",
        str(port),
        "--workers",
        "1",
        "--backend-store-uri",
        store,
    ]
    folder = tmp_path_factory.mktemp("server")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server)
        yield Served(f"http://127.0.0.1:{port}", experiment, runs, figures)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_page(viewport={"width": 1600, "height": 1200}) as page:
        page.set_default_timeout(60_000)
        yield page


def expect_names(page: Page, served: Served) -> None:
    for name in served.names:
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()


def test_the_way_that_the_readme_tells_leads_to_the_runs(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto(served.address)
    page.get_by_text("Model training", exact=True).first.click()
    page.get_by_role("link", name="pneumonia", exact=True).first.click()
    expect_names(page, served)
    page.screenshot(path=tmp_path / "runs.png")


def test_charts_are_grouped_by_split(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto(f"{served.address}/#/experiments/{served.experiment}/runs?compareRunsMode=CHART")
    expect_names(page, served)
    for section, chart in (("test", "test/auroc"), ("train", "train/loss"), ("val", "val/loss")):
        page.get_by_placeholder("Search metric charts").fill(f"^{chart}$")
        heading = page.get_by_text(section, exact=True).first
        expect(heading.locator("..")).to_contain_text("(1)")  # the section holds that chart
        expect(page.get_by_text(chart, exact=True).first).to_be_visible()
        page.screenshot(path=tmp_path / f"{section}.png")


def test_two_runs_compare(page: Page, served: Served, tmp_path: Path) -> None:
    page.goto(f"{served.address}/#/experiments/{served.experiment}/runs?compareRunsMode=TABLE")
    expect_names(page, served)
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    page.get_by_role("switch", name="Parameters - Show diff only").click()
    for text in (*served.names, "train.learning_rate", "0.001", "0.002"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.get_by_text("train.epochs", exact=True)).to_have_count(0)
    page.screenshot(path=tmp_path / "compare.png")


def test_every_figure_loads(page: Page, served: Served, tmp_path: Path) -> None:
    for run, figures in served.figures.items():
        assert len(figures) >= 8
        page.goto(f"{served.address}/#/experiments/{served.experiment}/runs/{run}/artifacts")
        page.get_by_text("figures", exact=True).click()
        for path in figures:
            name = path.removeprefix("figures/")
            page.get_by_text(name, exact=True).first.click()
            image = page.get_by_alt_text(path)
            expect(image).to_be_visible()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 200
            page.screenshot(path=tmp_path / f"{run}_{name}")
