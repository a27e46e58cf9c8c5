"""What this machine can compute on: asked of the drivers, without torch. Reads only; never
raises."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TOOL_TIMEOUT_S = 15
_NVIDIA_QUERY = "--query-gpu=name,driver_version,compute_cap,memory.total"


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu:
    """The first NVIDIA GPU. Parts that the driver would not tell are empty or zero."""

    name: str
    driver: tuple[int, ...]
    """Driver version, (580, 95, 5)."""
    capability: tuple[int, int]
    """Compute capability, (8, 9)."""
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What was found. `system` and `machine` as platform.system() and platform.machine() say
    them."""

    system: str
    machine: str
    nvidia: NvidiaGpu | None = None
    amd: str = ""
    """Name of an AMD GPU that ROCm's kernel driver serves; empty: none."""
    trouble: str = ""
    """Why a GPU that seems to be there cannot be used."""

    @property
    def is_apple_silicon(self) -> bool:
        return self.system == "Darwin" and self.machine == "arm64"


def probe() -> Hardware:
    """Asks nvidia-smi, libcuda and ROCm's kernel driver. Takes up to a second where a GPU is."""
    nvidia, trouble = _nvidia()
    return Hardware(
        system=platform.system(),
        machine=platform.machine(),
        nvidia=nvidia,
        amd="" if nvidia else _amd(),
        trouble=trouble,
    )


def signature() -> str:
    """A cheap trace of the hardware (no driver is asked): when it changes, `probe` is worth its
    time."""
    traces = ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd"]
    if sys.platform == "win32":
        traces = [str(Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll"))]
    found = [trace for trace in traces if os.path.exists(trace)]
    return " ".join([sys.platform, platform.machine(), *found])


def parse_nvidia_smi(line: str) -> NvidiaGpu | None:
    """One line of `nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total
    --format=csv,noheader`."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 4 or not parts[0] or not re.match(r"\d+(\.\d+)*$", parts[1]):
        return None
    capability = re.match(r"(\d+)\.(\d+)$", parts[2])
    memory = re.match(r"(\d+) MiB$", parts[3])
    return NvidiaGpu(
        name=parts[0],
        driver=tuple(int(number) for number in parts[1].split(".")),
        capability=(int(capability[1]), int(capability[2])) if capability else (0, 0),
        memory_mib=int(memory[1]) if memory else 0,
    )


def _nvidia() -> tuple[NvidiaGpu | None, str]:
    tool = shutil.which("nvidia-smi")
    if tool:
        answer = _output([tool, _NVIDIA_QUERY, "--format=csv,noheader"])
        gpu = next(filter(None, map(parse_nvidia_smi, answer.splitlines())), None)
        if gpu:
            return gpu, ""
        if _libcuda_count() == 0:
            return None, "nvidia-smi is installed but its driver finds no GPU"
    count = _libcuda_count()
    if count > 0:
        return None, "libcuda finds an NVIDIA GPU, but without nvidia-smi its driver is unknown"
    return None, ""


def _libcuda_count() -> int:
    """GPUs that libcuda counts; 0 where there is no libcuda or no GPU."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _amd() -> str:
    """ROCm on Linux: the kernel driver's device, and a node with compute units in its topology."""
    if not os.path.exists("/dev/kfd"):
        return ""
    for node in sorted(Path("/sys/class/kfd/kfd/topology/nodes").glob("*/properties")):
        try:
            properties = node.read_text()
        except OSError:
            continue
        if re.search(r"^simd_count [1-9]", properties, re.MULTILINE):
            target = re.search(r"^gfx_target_version (\d+)", properties, re.MULTILINE)
            return f"AMD GPU (gfx {target[1]})" if target else "AMD GPU"
    return ""


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
