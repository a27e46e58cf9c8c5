"""Precision: fewer bits cost something, not much, and what it is said to be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from brushcast.frame import Size
from brushcast_worker.__main__ import run_command
from brushcast_worker.models.dit import SIZES, Block
from brushcast_worker.models.fp8 import Fp8Linear, products
from brushcast_worker.quality.clips import samples
from brushcast_worker.quality.precision import (
    OneScale,
    block_errors,
    block_sizes,
    picture_errors,
    to_fp8_by_tensor,
)
from tests.worker.conftest import SHARED

CLIP = SHARED / "media" / "webcam-thanks.mkv"  # held out: training never saw it
CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_pictures_of_a_real_clip_stay_the_same_to_the_eye(device: torch.device) -> None:
    if not CLIP.is_file():
        pytest.skip(f"no clip at {CLIP}")
    (clip,) = samples([CLIP], Size(192, 112), 16)
    with torch.inference_mode():
        found = picture_errors(clip, ["ink", "neon"], device)
    assert list(found) == ["bfloat16", "float32, fp8", "float32, fp8 by tensor", "bfloat16, fp8"]
    for kind, looks in found.items():
        for look, errors in looks.items():
            assert 45 < errors["psnr_db"] < 90, (kind, look)
            assert 1e-4 < errors["latents"] < 0.05, (kind, look)


def test_one_scale_for_all_pays_for_its_largest_value() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        linear = nn.Linear(64, 32)
        x = torch.randn(8, 64)
        x[3] *= 2e5  # a token: so far apart even e4m3, from 2^-9 to 448, has few levels
        wanted = linear(x)
        rows = [n for n in range(8) if n != 3]
        off = [
            float((layer(x) - wanted)[rows].norm() / wanted[rows].norm())
            for layer in (Fp8Linear(linear), OneScale(linear))
        ]
    assert off[0] < 0.05
    assert off[1] > 5 * off[0]


def test_the_same_products_have_one_scale() -> None:
    block = Block(replace(block_sizes(128), layers=1)).requires_grad_(False)
    to_fp8_by_tensor(block)
    assert all(isinstance(getattr(part, name), OneScale) for part, name in products(block))
    assert len(list(products(block))) == 8


def test_blocks_have_the_published_shape() -> None:
    assert block_sizes(5120) == SIZES["wan-14b"]
    small = block_sizes(256)
    assert (small.dim, small.heads, small.ffn_dim) == (256, 2, 688)


@pytest.mark.parametrize("device", DEVICES)
def test_errors_of_blocks_add_up_slowly(device: torch.device) -> None:
    with torch.inference_mode():
        rows = block_errors(block_sizes(128), 6, 4, device)
    assert len(rows) == 6
    for row in rows:
        # A product's two roundings to 3 bits of mantissa, on either side of a few products.
        assert 0.02 < row["added"] < 0.12
        assert row["bfloat16 against float32"] < 0.7 * row["fp8 against float32"]
    grown = rows[-1]["fp8 against float32"] / rows[0]["fp8 against float32"]
    assert 1 < grown < 6, "faster than in proportion to the layers"


def test_the_command_measures_both(capsys: pytest.CaptureFixture[str]) -> None:
    small = "--device cpu --size 96x64 --styles ink --width 128 --layers 2 --side 4 --json"
    assert run_command(["precision", *small.split()]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["blocks"]) == 2
    (kinds,) = found["pictures"].values()
    assert all(list(looks) == ["ink"] for looks in kinds.values())
    (means,) = found["mean"].values()
    assert means == {kind: looks["ink"] for kind, looks in kinds.items()}
