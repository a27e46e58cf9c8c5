"""How much memory is held."""

from __future__ import annotations

import sys

import pytest
import torch

from brushcast_worker.memory import peak_bytes, used_bytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sees_what_is_taken_and_given_back() -> None:
    before = used_bytes("cpu")
    block = torch.ones(64, 1024, 1024, dtype=torch.uint8)
    taken = used_bytes("cpu") - before
    assert 50e6 < taken < 200e6
    assert peak_bytes("cpu") >= before + block.numel() // 2


@pytest.mark.gpu
def test_sees_the_devices() -> None:
    block = torch.ones(64, 1024, 1024, dtype=torch.uint8, device="cuda:0")
    assert used_bytes("cuda:0") >= block.numel()
    assert peak_bytes("cuda:0") >= block.numel()
