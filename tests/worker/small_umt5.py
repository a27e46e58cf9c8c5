"""A UMT5 encoder of Wan's of a few thousand numbers: its weights under the published names, its
arithmetic written down a second time, and a tokenizer file. What the text encoder's tests share.

Letters: L tokens, M tokens attended to, C channels, K heads, E head width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

VOCABULARY, CHANNELS, HEADS, HEAD_WIDTH, HIDDEN, LAYERS, BUCKETS = 40, 16, 2, 6, 20, 2, 32
WORDS = ("a", "watercolour", "of", "cats", "ink")


def small_weights(seed: int = 3) -> dict[str, Tensor]:
    """Random weights under the names of wan/modules/t5.py."""
    torch.manual_seed(seed)
    return {name: torch.randn(shape) * 0.5 for name, shape in small_shapes().items()}


def small_shapes() -> dict[str, tuple[int, ...]]:
    return shapes_of(VOCABULARY, CHANNELS, HEADS * HEAD_WIDTH, HIDDEN, HEADS, LAYERS)


def shapes_of(
    vocabulary: int, channels: int, inner: int, hidden: int, heads: int, layers: int
) -> dict[str, tuple[int, ...]]:
    """The encoder's parameters of any size, as Wan names them."""
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (vocabulary, channels)}
    for block in range(layers):
        name = f"blocks.{block}."
        shapes |= {f"{name}attn.{part}.weight": (inner, channels) for part in "qkv"}
        shapes |= {
            f"{name}attn.o.weight": (channels, inner),
            f"{name}pos_embedding.embedding.weight": (BUCKETS, heads),
            f"{name}ffn.gate.0.weight": (hidden, channels),
            f"{name}ffn.fc1.weight": (hidden, channels),
            f"{name}ffn.fc2.weight": (channels, hidden),
            f"{name}norm1.weight": (channels,),
            f"{name}norm2.weight": (channels,),
        }
    shapes["norm.weight"] = (channels,)
    return shapes


def by_hand(weights: Mapping[str, Tensor], ids: Sequence[int]) -> Tensor:
    """`[L, C]`: T5 1.1's encoder (gated, tanh GELU, RMS norms, unscaled attention) with a table of
    relative positions in every block."""
    x_LC = weights["token_embedding.weight"][list(ids)]
    for block in range(LAYERS):
        part = {
            name.removeprefix(f"blocks.{block}."): x
            for name, x in weights.items()
            if name.startswith(f"blocks.{block}.")
        }
        y_LC = norm(x_LC, part["norm1.weight"])
        q_KLE, k_KLE, v_KLE = (
            (y_LC @ part[f"attn.{letter}.weight"].T).view(-1, HEADS, HEAD_WIDTH).transpose(0, 1)
            for letter in "qkv"
        )
        table = part["pos_embedding.embedding.weight"]
        bias_KLM = table[buckets(len(ids))].permute(2, 0, 1)
        weight_KLM = (q_KLE @ k_KLE.transpose(1, 2) + bias_KLM).softmax(-1)
        y_LC = (weight_KLM @ v_KLE).transpose(0, 1).flatten(1)
        x_LC = x_LC + y_LC @ part["attn.o.weight"].T
        y_LC = norm(x_LC, part["norm2.weight"])
        gate = F.gelu(y_LC @ part["ffn.gate.0.weight"].T, approximate="tanh")
        x_LC = x_LC + (gate * (y_LC @ part["ffn.fc1.weight"].T)) @ part["ffn.fc2.weight"].T
    return norm(x_LC, weights["norm.weight"])


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def buckets(length: int) -> Tensor:
    """Half of them for what comes later; of each half the first 8 for distances 0 to 7, the others
    logarithmic up to 128."""

    def one(distance: int) -> int:
        side = BUCKETS // 2 if distance > 0 else 0
        away = abs(distance)
        if away < 8:
            return side + away
        return side + min(15, 8 + int(math.log(away / 8) / math.log(128 / 8) * 8))

    return torch.tensor([[one(m - n) for m in range(length)] for n in range(length)])


def write_tokenizer(path: Path) -> Path:
    """A tokenizer.json with the parts of UMT5's: Metaspace, Unigram, `</s>` at the end."""
    special = ["<pad>", "</s>", "<s>", "<unk>"]
    pieces = [[name, 0.0] for name in special]
    pieces += [[f"\u2581{word}", -2.0] for word in WORDS]
    pieces += [[chr(ord("a") + n), -9.0] for n in range(26)]
    pieces += [["\u2581", -8.0]]
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    words = {"Sequence": {"id": "A", "type_id": 0}}
    space = {
        "type": "Metaspace",
        "replacement": "\u2581",
        "prepend_scheme": "always",
        "split": True,
    }
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [
                    {
                        "id": n, "content": name, "single_word": False, "lstrip": False,
                        "rstrip": False, "normalized": False, "special": True,
                    }
                    for n, name in enumerate(special)
                ],
                "normalizer": None,
                "pre_tokenizer": space,
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [words, end],
                    "pair": [words, end],
                    "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
                },
                "decoder": space,
                "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": False},
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    return path
