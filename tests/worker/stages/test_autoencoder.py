"""What the stages ask of an autoencoder is what both kinds of them give."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.engines.wan import random_wan
from brushcast_worker.models.light_vae import LightVAE
from brushcast_worker.stages.autoencoder import Autoencoder


def _wan(name: str) -> Autoencoder:
    return random_wan(name, "cpu")._networks._autoencoder  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["light", "wan-small", "wan-small-tiny"])
@torch.inference_mode()
def test_a_chunk_in_a_chunk_out(kind: str) -> None:
    torch.manual_seed(0)
    vae: Autoencoder = LightVAE().eval() if kind == "light" else _wan(kind)
    encoder = decoder = None
    for number in range(3):
        video = torch.rand(2, 4, 3, 32, 48) * 2 - 1
        z, encoder = vae.encode(video, encoder)
        assert z.shape == (2, 1 + (kind == "wan-small" and number == 0), 16, 4, 6)
        painted = list(vae.paint(z, video, decoder, vae.guide(video)))
        decoder = painted[-1][1]
        late = 3 if kind == "wan-small-tiny" and number == 0 else 0
        assert sum(x.shape[1] for x, _ in painted) == 4 - late
        assert all(x.shape[0] == 2 for x in (*encoder, *decoder))


def test_only_what_begins_as_it_goes_on_has_a_blank_memory() -> None:
    encoder, decoder = LightVAE().blank(2, 32, 48)
    assert all(not x.any() for x in (*encoder, *decoder))
    with pytest.raises(AssertionError, match="begins without a memory"):
        _wan("wan-small").blank(1, 32, 48)
