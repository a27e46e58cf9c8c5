"""A file of reference vectors in other sizes than the published one's, made by our own models in
another way than `verify` calls them: clips at once instead of streams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from brushcast_worker.models.dit import DiT, DiTConfig
from brushcast_worker.models.wan_vae import WanVAE, WanVAEConfig
from brushcast_worker.stages.schedule import renoise, sigma_table

FIELDS: dict[str, dict[str, Any]] = {
    "dit": {
        "dim": 24, "num_heads": 2, "num_layers": 1, "ffn_dim": 20, "freq_dim": 10,
        "text_dim": 6, "text_len": 5, "in_dim": 3, "out_dim": 3, "patch_size": [1, 2, 2],
        "window_frames": 4, "sink_frames": 1,
    },
    "vae": {
        "dim": 4, "z_dim": 16, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
        "temporal_downsample": [True, False],
    },
    "schedule": {"shift": 3.0, "sigma_min": 0.0, "extra_one_step": True, "steps": 50},
}  # fmt: skip


@torch.inference_mode()
def small_vectors() -> dict[str, Tensor]:
    """The tensors; they agree."""
    torch.manual_seed(3)
    return {**_dit(), **_schedule(), **_noise(), **_vae()}


def write_vectors(
    path: Path, tensors: Mapping[str, Tensor], fields: Mapping[str, object] = FIELDS
) -> Path:
    """``fields``: as JSON, or what is no JSON as it comes."""
    metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    whole = {name: x.clone().contiguous() for name, x in tensors.items()}
    save_file(whole, path, metadata=metadata or None)
    return path


def _dit() -> dict[str, Tensor]:
    f = FIELDS["dit"]
    config = DiTConfig(
        dim=f["dim"], layers=1, heads=2, ffn_dim=20, patch=2, freq_dim=10, latent_channels=3,
        context_dim=6, context_tokens=5, sinks=1, window=4,
    )  # fmt: skip
    model = DiT(config).eval()
    context_LC, x_BTCHW = torch.randn(4, 6), torch.randn(1, 4, 3, 4, 6)
    timestep_BT = torch.tensor([[900.0, 500, 400, 200]])
    flow = model(x_BTCHW, timestep_BT=timestep_BT, context=model.context(context_LC[None]))
    found = {f"dit.weights.{name}": x for name, x in model.state_dict().items()}
    found["dit.context"] = context_LC
    for case, repeated in (("one_step", 1), ("two_steps", 2)):  # a step twice is the same step
        found[f"dit.{case}.x"] = x_BTCHW[0, :, :, None].repeat_interleave(repeated, 0)
        found[f"dit.{case}.flow"] = flow[0, :, :, None].repeat_interleave(repeated, 0)
        found[f"dit.{case}.frame"] = torch.arange(4).repeat_interleave(repeated)
        found[f"dit.{case}.timestep"] = timestep_BT[0].long().repeat_interleave(repeated)
    return found


def _schedule() -> dict[str, Tensor]:
    sigmas = sigma_table(3.0, 50)
    x0, noise = torch.randn(2, 2, 3, 4, 5)
    return {
        "schedule.sigmas": sigmas,
        "schedule.timesteps": sigmas * 1000,
        "schedule.t": torch.tensor([1000, 0]),
        "schedule.x0": x0,
        "schedule.noise": noise,
        "schedule.add_noise": renoise(x0, noise, sigmas[[0, -1]]),
    }


def _noise() -> dict[str, Tensor]:
    """Still, then as fast as it gets."""
    video = torch.zeros(3, 9, 8, 8)
    video[:, 5::2] = 1
    return {
        "noise.video": video,
        "noise.scale": torch.tensor([0.8, 0.71], dtype=torch.float64),
        "noise.step": torch.tensor([700, 610]),
    }


def _vae() -> dict[str, Tensor]:
    f = FIELDS["vae"]
    model = WanVAE(
        WanVAEConfig(
            dim=f["dim"], z_dim=16, dim_mult=(1, 2, 2), num_res_blocks=1,
            temporal_downsample=(True, False), normalise_encoded=True,
        )
    ).eval()  # fmt: skip
    video, z = torch.rand(1, 9, 3, 8, 12) * 2 - 1, torch.randn(1, 4, 16, 2, 3)
    found = {f"vae.weights.{name}": x for name, x in model.state_dict().items()}
    clips = {"video": video, "latents": model.encode(video)[0]}
    clips |= {"z": z, "pixels": model.decode(z)[0]}
    return found | {f"vae.{name}": x[0].transpose(0, 1) for name, x in clips.items()}
