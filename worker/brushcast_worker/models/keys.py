"""Weights from elsewhere: which files are read, how their names become ours, and what is said when
they are not this model's.

Files: ``.safetensors``, and ``.pth`` or ``.pt`` of torch, of which tensors are read and no code is
run.  Our networks keep the published names, so what is left to map is what lies around them: the
causal few-step transformers come as ``{"generator": {"model.blocks.0...": ...}}`` (CausVid and
StreamDiffusionV2, Apache-2.0; read for their formats).  Tiny autoencoders (TAEHV, MIT) come flat:
``encoder.0.weight``, the number being a layer's place.  Only the text encoder is not our network
but transformers': ``umt5_weights`` maps the names of Wan's file to its.

A file is held against the model by names and shapes before a single number is copied.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError  # the error alone: nothing is unpickled

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from brushcast.errors import WeightsError

TOP_KEYS = ("generator", "generator_ema", "state_dict")  # the first that is there is taken
PREFIX = "model."  # optional, of every name
SHOWN = 4  # names of each kind in an error
NAME_LENGTH = 80  # characters of a name there
GROWS = re.compile(r"decoder\.\d+\.conv\.weight")  # a tiny autoencoder's layers that double time

# Wan's UMT5 encoder (wan/modules/t5.py, shared_pos=False: every block has its own table of relative
# positions) -> transformers' UMT5EncoderModel.  The table of tokens is one tensor under two names.
_UMT5 = {
    "token_embedding.weight": ("shared.weight", "encoder.embed_tokens.weight"),
    "norm.weight": ("encoder.final_layer_norm.weight",),
}
_UMT5_BLOCK = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",  # through the GELU
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}
_BLOCK = re.compile(r"blocks\.(0|[1-9][0-9]{0,2})\.(.+)")

# What reading bytes of anybody's as a file of torch was seen to end in.
_BROKEN = (
    *(RuntimeError, OSError, EOFError, MemoryError, ArithmeticError, AssertionError),
    *(ValueError, TypeError, AttributeError, LookupError, struct.error),
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file under our names, on the CPU, in the file's own dtype.

    What a file maps to memory is not read before it is used.  Raises WeightsError for a file that
    is missing, broken, of no kind that is known, or that holds anything but dense tensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        return published_names(_safetensors(path), str(path))
    if path.suffix in (".pth", ".pt"):
        return published_names(_torch_file(path), str(path))
    raise WeightsError(f"{path}: wanted a file that ends in .safetensors, .pth or .pt")


def published_names(found: object, source: str) -> dict[str, Tensor]:
    """What a file holds without what was put around it.  ``source`` names it in errors.

    Raises WeightsError for anything but one mapping from names to dense tensors of numbers.
    """
    if isinstance(found, Mapping):
        found = next((found[key] for key in TOP_KEYS if key in found), found)
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(f"{source}: wanted tensors by name, found {_kind(found)}")
    for name, value in found.items():
        if not isinstance(name, str):
            raise WeightsError(f"{source}: wanted tensors by name, found a {_kind(name)} as a name")
        if not _is_plain(value):
            raise WeightsError(f"{source}: {_shown(name)} is {_kind(value)}, wanted a dense tensor")
    has_prefix = all(name.startswith(PREFIX) for name in found)
    return {name.removeprefix(PREFIX) if has_prefix else name: x for name, x in found.items()}


def last_moments(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A tiny autoencoder's weights for a model that makes fewer pictures of a latent frame: where a
    layer of the file makes more moments of one than the model's does, the last are taken, as
    TAEHV's own loader does.  All else is left as it is, ``taew2_1`` in its own sizes whole.
    """
    wanted = model.state_dict()

    def cut(name: str, x: Tensor) -> Tensor:
        if not GROWS.fullmatch(name) or name not in wanted or not x.ndim:
            return x
        count, *rest = wanted[name].shape
        more = len(x) > count and len(x) % count == 0 and list(x.shape[1:]) == rest
        return x[-count:] if more else x

    return {name: cut(name, x) for name, x in weights.items()}


def umt5_weights(weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Wan's UMT5 encoder under the names of transformers' ``UMT5EncoderModel``.

    Raises WeightsError for names that are none of the encoder's; what is missing, ``check_weights``
    finds.
    """
    found: dict[str, Tensor] = {}
    strangers = []
    for name, x in weights.items():
        block = _BLOCK.fullmatch(name)
        if name in _UMT5:
            found.update(dict.fromkeys(_UMT5[name], x))
        elif block and block[2] in _UMT5_BLOCK:
            found[f"encoder.block.{block[1]}.{_UMT5_BLOCK[block[2]]}"] = x
        else:
            strangers.append(name)
    if strangers:
        raise WeightsError(f"{source} is no UMT5 encoder of Wan: {_count('unexpected', strangers)}")
    return found


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copies the weights into a model, to its device and dtype.  Raises WeightsError: see
    ``check_weights``.
    """
    check_weights(model, weights, source)
    model.load_state_dict(weights)


def check_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Holds names and shapes against a model, which may be on the meta device.  Raises WeightsError
    that says what is missing, what is there too much and which shapes differ.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in weights]
    unexpected = [name for name in weights if name not in wanted]
    others = [
        f"{name} {_size(weights[name])} (wanted {_size(mine)})"
        for name, mine in wanted.items()
        if name in weights and weights[name].shape != mine.shape
    ]
    parts = [
        _count("missing", missing),
        _count("unexpected", unexpected),
        _count("of another shape", others),
    ]
    if said := "; ".join(part for part in parts if part):
        raise WeightsError(
            f"{source} is not this model's: of {len(wanted)} tensors wanted and {len(weights)} "
            f"found, {said}"
        )


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: no safetensors file ({_shown(str(error))})") from None


def _torch_file(path: Path) -> object:
    try:
        mapped = zipfile.is_zipfile(path)  # older ones are no archive and are read whole
        with warnings.catch_warnings(action="ignore"):  # broken files bring about strange ones
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except UnpicklingError:
        raise WeightsError(
            f"{path}: broken, or holds more than tensors, which could run code; not loaded"
        ) from None
    except _BROKEN as error:
        raise WeightsError(f"{path}: no file of torch ({_shown(str(error))})") from None


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
    )


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} ({value.layout}) on {value.device}"
    return "an empty mapping" if value == {} else f"a {type(value).__name__}"


def _count(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {what}: {', '.join(map(_shown, names[:SHOWN]))}{more}"


def _shown(text: str) -> str:
    """Names come from a file of anybody's: no control characters, and not too long."""
    plain = ascii(text)[1:-1]
    return plain if len(plain) <= NAME_LENGTH else plain[: NAME_LENGTH - 3] + "..."


def _size(x: Tensor) -> str:
    return "x".join(map(str, x.shape)) or "scalar"
