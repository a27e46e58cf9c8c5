"""Training material: pairs of a source clip and the painted clip, made on the GPU.

stills: photographs and video frames, painted once and moved by known motion (camera paths, warps, a
cut-out in
        front), source and painting alike: perfectly coherent targets.  Renewed all the time under
        new light and framing.
clips:  real video painted picture by picture; a recursive filter driven by the source runs over
what the teacher sees
        and over what it paints, so that what stands still stays still.
Every picture is painted twice, by a light hand and a heavy one; where which of them shows follows
from the stream's noise (teachers/hand.py).
Letters: B rows, T pictures, C channels, H W size, S styles, P paintings: two hands of every style.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.text import STYLES
from brushcast_worker.teachers import PAGED, page, paint
from brushcast_worker.teachers.filters import blur, luma
from brushcast_worker.teachers.hand import heavier, strokes
from training.camera import camera_noise

HANDS = 2
PAINTINGS = HANDS * len(STYLES)  # painting p: style p % len(STYLES), hand p // len(STYLES)
CANVAS = (480, 640)
CLIP = (384, 512)
PHOTO_FRAMINGS = 8
SECONDS_HELD_OUT = 8  # of the animation, at its end
EXACT = 0.5  # share of the batches whose pictures are cut out and moved by whole pixels: nothing is
# resampled, so the target's lines stay as sharp as the teacher drew them
OFTEN = {"pixel-art": 2.0, "blueprint": 1.5, "stained-glass": 1.5}  # hardest to draw, times others
MOVING = 0.6  # share of the camera paths that move at all


@dataclass(frozen=True, slots=True)
class Batch:
    """Source and what a light and a heavy hand make of it ``[B T 3 H W]`` in [-1, 1], mixing
    weights ``[B S]``, boldness ``[B]``.
    """

    source: Tensor
    light: Tensor
    heavy: Tensor
    weights: Tensor
    bold: Tensor

    def target(self, noise_BTCHW: Tensor) -> Tensor:
        """The painting that belongs to the noise of the latent frames: ``[B T 3 H W]``."""
        rows, frames = noise_BTCHW.shape[:2]
        pressed = strokes(noise_BTCHW.flatten(0, 1)).unflatten(0, (rows, frames))
        pressed = pressed.repeat_interleave(self.light.shape[1] // frames, 1)
        return self.light + self.bold[:, None, None, None, None] * pressed * (
            self.heavy - self.light
        )


def read(path: Path) -> list[np.ndarray]:
    """All pictures of a clip, RGB uint8."""
    capture, out = cv2.VideoCapture(str(path)), []
    while True:
        ok, picture = capture.read()
        if not ok:
            return out
        out.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scaled and cropped to (height, width)."""
    s = max(size[0] / picture.shape[0], size[1] / picture.shape[1])
    to = (math.ceil(picture.shape[1] * s), math.ceil(picture.shape[0] * s))
    picture = cv2.resize(picture, to, interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_CUBIC)
    y, x = (picture.shape[0] - size[0]) // 2, (picture.shape[1] - size[1]) // 2
    return np.ascontiguousarray(picture[y : y + size[0], x : x + size[1]])


