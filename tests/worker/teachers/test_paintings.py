"""Looks that are painted."""

from __future__ import annotations

import torch

from tests.worker.teachers.conftest import check_look, finished


def test_oil() -> None:
    y = check_look("oil")
    assert y.std(1).mean() > 0.03, "loaded with colour"


def test_watercolour_leaves_the_paper_open() -> None:
    check_look("watercolour")
    light = finished(torch.full((1, 3, 64, 64), 0.95), "watercolour")
    assert light.mean() > 0.9
