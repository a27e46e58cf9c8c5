"""Trains the pocket model against the clock:  python -m training.train --media DIR --photos DIR
--out DIR  (from worker/).

Two phases, each with a cosine learning rate over its share of ``--minutes``:
1. the autoencoder: styled video to latents and, with the source's guidance, back;
2. the transformer with the decoder: noised source latents to styled latents, judged in latents and,
through the decoder, in
   pixels.  A share of the rows are the second step: their input is the model's own first answer,
   noised again.
Letters: B rows, T pictures or latent frames, C channels, H W size, S styles.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brushcast_worker.models.light_vae import CHUNK, SCALE
from brushcast_worker.models.pocket import FILE, Pocket, build_pocket, save_pocket
from brushcast_worker.stages.noise import stroked
from brushcast_worker.stages.schedule import POCKET_SECOND_SIGMA
from training.calibrate import calibrate_weights
from training.data import Bank, Batch
from training.resume import go_on_from
from training.watch import Watch
from training.wording import STEPS as TEXT_STEPS
from training.wording import teach

log = logging.getLogger("training")

SIZES = {  # (height, width): source clips, looks of each, pictures
    (256, 256): (6, 3, 20),
    (288, 512): (3, 3, 20),
    (384, 384): (3, 3, 20),
}
ORDER = (
    (256, 256),
    (288, 512),
    (256, 256),
    (256, 256),
    (384, 384),
    (256, 256),
    (288, 512),
    (256, 256),
)
CRISP = 0.5


def pixel_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1, L2, gradients at two scales (lines, brush), how strong they are in each neighbourhood
    (crispness: a line a pixel beside its place is better than none) and change over time (calm);
    ``[B T C H W]`` in [-1, 1].
    """
    loss = (x - y).abs().mean() + 1.5 * (x - y).square().mean()
    loss = loss + 1.5 * (x.diff(dim=1) - y.diff(dim=1)).abs().mean()
    a, b = x.flatten(0, 1), y.flatten(0, 1)
    for weight in (1.0, 0.6):
        for dim in (-1, -2):
            da, db = a.diff(dim=dim), b.diff(dim=dim)
            loss = loss + weight * (da - db).abs().mean()
            loss = loss + CRISP * weight * (_strength(da) - _strength(db)).abs().mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return loss


def _strength(gradient: Tensor) -> Tensor:
    """Root mean square of 8x8 pixels."""
    return (F.avg_pool2d(gradient.square(), 8, 4) + 1e-4).sqrt()


