"""The pocket model: its networks, and the one file that holds their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from brushcast_worker.models.dit import SIZES, DiT
from brushcast_worker.models.int8 import quantise
from brushcast_worker.models.light_vae import LightVAE
from brushcast_worker.models.text import STYLES, StyleEmbedding, TextEncoder

FILE = "pocket.safetensors"


@dataclass(frozen=True, slots=True)
class Pocket:
    """The networks of the embedded model, in evaluation mode after ``load_pocket``."""

    dit: DiT
    vae: LightVAE
    styles: StyleEmbedding
    text: TextEncoder

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The networks by the prefix that their weights have in the file."""
        return {"dit": self.dit, "vae": self.vae, "styles": self.styles, "text": self.text}

    def place(self, device: torch.device | str, dtype: torch.dtype) -> None:
        """For inference on that device: in evaluation mode, without gradients, as its kernels like
        the weights in memory.
        """
        for name, part in self.parts.items():
            part.eval().requires_grad_(False)
            if name != "text":  # a few words a prompt: the CPU answers before a GPU has begun
                part.to(device=device, dtype=dtype)
            for module in part.modules():
                if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                    module.to(memory_format=torch.channels_last)

    def quantise(self) -> None:
        """For good to 8-bit integers; float32 on a CPU where ``int8_pays``."""
        quantise(self.vae)
        quantise(self.dit)


def build_pocket() -> Pocket:
    """Networks with random weights."""
    config = SIZES["pocket"]
    embedding = StyleEmbedding(len(STYLES), config.context_tokens, config.context_dim)
    return Pocket(DiT(config), LightVAE(), embedding, TextEncoder())


def load_pocket(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Pocket:
    """The trained networks from ``folder / pocket.safetensors``, strictly.

    Raises FileNotFoundError without the file, RuntimeError when names or shapes are not this
    model's.
    """
    from safetensors.torch import load_file

    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    tensors = load_file(path)
    pocket = build_pocket()
    for prefix, part in pocket.parts.items():
        mine = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
        part.load_state_dict({k: v.float() for k, v in mine.items()})
    pocket.place(device, dtype)
    return pocket


def random_pocket(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> Pocket:
    """The same networks with random weights, none of them zero: what training begins at zero would
    hide the rest.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pocket = build_pocket()
        for part in pocket.parts.values():
            for parameter in part.parameters():
                if not parameter.any():
                    nn.init.normal_(parameter, std=0.05)
        with torch.no_grad():  # wordings differ, and what differs is seen, in bfloat16 too
            pocket.text.say.weight.mul_(40)
            pocket.styles.table_SLC.mul_(8)
    pocket.place(device, dtype)
    return pocket


def save_pocket(pocket: Pocket, path: Path) -> None:
    """Writes the weights at half precision (float16: values are small, mantissa counts)."""
    from safetensors.torch import save_file

    tensors = {
        f"{prefix}.{k}": v.detach().to("cpu", torch.float16).contiguous()
        for prefix, part in pocket.parts.items()
        for k, v in part.state_dict().items()
    }
    save_file(tensors, path)
