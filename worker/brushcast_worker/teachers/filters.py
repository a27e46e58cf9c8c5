"""Image filters in torch that the teachers are made of; batches ``[B C H W]``, float 0..1, any
device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def luma(x: Tensor) -> Tensor:
    """Lightness ``[B 1 H W]``."""
    return (x * x.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, edges reflected (replicated where the picture is too small)."""
    radius = max(1, math.ceil(2.6 * sigma))
    t = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
    k = torch.exp(-0.5 * (t / sigma) ** 2)
    k = (k / k.sum()).to(x.dtype)
    c = x.shape[1]
    mode = "reflect" if min(x.shape[-2:]) > radius else "replicate"
    x = F.pad(x, (radius, radius, 0, 0), mode=mode)
    x = F.conv2d(x, k.view(1, 1, 1, -1).expand(c, 1, 1, -1), groups=c)
    x = F.pad(x, (0, 0, radius, radius), mode=mode)
    return F.conv2d(x, k.view(1, 1, -1, 1).expand(c, 1, -1, 1), groups=c)


def blur_wide(x: Tensor, sigma: float) -> Tensor:
    """A broad blur, made at an eighth of the size."""
    small = blur(F.avg_pool2d(x, 8, ceil_mode=True, count_include_pad=False), sigma / 8)
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)


def expose(g: Tensor, target: float, amount: float) -> Tensor:
    """Lightness brought towards ``target`` by a broad local mean: the eye in a dark room."""
    return g - amount * (blur_wide(g, 40) - target)


