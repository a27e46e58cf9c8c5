"""Which build of PyTorch fits the machine: a pure choice. The only place that names torch's
version.

On PyPI `torch` for Linux is the CUDA build, with gigabytes of NVIDIA's packages behind it. So
every choice names its
build exactly: `==2.13.0+cpu` cannot be met by another build, and `===2.13.0` cannot be met by a
local one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from installer.errors import SetupError
from installer.hardware import Hardware, NvidiaGpu

VERSION = "2.13.0"
INDEX = "https://download.pytorch.org/whl/"

Asked = Literal["auto", "cpu", "cuda", "rocm", "none"]
ASKED: tuple[Asked, ...] = ("auto", "cpu", "cuda", "rocm", "none")

# What the builds of this version were compiled for (seen in torch.cuda.get_arch_list() of
# 2.13.0+cu130 and +cu126),
# and the oldest driver that CUDA's minor version compatibility admits.
_CU130_CAPABILITY_MIN = (7, 5)
_CU130_DRIVER_MIN = 580
_CU126_CAPABILITIES = ((5, 0), (9, 0))
_CU126_DRIVER_MIN = 525

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchBuild:
    """One build, and why it was chosen."""

    device: str
    """What it computes on, as the user knows it: "CPU", "NVIDIA GeForce RTX 4090"."""
    why: str
    """Ends the sentence "Device: CPU, because ..."."""
    requirement: str
    """For pip; empty: no torch."""
    index: str = ""
    """Additional package index; empty: the usual one."""
    with_dependencies: bool = False
    """The GPU builds bring packages that are not in the lock."""
    backend: Literal["cpu", "cuda", "mps", "none"]
    """What torch must be able to use once installed."""
    disk_bytes: int
    """Space that the environment takes with this build, downloads included."""

    @property
    def version(self) -> str:
        """The version as its metadata says it, "2.13.0+cpu"."""
        return self.requirement.rpartition("=")[2]


def choose(hardware: Hardware, asked: Asked = "auto") -> TorchBuild:
    """The build for `hardware`. Raises SetupError where what was asked for, or the machine, has
    none."""
    if asked == "none":
        return TorchBuild(
            device="none",
            why="no local worker was asked for",
            requirement="",
            backend="none",
            disk_bytes=1 * _GIB,
        )
    if hardware.system == "Darwin":
        return _on_mac(hardware, asked)
    if asked in ("auto", "cuda") and hardware.nvidia:
        cuda, objection = _cuda(hardware.nvidia, hardware.system)
        if cuda:
            return cuda
        if asked == "cuda":
            raise SetupError(f"The CUDA build cannot be used: {objection}.")
        return _cpu(hardware.system, objection)
    if asked == "cuda":
        raise SetupError(
            f"The CUDA build cannot be used: {hardware.trouble or 'no NVIDIA GPU was found'}."
        )
    if asked == "rocm" or (asked == "auto" and hardware.amd):
        if hardware.system == "Linux" and hardware.amd:
            return TorchBuild(
                device=hardware.amd,
                why="ROCm's driver serves it",
                requirement=f"torch=={VERSION}+rocm7.2",
                index=INDEX + "rocm7.2",
                with_dependencies=True,
                backend="cuda",
                disk_bytes=25 * _GIB,
            )
        if asked == "rocm":
            raise SetupError(
                "The ROCm build cannot be used: no AMD GPU with ROCm's driver (/dev/kfd) was found."
            )
    if asked == "cpu":
        return _cpu(hardware.system, "it was asked for")
    return _cpu(hardware.system, hardware.trouble or "no NVIDIA, AMD or Apple GPU was found")


def _cpu(system: str, why: str) -> TorchBuild:
    on_linux = system == "Linux"
    return TorchBuild(
        device="CPU",
        why=why,
        requirement=f"torch=={VERSION}+cpu" if on_linux else f"torch==={VERSION}",
        index=INDEX + "cpu" if on_linux else "",
        backend="cpu",
        disk_bytes=2 * _GIB,
    )


def _cuda(gpu: NvidiaGpu, system: str) -> tuple[TorchBuild | None, str]:
    """The CUDA build for `gpu`, or None and why there is none."""
    driver = ".".join(map(str, gpu.driver))
    lowest, highest = _CU126_CAPABILITIES
    if gpu.capability >= _CU130_CAPABILITY_MIN and gpu.driver >= (_CU130_DRIVER_MIN,):
        tag = "cu130"
    elif lowest <= gpu.capability <= highest and gpu.driver >= (_CU126_DRIVER_MIN,):
        tag = "cu126"
    elif gpu.capability > highest:
        return (
            None,
            f"{gpu.name} needs NVIDIA driver {_CU130_DRIVER_MIN} or newer and this is {driver}",
        )
    elif gpu.capability < lowest:
        return (
            None,
            f"{gpu.name} is too old for PyTorch {VERSION} (compute capability "
            f"{lowest[0]}.{lowest[1]} is needed)",
        )
    else:
        return (
            None,
            f"the NVIDIA driver is {driver} and PyTorch {VERSION} needs {_CU126_DRIVER_MIN} or "
            f"newer",
        )
    from_pypi = (
        tag == "cu130" and system == "Linux"
    )  # PyPI's own build is this one, and its network is the faster one
    memory = f", {gpu.memory_mib / 1024:.0f} GB" if gpu.memory_mib else ""
    build = TorchBuild(
        device=f"{gpu.name}{memory}",
        why=f"an NVIDIA GPU with driver {driver} was found",
        requirement=f"torch==={VERSION}" if from_pypi else f"torch=={VERSION}+{tag}",
        index="" if from_pypi else INDEX + tag,
        with_dependencies=True,
        backend="cuda",
        disk_bytes=12 * _GIB,
    )
    return build, ""


def _on_mac(hardware: Hardware, asked: Asked) -> TorchBuild:
    if asked in ("cuda", "rocm"):
        raise SetupError(f"There is no {asked.upper()} build of PyTorch for macOS.")
    if not hardware.is_apple_silicon:
        raise SetupError(
            f"PyTorch {VERSION} has no build for Macs with Intel processors: set up with "
            f"'--torch none' and "
            "connect to a worker on another machine."
        )
    return TorchBuild(
        device="CPU" if asked == "cpu" else "Apple GPU (Metal)",
        why="it was asked for" if asked == "cpu" else "this is a Mac with Apple silicon",
        requirement=f"torch==={VERSION}",
        backend="cpu" if asked == "cpu" else "mps",
        disk_bytes=2 * _GIB,
    )
