"""The page about a data set in a real Chromium: readable on a desk, on a phone and on paper."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "report"))
from data_sets import chests, heads

from secondread.report.data_set import data_set_page
from secondread.tasks import load_task

WIDTHS = [("screen", 1280), ("screen", 720), ("screen", 390), ("screen", 320), ("print", 680)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A page of several labels and one of a single label."""
    folder = tmp_path_factory.mktemp("pages")
    for name, data in (("hemorrhage", heads()), ("pneumonia", chests())):
        (folder / f"{name}.html").write_text(data_set_page(load_task(name), data), encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("medium", "width"), WIDTHS)
def test_nothing_is_cut_off_and_every_image_loads(browser: Browser, pages: list[Path], medium: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: pytest.fail(message.text))
    page.emulate_media(media="print" if medium == "print" else "screen")
    for file in pages:
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert all(page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth >= 16)"))
    page.close()
