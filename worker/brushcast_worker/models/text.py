"""What the pocket model understands: wordings, the looks that they name, and the context tokens
that these become.

Two networks.  The text encoder reads a wording word by word, each as the mean of its character
n-grams (fastText, arXiv:1607.04606), so that an ending, a typo or another spelling changes little;
two convolutions over the words tell "a hint of ink" from "ink".  Its answer is how strongly every
look is named.  The looks are a bank of tokens that it mixes (global style tokens,
arXiv:1803.09017): whatever is written, what the transformer hears lies between looks that it was
taught.

Letters: B wordings or streams, W words, G n-grams of a word, S looks, L tokens, C width of a token.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STYLES = (
    "none", "watercolour", "oil", "ink", "pencil", "comic", "neon", "ukiyo-e", "papercut",
    "anime", "stained-glass", "pixel-art", "charcoal", "blueprint", "clay",
)  # fmt: skip
FULL_STRENGTH = 0.6  # the default strength: at and above it the look is opaque
BOLD_FROM, BOLD_AT = 0.4, 0.8  # strengths: from here on the seed's strokes show, and here fully

NAMED = 0.5  # how strongly a look must be named to count as named at all
FAINT = 0.15  # of a named look: below it the wording does not mean it
_BUCKETS = 4096
_WORDS = 24  # of a wording that are read
_CHARACTERS = 24  # of a word that are read
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a wording was taken for.

    weights: mixing weights of ``STYLES``, adding up to 1.  named: the looks that it names, the
    strongest first; where it names none, the nearest one alone, and ``sure`` is False.
    """

    weights: tuple[float, ...]
    named: tuple[str, ...]
    sure: bool


class TextEncoder(nn.Module):
    """From wordings to how strongly each names every look, 0..1."""

    def __init__(self, looks: int = len(STYLES), width: int = 48) -> None:
        super().__init__()
        self.pieces = nn.EmbeddingBag(_BUCKETS, width, mode="mean")
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.far = nn.Conv1d(width, width, 3, padding=1)
        self.say = nn.Linear(width, looks)
        nn.init.normal_(self.pieces.weight, std=0.3)
        nn.init.zeros_(self.near.weight)
        nn.init.zeros_(self.far.weight)

    def forward(self, wordings: Sequence[str]) -> Tensor:
        """Logits ``[B S]``: of a look the largest that any word has for it."""
        words = [words_of(wording) for wording in wordings]
        device = self.say.weight.device
        grams = [pieces_of(word) for row in words for word in row]
        offsets = torch.tensor([0, *map(len, grams)], device=device).cumsum(0)[:-1]
        flat = torch.tensor([g for gram in grams for g in gram], device=device)
        x_WC = self.pieces(flat, offsets)
        x_BWC = nn.utils.rnn.pad_sequence(x_WC.split([len(row) for row in words]), batch_first=True)
        lengths = torch.tensor([len(row) for row in words], device=device)
        there_BW = torch.arange(x_BWC.shape[1], device=device) < lengths[:, None]
        x_BCW = x_BWC.transpose(1, 2)
        for layer in (self.near, self.far):
            x_BCW = (x_BCW + F.gelu(layer(x_BCW))) * there_BW[:, None]
        said_BWS = self.say(x_BCW.transpose(1, 2))
        return said_BWS.masked_fill(~there_BW[..., None], -30.0).amax(1)

    @torch.inference_mode()
    def read(self, wording: str) -> Reading:
        """What a wording means; an unknown one means the look that it comes nearest to."""
        said = self([wording])[0].float().sigmoid().cpu()
        best = int(said.argmax())
        sure = bool(said[best] >= NAMED)
        if not sure:
            best = 1 + int(said[1:].argmax())  # "none" is nobody's nearest look
            said = F.one_hot(torch.tensor(best), len(said)).float()
        weights = torch.where(said >= FAINT, said, 0.0)
        weights = weights / weights.sum()
        order = weights.argsort(descending=True).tolist()
        return Reading(
            weights=tuple(weights.tolist()),
            named=tuple(STYLES[s] for s in order if weights[s] > 0),
            sure=sure,
        )


def words_of(wording: str) -> list[str]:
    """Its words in small letters, never none; of long ones the beginning."""
    found = re.findall(r"\w+", wording.lower().replace("_", " "))
    return [word[:_CHARACTERS] for word in found[:_WORDS]] or [""]


def pieces_of(word: str) -> list[int]:
    """Buckets of a word's n-grams and of the word itself, the same on every machine."""
    marked = f"<{word}>"
    sizes = (1, 2, 3) if _CJK.search(word) else (3, 4, 5)
    grams = {marked[i : i + n] for n in sizes for i in range(len(marked) - n + 1)}
    return [zlib.crc32(gram.encode()) % _BUCKETS for gram in sorted(grams | {marked})]


def with_strength(weights: Sequence[float], strength: float) -> tuple[float, ...]:
    """Opacity: below ``FULL_STRENGTH`` the styles give way to ``none``, the untouched picture."""
    opacity = min(1.0, max(0.0, strength) / FULL_STRENGTH)
    mixed = [opacity * w for w in weights]
    mixed[0] += 1.0 - opacity
    return tuple(mixed)


def boldness(strength: float) -> float:
    """How much of the seed's own strokes a strength shows, 0..1: half of them by default."""
    return min(1.0, max(0.0, (strength - BOLD_FROM) / (BOLD_AT - BOLD_FROM)))


class StyleEmbedding(nn.Module):
    """One learned row of context tokens for each style; mixed styles mix rows.  ``hand`` is added
    as far as the seed's strokes shall show.
    """

    def __init__(self, styles: int = len(STYLES), tokens: int = 8, width: int = 128) -> None:
        super().__init__()
        self.table_SLC = nn.Parameter(torch.randn(styles, tokens, width))
        self.hand_LC = nn.Parameter(torch.randn(tokens, width))

    def forward(self, weights_BS: Tensor, bold_B: Tensor) -> Tensor:
        """Mixing weights ``[B S]`` and boldness ``[B]`` 0..1 to context tokens ``[B L C]``."""
        weights_BS = weights_BS.to(self.table_SLC.dtype)
        tokens_BLC = torch.einsum("bs,slc->blc", weights_BS, self.table_SLC)
        return tokens_BLC + bold_B.to(tokens_BLC.dtype)[:, None, None] * self.hand_LC
