"""How much memory is held."""

from __future__ import annotations

import mmap
import sys

import pytest
import torch

from brushcast_worker.memory import peak_bytes, used_bytes, used_share


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sees_what_is_taken_and_given_back() -> None:
    # Mapped, not allocated: an allocator may hand out what other tests gave back to it.
    before, size = used_bytes("cpu"), 64 * 2**20
    with mmap.mmap(-1, size) as block:
        for start in range(0, size, mmap.PAGESIZE):
            block[start] = 1
        assert 50e6 < used_bytes("cpu") - before < 200e6
        assert peak_bytes("cpu") >= before + size // 2
    assert used_bytes("cpu") - before < 20e6


@pytest.mark.gpu
def test_sees_the_devices() -> None:
    block = torch.ones(64, 1024, 1024, dtype=torch.uint8, device="cuda:0")
    assert used_bytes("cuda:0") >= block.numel()
    assert peak_bytes("cuda:0") >= block.numel()
    share = used_share("cuda:0")
    more = torch.ones(2**30, dtype=torch.uint8, device="cuda:0")
    _, all_bytes = torch.cuda.mem_get_info("cuda:0")
    assert used_share("cuda:0") - share > 0.9 * more.numel() / all_bytes
    del more
    assert used_share("cuda:0") < share + 0.1 * 2**30 / all_bytes, "what torch keeps is free to us"


def test_a_cpu_s_memory_is_the_system_s_affair() -> None:
    assert used_share("cpu") == 0.0
