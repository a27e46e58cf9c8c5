"""Pictures in between: where they are put and what they are."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.quality.between import WAYS, at_twice_the_rate


@pytest.mark.parametrize("way", WAYS)
def test_the_painted_ones_stay_where_they_are(way: str) -> None:
    painted = torch.rand(5, 3, 4, 4)
    shown = at_twice_the_rate(painted, WAYS[way])
    assert len(shown) == 9
    assert torch.equal(shown[::2], painted)


def test_what_lies_between() -> None:
    painted = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    assert at_twice_the_rate(painted, WAYS["mixed"])[:, 0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2]
    assert at_twice_the_rate(painted, WAYS["repeated"])[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2]
