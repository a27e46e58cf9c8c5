"""Teaches the text encoder: wordings made from phrases and templates, with typos, mixtures, hints
and talk that names nothing.

Letters: B wordings, S looks.
"""

from __future__ import annotations

import logging
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast_worker.models.text import STYLES, TextEncoder

log = logging.getLogger("training")

_KNOWN = tomllib.loads((Path(__file__).parent / "phrases.toml").read_text(encoding="utf-8"))
PHRASES: dict[str, list[str]] = _KNOWN["looks"]
FILLERS: list[str] = _KNOWN["fillers"]

STEPS = 2500
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


def wording(rng: random.Random) -> tuple[str, list[float]]:
    """A wording and how strongly it names each look."""
    said = [0.0] * len(STYLES)
    kind = rng.random()
    if kind < 0.12:
        text = " ".join(rng.choice(FILLERS) for _ in range(rng.randint(1, 3)))
        return _mistyped(text, rng), said
    first, second = rng.sample(range(len(STYLES)), 2)
    said[first] = 1.0
    if kind < 0.62:
        text = _filled(rng.choice(_PLAIN), (first,), rng)
    elif kind < 0.84:
        text, said[second] = _filled(rng.choice(_BOTH), (first, second), rng), 1.0
    elif kind < 0.94:
        text, said[second] = _filled(rng.choice(_HINT), (first, second), rng), HINT
    else:
        text = _filled(rng.choice(_WITHOUT), (first, second), rng)
    return _mistyped(text, rng), said


def _filled(template: str, looks: Sequence[int], rng: random.Random) -> str:
    text = template
    for look in looks:
        text = text.replace("{}", rng.choice(PHRASES[STYLES[look]]), 1)
    while "{f}" in text:
        text = text.replace("{f}", rng.choice(FILLERS), 1)
    return text


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
