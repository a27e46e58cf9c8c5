"""Figures of pictures alone: likeness, sharpness, calm, structure. Pure.

Letters: T pictures, C channels, H W size. Pictures are ``[T 3 H W]`` floats in [-1, 1]; what is
given in levels is on the scale 0..255.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 127.5  # in [-1, 1]
EDGE_PERCENTILE = 0.99  # what counts as a full edge in a picture
SSIM_WINDOW = 7
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # Wang et al. 2004, for a range of 1


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in [-1, 1], dB."""
    return float(-10 * torch.log10((a - b).square().mean() / 4))


def difference(a_TCHW: Tensor, b_TCHW: Tensor) -> float:
    """Mean absolute difference, levels."""
    return float((a_TCHW - b_TCHW).abs().mean()) * LEVELS


def flicker(video_TCHW: Tensor) -> float:
    """Mean absolute change from picture to picture, levels."""
    return float(video_TCHW.diff(dim=0).abs().mean()) * LEVELS


def gradient_energy(video_TCHW: Tensor) -> float:
    """Mean square of the steps to the right and lower neighbour."""
    return float(sum(video_TCHW.diff(dim=dim).square().mean() for dim in (-1, -2)))


def gradient_size(video_TCHW: Tensor) -> float:
    """Mean size of the same steps: faint lines count as much as strong ones."""
    return float(sum(video_TCHW.diff(dim=dim).abs().mean() for dim in (-1, -2)))


def sharpness(video_TCHW: Tensor, teacher_TCHW: Tensor) -> float:
    """Gradient energy as a share of the teacher's: 1 is as sharp, blur is below."""
    return gradient_energy(video_TCHW) / max(gradient_energy(teacher_TCHW), 1e-9)


def luminance(video_TCHW: Tensor) -> Tensor:
    """``[T 1 H W]``, BT.601."""
    weights = video_TCHW.new_tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
    return (video_TCHW * weights).sum(1, keepdim=True)


def edges(video_TCHW: Tensor) -> Tensor:
    """Size of the luminance's Sobel gradient in each picture, 0..1: 1 is a strong edge of that
    picture, so looks of any contrast compare. ``[T 1 H W]``.
    """
    across = video_TCHW.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([across, across.T])[:, None]
    x = F.pad(luminance(video_TCHW), (1, 1, 1, 1), mode="replicate")
    size = F.conv2d(x, kernels).square().sum(1, keepdim=True).sqrt()
    flat = size.flatten(1)
    full = flat.kthvalue(max(1, int(EDGE_PERCENTILE * flat.shape[1])), 1).values
    return (size / full.clamp(min=1e-3).view(-1, 1, 1, 1)).clamp(max=1)


def edge_ssim(a_TCHW: Tensor, b_TCHW: Tensor) -> float:
    """Structure kept: SSIM (Wang et al. 2004, eq. 13) of the two edge maps, -1..1; 1 is the same
    drawing, whatever its colours.
    """
    a, b = edges(a_TCHW), edges(b_TCHW)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, SSIM_WINDOW, 1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    return float((likeness * (2 * both + SSIM_C2) / (var_a + var_b + SSIM_C2)).mean())
