"""Trains the decoder on a CPU, with the transformer's own answers:  python -m training.decoder
--init DIR --media DIR --photos DIR --out DIR  (from worker/).

The transformer and the encoder stay as they are: the decoder learns to draw what the latents that
really come mean, from crops of stills that move by whole pixels (nothing is resampled, so lines
stay as sharp as the teacher drew them).  Two halves of every step run side by side on one core
each; threads inside an operator would wait for each other whenever something else wants a core.
Letters: B rows, T pictures or latent frames, C channels, H W size, S styles.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from brushcast_worker.models.pocket import FILE, Pocket, save_pocket
from brushcast_worker.models.text import STYLES
from brushcast_worker.teachers import page
from training.data import Bank, camera_noise
from training.train import Average, go_on_from, pixel_loss

log = logging.getLogger("training")

HALVES = 2
SHAPES = ((128, 160, 8, 2), (192, 256, 8, 1))  # height, width, pictures, rows of a half
LARGE_EVERY = 8  # steps
STILL = 0.5  # share of the rows in which nothing moves but the sensor's noise
OFTEN = {"comic": 2.0, "papercut": 1.6, "oil": 1.4, "ukiyo-e": 1.4, "ink": 1.2}  # the hard looks
FASTEST_PX = 5.0  # of the crop, a picture


class Crops:
    """Moving crops of painted stills: one half's own stream of rows."""

    def __init__(self, stills_SNCHW: Tensor, seed: int) -> None:
        self.stills, self.rng = stills_SNCHW, np.random.default_rng(seed)
        chances = np.array([OFTEN.get(style, 1.0) for style in STYLES[1:]])
        self.chances = chances / chances.sum()

    def batch(self, height: int, width: int, frames: int, rows: int) -> tuple[Tensor, ...]:
        """Source and target ``[B T 3 H W]`` in [-1, 1], mixing weights ``[B S]``."""
        parts = [self._row(height, width, frames) for _ in range(rows)]
        source, target, weights = (torch.stack(p) for p in zip(*parts, strict=True))
        return camera_noise(source) * 2 - 1, target * 2 - 1, weights

    def _row(self, height: int, width: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = self.rng
        still = rng.integers(self.stills.shape[1])
        room = np.array(self.stills.shape[-2:]) - (height, width)
        speed = rng.normal(0, FASTEST_PX / 2, 2) * (rng.random() >= STILL)
        path = rng.uniform(0, 1, 2) * room + speed * np.arange(frames)[:, None]
        path = np.abs(path - room * 2 * np.round(path / np.maximum(room * 2, 1)))  # turns at edges
        places = path.round().astype(int)

        def moved(style: int) -> Tensor:
            picture = self.stills[style, still]
            views = [picture[:, y : y + height, x : x + width] for y, x in places]
            return page(torch.stack(views).float() / 255, STYLES[style])

        first, second = rng.choice(len(STYLES) - 1, 2, replace=False, p=self.chances) + 1
        kind, weights = rng.random(), torch.zeros(len(STYLES))
        if kind < 0.04:
            first = 0
        target, share = moved(first), 1.0
        if kind > 0.82:  # a mixture of two looks, or a look at less than full strength
            second = 0 if kind > 0.92 else second
            share = float(rng.random())
            target = moved(second) + share * (target - moved(second))
        weights[first] += share
        weights[second] += 1 - share
        return moved(0), target, weights


def half_step(
    pocket: Pocket,
    crops: Crops,
    shape: tuple[int, int, int, int],
    weights: list[Tensor],
    calm: float,
) -> tuple[float, tuple[Tensor, ...]]:
    """Loss and gradients of one half."""
    source, target, mixing = crops.batch(*shape)
    with torch.no_grad():
        z_source, _ = pocket.vae.encode(source)
        rows, frames = z_source.shape[:2]
        sigma = (0.52 + 0.06 * torch.randn(rows, 1)).clamp(0.3, 0.62).expand(rows, frames)
        s = sigma[..., None, None, None]
        noise = torch.randn_like(z_source[:, :1]).expand_as(z_source)  # fixed, as in a stream
        z = pocket.dit.predict_x0(
            (1 - s) * z_source + s * noise, timestep_BT=1000 * sigma, sigma_BT=sigma,
            context=pocket.dit.context(pocket.styles(mixing)), source_BTCHW=z_source,
        )  # fmt: skip
        if crops.rng.random() < 0.12:  # it stays an autoencoder's decoder
            z_true, _ = pocket.vae.encode(target)
            z = z_true + 0.06 * torch.randn_like(z_true)
    y, _ = pocket.vae.decode(z, source)
    change = (y.diff(dim=1) - target.diff(dim=1)).abs().mean()
    loss = pixel_loss(y, target) + calm * change
    return float(loss.detach()), torch.autograd.grad(loss, weights)


def revive(pocket: Pocket, folder: Path) -> None:
    """Takes the decoder of another training run, but for its trunk, which begins anew and changes
    nothing at first: the one of that run had died behind a rectifier.
    """
    decoder, old = pocket.vae.decoder, load_file(folder / FILE)
    state = decoder.state_dict()
    for name in state:
        known = old.get(f"vae.decoder.{name}")
        if known is not None and not name.startswith("trunk."):
            state[name][tuple(slice(0, n) for n in known.shape)] = known.float()
    for name in ("up1.weight", "gate1.weight"):
        state[name].zero_()
    latent = pocket.vae.config.latent_channels
    state["look.read.weight"][:, 2 * latent : 2 * latent + state["into.bias"].numel()] = 0
    state["out.weight"][12:] = 0
    state["out.bias"][12:] = -2
    decoder.load_state_dict(state)


def main() -> None:
    """Trains until the time is up; writes the averaged weights every three minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--init", type=Path, required=True, help="folder with pocket.safetensors")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stills", type=Path, help="painted stills: read if there, else written")
    parser.add_argument("--minutes", type=float, default=50.0, help="after painting")
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--calm", type=float, default=1.0, help="extra weight of change over time")
    parser.add_argument("--decoder", type=Path, help="folder whose decoder is revived")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    stills = painted(args)
    log.info("%d stills", stills.shape[1])
    pocket = go_on_from(args.init)
    for part in pocket.parts.values():
        part.eval().requires_grad_(False)
    if args.decoder:
        revive(pocket, args.decoder)
    decoder = pocket.vae.decoder.requires_grad_(True)
    weights = list(decoder.parameters())
    optimiser = torch.optim.AdamW(weights, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0)
    average = Average(decoder, 0.998)
    crops = [Crops(stills, args.seed + n) for n in range(HALVES)]
    begun, step, saved, seen = time.monotonic(), 0, 0.0, 0.0
    with ThreadPoolExecutor(HALVES) as pool:
        while (done := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
            shape = SHAPES[step % LARGE_EVERY == LARGE_EVERY - 1]
            jobs = [pool.submit(half_step, pocket, c, shape, weights, args.calm) for c in crops]
            losses, gradients = zip(*(job.result() for job in jobs), strict=True)
            for weight, *parts in zip(weights, *gradients, strict=True):
                weight.grad = torch.stack(parts).mean(0)
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            for group in optimiser.param_groups:
                group["lr"] = (
                    args.lr * min(1.0, (step + 1) / 60)
                    * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
                )  # fmt: skip
            optimiser.step()
            average.update()
            step, seen = step + 1, seen + sum(losses) / HALVES
            if step % 100 == 0:
                log.info("%d %.0f%% loss %.4f", step, 100 * done, seen / 100)
                seen = 0.0
            if time.monotonic() - begun > saved + 180:
                saved = time.monotonic() - begun
                save(pocket, average, args.out)
    save(pocket, average, args.out)


def painted(args: argparse.Namespace) -> Tensor:
    """Every style's stills ``[S N 3 H W]`` uint8."""
    if args.stills and args.stills.is_file():
        return torch.load(args.stills, weights_only=True)  # type: ignore[no-any-return]
    bank = Bank(args.media, args.photos, torch.device("cpu"), args.seed, small=False, light=True)
    with torch.no_grad():
        bank.fill()
    if args.stills:
        torch.save(bank.stills, args.stills)
    return bank.stills


def save(pocket: Pocket, average: Average, folder: Path) -> None:
    """Writes the networks with the averaged decoder."""
    decoder = pocket.vae.decoder
    kept = {k: v.clone() for k, v in decoder.state_dict().items()}
    decoder.load_state_dict(average.state)
    save_pocket(pocket, folder / FILE)
    decoder.load_state_dict(kept)


if __name__ == "__main__":
    main()
