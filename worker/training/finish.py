"""Polishes the decoder's last layers on a CPU:  python -m training.finish --init DIR --media DIR
--photos DIR --out DIR.

Everything up to quarter resolution stays; what draws at half resolution learns on, from the
transformer's own latents under the usual noise.  A few minutes on two cores sharpen what a short
run on a GPU left soft.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path

import torch

from brushcast_worker.models.pocket import FILE, load_pocket, save_pocket
from training.data import Bank
from training.train import Average, pixel_loss

log = logging.getLogger("training")

LAST = ("source_mid", "up0", "gate0", "mid", "out")  # of the decoder
SIZE = (192, 256)


def main() -> None:
    """Trains until the time is up and writes the averaged weights every two minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--init", type=Path, required=True, help="folder with pocket.safetensors")
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="after painting")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--looks", type=int, default=4, help="looks of the one source of a step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.manual_seed(args.seed)
    pocket = load_pocket(args.init)
    bank = Bank(args.media, args.photos, torch.device("cpu"), args.seed, small=False, light=True)
    with torch.no_grad():
        bank.fill()
    log.info("%d stills painted", len(bank.base))
    decoder = pocket.vae.decoder
    weights = [p for n in LAST for p in getattr(decoder, n).requires_grad_(True).parameters()]
    optimiser = torch.optim.AdamW(weights, lr=args.lr, betas=(0.9, 0.97), weight_decay=0.0)
    average = Average(decoder, 0.995)
    begun, step, saved, seen = time.monotonic(), 0, 0.0, 0.0
    while (done := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
        with torch.no_grad():
            b = bank.batch(1, args.looks, 4, SIZE, real=False)
            z, _ = pocket.vae.encode(b.source)
            sigma = 0.46 + 0.1 * torch.rand(1, 1).expand(len(z), 1)
            s = sigma[..., None, None, None]
            z = pocket.dit.predict_x0(
                (1 - s) * z + s * torch.randn_like(z), timestep_BT=1000 * sigma, sigma_BT=sigma,
                context=pocket.dit.context(pocket.styles(b.weights)), source_BTCHW=z,
            )  # fmt: skip
        y, _ = pocket.vae.decode(z, b.source)
        loss = pixel_loss(y, b.target)
        for group in optimiser.param_groups:
            group["lr"] = (
                args.lr * min(1.0, (step + 1) / 30) * (0.02 + 0.98 * math.cos(1.57 * done))
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimiser.step()
        average.update()
        step, seen = step + 1, seen + float(loss.detach())
        if step % 50 == 0:
            log.info("%d %.0f%% loss %.4f", step, 100 * done, seen / 50)
            seen = 0.0
        if time.monotonic() - begun > saved + 120 or done > 0.99:
            saved = time.monotonic() - begun
            kept = {k: v.clone() for k, v in decoder.state_dict().items()}
            decoder.load_state_dict(average.state)
            save_pocket(pocket, args.out / FILE)
            decoder.load_state_dict(kept)
    decoder.load_state_dict(average.state)
    save_pocket(pocket, args.out / FILE)


if __name__ == "__main__":
    main()