class Average:
    """Exponential moving average of a network's weights."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay, self.steps = network, decay, 0
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(
            list(self.state.values()), list(self.network.state_dict().values()), 1 - decay
        )


class Trainer:
    """The networks, their averages and the clock."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        torch.manual_seed(args.seed)
        self.pocket = go_on_from(args.init) if args.init else build_pocket()
        for name, part in self.pocket.parts.items():
            part.train().requires_grad_(True)
            if name != "text":
                part.to(self.device)
        self.pocket.vae.to(memory_format=torch.channels_last)
        self.bank = Bank(args.media, args.photos, self.device, args.seed, small=args.tiny)
        self.step = 0
        self.averages: dict[str, Average] = {}

    def amp(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def batch(self) -> Batch:
        """The next batch; keeps the stills fresh and the real clips coming."""
        if self.step % 30 == 5:
            self.bank.renew(1 if self.args.tiny else 4)
        size = (64, 96) if self.args.tiny else ORDER[self.step % len(ORDER)]
        sources, looks, frames = (1, 2, 16) if self.args.tiny else SIZES[size]
        return self.bank.batch(sources, looks, frames, size, real=self.step % 5 in (1, 3))

    def optimiser(self, groups: list[tuple[nn.Module, float]]) -> torch.optim.AdamW:
        settings = [
            {"params": [p for p in m.parameters() if (p.ndim > 1) == wide], "lr": lr, "base": lr,
             "weight_decay": 0.01 if wide else 0.0}
            for m, lr in groups for wide in (True, False)
        ]  # fmt: skip
        return torch.optim.AdamW(settings, betas=(0.9, 0.97), fused=self.device.type == "cuda")

    def update(self, optimiser: torch.optim.AdamW, loss: Tensor, done: float, since: int) -> None:
        """One optimiser step at the learning rate of the phase's progress ``done``."""
        factor = min(1.0, (since + 1) / 150) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * factor
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimiser.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimiser.step()
        for average in self.averages.values():
            average.update()
        self.step += 1

    # ------------------------------------------------------------------ phase 1
    def autoencoder(self, seconds: float) -> None:
        """Styled video through latents, guided by the source."""
        vae = self.pocket.vae
        optimiser = self.optimiser([(vae, self.args.vae_lr)])
        self.averages = {"vae": Average(vae, 0.998)}
        start, begun = self.step, time.monotonic()
        while (done := (time.monotonic() - begun) / seconds) < 1 and not self.enough(start):
            b = self.batch()
            as_source = torch.rand(len(b.source), 1, 1, 1, 1, device=self.device) < 0.12
            with self.amp():
                clean = torch.where(as_source, b.source, b.target(self.noise(b.source)))
                z, _ = vae.encode(clean)
                z = z.float()
                y, _ = vae.decode(z + 0.06 * torch.randn_like(z), b.source)
            loss = pixel_loss(y.float(), clean) + _balanced(z)
            self.update(optimiser, loss, done, self.step - start)
            if self.step % 200 == 0 or self.args.tiny:
                error = (y.detach().float() - clean).square().mean() / 4
                log.info("vae %d %.0f%% loss %.4f psnr %.2f std %.2f..%.2f",
                         self.step, 100 * done, loss.detach(),
                         -10 * torch.log10(error), *_spread(z))  # fmt: skip
        vae.load_state_dict(self.averages["vae"].state)
        self.normalise()

    @torch.no_grad()
    def normalise(self) -> None:
        """Measures the latents and makes them unit channels."""
        vae, latents = self.pocket.vae, []
        vae.mean.zero_(), vae.std.fill_(1)
        for _ in range(2 if self.args.tiny else 12):
            b = self.batch()
            self.step += 1
            with self.amp():
                latents += [
                    vae.encode(v)[0].float().transpose(0, 2).flatten(1) for v in (b.light, b.source)
                ]
        z = torch.cat(latents, 1)
        vae.mean.copy_(z.mean(1).view(-1, 1, 1)), vae.std.copy_(z.std(1).view(-1, 1, 1))
        log.info("latent std %s", [round(v, 2) for v in vae.std.flatten().tolist()])

    # ------------------------------------------------------------------ phase 2
    def transformer(self, seconds: float) -> None:
        """The denoiser, with the decoder learning to draw from its answers."""
        p = self.pocket
        p.vae.encoder.requires_grad_(False)
        optimiser = self.optimiser(
            [(p.dit, self.args.lr), (p.styles, self.args.lr), (p.vae.decoder, self.args.decoder_lr)]
        )
        self.averages = {
            "dit": Average(p.dit, 0.999), "styles": Average(p.styles, 0.999),
            "decoder": Average(p.vae.decoder, 0.999),
        }  # fmt: skip
        start, begun, saved = self.step, time.monotonic(), 0.0
        while (done := (time.monotonic() - begun) / seconds) < 1 and not self.enough(start):
            b = self.batch()
            noise = self.noise(b.source)
            target = b.target(noise)
            with torch.no_grad(), self.amp():
                z_source, z_target = (p.vae.encode(v)[0].float() for v in (b.source, target))
            x, sigma = self.noised(z_source, z_target, noise, b, done)
            z = self.denoise(x, sigma, z_source, b.weights, b.bold)
            error = z - z_target
            latent = (error.square() + 1e-4).sqrt().mean() + 0.25 * error.square().mean()
            latent = latent + 0.5 * (z.diff(dim=1) - z_target.diff(dim=1)).abs().mean()
            true = (
                torch.rand(len(z), 1, 1, 1, 1, device=self.device) < 0.2
            )  # keeps the decoder an autoencoder
            with self.amp():
                seen = torch.where(true, z_target + 0.06 * torch.randn_like(z), z)
                y, _ = p.vae.decode(seen, b.source)
            pixel = pixel_loss(y.float(), target)
            self.update(optimiser, 0.35 * latent + pixel, done, self.step - start)
            if self.step % 200 == 0 or self.args.tiny:
                log.info(
                    "dit %d %.0f%% latent %.4f pixel %.4f",
                    self.step,
                    100 * done,
                    latent.detach(),
                    pixel.detach(),
                )
            if time.monotonic() - begun > saved + 240:
                saved = time.monotonic() - begun
                self.save()
        self.save()

    def denoise(
        self, x: Tensor, sigma: Tensor, z_source: Tensor, weights: Tensor, bold: Tensor
    ) -> Tensor:
        p = self.pocket
        with self.amp():
            context = p.dit.context(p.styles(weights, bold))
            z = p.dit.predict_x0(
                x, timestep_BT=1000 * sigma, sigma_BT=sigma, context=context, source_BTCHW=z_source
            )
        return z.float()

    def noise(self, video: Tensor) -> Tensor:
        """Noise for the latents of a video ``[B T 3 H W]``: as a rule one for all of a row's latent
        frames, as in a stream.
        """
        rows, pictures, _, height, width = video.shape
        shape = (rows, pictures // CHUNK, 16, height // SCALE, width // SCALE)
        fresh = torch.randn(shape, device=self.device)
        alike = torch.rand(rows, 1, 1, 1, 1, device=self.device)
        alike = torch.where(torch.rand_like(alike) < 0.85, 1.0, alike)
        noise = alike.sqrt() * fresh[:, :1] + (1 - alike).sqrt() * torch.randn_like(fresh)
        return stroked(noise.flatten(0, 1)).unflatten(0, (rows, -1))

    def noised(
        self, z_source: Tensor, z_target: Tensor, noise: Tensor, batch: Batch, done: float
    ) -> tuple[Tensor, Tensor]:
        """Inputs of the denoiser and their sigmas ``[B T]``: live first steps (noised source), the
        diffusion's own
        forward process (noised target) and second steps (the model's own first answer, noised
        again)."""
        rows, frames = z_source.shape[:2]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, device=self.device)

        sigma = 0.1 + 0.87 * uniform(rows, 1)
        usual = (0.54 + 0.10 * torch.randn(rows, 1, device=self.device)).clamp(0.2, 0.8)
        sigma = torch.where(uniform(rows, 1) < 0.5, usual, sigma).expand(rows, frames)
        sway = torch.where(
            uniform(rows, 1) < 0.4, 0.10 * uniform(rows, frames), 0.0
        )  # motion-aware
        sigma = (sigma - sway).clamp(0.05, 0.98)
        kind = uniform(rows, 1, 1, 1, 1)
        s = sigma[..., None, None, None]
        base = torch.where(kind < 0.15, z_target, z_source)
        x = (1 - s) * base + s * noise
        second = max(1, rows // 6) if done > 0.25 else 0
        if second:  # the last rows become second steps
            with torch.no_grad():
                mine = slice(rows - second, rows)
                first = self.denoise(
                    (1 - s[mine]) * z_source[mine] + s[mine] * noise[mine],
                    sigma[mine],
                    z_source[mine],
                    batch.weights[mine],
                    batch.bold[mine],
                )
            s = torch.cat([s[: rows - second], POCKET_SECOND_SIGMA * s[mine]])
            again = (1 - s[mine]) * first + s[mine] * noise[mine]
            x = torch.cat([x[: rows - second], again])
        return x, s[..., 0, 0, 0]

    def enough(self, start: int) -> bool:
        return self.args.tiny and self.step - start >= 4

    def averaged(self) -> Pocket:
        """A copy with the averaged weights."""
        copy = build_pocket()
        for name, part in self.pocket.parts.items():
            copy.parts[name].load_state_dict(part.state_dict())
        for name, average in self.averages.items():
            target = copy.vae.decoder if name == "decoder" else copy.parts[name]
            target.load_state_dict(average.state)
        for part in copy.parts.values():
            part.to(self.device).eval()
        return copy

    def save(self) -> None:
        """Weights and, on clips that are not trained on, figures and a contact sheet."""
        copy = self.averaged()
        save_pocket(copy, self.args.out / FILE)
        if self.args.held:
            Watch(self.args.held, self.device, small=self.args.tiny).report(
                copy, self.args.out, log
            )


def _balanced(z: Tensor) -> Tensor:
    """Keeps every latent channel alive and of like size: deviations are drawn to 1, gently to any
    magnitude.
    """
    deviation = z.transpose(0, 2).flatten(1).std(1)
    return 1e-3 * z.square().mean() + 5e-3 * (deviation - 1).square().mean()


def _spread(z: Tensor) -> tuple[float, float]:
    deviation = z.detach().transpose(0, 2).flatten(1).std(1)
    return float(deviation.min()), float(deviation.max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--media", type=Path, required=True, help="training clips (held-out ones not among them)"
    )
    parser.add_argument("--photos", type=Path, required=True, help="training photographs")
    parser.add_argument("--held", type=Path, help="clips to report on, never trained on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="folder with pocket.safetensors to go on from")
    parser.add_argument("--minutes", type=float, default=24.0)
    parser.add_argument(
        "--vae-share", type=float, default=0.25, help="of the time; 0 keeps the autoencoder"
    )
    parser.add_argument("--vae-lr", type=float, default=1.5e-3)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--decoder-lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="a few steps on tiny pictures: does it run?"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    begun = time.monotonic()
    trainer = Trainer(args)
    teach(trainer.pocket.text, args.seed, 4 if args.tiny else TEXT_STEPS)
    log.info("wordings taught, %.0f s", time.monotonic() - begun)
    log.info("stills %d, stretches %d", len(trainer.bank.base), len(trainer.bank._pending))
    with torch.no_grad():
        trainer.bank.fill()
        log.info("stills painted, %.0f s", time.monotonic() - begun)
        while trainer.bank.add_clip():
            if time.monotonic() - begun > 0.12 * 60 * args.minutes and len(trainer.bank.clips) > 8:
                break
    log.info("stretches painted %d, %.0f s", len(trainer.bank.clips), time.monotonic() - begun)
    left = 60 * args.minutes - (time.monotonic() - begun)
    if args.vae_share > 0:
        trainer.autoencoder(args.vae_share * left)
    trainer.transformer(60 * args.minutes - (time.monotonic() - begun))
    calibrate_weights(args.out, args.media)
    log.info("done, %d steps, %.0f s", trainer.step, time.monotonic() - begun)


if __name__ == "__main__":
    main()