def smoothstep(a: float | Tensor, b: float | Tensor, x: Tensor) -> Tensor:
    """0 below ``a``, 1 above ``b``, smooth between."""
    t = ((x - a) / (b - a)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def saturate(x: Tensor, k: float) -> Tensor:
    """Colourfulness times ``k`` around the lightness."""
    grey = luma(x)
    return (grey + (x - grey) * k).clamp(0, 1)


def mix(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """``a`` where t is 0, ``b`` where it is 1."""
    return a + (b - a) * t


def colour(x: Tensor, rgb: Sequence[float]) -> Tensor:
    """A colour as a tensor that broadcasts over pictures."""
    return x.new_tensor(rgb).view(1, 3, 1, 1)


def sobel(g: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical derivative of ``[B 1 H W]``."""
    k = g.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).view(1, 1, 3, 3) / 4
    g = F.pad(g, (1, 1, 1, 1), mode="replicate")
    return F.conv2d(g, k), F.conv2d(g, k.transpose(2, 3))


def tangent(g: Tensor, sigma: float) -> Tensor:
    """Unit vectors along the picture's structures ``[B 2 H W]`` (minor axis of the structure
    tensor).
    """
    gx, gy = sobel(g)
    a, b, c = torch.split(blur(torch.cat([gx * gx, gx * gy, gy * gy], 1), sigma), 1, 1)
    angle = 0.5 * torch.atan2(2 * b, a - c) + math.pi / 2
    return torch.cat([angle.cos(), angle.sin()], 1)


def lic(x: Tensor, t: Tensor, samples: int, step: float = 1.0) -> Tensor:
    """Line integral convolution: the mean along the tangent field, ``samples`` each way."""
    height, width = x.shape[-2:]
    ys = torch.arange(height, device=x.device, dtype=torch.float32) + 0.5
    xs = torch.arange(width, device=x.device, dtype=torch.float32) + 0.5
    gy, gx = torch.meshgrid(ys, xs, indexing="ij")
    both, total = torch.cat([x, t], 1), x.clone()
    scale = t.new_tensor([2 / width, 2 / height]).view(1, 2, 1, 1)
    for sign in (1.0, -1.0):
        place, way = torch.stack([gx, gy])[None].expand(x.shape[0], -1, -1, -1), sign * t
        for _ in range(samples):
            place = place + step * way
            grid = (place * scale - 1).permute(0, 2, 3, 1)
            seen = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
            total = total + seen[:, :-2]
            new = seen[:, -2:]
            way = new * torch.where((new * way).sum(1, keepdim=True) < 0, -1.0, 1.0)  # no sign
    return total / (2 * samples + 1)


def kuwahara(x: Tensor, radius: int, sharpness: float = 8.0, sectors: int = 8) -> Tensor:
    """Generalised Kuwahara (Papari 2007): a soft vote of the sectors in which the flattest wins."""
    r = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
    yy, xx = torch.meshgrid(r, r, indexing="ij")
    angle, distance = torch.atan2(yy, xx), torch.hypot(xx, yy)
    kernels = []
    for i in range(sectors):
        off = torch.remainder(angle - 2 * math.pi * i / sectors + math.pi, 2 * math.pi) - math.pi
        k = torch.exp(-((off / (math.pi / sectors)) ** 2)) * torch.exp(
            -((distance / (0.6 * radius)) ** 2)
        )
        k[radius, radius] = k.max()
        kernels.append(k / k.sum())
    weight = torch.stack(kernels)[:, None]
    both = F.pad(torch.cat([x, x * x], 1), [radius] * 4, mode="reflect").flatten(0, 1)[:, None]
    seen: Tensor = torch.unflatten(F.conv2d(both, weight), 0, (x.shape[0], 6))  # [B 6 sectors H W]
    mean, square = seen[:, :3], seen[:, 3:]
    deviation = (square - mean * mean).clamp(min=0).sum(1, keepdim=True).sqrt() * 255
    vote = 1 / (1 + deviation**sharpness)
    return (mean * vote).sum(2) / (vote.sum(2) + 1e-20)


def bilateral(
    x: Tensor, times: int = 2, radius: int = 3, range_sigma: float = 0.1, sigma: float = 3.0
) -> Tensor:
    """Smooths within edges."""
    height, width = x.shape[-2:]
    for _ in range(times):
        padded = F.pad(x, [radius] * 4, mode="reflect")
        total, norm = torch.zeros_like(x), torch.zeros_like(x[:, :1])
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if dx * dx + dy * dy > radius * radius + 1:
                    continue
                y = padded[
                    ..., radius + dy : radius + dy + height, radius + dx : radius + dx + width
                ]
                d = (y - x).square().sum(1, keepdim=True) / (2 * range_sigma**2)
                w = torch.exp(-d - (dx * dx + dy * dy) / (2 * sigma * sigma))
                total, norm = total + w * y, norm + w
        x = total / norm
    return x


def pen_lines(
    g: Tensor, sigma: float, gain: float, low: float | Tensor, high: float, flow: int = 5
) -> Tensor:
    """1 on a line, 0 beside it: flow-based difference of Gaussians of locally normalised lightness;
    ``low``, where a line begins, may be a map.

    Unlike XDoG it does not fill dark areas, so eyes stay eyes.
    """
    spread = (blur(g * g, 10) - blur(g, 10) ** 2).clamp(min=0).sqrt()
    d = (blur(g, 1.6 * sigma) - blur(g, sigma)) / (spread + 0.05)
    return smoothstep(low, high, lic(gain * d, tangent(g, 2.5), flow))


def soft_levels(x: Tensor, count: int, sharpness: float) -> Tensor:
    """Posterised with soft steps."""
    y = x * count
    f = y - y.floor() - 0.5
    return (y.floor() + 0.5 + 0.5 * torch.tanh(sharpness * f) / math.tanh(sharpness / 2)) / count


def gradient_map(x: Tensor, stops: Sequence[tuple[float, tuple[float, float, float]]]) -> Tensor:
    """Lightness ``[B 1 H W]`` to colours by piecewise linear stops."""
    out = colour(x, stops[0][1]).expand(x.shape[0], 3, *x.shape[-2:])
    for (a, _), (b, rgb) in zip(stops, stops[1:], strict=False):
        out = mix(out, colour(x, rgb), ((x - a) / (b - a)).clamp(0, 1))
    return out


def tone_curve(x: Tensor, k: float) -> Tensor:
    """Mild S-curve: paintings have firmer light than webcams."""
    return (x + k * (x - 0.5) * (1 - (2 * x - 1).abs())).clamp(0, 1)


_RGB_TO_LMS = ((0.4122, 0.5363, 0.0515), (0.2119, 0.6807, 0.1074), (0.0883, 0.2817, 0.6300))
_LMS_TO_LAB = ((0.2105, 0.7936, -0.0041), (1.9780, -2.4286, 0.4506), (0.0259, 0.7828, -0.8087))
_LAB_TO_LMS = ((1.0, 0.3963, 0.2158), (1.0, -0.1056, -0.0639), (1.0, -0.0895, -1.2915))
_LMS_TO_RGB = ((4.0767, -3.3077, 0.2310), (-1.2684, 2.6098, -0.3413), (-0.0042, -0.7034, 1.7076))


def _matrix(m: Sequence[Sequence[float]], x: Tensor) -> Tensor:
    return torch.einsum("ij,bjhw->bihw", x.new_tensor(m), x)


def to_oklab(x: Tensor) -> Tensor:
    """sRGB to OKLab (Ottosson 2020): lightness 0..1, a (green-red), b (blue-yellow) about
    -0.3..0.3.
    """
    linear = torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)
    return _matrix(_LMS_TO_LAB, _matrix(_RGB_TO_LMS, linear).clamp(min=1e-6) ** (1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """OKLab to sRGB, clipped."""
    linear = _matrix(_LMS_TO_RGB, _matrix(_LAB_TO_LMS, lab) ** 3).clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-4) ** (1 / 2.4) - 0.055
    )


def faces(img: Tensor) -> Tensor:
    """The inside of warm, not too dark forms: where a face or a hand may be, 0..1."""
    lab = to_oklab(blur(img, 1.5))
    warm = smoothstep(0.010, 0.030, 0.7 * lab[:, 1:2] + lab[:, 2:])
    warm = warm * smoothstep(-0.005, 0.010, lab[:, 1:2])
    pale = 1 - smoothstep(0.10, 0.14, lab[:, 1:].norm(dim=1, keepdim=True))
    warm = F.max_pool2d(warm * pale * smoothstep(0.28, 0.42, lab[:, :1]), 17, 1, 8)
    return smoothstep(0.45, 0.85, blur(-F.max_pool2d(-warm, 21, 1, 10), 1.5))
