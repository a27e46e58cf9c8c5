"""Lettering: what can be read is read, in any colours, and what cannot is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from brushcast.frame import Pixels
from brushcast_worker.quality.lettering import ALPHABET, LINES, PAN_PX, board, read


def wall(height: int = 288, width: int = 512) -> Pixels:
    return np.full((height, width, 3), 96, np.uint8)


@pytest.fixture(scope="module")
def video() -> Tensor:
    return board(wall(), 4).video_TCHW


def test_the_board_is_panned(video: Tensor) -> None:
    assert video.shape == (4, 3, 288, 512)
    torch.testing.assert_close(video[1, ..., : -3 * PAN_PX], video[0, ..., PAN_PX : -2 * PAN_PX])


@pytest.mark.parametrize(("height", "width"), [(288, 512), (384, 384), (96, 128), (48, 64)])
def test_every_size_can_be_read(height: int, width: int) -> None:
    written = board(wall(height, width), 3)
    assert written.letters
    assert read(written, written.video_TCHW).recognised == 1


def test_colours_do_not_matter(video: Tensor) -> None:
    found = read(board(wall(), 4), -0.5 * video[2:], first=2)
    assert found.recognised == 1
    assert found.likeness > 0.95


def test_blur_makes_it_unreadable(video: Tensor) -> None:
    written = board(wall(), 4)
    likeness = [1.0]
    for window in (5, 11, 21):
        seen = F.avg_pool2d(video[:1], window, 1, window // 2)
        found = read(written, seen)
        assert found.likeness < likeness[-1]
        likeness.append(found.likeness)
    assert found.recognised < 0.5


def test_other_letters_are_not_taken_for_these(video: Tensor) -> None:
    noise = torch.randn(1, 3, 288, 512, generator=torch.Generator().manual_seed(0))
    assert read(board(wall(), 4), noise).recognised < 0.3


def test_the_letters_are_of_the_alphabet() -> None:
    assert set("".join(LINES)) <= set(ALPHABET)
