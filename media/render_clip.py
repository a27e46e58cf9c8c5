"""Render the bundled clip, plugin/brushcast/assets/clip.mp4: `python media/render_clip.py`.

Rendering tools (not dependencies of the product, since what they make is committed):
    pip install moderngl numpy opencv-python-headless av; apt-get install libegl1 libgl1-mesa-dri
The committed clip was drawn on a GPU through EGL (about 100 s, frames kept as WebP of quality 95).
Mesa on two CPU cores takes hours for that; `--size 640x360 --samples 1` shows in minutes what
changed. Several processes may share one folder: `--frames-only --only 0:300:2` and `1:300:2`.
"""

from __future__ import annotations

import argparse
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from backdrops import Image, hills, room
from numpy.typing import NDArray
from sitter import Pose, Sitter
from timeline import CUT_AWAY, CUT_BACK, FAST, FPS, FRAMES, camera, hills_pose, room_pose

TARGET = Path(__file__).parents[1] / "plugin/brushcast/assets/clip.mp4"
SHUTTER_S = 0.5 / FPS
EXPOSURE = 0.92
# Sub-pixel offsets: rotated grids, the same in every frame so that still parts are still.
GRIDS = {
    1: ((0.0, 0.0),),
    2: ((-0.25, -0.25), (0.25, 0.25)),
    3: ((-0.33, -0.1), (0.1, 0.33), (0.23, -0.3)),
    16: tuple((((5 * i) % 16 + 0.5) / 16 - 0.5, (i + 0.5) / 16 - 0.5) for i in range(16)),
    6: ((-0.4, -0.1), (0.1, -0.4), (-0.1, 0.2), (0.3, 0.3), (-0.3, 0.4), (0.4, -0.2)),
}


def tone(linear: Image, dither: Image) -> NDArray[np.uint8]:
    """Linear light to 8-bit BGR through a film curve (Narkowicz's fit of ACES)."""
    x = linear * EXPOSURE
    x = np.clip((x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    out = np.power(x, 1 / 2.2) * 255 + dither
    return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)[..., ::-1]


def instants(frame: int, samples: int) -> list[Pose]:
    """The poses of one exposure: spread over the shutter time where something moves fast."""
    away = CUT_AWAY <= frame < CUT_BACK
    act = hills_pose if away else room_pose
    count = max(samples, 6) if samples > 1 and FAST[0] <= frame < FAST[1] else samples
    return [act(frame / FPS + SHUTTER_S * i / count) for i in range(count)]


def render(
    folder: Path, width_px: int, height_px: int, samples: int, frames: range, quality: int
) -> None:
    """Draw the frames that `folder` does not have yet, as NNNN.webp; quality 101 is lossless."""
    folder.mkdir(parents=True, exist_ok=True)
    dither = (
        np.random.default_rng(1).uniform(-0.6, 0.6, (height_px, width_px, 1)).astype(np.float32)
    )
    ys, xs = np.mgrid[-1 : 1 : height_px * 1j, -1 : 1 : width_px * 1j].astype(np.float32)
    vignette = (1 - 0.16 * (xs**2 + ys**2) ** 1.2)[..., None].astype(np.float32)
    plate = room(width_px, height_px)
    started = time.monotonic()
    for away in (False, True):
        sitter = Sitter(int(away), width_px, height_px)
        before: tuple[str, Image] | None = None
        for frame in frames:
            path = folder / f"{frame:04d}.webp"
            if path.exists() or (CUT_AWAY <= frame < CUT_BACK) != away:
                continue
            t = frame / FPS
            poses = instants(frame, samples)
            same = repr(poses)
            if before is None or before[0] != same:
                before = (same, sitter.render(poses, camera(frame, t), GRIDS[len(poses)]))
            layer = before[1]
            back = hills(width_px, height_px, 0.02 * (t - 6.0)) if away else plate
            picture = layer[..., :3] + (1 - layer[..., 3:]) * back
            bloom = cv2.GaussianBlur(np.clip(picture - 1.0, 0, 4), (0, 0), height_px * 0.018)
            done = tone((picture + 0.35 * bloom) * vignette, dither)
            cv2.imwrite(str(path), done, [cv2.IMWRITE_WEBP_QUALITY, quality])
            print(f"frame {frame} at {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201


def yuv420(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.709 studio range, planes stacked as PyAV wants them; swscale's own is 2 levels darker."""
    blue, green, red = (bgr[..., i].astype(np.float32) for i in range(3))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    size = (bgr.shape[1] // 2, bgr.shape[0] // 2)
    planes = [luma * 219 / 255 + 16]
    for part, span in ((blue, 1.8556), (red, 1.5748)):
        small = cv2.resize((part - luma) / span, size, interpolation=cv2.INTER_AREA)
        planes.append(np.asarray(small, np.float32) * 224 / 255 + 128)
    flat = [np.clip(np.round(plane), 0, 255).astype(np.uint8).ravel() for plane in planes]
    return np.concatenate(flat).reshape(bgr.shape[0] * 3 // 2, bgr.shape[1])


def encode(folder: Path, target: Path, crf: int, frames: range) -> None:
    """Write the frames as H.264, 4:2:0, BT.709, with the index first."""
    import av  # not wanted where frames are only drawn

    with av.open(str(target), "w", options={"movflags": "+faststart"}) as out:
        stream = out.add_stream(
            "libx264",
            rate=FPS,
            options={"crf": str(crf), "preset": "veryslow", "tune": "animation"},
        )
        stream.pix_fmt, stream.time_base, stream.gop_size = "yuv420p", Fraction(1, FPS), 60
        for i, frame in enumerate(frames):
            image = cv2.imread(str(folder / f"{frame:04d}.webp"))
            assert image is not None
            if i == 0:
                stream.height, stream.width = image.shape[:2]
                context = stream.codec_context
                context.color_primaries = context.color_trc = context.colorspace = 1
                context.color_range = 1
            picture = av.VideoFrame.from_ndarray(yuv420(np.asarray(image, np.uint8)), "yuv420p")
            picture.pts = i
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


def main() -> None:
    """Read the command line, render and encode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames-dir", type=Path, default=Path("/tmp/brushcast-clip"))
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--samples", type=int, choices=sorted(GRIDS), default=16)
    parser.add_argument("--only", default=f"0:{FRAMES}:1", help="first:end:step")
    parser.add_argument(
        "--quality", type=int, default=101, help="of the frames: WebP, 101 lossless"
    )
    parser.add_argument("--crf", type=int, default=19)
    parser.add_argument("--frames-only", action="store_true", help="encode nothing")
    parser.add_argument("--target", type=Path, default=TARGET)
    args = parser.parse_args()
    width_px, height_px = map(int, args.size.split("x"))
    frames = range(*map(int, args.only.split(":")))
    render(args.frames_dir, width_px, height_px, args.samples, frames, args.quality)
    if not args.frames_only:
        encode(args.frames_dir, args.target, args.crf, frames)


if __name__ == "__main__":
    main()
