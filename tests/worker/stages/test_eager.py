"""The stages operator by operator: what they add is the pictures' type."""

from __future__ import annotations

import torch

from brushcast_worker.models.light_vae import LightVAE
from brushcast_worker.stages.decode import decode
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.encode import encode


@torch.inference_mode()
def test_pictures_of_any_type_are_painted_in_the_networks() -> None:
    torch.manual_seed(0)
    vae = LightVAE().double().eval()
    eager = Eager(None, vae, torch.float64)  # asked for nothing here
    pictures_TCHW = torch.rand(4, 3, 32, 48) * 2 - 1
    (z_TCHW,), _ = eager.encode([pictures_TCHW], [None])
    (wanted_TCHW,), _ = encode(vae, [pictures_TCHW.double()], [None])
    assert torch.equal(z_TCHW, wanted_TCHW)
    painted = eager.decode([z_TCHW], [pictures_TCHW], [None], [eager.guide(pictures_TCHW)])
    wanted = decode(vae, [z_TCHW], [pictures_TCHW.double()], [None], [None])
    for got, want in zip(painted, wanted, strict=True):
        assert torch.equal(got.pictures_TCHW, want.pictures_TCHW)
