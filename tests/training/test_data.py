"""Training pairs: the painting follows the noise as far as the row is bold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from brushcast_worker.models.text import STYLES
from brushcast_worker.teachers.hand import strokes
from training.data import HANDS, PAINTINGS, Bank, Batch


def test_the_target_follows_the_noise_as_far_as_the_row_is_bold() -> None:
    light, heavy = torch.zeros(2, 8, 3, 32, 48), torch.ones(2, 8, 3, 32, 48)
    batch = Batch(light, light, heavy, torch.zeros(2, len(STYLES)), torch.tensor([0.0, 0.5]))
    noise = torch.randn(2, 2, 16, 4, 6, generator=torch.Generator().manual_seed(0))
    target = batch.target(noise)
    assert not target[0].any()
    torch.testing.assert_close(target[1, 4, 0], 0.5 * strokes(noise[1, 1:])[0, 0])
    assert torch.equal(target[1, 0], target[1, 3]), "one noise a latent frame"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    photos, media = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("media")
    _photograph(photos / "a.png")
    bank = Bank(media, photos, torch.device("cpu"), 0, small=True)
    bank.fill()
    return bank


def _photograph(path: Path) -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (8, 10, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, (240, 200), interpolation=cv2.INTER_CUBIC))


def test_every_look_is_painted_by_two_hands(bank: Bank) -> None:
    assert len(bank.stills) == PAINTINGS == HANDS * len(STYLES)
    assert torch.equal(bank.stills[0], bank.stills[len(STYLES)]), "the untouched picture"
    ink = STYLES.index("ink")
    assert not torch.equal(bank.stills[ink], bank.stills[ink + len(STYLES)])


def test_a_batch_says_what_it_shows(bank: Bank) -> None:
    batches = [bank.batch(1, 4, 8, (64, 96), real=False) for _ in range(6)]
    weights = torch.cat([b.weights for b in batches])
    torch.testing.assert_close(weights.sum(1), torch.ones(24))
    for b in batches:
        assert b.source.shape == b.light.shape == b.heavy.shape == (4, 8, 3, 64, 96)
        mixed = (b.weights[:, 1:] > 0).sum(1) > 1
        assert not b.bold[mixed].any()
        for row in range(4):
            if b.bold[row]:
                plain = b.weights[row, 0] > 0.999
                assert torch.equal(b.light[row], b.heavy[row]) == bool(plain)