def train_parts(
    name: str, video: list[np.ndarray]
) -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    """What of a clip is used: pictures for stills, stretches for real motion.  What is held out is
    cut off here.
    """
    if name.startswith("webcam"):
        return video[3::9], [video]
    if name == "animation":
        video = video[24 : len(video) - 24 * SECONDS_HELD_OUT]
        return video[10::5], [video[a : a + 40] for a in (60, 150, 240, 330, 420)]
    if name == "street":
        video = video[: len(video) * 2 // 3]
        return video[5::20], [video[60:110], video[150:200]]
    if name == "hallway":
        return video[5::45], [video[a : a + 40] for a in (120, 500)]
    if name == "bottles":
        return video[5::60], [video[100:140]]
    if name.startswith("clip"):  # the rendered portrait of the repository
        return video[4::7], [video[a : a + 48] for a in (20, 120, 220)]
    return video[2::7], [video[:40]]


class Bank:
    """All pictures and their paintings as uint8 on the device."""

    def __init__(
        self, media: Path, photos: Path, device: torch.device, seed: int, *, small: bool
    ) -> None:
        self.device, self.rng = device, np.random.default_rng(seed)
        base: list[np.ndarray] = []
        stretches: list[list[np.ndarray]] = []
        for path in sorted(media.iterdir())[: 3 if small else None]:
            stills, clips = train_parts(path.stem, read(path))
            base += stills[:2] if small else stills
            stretches += [c[:24] for c in clips[:1]] if small else clips
        for path in sorted(photos.iterdir()):
            picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            base += [picture] * (1 if small else PHOTO_FRAMINGS)
        self.base = base
        self.canvas = (96, 128) if small else CANVAS
        self.clip_size = (96, 128) if small else CLIP
        n = len(base)
        self.stills = torch.zeros(PAINTINGS, n, 3, *self.canvas, dtype=torch.uint8, device=device)
        self.clips: list[Tensor] = []  # [P T 3 H W] each
        self._pending = [(c, k) for k in range(1 if small else 2) for c in stretches]
        self.rng.shuffle(self._pending)
        self._order: list[int] = []

    # ------------------------------------------------------------------ painting
    def fill(self) -> None:
        """Paints every still once; real clips follow with ``add_clip``."""
        for start in range(0, len(self.base), 8):
            self._paint_stills(
                list(range(start, min(start + 8, len(self.base)))), jitter=start % 16 > 0
            )

    def renew(self, count: int) -> None:
        """New framing and light for the ``count`` stills that have waited longest."""
        if len(self._order) < count:
            self._order = list(self.rng.permutation(len(self.base)))
        self._paint_stills([self._order.pop() for _ in range(count)], jitter=True)

    def _paint_stills(self, which: list[int], jitter: bool) -> None:
        pictures = [fit(self._framed(self.base[i]), self.canvas) for i in which]
        x = self._upload(np.stack(pictures))
        if jitter:
            x = torch.cat([self._other_camera(p[None]) for p in x])
        for p, style, shown in _paintings(x):
            self.stills[p, which] = (paint(shown, style) * 255 + 0.5).byte()

    def add_clip(self) -> bool:
        """Paints the next real stretch; False when all are there."""
        if not self._pending:
            return False
        pictures, variant = self._pending.pop(0)
        size = self.clip_size
        x = self._upload(np.stack([fit(p, size) for p in pictures]))
        if variant:
            zoom = self.rng.uniform(0.62, 0.9)
            x = self._other_camera(x)
            h, w = int(size[0] * zoom), int(size[1] * zoom)
            top, left = self.rng.integers(0, size[0] - h + 1), self.rng.integers(0, size[1] - w + 1)
            x = F.interpolate(
                x[..., top : top + h, left : left + w], size=size, mode="bicubic"
            ).clamp(0, 1)
        calm, out = _recursive(x, x, 0.25), []
        for _, style, shown in _paintings(calm):
            if style == "none":
                out.append(x)
                continue
            painted = torch.cat([paint(shown[i : i + 8], style) for i in range(0, len(shown), 8)])
            out.append(_recursive(painted, x, 0.12))
        self.clips.append((torch.stack(out) * 255 + 0.5).byte())
        return True

    def _upload(self, pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2).float() / 255

    def _framed(self, picture: np.ndarray) -> np.ndarray:
        zoom = self.rng.uniform(0.55, 1.0)
        h, w = int(picture.shape[0] * zoom), int(picture.shape[1] * zoom)
        y, x = (
            self.rng.integers(0, picture.shape[0] - h + 1),
            self.rng.integers(0, picture.shape[1] - w + 1),
        )
        picture = picture[y : y + h, x : x + w]
        return picture[:, ::-1] if self.rng.random() < 0.5 else picture

    def _other_camera(self, x: Tensor) -> Tensor:
        """White balance, exposure, gamma, saturation, now and then swapped channels: for
        generality.
        """
        u = self.rng.uniform
        x = x ** u(0.6, 1.5) * u(0.75, 1.12)
        x = x * x.new_tensor(1 + u(-0.18, 0.18, 3)).view(3, 1, 1)
        x = luma(x) + (x - luma(x)) * u(0.5, 1.6)
        if self.rng.random() < 0.25:
            x = x[:, list(self.rng.permutation(3))]
        if self.rng.random() < 0.5:
            x = x * (1 - u(0, 0.25)) + u(0, 0.2)
        return x.clamp(0, 1)

    # ------------------------------------------------------------------ sampling
    def batch(
        self, sources: int, looks: int, frames: int, size: tuple[int, int], real: bool
    ) -> Batch:
        """``sources`` source clips, each under ``looks`` looks: B = sources * looks."""
        rows, count = sources * looks, len(STYLES)
        often = np.array([0.0] + [OFTEN.get(style, 1.0) for style in STYLES[1:]])
        often /= often.sum()
        pick = np.stack(
            [self.rng.choice(count, 2 * looks, replace=False, p=often) for _ in range(sources)]
        )
        first, second = pick[:, :looks].copy(), pick[:, looks:]
        first[self.rng.random(first.shape) < 0.04] = 0
        kind = self.rng.random(first.shape)
        faint, mixed = kind < 0.13, (kind >= 0.13) & (kind < 0.22)  # opacity; two looks
        share = np.where(faint | mixed, self.rng.random(first.shape), 1).astype(np.float32)
        bold = self.rng.choice(
            np.float32((0, 0.5, 1, np.nan)), first.shape, p=(0.15, 0.4, 0.3, 0.15)
        )
        bold = np.where(np.isnan(bold), self.rng.random(first.shape), bold)
        bold = np.where(mixed, 0, bold).astype(np.float32)
        wanted = np.concatenate([first, np.where(mixed, second, first + count)], 1)
        stacks = (
            self._real(wanted, frames, size)
            if real and self.clips
            else self._moved(wanted, frames, size)
        )
        source, painted = stacks[:, :1], stacks[:, 1:]  # [n 1 T 3 H W], [n 2k T 3 H W]
        for s, style in enumerate(STYLES):
            if style in PAGED and (wanted % count == s).any():
                hit = torch.from_numpy(wanted % count == s).to(self.device)
                painted[hit] = page(painted[hit].flatten(0, 1), style).unflatten(0, (-1, frames))

        def upload(x: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x)).to(self.device)

        one, other = painted[:, :looks], painted[:, looks:]
        part = upload(share)[..., None, None, None, None]
        two = upload(mixed)[..., None, None, None, None]
        under = torch.where(two, other, source)
        light = under + part * (one - under)
        heavy = torch.where(two, light, under + part * (other - under))
        weights = torch.zeros(rows, count, device=self.device)
        weights.scatter_add_(1, upload(first).view(rows, 1), upload(share).view(rows, 1))
        below = np.where(mixed, second, 0)
        weights.scatter_add_(1, upload(below).view(rows, 1), 1 - upload(share).view(rows, 1))
        source = camera_noise(source[:, 0])
        source = source[:, None].expand(-1, looks, -1, -1, -1, -1).flatten(0, 1)
        return Batch(
            source * 2 - 1,
            light.flatten(0, 1) * 2 - 1,
            heavy.flatten(0, 1) * 2 - 1,
            weights,
            upload(bold).view(rows),
        )

    def _stack(self, still: np.ndarray, wanted: np.ndarray) -> Tensor:
        layers = [
            torch.stack([self.stills[s, i] for s in (0, *row)])
            for i, row in zip(still, wanted, strict=True)
        ]
        return torch.stack(layers).flatten(1, 2).float() / 255

    def _moved(self, wanted: np.ndarray, frames: int, size: tuple[int, int]) -> Tensor:
        n, k = wanted.shape
        below, above = (self.rng.integers(0, len(self.base), n) for _ in range(2))
        cut = (
            0.5 if self.rng.random() < 0.5 else 0.0
        )  # half the batches begin with a chunk from another time
        exact = self.rng.random() < EXACT
        out = F.grid_sample(
            self._stack(below, wanted), self._path(n, frames, size, 1.0, cut, exact),
            padding_mode="reflection", align_corners=False,
        )  # fmt: skip
        if self.rng.random() < 0.5:
            h, w = self.canvas
            yy = torch.linspace(-1, 1, h, device=self.device)[:, None]
            xx = torch.linspace(-1.33, 1.33, w, device=self.device)[None]
            mask = torch.full((n, 1, h, w), -9.0, device=self.device)
            for _ in range(3):
                p = torch.rand(n, 4, 1, 1, device=self.device)
                dx, dy = (
                    (xx - (p[:, 0] - 0.5)) / (0.12 + 0.3 * p[:, 2]),
                    (yy - (p[:, 1] - 0.5)) / (0.12 + 0.3 * p[:, 3]),
                )
                mask = torch.maximum(mask, (1 - dx * dx - dy * dy)[:, None])
            top = torch.cat([self._stack(above, wanted), (mask * 12).sigmoid()], 1)
            top = F.grid_sample(
                top,
                self._path(n, frames, size, 1.7, cut, exact),
                padding_mode="zeros",
                align_corners=False,
            )
            alpha = top[:, -1:]
            out = out * (1 - alpha) + top[:, :-1] * alpha
        return (
            out.unflatten(1, (1 + k, 3)).unflatten(3, (frames, size[0])).permute(0, 1, 3, 2, 4, 5)
        )

    def _path(
        self, n: int, frames: int, size: tuple[int, int], speed: float, cut: float, exact: bool
    ) -> Tensor:
        """A sampling grid ``[n T*H W 2]``: pan, zoom, roll and a slow warp of the canvas; or, if
        ``exact``, a pan by whole pixels at the canvas's own scale.
        """
        device, (height, width) = self.device, self.canvas

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, device=device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, device=device)

        t = (torch.arange(frames, device=device) / 12.0)[None, :, None] - 1
        jump = torch.zeros_like(t)
        jump[:, :4] = 1
        t = t + jump * cut * (2 * uniform(n, 1, 1) - 1) * 16
        most = min(height / size[0], width / size[1])
        scale = (0.62 + (min(1.35, most) - 0.62) * uniform(n, 1, 1)).clamp(max=most)
        scale = torch.ones_like(scale) if exact else scale
        half = scale * torch.tensor([size[1] / 2, size[0] / 2], device=device)
        room = (torch.tensor([width / 2, height / 2], device=device) - half).clamp(min=0)

        def swing(amount: float) -> Tensor:
            return amount * torch.sin(t * (0.5 + 4 * uniform(n, 1, 1)) + 6.28 * uniform(n, 1, 1))

        moving = (uniform(n, 1, 1) < MOVING).float() * speed * 2 * uniform(n, 1, 1)
        place = room * (2 * uniform(n, 1, 2) - 1)
        place = place + moving * (
            normal(n, 1, 2) * 20 * t.clamp(-2, 2) + torch.cat([swing(14), swing(14)], -1)
        )
        turning = moving * (not exact)
        roll = (normal(n, 1, 1) * 0.10 * (not exact) + turning * swing(0.06))[..., 0]
        zoom = scale[..., 0] * torch.exp(turning[..., 0] * swing(0.06)[..., 0])
        if exact:  # both sides of the canvas and of the picture are even
            place = place.round()
        flip = torch.where(uniform(n) < 0.5, -1.0, 1.0)
        gy = torch.arange(size[0], device=device) + 0.5 - size[0] / 2
        gx = torch.arange(size[1], device=device) + 0.5 - size[1] / 2
        gy, gx = torch.meshgrid(gy, gx, indexing="ij")
        gx = gx[None, None] * flip[:, None, None, None]
        c, s = (roll.cos() * zoom)[..., None, None], (roll.sin() * zoom)[..., None, None]
        x = c * gx - s * gy + place[..., 0, None, None]
        y = s * gx + c * gy + place[..., 1, None, None]
        field = F.interpolate(normal(n * 2, 2, 4, 4), size=size, mode="bicubic").view(
            n, 2, 2, *size
        )
        amount = (turning * (uniform(n, 1, 1) < 0.5) * 5)[..., None]
        phase = (t * (1 + 3 * uniform(n, 1, 1)))[..., None]
        x = x + amount * (
            field[:, None, 0, 0] * phase.sin() + field[:, None, 1, 0] * (0.7 * phase).cos()
        )
        y = y + amount * (
            field[:, None, 0, 1] * phase.sin() + field[:, None, 1, 1] * (0.7 * phase).cos()
        )
        return torch.stack([x * 2 / width, y * 2 / height], -1).flatten(1, 2)

    def _real(self, wanted: np.ndarray, frames: int, size: tuple[int, int]) -> Tensor:
        n, k = wanted.shape
        height, width = self.clip_size
        out = []
        for row in wanted:
            clip = self.clips[self.rng.integers(len(self.clips))]
            stride = 2 if self.rng.random() < 0.25 and clip.shape[1] > 2 * frames else 1
            span = min(frames, clip.shape[1])
            start = self.rng.integers(0, max(1, clip.shape[1] - stride * (span - 1)))
            index = np.minimum(start + stride * np.arange(frames), clip.shape[1] - 1)
            if self.rng.random() < 0.3:
                index[:4] = self.rng.integers(0, clip.shape[1] - 3) + np.arange(4)
            if self.rng.random() < 0.3:
                index[4:] = index[4:][::-1].copy()
            x = clip[[0, *row]][:, index].float() / 255  # [1+k T 3 H W]
            exact = self.rng.random() < EXACT
            scale = 1.0 if exact else self.rng.uniform(0.65, 1.3)
            scale = min(scale, height / size[0], width / size[1])
            sx, sy = scale * size[1] / width, scale * size[0] / height
            ox, oy = self.rng.uniform(-1, 1) * (1 - sx), self.rng.uniform(-1, 1) * (1 - sy)
            if exact:
                ox, oy = round(ox * width / 2) * 2 / width, round(oy * height / 2) * 2 / height
            flip = self.rng.choice([-1, 1])
            theta = torch.tensor(
                [[[sx * flip, 0, ox], [0, sy, oy]]], dtype=torch.float32, device=self.device
            )
            grid = F.affine_grid(theta, (1, 3, *size), align_corners=False)
            x = x.flatten(0, 1)
            x = F.grid_sample(
                x, grid.expand(len(x), -1, -1, -1), padding_mode="reflection", align_corners=False
            )
            out.append(x.unflatten(0, (1 + k, frames)))
        return torch.stack(out)


def _paintings(x: Tensor) -> Iterator[tuple[int, str, Tensor]]:
    """Every painting's number, its style, and what the teacher is shown."""
    heavy = heavier(x)
    for p in range(PAINTINGS):
        style, hand = STYLES[p % len(STYLES)], p // len(STYLES)
        yield p, style, heavy if hand and style != "none" else x


def _recursive(x: Tensor, driver: Tensor, low: float) -> Tensor:
    """``out += a (in - out)``: a near ``low`` where the driver stands still and 1 where it moves;
    ``[T C H W]``.
    """
    out, reference, result = x[:1], driver[:1], []
    for picture, drive in zip(x.split(1), driver.split(1), strict=True):
        change = blur((drive - reference) * 255, 1.5).abs().amax(1, keepdim=True)
        change = blur(F.max_pool2d(change, 5, 1, 2), 2.0)
        a = (low + (change - 3) / 7).clamp(low, 1)
        out, reference = out + a * (picture - out), reference + a * (drive - reference)
        result.append(out)
    return torch.cat(result)
