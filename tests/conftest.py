"""What the tests share: synthetic sources, a tracking store of their own, and no silent skips in CI."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dask_cluster import DaskCluster
from postgres_server import PostgresServer, binaries
from s3_server import S3Server
from xdist.scheduler import LoadFileScheduling

from secondread.data.phantom.write import write_phantom
from secondread.tasks import load_task

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from playwright.sync_api import Browser
    from xdist.remote import Producer

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_SHARE = (
    # trained
    ("tests/integration/test_serving.py", "tests/integration/test_train.py", "tests/integration/test_planted.py"),
    ("tests/browser/test_mlflow_ui.py", "tests/model/test_trained_model.py"),  # two_trainings
)
SHARED_IS_ABSENT = "the folder ../shared with public images is absent"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with public images beside the checkout; a test without it is skipped, and has a synthetic twin."""
    if not SHARED.is_dir():
        pytest.skip(SHARED_IS_ABSENT)
    return SHARED


@pytest.fixture(scope="session")
def dcmtk() -> None:
    """DCMTK's programs, another reader and writer of DICOM."""
    if shutil.which("dcmdump") is None:
        pytest.skip("DCMTK is absent; on Debian: tests/install_dicom_tools")


@pytest.fixture(scope="session")
def phantom_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a task's name to a folder of synthetic images, written once a session; do not change them."""
    made: dict[str, Path] = {}

    def source(task: str) -> Path:
        if task not in made:
            made[task] = tmp_path_factory.mktemp("phantom") / task
            write_phantom(made[task], load_task(task), patients=24, seed=0, workers=1)
        return made[task]

    return source


@pytest.fixture(scope="session")
def two_trainings(phantom_source: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `mlflow.db`: two finished runs of `pneumonia` that differ in their learning rate; only read it."""
    folder = tmp_path_factory.mktemp("two_trainings")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    for learning_rate in ("0.001", "0.002"):
        train = [sys.executable, "-m", "secondread", "train", "--data", str(phantom_source("pneumonia"))]
        settings = ["--train.epochs", "2", "--train.learning_rate", learning_rate, "--explanation.images", "0"]
        environment = outside | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        result = subprocess.run([*train, *settings], cwd=folder, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a tracking store and a home of its own, outside any MLflow run."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("SECONDREAD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with tables and without runs, which MLflow takes seconds to make; only copy it."""
    from mlflow import MlflowClient  # most tests do without

    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def tracked(workplace: Path, empty_database: Path) -> "MlflowClient":
    """A client of the tracking store of `workplace`, which is ready at once."""
    from mlflow import MlflowClient

    shutil.copy(empty_database, workplace / "mlflow.db")
    return MlflowClient()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres; whoever stops it starts it again."""
    programs = binaries()
    if programs is None:
        pytest.skip("postgres is absent; on Debian: deploy/install_postgres")
    server = PostgresServer(programs)
    yield server
    server.close()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; whoever stops it starts it again."""
    folder = tmp_path_factory.mktemp("s3") / "buckets"
    folder.mkdir()
    server = S3Server(folder)
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, to which this process's boto3 goes."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[DaskCluster]:
    """A scheduler and two workers, which see the S3 server; whoever ends one starts another."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"), environment=s3_server.environment)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real Chromium without a window; what is expected of a page may take a busy machine's minute.

    It ends with its module: while it lives, Playwright's event loop counts as running in this thread.
    """
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is absent; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM_FLAGS)
        expect.set_options(timeout=60_000)
        yield browser
        browser.close()


class FilesThatShare(LoadFileScheduling):  # type: ignore[misc]  # xdist ships no types
    """A file's tests run in one process, and so do files that use one dear fixture, which is made once then."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((files[0] for files in _SHARE if file in files), file)


@pytest.hookimpl(optionalhook=True)  # xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> FilesThatShare:
    """Put files that share something on one process."""
    return FilesThatShare(config, log)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure, so that a missing tool cannot pass for a passing test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None:
        return
    unexplained = [
        report for report in reporter.stats.get("skipped", []) if SHARED_IS_ABSENT not in str(report.longrepr)
    ]
    if unexplained:
        reporter.write_line(
            f"\nCI=true: {len(unexplained)} skipped for a reason other than: {SHARED_IS_ABSENT}", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
