"""The panel's page in a real Chromium, over a fake bridge. Screenshots land in pytest's tmp."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from brushcast.notice import NOTICE
from brushcast.panel.access import new_token
from brushcast.panel.backend import (
    ChangeLook,
    NoticeSeen,
    Pause,
    PortState,
    PresetCard,
    ProductState,
    RetryWorker,
    SwitchBadge,
    SwitchSink,
    WorkerPhase,
)
from brushcast.panel.server import PanelServer
from tests.plugin.panel.fake_backend import FakeBackend, fake_state
from tests.plugin.panel.fake_telemetry import FakeTelemetry

if TYPE_CHECKING:
    from playwright import sync_api
else:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("BRUSHCAST_CHROMIUM") or shutil.which("chromium")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 8000
WIDTHS_PX = {300: 640, 420: 800, 800: 1000, 1280: 800}


class Window:
    """One page, its bridge, and everything that went wrong in its console."""

    def __init__(self, browser: sync_api.Browser, backend: FakeBackend, pictures: Path) -> None:
        self.backend = backend
        self.pictures = pictures
        self.token = new_token()
        self.server = PanelServer(backend, FakeTelemetry(), token=self.token)
        self.server.start()
        self.problems: list[str] = []
        self.page = browser.new_page(viewport={"width": 420, "height": 800})
        self.page.set_default_timeout(TIMEOUT_MS)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _note(self, message: sync_api.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def open(self) -> sync_api.Page:
        self.page.goto(self.server.url)
        self.page.wait_for_selector("body:not(.offline)")
        return self.page

    def restart(self) -> None:
        """The bridge comes back: the same port, the same token."""
        port = self.server.port
        self.server = PanelServer(self.backend, FakeTelemetry(), token=self.token, port=port)
        self.server.start()

    def seen(self, script: str) -> None:
        """Wait until a JavaScript expression is true (its policy forbids Playwright's own)."""
        for _ in range(TIMEOUT_MS // 50):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"never true: {script}")

    def picture(self, name: str) -> None:
        self.page.screenshot(path=str(self.pictures / f"{name}.png"), full_page=True)

    def asked(self, kind: type) -> list[object]:
        return [change for change in self.backend.changes if isinstance(change, kind)]

    def close(self) -> None:
        self.page.close()
        self.server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=FLAGS, timeout=60_000
        )
        yield browser
        browser.close()


@pytest.fixture
def window(browser: sync_api.Browser, tmp_path: Path) -> Iterator[Window]:
    window = Window(browser, FakeBackend(), tmp_path)
    yield window
    window.close()


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_the_page_loads_and_fits(window: Window, width_px: int) -> None:
    window.page.set_viewport_size({"width": width_px, "height": WIDTHS_PX[width_px]})
    page = window.open()
    window.seen("document.querySelector('#after').dataset.pictures > 3")
    window.seen("document.querySelector('#before').dataset.pictures > 3")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = """[...document.querySelectorAll('body *')].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width && box.right > innerWidth + 0.5 && !element.closest('svg');
    }).map(element => element.outerHTML.slice(0, 80))"""
    assert page.evaluate(wide) == []
    assert page.inner_text("#pill-text") == "Live"
    assert page.inner_text("#privacy-text") == "Your camera is never shown. Raw: off"
    window.picture(f"panel-{width_px}")
    assert window.problems == []


def test_the_token_leaves_the_address_and_survives_a_reload(window: Window) -> None:
    page = window.open()
    assert page.url == f"http://127.0.0.1:{window.server.port}/"
    page.reload()
    page.wait_for_selector("body:not(.offline)")
    assert window.problems == []


def test_without_the_token_the_page_asks_for_it(window: Window) -> None:
    page = window.page
    page.goto(f"http://127.0.0.1:{window.server.port}/")
    page.wait_for_selector("#locked:visible")
    assert not page.is_visible("#main")
    window.picture("locked")
    page.fill("#key", window.server.url)
    page.click("#locked button")
    page.wait_for_selector("body:not(.offline)")
    assert page.is_visible("#main")


def test_an_old_token_is_said(window: Window) -> None:
    page = window.page
    page.goto(f"http://127.0.0.1:{window.server.port}/?token=old")
    page.wait_for_selector("#locked:visible")


def test_a_preset_changes_the_look(window: Window) -> None:
    page = window.open()
    page.click("[data-name=ink]")
    page.wait_for_selector("[data-name=ink][aria-pressed=true]")
    assert page.get_attribute("[data-name=watercolour]", "aria-pressed") == "false"
    assert window.asked(ChangeLook) == [ChangeLook(preset="ink")]
    assert page.input_value("#prompt") == window.backend.state.look.prompt


def test_words_are_painted_with_enter(window: Window) -> None:
    page = window.open()
    assert page.is_disabled("#apply")
    page.fill("#prompt", "gouache, evening light")
    assert page.inner_text("#prompt-note") == "Not painted yet. Press Enter."
    page.press("#prompt", "Enter")
    page.wait_for_selector("#apply:disabled")
    assert window.asked(ChangeLook) == [ChangeLook(prompt="gouache, evening light")]
    page.fill("#prompt", "something else")
    page.press("#prompt", "Escape")
    assert page.input_value("#prompt") == "gouache, evening light"


def test_words_that_a_preset_replaced_come_back(window: Window) -> None:
    page = window.open()
    page.fill("#prompt", "my own words")
    page.click("[data-name=comic]")
    page.wait_for_selector("#restore:visible")
    page.click("#restore")
    assert page.input_value("#prompt") == "my own words"
    assert window.backend.state.look.preset == "comic"


def test_strength_follows_the_slider_and_the_keys(window: Window) -> None:
    page = window.open()
    page.fill("#strength", "85")
    assert page.inner_text("#strength-value") == "85"
    window.seen("document.querySelector('#strength-value').textContent === '85'")
    page.press("#strength", "ArrowRight")
    page.wait_for_timeout(500)
    assert page.inner_text("#strength-value") == "86"
    assert window.backend.state.look.strength == 0.86


def test_dice_and_seed(window: Window) -> None:
    page = window.open()
    page.click("#dice")
    window.seen("document.querySelector('#seed').value !== '7'")
    page.fill("#seed", "1234")
    page.press("#seed", "Enter")
    page.press("#seed", "Tab")
    page.wait_for_timeout(300)
    assert window.backend.state.look.seed == 1234
    page.fill("#seed", "ten")
    page.press("#seed", "Tab")
    page.wait_for_selector("#toast:visible")
    assert page.input_value("#seed") == "1234"


def test_a_sink_is_switched(window: Window) -> None:
    page = window.open()
    switch = page.get_by_role("switch", name="Recording")
    switch.click()
    page.wait_for_selector("#sink-file [aria-checked=true]")
    switch.press("Space")
    page.wait_for_selector("#sink-file [aria-checked=false]")
    assert window.asked(SwitchSink) == [
        SwitchSink(id="file", on=True),
        SwitchSink(id="file", on=False),
    ]


def test_pause_and_resume(window: Window) -> None:
    page = window.open()
    page.click("#pause")
    page.wait_for_selector("#pause[aria-pressed=true]")
    assert page.inner_text("#pill-text") == "Paused"
    window.picture("paused")
    page.get_by_role("button", name="Resume").click()
    page.wait_for_selector("#pause[aria-pressed=false]")
    assert window.asked(Pause) == [Pause(on=True), Pause(on=False)]


def test_the_badge_is_switched_with_a_word_on_what_that_means(window: Window) -> None:
    page = window.open()
    switch = page.get_by_role("switch", name="AI badge in the picture")
    assert "Switched off, telling them is up to you" in page.inner_text("#badge-detail")
    switch.click()
    page.wait_for_selector("#badge[aria-checked=false]")
    assert "no longer says" in page.inner_text("#badge-detail")
    window.picture("badge-off")
    switch.press("Space")
    page.wait_for_selector("#badge[aria-checked=true]")
    assert window.asked(SwitchBadge) == [SwitchBadge(on=False), SwitchBadge(on=True)]


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_notice_is_there_until_it_was_read(window: Window, width_px: int, scheme: str) -> None:
    window.backend.state = dataclasses.replace(fake_state(), notice=True)
    window.page.set_viewport_size({"width": width_px, "height": WIDTHS_PX[width_px]})
    window.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page = window.open()
    page.wait_for_selector("#notice:visible")
    window.seen("document.querySelector('#after').dataset.pictures > 3")
    assert page.inner_text("#notice div").split() == " ".join(NOTICE).split()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    window.picture(f"notice-{width_px}-{scheme}")
    page.get_by_role("button", name="Got it").click()
    page.wait_for_selector("#notice", state="hidden")
    assert window.asked(NoticeSeen) == [NoticeSeen()]
    page.reload()
    page.wait_for_selector("body:not(.offline)")
    assert not page.is_visible("#notice")
    assert window.problems == []


def test_a_failure_says_what_to_do(window: Window) -> None:
    state = fake_state()
    window.backend.state = dataclasses.replace(
        state,
        state=ProductState.FAILED,
        message="The worker stopped five times in a row: out of memory.",
        advice="Choose a smaller size, then start it again.",
        worker=dataclasses.replace(
            state.worker, state=WorkerPhase.FAILED, fps=None, delay_ms=None, rung=3
        ),
        sinks=(
            dataclasses.replace(
                state.sinks[0], state=PortState.FAILED, message="v4l2loopback is not loaded"
            ),
        ),
    )
    page = window.open()
    assert page.inner_text("#pill-text") == "Stopped"
    assert page.inner_text("#advice") == "Choose a smaller size, then start it again."
    assert page.inner_text("#sink-camera .detail") == "v4l2loopback is not loaded"
    assert page.locator("#rungs i.on").count() == 2
    window.picture("failed")
    page.click("#retry")
    window.seen("document.querySelector('#pill-text').textContent === 'Live'")
    assert window.asked(RetryWorker) == [RetryWorker()]


def test_a_refusal_is_shown_as_a_sentence(window: Window) -> None:
    page = window.open()
    gone = PresetCard(name="gone", title="Gone", prompt="gone")
    window.backend.state = dataclasses.replace(fake_state(), presets=(gone,))
    page.click("[data-name=gone]")
    page.wait_for_selector("#toast:visible")
    assert page.inner_text("#toast").startswith("Unknown preset 'gone'")


def test_names_from_outside_are_text_and_never_markup(window: Window) -> None:
    state = fake_state()
    bad = "<img src=x onerror=document.title='owned'>"
    window.backend.state = dataclasses.replace(
        state,
        message=bad,
        presets=(PresetCard(name="bad", title=bad, prompt=bad),),
        sinks=(dataclasses.replace(state.sinks[0], title=bad, message=bad),),
        look=dataclasses.replace(state.look, prompt=bad, message=bad),
    )
    page = window.open()
    assert page.inner_text("#message") == bad
    assert page.locator("main img[src=x]").count() == 0
    assert page.title() == "Brushcast"


def test_the_page_comes_back_with_the_bridge_and_keeps_what_was_typed(window: Window) -> None:
    page = window.open()
    window.seen("document.querySelector('#after').dataset.pictures > 1")
    page.fill("#prompt", "half a thou")
    window.server.stop()
    page.wait_for_selector("#banner:visible")
    assert page.inner_text("#pill-text") == "Not connected"
    page.press("#prompt", "End")
    page.type("#prompt", "ght")
    page.click("[data-name=ink]")
    page.wait_for_selector("#toast:visible")
    window.picture("not-connected")
    # No try of its own any more: the button alone brings it back.
    page.evaluate("for (let id = setTimeout(() => 0); id > 0; id--) clearTimeout(id)")
    window.restart()
    page.click("#retry-now")
    page.wait_for_selector("body:not(.offline)")
    assert page.is_hidden("#banner")
    assert page.inner_text("#pill-text") == "Live"
    assert page.input_value("#prompt") == "half a thought"
    seen = page.evaluate("Number(document.querySelector('#after').dataset.pictures)")
    window.seen(f"document.querySelector('#after').dataset.pictures > {seen}")
    page.reload()
    page.wait_for_selector("body:not(.offline)")
    assert page.input_value("#prompt") == "half a thought"
    assert not window.backend.changes


def test_the_page_comes_back_by_itself(window: Window) -> None:
    page = window.open()
    window.server.stop()
    page.wait_for_selector("body.offline")
    window.restart()
    page.wait_for_selector("body:not(.offline)")


def test_the_divide_moves_by_mouse_and_by_keys(window: Window) -> None:
    page = window.open()
    grip = page.get_by_role("slider", name="Divide")
    grip.press("Home")
    assert grip.get_attribute("aria-valuenow") == "0"
    grip.press("ArrowRight")
    assert grip.get_attribute("aria-valuenow") == "2"
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 40)
    page.mouse.up()
    assert grip.get_attribute("aria-valuenow") == "75"


