"""Contact sheets: a row for each look, a column for each kind of picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from brushcast.errors import ConfigError
from brushcast_worker.quality.sheet import COLUMN_PX, HEAD_PX, write_sheet


def test_every_picture_has_its_place(tmp_path: Path) -> None:
    light, dark = torch.ones(3, 144, 256), -torch.ones(3, 144, 256)
    rows = {"oil": {"source": dark, "output": light}, "ink": {"source": light, "output": dark}}
    write_sheet(rows, tmp_path / "sheet.jpg")
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))
    cell = COLUMN_PX * 144 // 256
    assert sheet.shape == (HEAD_PX + 2 * cell, 2 * COLUMN_PX, 3)
    middle = [
        [sheet[HEAD_PX + row * cell + cell // 2, column * COLUMN_PX + COLUMN_PX // 2].mean() > 128
         for column in range(2)]
        for row in range(2)
    ]  # fmt: skip
    assert middle == [[False, True], [True, False]]


def test_a_sheet_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    rows = {"oil": {"source": torch.zeros(3, 16, 16)}}
    with pytest.raises(ConfigError, match="absent"):
        write_sheet(rows, tmp_path / "absent" / "sheet.jpg")
