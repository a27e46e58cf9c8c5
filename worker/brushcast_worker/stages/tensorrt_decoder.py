"""A Wan autoencoder's decoder by TensorRT (torch-tensorrt), behind ``LiveVAE``'s interface.

Written from torch-tensorrt's documentation (its backend for torch.compile, and the reference of its
CompilationSettings). NEVER RUN: no machine of ours has the package. The test that holds it against
torch's decoder skips with that reason.

An engine is built on the first call of each shape, minutes long, and is not kept on disk:
torch-tensorrt's cache of engines is unpickled, which could run code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from brushcast.errors import ConfigError

BACKEND = "torch_tensorrt"
# The network's own types are kept: it is bfloat16 throughout but for its norms.
OPTIONS = {"use_explicit_typing": True}


def tensorrt_compiler(device: torch.device) -> Callable[[Any], Any]:
    """What ``LiveVAE.fuse`` compiles its decoder with. Raises ConfigError where it cannot be."""
    if device.type != "cuda":
        raise ConfigError(f"--decoder tensorrt on {device}: wanted an NVIDIA GPU")
    try:
        import torch_tensorrt  # noqa: F401 - registers itself with torch.compile
    except ImportError as error:
        raise ConfigError(
            f"--decoder tensorrt: torch-tensorrt cannot be imported ({error}); wanted "
            "brushcast[tensorrt], or --decoder torch"
        ) from None
    return functools.partial(torch.compile, backend=BACKEND, dynamic=False, options=OPTIONS)
