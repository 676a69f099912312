"""The page about a decision in a real Chromium: readable on a desk, on a phone and on paper."""

import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from playwright.sync_api import Browser

from registry.decision import Compared, Decision, GateResult, Judged
from registry.report import report

DIGEST = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with long names and digests, a failed gate, a comparison and a figure."""
    found = Compared(
        measure="log_loss",
        level="study",
        champion=0.31,
        challenger=0.26,
        difference=0.05,
        low=-0.01,
        high=0.11,
        confidence=0.962,
        asks="non_inferiority",
        margin=0.02,
        alpha=0.0076,
        met=12,
        images=12_345,
        patients=6_789,
        left_out=123,
        test="bootstrap of patients, 10,000 resamples",
    )
    gate = GateResult(
        gate="sensitivity at high_sensitivity", asked="at least .9", found=".8", passed=False, advice="train another"
    )
    candidate = Judged(
        version=10,
        run_id=DIGEST[:32],
        model="compact_resnet",
        against=9,
        verdict="refused",
        results=(gate,),
        compared=(found,),
        digests={"predictions.parquet": DIGEST},
    )
    decision = Decision(
        task="hemorrhage",
        number=4,
        kind="refusal",
        at="2026-11-20T17:02:11+00:00",
        former_run_id=DIGEST[:32],
        former_digest=DIGEST,
        champion_before=9,
        champion_after=9,
        previous_before=8,
        previous_after=8,
        gates="hemorrhage",
        gates_digest=DIGEST,
        reason="version 10 failed sensitivity at high_sensitivity",
        candidates=(candidate, candidate.model_copy(update={"version": 11})),
        git_commit=DIGEST[:40],
    )
    figure = io.BytesIO()
    Figure(figsize=(7, 4)).savefig(figure, format="png")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report(decision, {"figures/version_10/paired_roc.png": figure.getvalue()}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("medium", "width"), [("screen", 1200), ("screen", 390), ("screen", 320), ("print", 680)])
def test_nothing_is_cut_off_and_every_image_loads(
    browser: Browser, page_file: Path, medium: str, width: int, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.emulate_media(media="print" if medium == "print" else "screen")
    page.goto(page_file.as_uri())
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth > 200)") == [True]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []  # such as a word of the page's own security policy
    page.close()
