"""Which colours a real Chromium makes of a camera that gives I420 and says nothing of its matrix,
as v4l2loopback does: those of BT.601, at every size. Needs no guest: Chromium's own test camera
plays the planes from a file, and its pictures, as those of V4L2, have no colour space.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brushcast.frame import Size
from brushcast.yuv import BT601, BT709, Matrix, YuvPacker
from tests.system.vcam.readers import chart, levels_off

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
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
LOOK = """
async () => {
    const stream = await navigator.mediaDevices.getUserMedia({video: true});
    const video = document.createElement("video");
    video.muted = true;
    video.srcObject = stream;
    await video.play();
    await new Promise(done => video.requestVideoFrameCallback(done));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let at = 0; at < data.length; at += 32768)
        text += String.fromCharCode(...data.subarray(at, at + 32768));
    return [canvas.width, canvas.height, btoa(text)];
}
"""


def levels_in_chromium(folder: Path, size: Size, matrix: Matrix) -> int:
    """The largest difference to the chart that a page sees."""
    planes = YuvPacker(size, matrix, "I420").pack(chart(size)).tobytes()
    head = f"YUV4MPEG2 W{size.width} H{size.height} F30:1 Ip A1:1 C420\n".encode()
    (folder / "camera.y4m").write_bytes(head + 4 * (b"FRAME\n" + planes))
    (folder / "page.html").write_text("<!doctype html><title>camera</title>")
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=flags, timeout=60_000
        )
        try:
            page = browser.new_page()
            page.goto((folder / "page.html").as_uri())
            width, height, text = page.evaluate(LOOK)
        finally:
            browser.close()
    pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
    return levels_off(pixels[:, :, :3], size)


@pytest.mark.parametrize("size", [Size(640, 480), Size(1280, 720)], ids=str)
def test_chromium_takes_bt601_at_every_size(tmp_path: Path, size: Size) -> None:
    assert 0 <= levels_in_chromium(tmp_path, size, BT601) <= 3


def test_the_other_matrix_would_be_seen(tmp_path: Path) -> None:
    assert levels_in_chromium(tmp_path, Size(1280, 720), BT709) > 20
