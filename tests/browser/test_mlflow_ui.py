"""What a person sees of two runs in MLflow's own pages, looked at with a real Chromium."""

import re
import shutil
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
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric
from playwright.sync_api import Page, expect, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FIGURES = ("roc", "confusion_matrix", "training_curves")


@dataclass(frozen=True)
class TwoRuns:
    """A served tracking store with one experiment that holds two finished runs."""

    address: str
    experiment: str
    names: tuple[str, str]
    runs: tuple[str, str]
    auroc: tuple[float, float]


def log_run(client: MlflowClient, experiment: str, name: str, auroc: float) -> str:
    """Log one finished run of three epochs with figures, and give its id."""
    run = str(client.create_run(experiment, run_name=name).info.run_id)
    losses = [(split, epoch) for split in ("train", "val") for epoch in range(3)]
    curves = [Metric(f"{split}/loss", (1 - auroc) / (epoch + 1), 0, epoch) for split, epoch in losses]
    client.log_batch(run, metrics=[*curves, Metric("test/auroc", auroc, 0, 0)])
    for figure_name in FIGURES:
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([0, 1], [0, auroc])
        client.log_figure(run, figure, f"figures/{figure_name}.png")
    client.set_terminated(run)
    return run


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
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRuns]:
    folder = tmp_path_factory.mktemp("tracking")
    store = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(store, store)
    experiment = client.create_experiment("pneumonia", (folder / "artifacts").as_uri())
    names, auroc = ("first", "second"), (0.75, 0.875)
    runs = (log_run(client, experiment, names[0], auroc[0]), log_run(client, experiment, names[1], auroc[1]))
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
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server)
        yield TwoRuns(f"http://127.0.0.1:{port}", experiment, names, runs, auroc)
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is absent; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1200})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield page
        browser.close()


def open_runs(page: Page, two_runs: TwoRuns, mode: str) -> None:
    page.goto(f"{two_runs.address}/#/experiments/{two_runs.experiment}/runs?compareRunsMode={mode}")
    for name in two_runs.names:
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def test_the_way_that_the_readme_tells_leads_to_the_runs(page: Page, two_runs: TwoRuns, tmp_path: Path) -> None:
    page.goto(two_runs.address)
    page.get_by_text("Model training", exact=True).first.click()
    page.get_by_role("link", name="pneumonia", exact=True).first.click()
    for name in two_runs.names:
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    page.screenshot(path=tmp_path / "runs.png")


def test_charts_are_grouped_by_split(page: Page, two_runs: TwoRuns, tmp_path: Path) -> None:
    open_runs(page, two_runs, "CHART")
    for section, chart in (("train", "train/loss"), ("val", "val/loss"), ("test", "test/auroc")):
        heading = page.get_by_text(section, exact=True).first
        heading.scroll_into_view_if_needed()
        expect(heading.locator("..")).to_contain_text(re.compile(r"\([1-9]\d*\)"))  # it holds that many charts
        expect(page.get_by_text(chart, exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "charts.png")


def test_two_runs_compare(page: Page, two_runs: TwoRuns, tmp_path: Path) -> None:
    open_runs(page, two_runs, "TABLE")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_text("Comparing 2 Runs from 1 Experiment")).to_be_visible()
    for name, auroc in zip(two_runs.names, two_runs.auroc, strict=True):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
        expect(page.get_by_text(str(auroc), exact=True).first).to_be_attached()
    page.screenshot(path=tmp_path / "compare.png")


def test_every_figure_loads(page: Page, two_runs: TwoRuns, tmp_path: Path) -> None:
    for run in two_runs.runs:
        page.goto(f"{two_runs.address}/#/experiments/{two_runs.experiment}/runs/{run}/artifacts")
        page.get_by_text("figures", exact=True).click()
        for name in FIGURES:
            page.get_by_text(f"{name}.png", exact=True).first.click()
            image = page.get_by_alt_text(f"figures/{name}.png")
            expect(image).to_be_visible()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
        page.screenshot(path=tmp_path / f"{run}.png")
