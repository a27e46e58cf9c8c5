"""What the pocket model understands: style words, their mixture, and the context tokens they
become.

Letters: B streams, S styles, L tokens, C width of a token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

STYLES = (
    "none", "watercolour", "oil", "ink", "pencil", "comic", "neon", "ukiyo-e", "papercut",
)  # fmt: skip
FULL_STRENGTH = 0.6  # the default strength: at and above it the look is opaque

_WORDS: dict[str, tuple[str, ...]] = {
    "none": ("none", "nothing", "original", "plain", "unchanged"),
    "watercolour": ("watercolour", "watercolor", "aquarelle", "gouache", "wash", "washes"),
    "oil": ("oil", "oils", "impasto", "brush", "brushstrokes", "canvas", "gogh", "impressionist"),
    "ink": ("ink", "inked", "pen", "sumi", "hatching", "engraving", "etching", "woodcut"),
    "pencil": ("pencil", "graphite", "sketch", "sketched", "crayon", "drawing", "drawn"),
    "comic": ("comic", "comics", "cartoon", "halftone", "pop", "popart", "manga", "graphic"),
    "neon": ("neon", "cyberpunk", "glow", "glowing", "synthwave", "vaporwave", "blacklight"),
    "ukiyo-e": ("ukiyo", "ukiyoe", "woodblock", "hokusai", "hiroshige", "japanese"),
    "papercut": ("papercut", "cutout", "cut", "layered", "collage", "origami"),
}


class UnknownPromptError(ValueError):
    """A prompt in which no word is known; the message lists what is."""


def style_weights(prompt: str) -> tuple[float, ...]:
    """Mixing weights of ``STYLES`` for a prompt, adding up to 1: each style named counts once,
    however often.

    Raises UnknownPromptError when no word names a style.
    """
    words = set(re.findall(r"[a-z]+", prompt.lower()))
    named = [bool(words & set(_WORDS[style])) for style in STYLES]
    if not any(named):
        known = ", ".join(STYLES[1:])
        raise UnknownPromptError(f"no style known in {prompt!r}; it wants at least one of: {known}")
    total = sum(named)
    return tuple(hit / total for hit in named)


def with_strength(weights: Sequence[float], strength: float) -> tuple[float, ...]:
    """Opacity: below ``FULL_STRENGTH`` the styles give way to ``none``, the untouched picture."""
    opacity = min(1.0, max(0.0, strength) / FULL_STRENGTH)
    mixed = [opacity * w for w in weights]
    mixed[0] += 1.0 - opacity
    return tuple(mixed)


class StyleEmbedding(nn.Module):
    """One learned row of context tokens for each style; mixed styles mix rows."""

    def __init__(self, styles: int = len(STYLES), tokens: int = 8, width: int = 128) -> None:
        super().__init__()
        self.table_SLC = nn.Parameter(torch.randn(styles, tokens, width))

    def forward(self, weights_BS: Tensor) -> Tensor:
        """Mixing weights ``[B S]`` to context tokens ``[B L C]``."""
        return torch.einsum("bs,slc->blc", weights_BS.to(self.table_SLC.dtype), self.table_SLC)
