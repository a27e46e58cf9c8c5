"""Devices: which one is meant, what it computes with, and what people call it."""

from __future__ import annotations

import platform
import re

import torch

from brushcast.errors import ConfigError


def choose_device(asked: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps` to a device that is there. Raises ConfigError."""
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    kind, _, number = asked.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind == "mps" and not number and torch.backends.mps.is_available():
        return torch.device("mps")
    if kind == "cuda" and re.fullmatch("[0-9]{0,9}", number):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) < count:
            return torch.device("cuda", int(number or 0))
        raise ConfigError(
            f"device {asked!r}: this machine has {count} CUDA devices that torch can use"
        )
    raise ConfigError(
        f"device {asked!r}: wanted auto, cpu, cuda, cuda:N or mps (if the machine has it)"
    )


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes with it, float32 where it would only be emulated. A CPU
    computes in float32, and its large products as 8-bit integers where it can (`models.int8`):
    on one with AVX512-BF16 and VNNI that is 1.4 times as fast as bfloat16 (docs/BENCHMARKS.md).
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def device_name(device: torch.device) -> str:
    """What people call the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple GPU ({platform.processor() or platform.machine()})"
    name = str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())
    return f"{name}, {torch.get_num_threads()} threads"
