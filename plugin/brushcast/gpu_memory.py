"""Will the GPU do for a model, its memory above all? Said before gigabytes are fetched or loaded.
No torch: the driver's own tool is asked.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from brushcast.catalogue import Model

PATIENCE_S = 10.0
AS_SOLD = 0.95  # a card of 8 GB shows 7.8 GiB to its driver, and up to 3 % less to torch
_MIB_A_GIB = 1024
_FP8 = 8.9  # compute capability from which a GPU multiplies 8-bit floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """As its driver calls it; memory in all, not what is free. capability: CUDA's number of what it
    can compute."""

    name: str
    gib: float
    capability: float


def find_gpu(ask: Callable[[], str] | None = None) -> Gpu | None:
    """The NVIDIA GPU with the most memory; None where the driver's tool finds none. AMD's and
    Apple's are not asked."""
    found = []
    for line in (_ask_driver if ask is None else ask)().splitlines():
        try:
            name, mib, capability = line.rsplit(",", 2)
            gib = int(mib) / _MIB_A_GIB
            found.append(Gpu(name=name.strip(), gib=gib, capability=float(capability)))
        except ValueError:
            continue
    return max(found, key=lambda gpu: gpu.gib, default=None)


def has_room(gpu: Gpu, wanted_gib: float) -> bool:
    """The one rule, of fetching and of loading: whether it is a card of so many GB, of which it may
    report a little less (AS_SOLD)."""
    return gpu.gib >= AS_SOLD * wanted_gib


def verdict(model: Model, gpu: Gpu | None, others: Iterable[Model]) -> str:
    """One sentence: whether the model fits, and what would."""
    needs = f"{model.name} wants a GPU with {model.gpu_gib:g} GiB"
    if gpu is None:
        return f"{needs}; no NVIDIA GPU was found here, where pocket runs on the CPU."
    has = f"{gpu.name} has {gpu.gib:.0f} GiB"
    if not _computes(gpu, model):
        return f"{model.name} wants a GPU that multiplies 8-bit floats, {gpu.name} does not."
    if has_room(gpu, model.gpu_gib):
        return f"{needs}, and {has}: enough."
    if has_room(gpu, model.gpu_gib_least):
        return f"{needs}, and {has}: enough for small pictures or one stream."
    fitting = [m for m in others if has_room(gpu, m.gpu_gib_least) and _computes(gpu, m)]
    best = max(fitting, key=lambda m: m.gpu_gib_least, default=None)
    return f"{needs}, and {has}: too little. {best.name if best else 'pocket'} fits."


def _computes(gpu: Gpu, model: Model) -> bool:
    return gpu.capability >= _FP8 or not model.fp8


def _ask_driver() -> str:
    asked = "--query-gpu=name,memory.total,compute_cap"
    command = ["nvidia-smi", asked, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
