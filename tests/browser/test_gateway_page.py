"""The gateway's page as a person uses it, in a real Chromium against the real gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from integration.gateway import Gateway, shared_gateway
from integration.tiny_champion import THRESHOLDS, picture
from playwright.sync_api import Browser, Page, expect

from secondread.data.phantom.write import phantom_image
from secondread.tasks import load_task

pytestmark = pytest.mark.slow  # a gateway with its workers is started: two minutes

SIZES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}


@pytest.fixture(scope="module")
def gateway(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Gateway:
    return shared_gateway(pytestconfig, tmp_path_factory, empty_database)


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, browser: Browser, gateway: Gateway) -> Iterator[Page]:
    """The page as it opens; what the browser complains about fails the test, but for the answers that are refusals."""
    context = browser.new_context(ignore_https_errors=True, **SIZES[request.param])  # its certificate is self-signed
    complaints: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(f"https://localhost:{gateway.port}/")
    yield page
    context.close()
    assert [text for text in complaints if "the server responded with a status of" not in text] == []


def enter(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Continue").click()


def choose(page: Page, name: str, content: bytes) -> None:
    page.get_by_label("Image file").set_input_files({"name": name, "mimeType": "", "buffer": content})


def chest() -> bytes:
    return phantom_image(load_task("pneumonia"), seed=3)


def test_a_wrong_token_is_said_and_the_right_one_opens(page: Page, gateway: Gateway) -> None:
    enter(page, "0" * 64)
    expect(page.get_by_role("alert")).to_have_text("This is not the token.")
    enter(page, gateway.token)
    expect(page.get_by_text("Drop an image here")).to_be_visible()
    expect(page.get_by_text("Pneumonia version")).to_be_visible()


def test_the_token_lasts_as_long_as_the_tab(page: Page, gateway: Gateway) -> None:
    enter(page, gateway.token)
    expect(page.get_by_text("Drop an image here")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Drop an image here")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    page.get_by_role("button", name="Forget the token").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert page.evaluate("Object.keys(sessionStorage).length") == 0


def test_a_picture_is_shown_with_its_answer(page: Page, gateway: Gateway, tmp_path: Path) -> None:
    enter(page, gateway.token)
    page.get_by_label("Pneumonia").check()
    choose(page, "half.png", picture(32))
    answer = page.get_by_role("status")
    expect(answer).to_contain_text("Pneumonia: positive")
    expect(answer).to_contain_text("73%")  # sigmoid(4 / 2 - 1)
    expect(answer).to_contain_text("positive from 50%")
    image = page.get_by_alt_text("The image that was sent")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    page.screenshot(path=tmp_path / "answer.png", full_page=True)
    page.get_by_label("High specificity").check()
    expect(answer).to_contain_text("Pneumonia: negative")
    expect(answer).to_contain_text(f"positive from {100 * THRESHOLDS['high_specificity']:.0f}%")


def test_what_it_looked_at_is_shown_where_the_image_was_and_taken_away_again(page: Page, gateway: Gateway) -> None:
    enter(page, gateway.token)
    page.get_by_label("Pneumonia").check()
    choose(page, "half.png", picture(32))
    page.get_by_label("Show what it looked at").check()
    explained = page.get_by_alt_text("The image, coloured where it moves the answer")
    expect(explained).to_be_visible()
    # As wide as its words need.
    assert explained.evaluate("image => image.decode().then(() => image.naturalWidth)") == 384
    expect(page.get_by_text("Red pushes the answer up, blue pushes it down.")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("73%")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_label("Show what it looked at").uncheck()
    image = page.get_by_alt_text("The image that was sent")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    expect(page.get_by_text("Red pushes")).to_be_hidden()


def test_a_model_that_may_not_explain_says_why_beside_its_answer(page: Page, gateway: Gateway) -> None:
    enter(page, gateway.token)
    page.get_by_label("Hemorrhage").check()
    page.get_by_label("Show what it looked at").check()
    choose(page, "half.png", picture(32))
    answer = page.get_by_role("status")
    expect(answer).to_contain_text("No heat map: no method was checked when this model was logged.")
    expect(answer).to_contain_text("Hemorrhage: positive")
    expect(page.get_by_alt_text("The image that was sent")).to_be_visible()


def test_what_is_not_used_is_said_with_the_reason(page: Page, gateway: Gateway, tmp_path: Path) -> None:
    enter(page, gateway.token)
    page.get_by_label("Pneumonia").check()
    choose(page, "notes.dcm", b"no image at all")
    answer = page.get_by_role("status")
    expect(answer).to_contain_text("The file is neither DICOM nor JPEG nor PNG (rule format).")
    choose(page, "head.dcm", phantom_image(load_task("hemorrhage"), seed=3))
    expect(page.get_by_text("A DICOM file")).to_be_visible()
    expect(answer).to_contain_text("The model reads CR and DX")
    expect(answer).not_to_contain_text("positive")
    page.screenshot(path=tmp_path / "reason.png", full_page=True)


def test_a_file_can_be_dropped_and_a_keyboard_is_enough(page: Page, gateway: Gateway) -> None:
    page.get_by_label("Token").focus()
    page.keyboard.type(gateway.token)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Image file")).to_be_focused()
    page.get_by_label("Hemorrhage").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Pneumonia")).to_be_checked()
    page.evaluate(
        """bytes => {
            const held = new DataTransfer();
            held.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
            document.getElementById("film").dispatchEvent(new DragEvent("drop", {bubbles: true, dataTransfer: held}));
        }""",
        list(picture(48)),
    )
    expect(page.get_by_text("dropped.png")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Pneumonia: ")


def test_a_large_picture_does_not_widen_the_page(page: Page, gateway: Gateway) -> None:
    enter(page, gateway.token)
    wide = cv2.imencode(".png", np.tile(np.arange(256, dtype=np.uint8), (300, 12)))[1].tobytes()
    choose(page, "a_very_long_name_" * 12 + ".png", wide)
    expect(page.get_by_alt_text("The image that was sent")).to_be_visible()
    expect(page.get_by_role("status").locator(".verdict")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_it_asks_nobody_but_its_gateway_and_runs_nothing_foreign(page: Page, gateway: Gateway) -> None:
    reply = page.request.get(f"https://localhost:{gateway.port}/", ignore_https_errors=True)
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    foreign: list[str] = []
    page.on("request", lambda asked: foreign.append(asked.url))
    enter(page, gateway.token)
    choose(page, "chest.jpg", chest())
    expect(page.get_by_role("status").locator(".verdict")).to_be_visible()
    assert {url for url in foreign if not url.startswith((f"https://localhost:{gateway.port}/", "blob:"))} == set()
    attacked = page.context.new_page()
    attacked.goto(page.url)
    attacked.evaluate(
        "document.head.appendChild(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert attacked.evaluate("window.ran") is None


def test_everything_that_can_be_used_has_a_name(page: Page, gateway: Gateway) -> None:
    enter(page, gateway.token)
    expect(page.get_by_label("Image file")).to_be_visible()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, button, img:not([hidden])")]
            .filter(element => !(element.labels?.length || element.ariaLabel || element.textContent || element.alt))
            .map(element => element.outerHTML)"""
    )
    assert unnamed == []
    assert page.evaluate("document.documentElement.lang") == "en"
