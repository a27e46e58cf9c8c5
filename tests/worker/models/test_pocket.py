"""The weights in the repository: they load strictly, and the look lives in the latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import brushcast_worker
from brushcast_worker.models.int8 import Conv, Up
from brushcast_worker.models.pocket import FILE, Pocket, build_pocket, load_pocket, save_pocket
from brushcast_worker.models.text import STYLES

WEIGHTS = Path(brushcast_worker.__file__).parent / "weights"


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return load_pocket(WEIGHTS)


def scene() -> Tensor:
    """Four still pictures of a soft-edged figure before a wall, ``[1 4 3 96 128]``."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1.3, 1.3, 128), indexing="ij")
    head = torch.sigmoid(40 * (0.35 - torch.hypot(x, y + 0.35)))
    body = torch.sigmoid(40 * (0.6 - torch.hypot(x, (y - 0.75) * 1.2)))
    wall = torch.stack([0.75 + 0.1 * x, 0.78 + 0.05 * y, 0.8 - 0.05 * x])
    picture = wall * (1 - head) + head * torch.tensor([0.85, 0.62, 0.5]).view(3, 1, 1)
    picture = picture * (1 - body) + body * torch.tensor([0.15, 0.2, 0.45]).view(3, 1, 1)
    return (picture * 2 - 1).expand(1, 4, 3, 96, 128)


def latent(pocket: Pocket, source: Tensor, style: str) -> Tensor:
    weights = torch.zeros(1, len(STYLES))
    weights[0, STYLES.index(style)] = 1
    context = pocket.dit.context(pocket.styles(weights, torch.zeros(len(weights))))
    z, _ = pocket.vae.encode(source)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((1, 1), 0.56)
    return pocket.dit.predict_x0(
        0.44 * z + 0.56 * noise,
        timestep_BT=1000 * sigma,
        sigma_BT=sigma,
        context=context,
        source_BTCHW=z,
    )


def distance_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean() / 4))


def test_the_weights_fit_the_repository() -> None:
    assert (WEIGHTS / FILE).stat().st_size <= 40 * 2**20


def test_the_look_lives_in_the_latents(pocket: Pocket) -> None:
    source = scene()
    with torch.inference_mode():
        ink, neon = latent(pocket, source, "ink"), latent(pocket, source, "neon")
        draw = lambda z: pocket.vae.decode(z, source)[0]  # noqa: E731
        as_ink, as_neon, empty = draw(ink), draw(neon), draw(torch.zeros_like(ink))
    assert distance_db(as_ink, as_neon) < 10  # other latents, other picture, same source
    assert distance_db(as_ink, empty) < 16  # without its latents the look is gone
    assert distance_db(as_ink, source) < 16


def test_every_style_differs_from_every_other(pocket: Pocket) -> None:
    source = scene()
    with torch.inference_mode():
        pictures = [pocket.vae.decode(latent(pocket, source, s), source)[0] for s in STYLES[1:]]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert distance_db(a, b) < 26


def test_none_gives_the_picture_back(pocket: Pocket) -> None:
    source = scene()
    with torch.inference_mode():
        back = pocket.vae.decode(latent(pocket, source, "none"), source)[0]
    assert distance_db(back, source) > 25


def test_no_convolution_is_dead(pocket: Pocket) -> None:
    """A rectifier that lets nothing through leaves the next layer an input of zeros, and the
    network plays on without it: it happened to the decoder's trunk, and nobody saw it.
    """
    reach = {
        f"{prefix}.{name}": float(module.reach)
        for prefix, part in pocket.parts.items()
        for name, module in part.named_modules()
        if isinstance(module, (Conv, Up))
    }
    assert reach
    assert not [name for name, value in reach.items() if not value > 0.01]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = build_pocket()
    save_pocket(made, tmp_path / FILE)
    back = load_pocket(tmp_path)
    for a, b in zip(made.dit.parameters(), back.dit.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_absent_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load_pocket(tmp_path)