def test_on_air_only_asks_for_no_camera_picture(window: Window) -> None:
    page = window.open()
    window.seen("document.querySelector('#before').dataset.pictures > 1")
    page.get_by_role("button", name="On air only").click()
    assert page.is_hidden("#before")
    page.wait_for_timeout(300)
    before = page.evaluate("document.querySelector('#before').dataset.pictures")
    after = page.evaluate("Number(document.querySelector('#after').dataset.pictures)")
    window.seen(f"document.querySelector('#after').dataset.pictures > {after} + 4")
    assert page.evaluate("document.querySelector('#before').dataset.pictures") == before
    page.reload()
    page.wait_for_selector("body:not(.offline)")
    assert page.is_hidden("#before")


FOCUS = """(() => {
    const element = document.activeElement;
    const shown = element.querySelector('.thumb') ?? element;
    const ring = getComputedStyle(shown).outlineStyle !== 'none';
    const name = element.id || element.dataset.name || element.dataset.view;
    return [name || element.getAttribute('aria-labelledby'), ring];
})()"""


def test_everything_can_be_reached_by_tab_and_shows_its_focus(window: Window) -> None:
    page = window.open()
    page.wait_for_selector(".look")
    reached = {}
    for _ in range(24):
        page.keyboard.press("Tab")
        page.wait_for_timeout(30)
        name, ringed = page.evaluate(FOCUS)
        if name is not None:
            reached[name] = ringed
    wanted = {"pause", "grip", "split", "after", "ink", "prompt", "strength", "seed", "dice"}
    assert wanted | {"sink-title-camera", "sink-title-file"} <= set(reached)
    assert all(reached.values()), reached
