"""Figures of the pocket model on clips that it was not trained on; writes JSON and a contact sheet.

python -m training.evaluate --held DIR --out DIR   (from worker/)
Letters: T pictures, C channels, H W size.  All figures on a 0..255 scale or in dB; flow is of the
source, never of the output.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import brushcast_worker
from brushcast_worker.models.int8 import int8_pays
from brushcast_worker.models.pocket import Pocket, load_pocket
from brushcast_worker.models.text import STYLES
from brushcast_worker.teachers import page, paint
from training.data import fit, read
from training.stream import CHUNK, Play, one_style, restyle
from training.watch import psnr

log = logging.getLogger("training")

SIZE = (288, 512)
PICTURES = 48
CONSISTENT_PX = (
    1.0  # forward and backward flow may disagree by this much before a pixel counts as hidden
)
Picture = np.ndarray  # [H W 3] float32, 0..255


def held_out(folder: Path) -> dict[str, Tensor]:
    """The clips as ``[T 3 H W]`` in [-1, 1]; of the animation and the street only the ends, which
    training leaves out.
    """
    clips = {}
    for path in sorted(folder.iterdir()):
        video = read(path)
        start = {"animation": len(video) - 110, "street": len(video) - 60}.get(path.stem, 8)
        pictures = np.stack([fit(p, SIZE) for p in video[start : start + PICTURES]])
        pictures = pictures[: len(pictures) // CHUNK * CHUNK]
        clips[path.stem] = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return clips


def teacher(video_TCHW: Tensor, style: str) -> Tensor:
    """The teacher's pictures of single pictures, in [-1, 1]."""
    return page(paint((video_TCHW + 1) / 2, style), style) * 2 - 1


def sharpness(video_TCHW: Tensor) -> float:
    """Mean gradient magnitude."""
    return float(video_TCHW.diff(dim=-1).abs().mean() + video_TCHW.diff(dim=-2).abs().mean())


def pixels(video_TCHW: Tensor) -> list[Picture]:
    """Host pictures, float, 0..255: no integer wraps around in a difference."""
    scaled = (video_TCHW.clamp(-1, 1) + 1) * 127.5
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy().astype(np.float32))


class Motion:
    """Flow between neighbouring source pictures (DIS) and which pixels of the later one can be seen
    in the earlier.
    """

    def __init__(self, source: list[Picture]) -> None:
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grey = [cv2.cvtColor(p.astype(np.uint8), cv2.COLOR_RGB2GRAY) for p in source]
        height, width = grey[0].shape
        gy, gx = np.mgrid[:height, :width].astype(np.float32)
        self.maps, self.masks = [], []
        for a, b in zip(grey, grey[1:], strict=False):
            back, forth = dis.calc(b, a, None), dis.calc(a, b, None)
            mx, my = gx + back[..., 0], gy + back[..., 1]  # where a pixel of b was in a
            there = cv2.remap(forth, mx, my, cv2.INTER_LINEAR)
            inside = (mx >= 0) & (mx <= width - 1) & (my >= 0) & (my <= height - 1)
            self.maps.append((mx, my))
            self.masks.append(inside & (np.hypot(*np.moveaxis(back + there, 2, 0)) < CONSISTENT_PX))

    def error(self, video: list[Picture]) -> float:
        """Corrected warp error: mean absolute difference to the warped earlier picture where it is
        visible, 0..255.
        """
        out = []
        for a, b, (mx, my), mask in zip(video, video[1:], self.maps, self.masks, strict=False):
            change = np.abs(b - cv2.remap(a, mx, my, cv2.INTER_LINEAR)).mean(2)
            out.append(change[mask].mean())
        return float(np.mean(out))


def flicker(pocket: Pocket, video_TCHW: Tensor, style: str) -> tuple[float, float]:
    """Mean absolute change per picture, 0..255, of one picture held for 48: as it is, and under
    sensor noise of 2 levels.
    """
    still = video_TCHW[:1].expand(48, -1, -1, -1)
    noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(1)) * (2 / 127.5)
    out = []
    for x in (still, (still + noise.to(still.device)).clamp(-1, 1)):
        y, _ = restyle(pocket, x, one_style(style), Play())
        out.append(float(y[16:].diff(dim=0).abs().mean()) * 127.5)
    return out[0], out[1]


