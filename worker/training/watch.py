"""What training reports on clips that it never sees: PSNR to the teacher against the source's, and
a contact sheet.
"""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import torch

from brushcast_worker.models.pocket import Pocket
from brushcast_worker.models.text import STYLES
from brushcast_worker.quality.metrics import psnr
from brushcast_worker.quality.play import Play, one_style, restyle
from brushcast_worker.quality.target import target
from training.data import fit, read

PICTURES = 16


class Watch:
    """A few pictures of each held-out clip; the last one is shown."""

    def __init__(self, held: Path, device: torch.device, small: bool) -> None:
        size = (96, 128) if small else (288, 512)
        self.clips = []
        for path in sorted(held.iterdir()):
            video = read(path)
            start = (
                len(video) // 2 - PICTURES // 2
                if path.stem.startswith("webcam")
                else len(video) - 90
            )
            pictures = np.stack([fit(p, size) for p in video[start : start + PICTURES]])
            x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            self.clips.append(x)

    @torch.inference_mode()
    def report(self, pocket: Pocket, out: Path, log: logging.Logger) -> None:
        """Logs the figures and writes ``sheet.jpg``: source; then teacher above and output below
        for each style.
        """
        columns = [[x[-1] for x in self.clips]]
        for style in STYLES[1:]:
            figures, column = [], []
            for x in self.clips:
                teacher = target(x[-4:], style, Play())
                y, _ = restyle(pocket, x, one_style(style), Play())
                figures.append((psnr(y[-4:], teacher), psnr(x[-4:], teacher)))
                column += [teacher[-1], y[-1]]
            columns.append(column)
            log.info("  %-12s %s", style, "  ".join(f"{a:.1f} ({a - b:+.1f})" for a, b in figures))
        columns[0] = [p for x in columns[0] for p in (x, x)]
        sheet = torch.cat([torch.cat(c, 1) for c in columns], 2).add(1).mul(127.5).clamp(0, 255)
        picture = sheet.byte().permute(1, 2, 0).cpu().numpy()[..., ::-1]
        cv2.imwrite(
            str(out / "sheet.jpg"), np.ascontiguousarray(picture), [cv2.IMWRITE_JPEG_QUALITY, 88]
        )
