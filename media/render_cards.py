"""Render cards, badge, test card and icon into the assets: `python media/render_cards.py`.

Rendering tools, not dependencies of the product: pip install numpy opencv-python-headless pillow;
apt-get install fonts-inter chromium (chromium only turns icon.svg into icon.png).
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont
from testcard import testcard
from watercolour import Image, bloom, hex_rgb, stroke

ASSETS = Path(__file__).parents[1] / "plugin/brushcast/assets"
FONTS = Path("/usr/share/fonts/opentype/inter")
SIZE = (1280, 720)
INK = "#14161c"
PAPER = "#f3ede2"
CORAL, AMBER, TEAL, INDIGO = "#e8705a", "#f0b254", "#3fa79a", "#5a6bc4"
SLATE = "#59606e"


def font(style: str, size_px: int) -> ImageFont.FreeTypeFont:
    """Inter in the given style, e.g. `SemiBold`."""
    return ImageFont.truetype(str(FONTS / f"Inter-{style}.otf"), size_px)


def write_text(canvas: Image, text: str, style: str, size_px: int, y: float, colour: str) -> None:
    """Centre `text` at height `y`, drawn at four times the size for smooth, unhinted edges."""
    height, width = canvas.shape[:2]
    mask = Pil.new("L", (width * 4, height * 4), 0)
    face = font(style, size_px * 4)
    ImageDraw.Draw(mask).text((width * 2, round(y * 4)), text, 255, face, anchor="mm")
    cover = np.asarray(mask.resize((width, height), Pil.Resampling.BOX), np.float32) / 255
    canvas += cover[..., None] * (np.array(hex_rgb(colour), np.float32) - canvas)


def card(
    title: str,
    line: str,
    washes: list[tuple[float, float, float, str]],
    paint: list[str],
    force: float,
) -> Image:
    """One 1280x720 card: ink ground, quiet blooms, the title over a brush stroke, one line."""
    width, height = SIZE
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = hex_rgb(INK)
    for i, (x, y, radius_px, colour) in enumerate(washes):
        bloom(canvas, x, y, radius_px, hex_rgb(colour), 0.25 * force, 40 + 7 * i)
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    fade = np.clip(1.25 - np.maximum(np.abs(xs) ** 6, np.abs(ys) ** 6) * 1.25, 0, 1)[..., None]
    ground = np.array(hex_rgb(INK), np.float32)
    canvas[:] = ground + (canvas - ground) * fade
    stroke(canvas, 352, 934, 432, 21, [hex_rgb(c) for c in paint], 0.4 + 0.6 * force)
    write_text(canvas, title, "SemiBold", 104, 316, PAPER)
    if line:
        write_text(canvas, line, "Regular", 32, 532, "#b9bdc7")
    return canvas


def badge(text: str) -> Pil.Image:
    """A 260x56 RGBA pill for a corner: an amber dab of paint and a word."""
    scale = 4
    width, height = 260 * scale, 56 * scale
    image = Pil.new("RGBA", (width, height), (20, 22, 28, 0))
    draw = ImageDraw.Draw(image)
    box = (2 * scale, 2 * scale, width - 2 * scale - 1, height - 2 * scale - 1)
    draw.rounded_rectangle(box, 26 * scale, (20, 22, 28, 224), (243, 237, 226, 56), scale)
    x, y = 34 * scale, 28 * scale
    for radius, alpha in ((15, 70), (8, 255)):
        r = radius * scale
        dab = Pil.new("RGBA", image.size, (240, 178, 84, 0))
        ImageDraw.Draw(dab).ellipse((x - r, y - r, x + r, y + r), (240, 178, 84, alpha))
        image.alpha_composite(dab)
    face = font("Medium", 27 * scale)
    ImageDraw.Draw(image).text(
        (60 * scale, 27 * scale), text, (243, 237, 226, 255), face, anchor="lm"
    )
    return image.resize((260, 56), Pil.Resampling.BOX)


def ring() -> str:
    """The icon's open ring as an SVG path: one turn of a brush, thick, then dry and split."""
    turn = np.linspace(-2.05, 3.62, 80)
    k = np.linspace(0, 1, 80)
    middle = 76 + 5 * np.sin(turn * 2 + 0.6) - 7 * k
    half = (
        21
        * np.sqrt(np.clip(k * 9, 0, 1))
        * (1 - 0.55 * k**2)
        * np.sqrt(np.clip((1 - k) * 14, 0, 1))
    )
    edges = []
    for radius, order in ((middle + half, slice(None)), (middle - half, slice(None, None, -1))):
        x, y = 128 + radius * np.cos(turn), 128 + radius * np.sin(turn)
        edges += [f"{a:.1f} {b:.1f}" for a, b in zip(x[order], y[order], strict=True)]
    return "M" + "L".join(edges) + "z"


