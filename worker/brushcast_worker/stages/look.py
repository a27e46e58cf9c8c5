"""Look: what a stream is painted as, and how it crosses over to another look without a flash.

Letters: B rows (1 here), L prompt tokens, C width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FADE_CHUNKS = 3  # 12 pictures: 0.4 s at 30 per second, half a second at 24


@dataclass(frozen=True, slots=True)
class Look:
    """A point on the way from one look to another. `tokens`: the prompt's; `s0`: the noise level of
    the strength."""

    tokens_BLC: Tensor
    s0: float


def mixed(looks: Sequence[Look], shares: Sequence[float]) -> Look:
    """Some of each; the shares sum to 1 and the tokens have one shape."""
    if len(looks) == 1:
        return looks[0]
    tokens = (share * look.tokens_BLC.float() for look, share in zip(looks, shares, strict=True))
    s0 = sum(share * look.s0 for look, share in zip(looks, shares, strict=True))
    return Look(sum(tokens, torch.zeros(())).to(looks[0].tokens_BLC), s0)


@dataclass(slots=True)
class Fade:
    """One stream's look: where it comes from, where it goes, and how far it is. Part of an engine's
    state."""

    start: Look
    end: Look
    done_chunks: int = FADE_CHUNKS

    @property
    def over(self) -> bool:
        return self.done_chunks >= FADE_CHUNKS

    def towards(self, look: Look) -> Fade:
        """A new fade that begins where this one stands."""
        return Fade(self.now(), look, 0)

    def advance(self) -> Look:
        """The look of the next chunk; call once per chunk."""
        self.done_chunks = min(self.done_chunks + 1, FADE_CHUNKS)
        return self.now()

    def now(self) -> Look:
        """The look of the last chunk that was advanced to."""
        if self.over:
            return self.end
        part = self.done_chunks / FADE_CHUNKS
        part = part * part * (3 - 2 * part)  # slow at both ends
        return Look(
            self.start.tokens_BLC.lerp(self.end.tokens_BLC, part),
            self.start.s0 + (self.end.s0 - self.start.s0) * part,
        )