def look(pocket: Pocket, video_TCHW: Tensor, style: str) -> dict[str, float]:
    """PSNR to the teacher: of the source, of the output with one and two steps, and of the decoder
    with latents that are not its own.
    """
    want = teacher(video_TCHW, style)
    other = STYLES[1 + STYLES.index(style) % (len(STYLES) - 1)]
    with torch.inference_mode():
        y, z = restyle(pocket, video_TCHW, one_style(style), Play())
        two, _ = restyle(pocket, video_TCHW, one_style(style), Play(steps=2))
        _, z_other = restyle(pocket, video_TCHW, one_style(other), Play())
        wrong, _ = pocket.vae.decode(z_other[None], video_TCHW[None])
        empty, _ = pocket.vae.decode(torch.zeros_like(z)[None], video_TCHW[None])
    return {
        "source": psnr(video_TCHW, want),
        "output": psnr(y, want),
        "two_steps": psnr(two, want),
        "other_latents": psnr(wrong[0].clamp(-1, 1), want),
        "zero_latents": psnr(empty[0].clamp(-1, 1), want),
        "sharpness": sharpness(y) / sharpness(want),
    }


def calm(pocket: Pocket, video_TCHW: Tensor, style: str, motion: Motion) -> dict[str, float]:
    """Corrected warp errors: the source's own, the stream's, and of the same model without any
    memory: chunk by chunk, and frame by frame (each picture is all four of a chunk).
    """
    plays = {
        "stream": Play(),
        "no_memory": Play(cache=False),
        "no_memory_fresh_noise": Play(cache=False, fixed_noise=False),
    }
    out = {"source": motion.error(pixels(video_TCHW))}
    for name, play in plays.items():
        out[name] = motion.error(pixels(restyle(pocket, video_TCHW, one_style(style), play)[0]))
    held, alone = video_TCHW.repeat_interleave(CHUNK, 0), Play(cache=False)
    frames = restyle(pocket, held, one_style(style), alone)[0][CHUNK - 1 :: CHUNK]
    out["frame_by_frame"] = motion.error(pixels(frames))
    return out


def sheet(pocket: Pocket, clips: dict[str, Tensor], path: Path) -> None:
    """Rows: clips; columns: the source and every style."""
    rows = []
    for video in clips.values():
        part = video[: 2 * CHUNK + len(video) // 2 // CHUNK * CHUNK][-6 * CHUNK :]
        row = [part[-1]]
        row += [restyle(pocket, part, one_style(s), Play())[0][-1] for s in STYLES[1:]]
        rows.append(torch.cat(row, 2))
    picture = ((torch.cat(rows, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(picture[..., ::-1]))


def main() -> None:
    """Evaluates, prints one line per style and writes ``quality.json`` and ``sheet.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held", type=Path, required=True, help="clips that training left out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--weights", type=Path, default=Path(brushcast_worker.__file__).parent / "weights"
    )
    parser.add_argument("--styles", nargs="*", default=list(STYLES[1:]))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    pocket, clips = load_pocket(args.weights), held_out(args.held)
    if int8_pays():  # as the product paints on this machine
        pocket.quantise()
    sheet(pocket, clips, args.out / "sheet.png")
    motions = {name: Motion(pixels(video)) for name, video in clips.items()}
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for style in args.styles:
        looks = [look(pocket, v[: 4 * CHUNK], style) for v in clips.values()]
        calms = [calm(pocket, v, style, motions[name]) for name, v in clips.items()]
        still, noisy = flicker(pocket, clips[sorted(clips)[-1]], style)
        mean = {
            "look": {k: float(np.mean([x[k] for x in looks])) for k in looks[0]},
            "warp": {k: float(np.mean([x[k] for x in calms])) for k in calms[0]},
            "flicker": {"still": still, "noisy": noisy},
        }
        figures[style] = mean
        figures_text = {k: {n: round(f, 2) for n, f in v.items()} for k, v in mean.items()}
        log.info("%s %s", style, figures_text)
        (args.out / "quality.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
