"""GpuGauge: how busy an NVIDIA GPU is and how full, from its driver (NVML, by nvidia-ml-py).

NVIDIA alone, and only where the driver's library is there: everything else is "unknown", said once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """share: of the driver's last sampling period (1/6 to 1 s), the part in which at least one
    kernel ran, 0..1. used_bytes, total_bytes: of the GPU's memory, by all processes."""

    share: float
    used_bytes: int
    total_bytes: int


class GpuGauge:
    """Owned by the GPU thread. A reading takes about 0.1 ms."""

    def __init__(self, device: str) -> None:
        """device: as torch names it; anything but a CUDA one has no gauge."""
        self._nvml: Any = None
        self._handle: Any = None
        if device.partition(":")[0] == "cuda":
            self._open(device)

    def read(self) -> GpuReading | None:
        """None where the driver does not tell."""
        if self._nvml is None:
            return None
        nvml = self._nvml
        try:
            use = nvml.nvmlDeviceGetUtilizationRates(self._handle)
            memory = nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except nvml.NVMLError as error:
            self._give_up(str(error))
            return None
        return GpuReading(
            share=min(max(use.gpu / 100, 0.0), 1.0),
            used_bytes=int(memory.used),
            total_bytes=int(memory.total),
        )

    def _open(self, device: str) -> None:
        try:
            import pynvml
        except ImportError:
            self._give_up("nvidia-ml-py is not installed")
            return
        try:
            pynvml.nvmlInit()
            # By its identity: CUDA_VISIBLE_DEVICES numbers GPUs in a way that NVML does not know.
            identity = str(torch.cuda.get_device_properties(device).uuid)
            prefix = "" if identity.startswith(("GPU-", "MIG-")) else "GPU-"
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(prefix + identity)
        except (pynvml.NVMLError, RuntimeError, AttributeError) as error:
            self._give_up(str(error))
            return
        self._nvml = pynvml

    def _give_up(self, why: str) -> None:
        log.info("how busy the GPU is will not be known: %s", why)
        self._nvml = None
