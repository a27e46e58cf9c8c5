"""The teachers' filters: what each must do to a picture whose answer is known."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.teachers.filters import (
    bilateral,
    blur,
    from_oklab,
    gradient_map,
    kuwahara,
    lic,
    luma,
    pen_lines,
    saturate,
    smoothstep,
    soft_levels,
    tangent,
    to_oklab,
)


def edge(height: int = 24, width: int = 32) -> torch.Tensor:
    """Dark on the left, light on the right."""
    x = torch.full((1, 3, height, width), 0.2)
    x[..., width // 2 :] = 0.8
    return x


def test_a_blur_keeps_the_mean_and_softens_an_edge() -> None:
    soft = blur(edge(), 2.0)
    assert float(soft.mean()) == pytest.approx(0.5, abs=0.01)
    assert soft.diff(dim=-1).abs().max() < 0.2


@pytest.mark.parametrize("smooth", [lambda x: bilateral(x, 2), lambda x: kuwahara(x, 3)])
def test_what_smooths_within_edges_keeps_them(smooth) -> None:
    torch.manual_seed(0)
    out = smooth((edge() + 0.03 * torch.randn(1, 3, 24, 32)).clamp(0, 1))
    assert out[..., 2:12].std() < 0.02
    assert float((out[..., 18:].mean() - out[..., :14].mean()).abs()) > 0.5
    assert out.diff(dim=-1).abs().max() > 0.25


def test_colours_survive_the_way_to_oklab_and_back() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(from_oklab(to_oklab(x)), x, atol=0.01, rtol=0)


def test_the_tangent_runs_along_the_edge() -> None:
    t = tangent(luma(edge()), 2.0)
    assert float(t[0, 1, 12, 16].abs()) == pytest.approx(1, abs=0.02)  # straight down


def test_lines_are_drawn_at_edges_and_nowhere_else() -> None:
    line = pen_lines(luma(edge(48, 64)), 1.0, 1.0, 0.03, 0.12)
    assert line[..., 28:36].amax() > 0.5
    assert line[..., :16].amax() < 0.05


def test_a_line_integral_of_a_plain_picture_is_plain() -> None:
    plain = torch.full((1, 1, 16, 16), 0.4)
    torch.testing.assert_close(lic(plain, tangent(torch.rand(1, 1, 16, 16), 2.0), 4), plain)


def test_curves() -> None:
    x = torch.linspace(0, 1, 101).view(1, 1, 1, -1)
    assert smoothstep(0.4, 0.6, x)[0, 0, 0, [0, 50, 100]].tolist() == pytest.approx([0, 0.5, 1])
    assert len(soft_levels(x, 4, 60).mul(100).round().unique()) < 20
    mapped = gradient_map(x, [(0.0, (0.0, 0.0, 0.0)), (1.0, (1.0, 0.5, 0.0))])
    assert mapped[0, :, 0, 50].tolist() == pytest.approx([0.5, 0.25, 0])
    assert saturate(torch.tensor([0.6, 0.4, 0.4]).view(1, 3, 1, 1), 0).std() < 1e-6
