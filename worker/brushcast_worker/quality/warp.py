"""Corrected warp error: what changes that the source's motion does not explain.

Flow is of the source, never of the output (DIS, no weights); a pixel counts where it can be seen in
both pictures; differences are of floats on a scale of 0..255.

Letters: T pictures, C channels, H W size.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

# forward and backward flow may disagree by this much before a pixel counts as hidden
CONSISTENT_PX = 1.0
LEAST_OWN = 1e-6  # levels
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
    in the earlier. Made once a clip; asked on the source's device.
    """

    def __init__(self, source_TCHW: Tensor) -> None:
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        pictures, device = grey(source_TCHW), source_TCHW.device
        height, width = pictures[0].shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        grids, masks = [], []
        for a, b in zip(pictures, pictures[1:], strict=False):
            back, forth = _flow(dis, b, a), _flow(dis, a, b)
            to_x, to_y = x + back[..., 0], y + back[..., 1]  # where a pixel of b was in a
            there = cv2.remap(forth, to_x, to_y, cv2.INTER_LINEAR)
            inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
            astray = np.linalg.norm(back + there, axis=2)
            # The corners' middles are -1 and 1, as grid_sample has them.
            grids.append(np.stack([to_x * 2 / (width - 1) - 1, to_y * 2 / (height - 1) - 1], -1))
            masks.append(inside & (astray < CONSISTENT_PX))
        self._grid_THW2 = torch.from_numpy(np.stack(grids)).to(device)
        self._seen_THW = torch.from_numpy(np.stack(masks)).to(device)
        self._source_TCHW = source_TCHW

    def error(self, video_TCHW: Tensor, start: int = 0) -> float:
        """Mean absolute difference of each picture to the one before it, brought along by the
        source's motion, where that one shows it; levels. The video belongs to the source's pictures
        from ``start`` on.
        """
        found = []
        for n in range(len(video_TCHW) - 1):
            a, b = (video_TCHW[n + k : n + k + 1].float().clamp(-1, 1) for k in (0, 1))
            grid, seen = self._grid_THW2[start + n], self._seen_THW[start + n]
            brought = F.grid_sample(a, grid[None], padding_mode="border", align_corners=True)
            change = (b - brought)[0].abs().mean(0)
            found.append((change * seen).sum() / seen.sum())  # NaN where nothing is seen
        mean = torch.stack(found).nanmean() * 127.5
        return float(mean)

    def own(self, start: int = 0, count: int | None = None) -> float:
        """The source's error in ``count`` pictures from ``start`` on, never quite 0: the others are
        told in its terms.
        """
        end = len(self._source_TCHW) if count is None else start + count
        return max(self.error(self._source_TCHW[start:end], start), LEAST_OWN)


def _flow(dis: cv2.DISOpticalFlow, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Picture:
    start = np.zeros((*a.shape, 2), np.float32)
    return np.asarray(dis.calc(a, b, start), np.float32)
