"""Which device is meant, and what it computes with."""

from __future__ import annotations

import pytest
import torch

from brushcast.errors import ConfigError
from brushcast_worker.engines.devices import choose_device, choose_dtype, device_name


@pytest.mark.parametrize("asked", ["", "gpu", "cuda:x", "cpu:1", "tpu"])
def test_devices_that_are_none(asked: str) -> None:
    with pytest.raises(ConfigError, match="wanted auto, cpu, cuda"):
        choose_device(asked)


def test_auto_is_the_best_that_is_there() -> None:
    wanted = "cuda" if torch.cuda.is_available() else None
    assert choose_device("auto").type in ({wanted} if wanted else {"cpu", "mps"})


def test_a_cpu_computes_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that could do otherwise: beside 8-bit integers bfloat16 is slow there."""
    cpu = torch.device("cpu")
    for capabilities in ({"avx512_bf16": False}, {"avx512_bf16": True}, {"amx_bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert choose_dtype(cpu) is torch.float32


def test_a_device_has_a_name_for_people() -> None:
    assert "threads" in device_name(torch.device("cpu"))
