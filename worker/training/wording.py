"""Teaches the text encoder: wordings made from phrases and templates, with typos, mixtures, hints
and talk that names nothing.  A part of training; by itself, when phrases.toml has grown:
python -m training.wording --weights DIR (from worker/).

Letters: B wordings, S looks.
"""

from __future__ import annotations

import argparse
import logging
import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.pocket import FILE, save_pocket
from brushcast_worker.models.side_by_side import on_one_core
from brushcast_worker.models.text import STYLES, TextEncoder
from training.resume import go_on_from

log = logging.getLogger("training")

_KNOWN = tomllib.loads((Path(__file__).parent / "phrases.toml").read_text(encoding="utf-8"))
PHRASES: dict[str, list[str]] = _KNOWN["looks"]
FILLERS: list[str] = _KNOWN["fillers"]

STEPS = 4000
ROWS = 128
HINT = 0.4  # how strongly "a hint of it" names a look

_PLAIN = (
    "{}", "{} style", "in the style of {}", "{} look", "as {}", "like {}", "make me {}",
    "{} please", "turn this into {}", "turn me into a {}", "paint it as {}", "show me as {}",
    "a {} of {f}",
    "{f} as {}", "{f}, {}", "{}, {f}", "{f} in {}", "{f} in {} style", "{} filter", "{} effect",
    "i want {}", "give it a {} look", "{} portrait", "{} picture of {f}", "beautiful {}, {f}",
    "high quality {} of {f}, {f}", "the whole room in {}", "something like {}", "more {}", "old {}",
    "{f} but make it {}", "looks like {}", "a classic {} with {f}", "very {}", "render as {}",
)  # fmt: skip
_BOTH = (
    "{} and {}", "{} with {} colours", "{} with {}", "{} mixed with {}", "half {} half {}",
    "{}, {}", "{} meets {}", "{} plus {}", "a blend of {} and {}", "{} + {}", "{} x {}",
    "{} in {} colors",
    "{} lines over {}", "{f} in {} and {}", "a {} {}", "{} on {}", "between {} and {}", "{} / {}",
)  # fmt: skip
_HINT = (
    "{} with a hint of {}", "{} with a touch of {}", "mostly {}, a little {}", "{} and a bit of {}",
    "{} with some {}", "mainly {} with slight {} colours", "{} with a trace of {}",
)  # fmt: skip
_WITHOUT = ("{} without {}", "{} not {}", "{} but no {}", "{} instead of {}", "{}, never {}")
_ONSETS = "bcdfghjklmnpqrstvwxyz"
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou", "ea")


def wording(rng: random.Random) -> tuple[str, list[float]]:
    """A wording and how strongly it names each look."""
    said = [0.0] * len(STYLES)
    kind = rng.random()
    if kind < 0.18:
        words = [rng.choice((rng.choice(FILLERS), _babble(rng))) for _ in range(rng.randint(1, 4))]
        return _mistyped(" ".join(words), rng), said
    first, second = rng.sample(range(len(STYLES)), 2)
    said[first] = 1.0
    if kind < 0.60:
        text = _filled(rng.choice(_PLAIN), (first,), rng)
    elif kind < 0.78:
        text, said[second] = _filled(rng.choice(_BOTH), (first, second), rng), 1.0
    elif kind < 0.94:
        text, said[second] = _filled(rng.choice(_HINT), (first, second), rng), HINT
    else:
        text = _filled(rng.choice(_WITHOUT), (first, second), rng)
    return _mistyped(text, rng), said


def _filled(template: str, looks: Sequence[int], rng: random.Random) -> str:
    text = template
    for look in looks:
        name = rng.choice(PHRASES[STYLES[look]])
        text = text.replace("{}", name + ("s" if rng.random() < 0.1 else ""), 1)
    for _ in range(rng.choice((0, 0, 0, 1, 2, 3))):
        text = f"{text}, {{f}}" if rng.random() < 0.7 else f"{{f}} {text}"
    while "{f}" in text:
        text = text.replace("{f}", rng.choice((rng.choice(FILLERS), _babble(rng))), 1)
    return text


def _babble(rng: random.Random) -> str:
    """A word that nobody knows, or a number."""
    if rng.random() < 0.15:
        return str(rng.randint(0, 10 ** rng.randint(1, 4)))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 4)))


def _mistyped(text: str, rng: random.Random) -> str:
    """Now and then a letter is missing, doubled or swapped, or a space is a hyphen or gone."""
    if rng.random() > 0.25 or len(text) < 6:
        return text
    i, kind = rng.randrange(1, len(text) - 2), rng.random()
    if text[i] == " ":
        return text[:i] + rng.choice(("-", "")) + text[i + 1 :]
    if kind < 0.4:
        return text[:i] + text[i + 1 :]
    if kind < 0.7:
        return text[:i] + text[i] + text[i:]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def teach(encoder: TextEncoder, seed: int, steps: int = STEPS) -> float:
    """Trains the encoder where it is; returns the last loss."""
    rng = random.Random(seed)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    device, loss = encoder.say.weight.device, torch.zeros(())
    with on_one_core(device):
        for step in range(steps):
            texts, said = zip(*(wording(rng) for _ in range(ROWS)), strict=True)
            loss = named_loss(encoder(texts), torch.tensor(said, device=device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 500 == 499:
                log.info("text %d loss %.4f", step + 1, loss.detach())
    return float(loss.detach())


def named_loss(logits_BS: Tensor, said_BS: Tensor) -> Tensor:
    """Each look by itself: any number of them may be named."""
    return F.binary_cross_entropy_with_logits(logits_BS, said_BS)


def main() -> None:
    """Rewrites the weights in place: the text encoder anew, the rest as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder of pocket.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(args.seed)
    pocket = replace(go_on_from(args.weights), text=TextEncoder())
    teach(pocket.text, args.seed)
    save_pocket(pocket, args.weights / FILE)


if __name__ == "__main__":
    main()