ICON = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256" role="img"
  aria-label="Brushcast">
  <defs>
    <linearGradient id="paint" x1="70" y1="40" x2="180" y2="220" gradientUnits="userSpaceOnUse">
      <stop offset="0" stop-color="{TEAL}"/><stop offset=".55" stop-color="{AMBER}"/>
      <stop offset="1" stop-color="{CORAL}"/>
    </linearGradient>
    <radialGradient id="wash" cx=".3" cy=".2" r="1">
      <stop offset="0" stop-color="#262d3a"/><stop offset="1" stop-color="{INK}"/>
    </radialGradient>
  </defs>
  <rect width="256" height="256" rx="58" fill="url(#wash)"/>
  <path fill="url(#paint)" d="{ring()}"/>
  <path fill="{CORAL}"
    d="M128 97c17-2 31 10 33 27 2 19-12 34-30 36-19 2-35-11-36-29-1-18 13-32 33-34z"/>
  <path fill="#fff" fill-opacity=".28" d="M113 112c6-7 15-8 20-6-8 2-14 7-18 13-4 3-6-2-2-7z"/>
</svg>
"""


def save(canvas: Image, path: Path) -> None:
    """Write a card as PNG with a palette of 256, half of it chosen for the stroke and the words."""
    pixels = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    rng = np.random.default_rng(3)
    words = pixels[230:560, 180:1100].reshape(-1, 3)
    words = words[words.max(axis=1) > 96]
    everywhere = pixels.reshape(-1, 3)
    sample = np.concatenate(
        [
            words[rng.integers(len(words), size=9000)],
            everywhere[rng.integers(len(everywhere), size=9000)],
        ]
    ).astype(np.float32)
    cv2.setRNGSeed(5)
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 24, 0.2)
    _, _, centres = cv2.kmeans(
        sample, 256, np.zeros((0, 1), np.int32), ends, 1, cv2.KMEANS_PP_CENTERS
    )
    palette = Pil.new("P", (1, 1))
    palette.putpalette(np.round(centres).astype(np.uint8).tobytes())
    image = Pil.fromarray(pixels).quantize(palette=palette, dither=Pil.Dither.FLOYDSTEINBERG)
    image.save(path, optimize=True)


def icon(folder: Path) -> None:
    """Write icon.svg, and icon.png through a headless browser."""
    (folder / "icon.svg").write_text(ICON)
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "icon.html"
        page.write_text(f"<style>*{{margin:0}}svg{{display:block;width:1024px}}</style>{ICON}")
        shot = Path(scratch) / "icon.png"
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", f"--user-data-dir={scratch}/profile",
             "--default-background-color=00000000", "--window-size=1024,1024",
             f"--screenshot={shot}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        image = Pil.open(shot).convert("RGBA").resize((256, 256), Pil.Resampling.BOX)
        image.save(folder / "icon.png", optimize=True)


def main() -> None:
    """Write everything."""
    bright = [CORAL, AMBER, TEAL, INDIGO]
    starting = card(
        "Starting…", "Your camera is not shown",
        [(190, 620, 270, TEAL), (1080, 110, 250, AMBER), (1150, 600, 150, INDIGO)], bright, 1.0,
    )  # fmt: skip
    waiting = card(
        "Be right back", "Reconnecting to the painter. Your camera is not shown.",
        [(1100, 620, 270, CORAL), (190, 100, 250, INDIGO), (130, 600, 140, AMBER)],
        [AMBER, CORAL, "#b2577c", INDIGO], 1.0,
    )  # fmt: skip
    off = card(
        "Brushcast is off", "", [(190, 620, 270, SLATE), (1080, 110, 250, SLATE)],
        ["#8b909b", "#737985", SLATE, "#474d59"], 0.6,
    )  # fmt: skip
    for name, canvas in (("starting", starting), ("waiting", waiting), ("off", off)):
        save(canvas, ASSETS / f"card-{name}.png")
    badge("reconnecting").save(ASSETS / "badge-reconnecting.png", optimize=True)
    icon(ASSETS)
    reader = cv2.VideoCapture(str(ASSETS / "clip.mp4"))
    found, portrait = reader.read()
    assert found, "clip.mp4 gives no first frame"
    testcard(np.asarray(portrait[..., ::-1], np.uint8), FONTS).save(
        ASSETS / "testcard-1280x720.png", optimize=True
    )


if __name__ == "__main__":
    main()
