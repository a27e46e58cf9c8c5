"""The report: figures and sheets are written, and JSON is JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brushcast.errors import ConfigError
from brushcast.frame import Size
from brushcast_worker.config import QualityConfig
from brushcast_worker.quality.report import measure_quality


def config(out: Path, **changed: Any) -> QualityConfig:
    plain: dict[str, Any] = {
        "out": out, "engine": "pocket-random", "device": "cpu", "size": Size(96, 64),
        "styles": ("oil,neon",), "drift_seconds": 3.2,
    }  # fmt: skip
    return QualityConfig(**{**plain, **changed})


def test_figures_and_sheets_lie_side_by_side(tmp_path: Path) -> None:
    out, said = tmp_path / "new" / "folder", list[str]()
    result = measure_quality(config(out), said.append)
    assert json.loads((out / "quality.json").read_text(encoding="utf-8")) == result
    assert list(result["styles"]) == ["oil", "neon"]
    assert result["clips"] == [{"name": "bundled clip", "pictures": 16, "trained_on": "yes"}]
    assert result["long_size"] == "48x32"
    assert set(result["drift"]["styles"]) == {"oil", "neon"}
    assert all(Path(sheet).stat().st_size > 1000 for sheet in result["sheets"])
    assert any("oil" in line for line in said)
    assert any("drift" in line for line in said)
    json.dumps(result, allow_nan=False)
    means = [result["styles"][style]["teacher"]["gain_db"] for style in ("oil", "neon")]
    assert result["mean"]["teacher"]["gain_db"] == pytest.approx(sum(means) / 2, rel=1e-3)


def test_drift_can_be_left_out(tmp_path: Path) -> None:
    result = measure_quality(config(tmp_path, styles=("neon",), drift_seconds=0), lambda _: None)
    assert result["drift"] is None
    assert result["ablations"] is None


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--styles oi1.*watercolour"):
        measure_quality(config(tmp_path, styles=("oi1",)), lambda _: None)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match="--out .*file"):
        measure_quality(config(blocked), lambda _: None)
