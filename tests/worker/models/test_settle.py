"""What was drawn before stays where nothing changes, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from brushcast_worker.models.settle import CHANGED, settle


def settled(fresh_BTCHW: torch.Tensor, share: float = 0.9) -> torch.Tensor:
    share_B1HW = torch.full_like(fresh_BTCHW[:, 0, :1], share)
    fresh = fresh_BTCHW.unbind(1)
    return torch.stack(list(settle(zip(fresh, [share_B1HW] * len(fresh), strict=True), None)), 1)


def test_still_pictures_with_noise_become_calmer() -> None:
    torch.manual_seed(0)
    still = torch.rand(2, 1, 3, 32, 48) - 0.5
    fresh = still + 0.05 * torch.randn(2, 24, 3, 32, 48)
    shiver = lambda x: float((x[:, 12:] - x[:, 11:-1]).std())  # noqa: E731
    assert shiver(settled(fresh)) < 0.4 * shiver(fresh)
    torch.testing.assert_close(settled(fresh)[:, 0], fresh[:, 0])  # there was nothing before


def test_a_cell_whose_colour_jumps_keeps_nothing() -> None:
    fresh = torch.zeros(1, 2, 3, 32, 32)
    fresh[0, 1, 0, :, :16] = 2 * CHANGED
    fresh[0, 1, :, :, 16:] = 0.5 * CHANGED
    out = settled(fresh)
    torch.testing.assert_close(out[0, 1, :, :, :12], fresh[0, 1, :, :, :12])
    kept = 1 - float(out[0, 1, 0, 0, -1]) / (0.5 * CHANGED)
    assert kept == pytest.approx(0.9 * 0.5, abs=1e-4)


def test_settling_a_stream_equals_settling_a_clip() -> None:
    torch.manual_seed(0)
    fresh = (torch.rand(1, 6, 3, 16, 16) * 0.2).unbind(1)
    painted = list(zip(fresh, torch.rand(1, 6, 1, 16, 16).unbind(1), strict=True))
    whole = list(settle(painted, None))
    first = list(settle(painted[:2], None))
    rest = list(settle(painted[2:], first[-1]))
    assert torch.equal(torch.cat([*first, *rest]), torch.cat(whole))


def test_a_row_that_begins_is_not_mixed_with_what_lies_there() -> None:
    torch.manual_seed(0)
    fresh = (torch.rand(3, 2, 3, 16, 16) * 0.1).unbind(1)
    painted = list(zip(fresh, torch.rand(3, 2, 1, 16, 16).unbind(1), strict=True))
    drawn = torch.rand(3, 3, 16, 16) * 0.1
    begins = torch.tensor([False, True, False])
    mixed = torch.stack(list(settle(painted, drawn, begins)))
    assert torch.equal(mixed[:, ~begins], torch.stack(list(settle(painted, drawn)))[:, ~begins])
    assert torch.equal(mixed[:, begins], torch.stack(list(settle(painted, None)))[:, begins])
    assert not torch.equal(*(torch.stack(list(settle(painted, d))) for d in (drawn, None)))


def test_a_picture_is_settled_before_the_next_one_is_asked_for() -> None:
    def painted() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
        raise NotImplementedError

    assert next(settle(painted(), None)).shape == (1, 3, 16, 16)
