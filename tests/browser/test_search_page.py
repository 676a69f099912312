"""The page about a search in a real Chromium: readable on a desk, on a phone and on paper, and its table is sorted."""

import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "tuning"))
from found import BEGAN, findings, learned, plan, record

from tuning.engine import Status
from tuning.publish import draw
from tuning.report import report


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about trials of every kind, with figures."""
    failed = record(40, status=Status.FAILED, reason="out of memory in epoch 2: 3.1 GiB were asked for")
    found = findings([*learned(39), record(39), failed], train__learning_rate=0.9, model__name=0.1)
    folder = tmp_path_factory.mktemp("page")
    figures = {}
    for name, figure in draw(found, BEGAN + 9_000).items():
        figure.savefig(folder / "figure.png", dpi=60)
        figures[name] = (folder / "figure.png").read_bytes()
    path = folder / "report.html"
    path.write_text(report(plan(), found, figures, BEGAN + 9_000), encoding="utf-8")
    return path


def opened(browser: Browser, page_file: Path, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda message: pytest.fail(message.text))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(page_file.as_uri())
    return page


@pytest.mark.parametrize(("medium", "width"), [("screen", 1280), ("screen", 390), ("screen", 320), ("print", 680)])
def test_nothing_is_cut_off_and_every_image_loads(browser: Browser, page_file: Path, medium: str, width: int) -> None:
    page = opened(browser, page_file, width)
    page.emulate_media(media="print" if medium == "print" else "screen")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert all(page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth > 200)"))
    page.close()


def test_the_table_is_sorted_by_what_is_clicked_and_shown_whole_when_asked(browser: Browser, page_file: Path) -> None:
    page = opened(browser, page_file, 1280)
    rows, heads = page.locator("#trials tbody tr"), page.locator("#trials thead th")
    expect(rows.filter(visible=True)).to_have_count(20)
    page.get_by_role("button", name="Trial", exact=True).click()
    expect(rows.first.locator("th")).to_have_text("trial 0")
    expect(heads.first).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="AUROC").click()
    expect(rows.first).to_have_class("best")
    page.get_by_role("button", name="AUROC").click()
    expect(rows.first).not_to_have_class("best")
    page.get_by_role("button", name="Show all 41").click()
    expect(rows.filter(visible=True)).to_have_count(41)
    expect(rows.last).to_contain_text("failed")  # what has no value stays below what has one
    page.close()


def test_a_phone_sorts_by_a_list(browser: Browser, page_file: Path) -> None:
    page = opened(browser, page_file, 390)
    page.get_by_label("Sort by").select_option("Trial")
    expect(page.locator("#trials tbody tr").first.locator("th")).to_have_text("trial 0")
    page.close()
