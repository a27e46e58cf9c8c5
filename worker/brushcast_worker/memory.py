"""How much memory the worker holds: the device's for a GPU, the process's for a CPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch


def used_bytes(device: str) -> int:
    """In use now; 0 where the platform does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.memory_allocated(device))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def used_share(device: str) -> float:
    """The part of a GPU's memory that nothing new fits into, 0 to 1, whoever uses it. 0 on a CPU,
    whose memory is the system's affair."""
    if not device.startswith("cuda"):
        return 0.0
    free_bytes, all_bytes = torch.cuda.mem_get_info(device)
    ours_bytes = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(max(1 - (free_bytes + ours_bytes) / all_bytes, 0.0), 1.0)


def peak_bytes(device: str) -> int:
    """The most that was in use since the process began; 0 where the platform does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
