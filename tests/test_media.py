"""The bundled pictures are what the rest of the product takes them for: the clip has its still,
slow and fast parts and its two cuts, the cards keep their words inside the frame. Nothing here
wants the tools that rendered them (media/)."""

from __future__ import annotations

import functools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
ASSETS = ROOT / "plugin/brushcast/assets"
CARDS = ("card-starting.png", "card-waiting.png", "card-off.png")

# As media/timeline.py has them: [first, end) in frames, and the first frame after each cut.
STILL, SLOW, FAST = (0, 58), (60, 124), (135, 180)
CUTS = (180, 225)


def read(name: str) -> NDArray[np.uint8]:
    image = cv2.imread(str(ASSETS / name), cv2.IMREAD_UNCHANGED)
    assert image is not None, name
    return np.asarray(image, np.uint8)


@functools.cache
def small_frames() -> NDArray[np.int16]:
    """Every frame of the clip as 320x180 grey."""
    with av.open(str(ASSETS / "clip.mp4")) as clip:
        frames = [frame.reformat(320, 180, "gray").to_ndarray() for frame in clip.decode(video=0)]
    return np.stack(frames).astype(np.int16)


def changes() -> NDArray[np.float64]:
    """Mean difference, in levels, of frame i from frame i - 1; 0 for the first."""
    frames = small_frames()
    return np.array([0.0, *np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))])


def test_clip_is_ten_seconds_of_720p_at_30_frames_a_second() -> None:
    assert (ASSETS / "clip.mp4").stat().st_size <= 2_500_000
    with av.open(str(ASSETS / "clip.mp4")) as clip:
        video = clip.streams.video[0]
        assert video.codec_context.name == "h264"
        assert (video.width, video.height) == (1280, 720)
        assert video.average_rate == 30
        assert video.pix_fmt == "yuv420p"
    assert len(small_frames()) == 300


def test_clip_has_exactly_two_hard_cuts() -> None:
    change = changes()
    found = tuple(int(i) for i in np.flatnonzero(change > 25))
    assert found == CUTS
    assert np.delete(change, CUTS).max() < 12


def test_clip_holds_still_but_for_a_blink() -> None:
    change = changes()[STILL[0] + 1 : STILL[1]]
    assert change.max() < 1.0
    assert np.median(change) < 0.05
    assert np.sum(change > 0.15) >= 3, "nobody blinks"


def test_clip_has_a_slow_and_a_fast_part() -> None:
    change = changes()
    slow, fast = np.median(change[SLOW[0] : SLOW[1]]), np.median(change[FAST[0] : FAST[1]])
    assert 0.4 < slow < 2.5
    assert fast > 2 * slow


def test_clip_loops() -> None:
    frames = small_frames()
    assert np.abs(frames[-1] - frames[0]).mean() < 2


def test_clip_is_exposed_like_a_picture() -> None:
    for frame in small_frames()[[0, 90, 150, 200, 250]]:
        low, high = np.percentile(frame, (2, 98))
        assert low < 60
        assert 180 < high < 252


@pytest.mark.parametrize("name", CARDS)
def test_card_keeps_its_words_off_the_margins(name: str) -> None:
    assert (ASSETS / name).stat().st_size <= 250_000
    card = read(name)
    assert card.shape == (720, 1280, 3)
    bright = card.max(axis=2) > 120
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    assert rows[0] > 200
    assert rows[-1] < 600
    assert columns[0] > 160
    assert columns[-1] < 1120
    border = np.concatenate([card[:8].reshape(-1, 3), card[-8:].reshape(-1, 3)])
    assert np.abs(border.astype(int) - border[0]).max() <= 16


@pytest.mark.parametrize("name", CARDS)
def test_card_can_be_read_as_a_thumbnail(name: str) -> None:
    thumbnail = cv2.resize(read(name), (160, 90), interpolation=cv2.INTER_AREA)
    title = thumbnail[32:48]
    assert title.max() > 200
    assert np.median(title) < 70


def test_cards_differ_at_a_glance() -> None:
    small = [cv2.resize(read(name), (160, 90), interpolation=cv2.INTER_AREA) for name in CARDS]
    for a in range(3):
        for b in range(a):
            assert np.abs(small[a].astype(int) - small[b]).mean() > 2


def test_badge_is_a_readable_pill_that_lets_the_picture_through_outside() -> None:
    badge = read("badge-reconnecting.png")
    assert badge.shape == (56, 260, 4)
    alpha = badge[..., 3]
    assert alpha[0, 0] == alpha[-1, -1] == 0
    assert alpha[28, 130] > 200
    words = (badge[..., :3].min(axis=2) > 200) & (alpha > 200)
    columns = np.flatnonzero(words.any(axis=0))
    assert columns[0] > 50
    assert columns[-1] < 245


def test_testcard_and_icon() -> None:
    assert (ASSETS / "testcard-1280x720.png").stat().st_size <= 250_000
    card = read("testcard-1280x720.png")
    assert card.shape == (720, 1280, 3)
    bars = [tuple(int(v) for v in card[300, 213 + 26 * i, ::-1]) for i in range(7)]
    assert bars == [
        (191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0),
        (191, 0, 191), (191, 0, 0), (0, 0, 191),
    ]  # fmt: skip
    ramp = card[58, 384:896, 0].astype(int)
    assert ramp[0] < 4
    assert ramp[-1] > 251
    assert np.all(np.diff(ramp) >= 0)
    assert read("icon.png").shape == (256, 256, 4)
    assert (ASSETS / "icon.svg").read_text(encoding="utf-8").startswith("<svg ")
