"""Corrected warp error: what changes that the source's motion does not explain.

Flow is of the source, never of the output (DIS, no weights); a pixel counts where it can be seen in
both pictures; differences are of floats on a scale of 0..255.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# forward and backward flow may disagree by this much before a pixel counts as hidden
CONSISTENT_PX = 1.0
Picture = NDArray[np.float32]  # [H W 3], 0..255


def pixels(video_TCHW: Tensor) -> list[Picture]:
    """Host pictures, float, 0..255: no integer wraps around in a difference."""
    scaled = (video_TCHW.detach().float().clamp(-1, 1) + 1) * 127.5
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy())


def grey(video_TCHW: Tensor) -> list[NDArray[np.uint8]]:
    """``[H W]`` pictures for OpenCV's trackers."""
    return [
        np.asarray(cv2.cvtColor(np.rint(p).astype(np.uint8), cv2.COLOR_RGB2GRAY), np.uint8)
        for p in pixels(video_TCHW)
    ]


class Motion:
    """Flow between neighbouring pictures of a source and which pixels of the later one can be seen
    in the earlier.
    """

    def __init__(self, source_TCHW: Tensor) -> None:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        pictures = grey(source_TCHW)
        height, width = pictures[0].shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        self._maps: list[tuple[Picture, Picture]] = []
        self._masks: list[NDArray[np.bool_]] = []
        for a, b in zip(pictures, pictures[1:], strict=False):
            back, forth = _flow(dis, b, a), _flow(dis, a, b)
            to_x, to_y = x + back[..., 0], y + back[..., 1]  # where a pixel of b was in a
            there = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR)
            inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
            astray = np.linalg.norm(back + there, axis=2)
            self._maps.append((to_x, to_y))
            self._masks.append(inside & (astray < CONSISTENT_PX))
        self.own = self.error(source_TCHW)

    def error(self, video_TCHW: Tensor) -> float:
        """Mean absolute difference of each picture to the one before it, brought along by the
        source's motion, where that one shows it; levels. ``own``: the source's.
        """
        video, found = pixels(video_TCHW), []
        assert len(video) == len(self._maps) + 1, (len(video), len(self._maps) + 1)
        for a, b, (x, y), seen in zip(video, video[1:], self._maps, self._masks, strict=False):
            if seen.any():
                found.append(np.abs(b - cv2.remap(a, x, y, cv2.INTER_LINEAR)).mean(2)[seen].mean())
        return float(np.mean(found)) if found else float("nan")


def _flow(dis: cv2.DISOpticalFlow, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Picture:
    start = np.zeros((*a.shape, 2), np.float32)
    return np.asarray(dis.calc(a, b, start), np.float32)
