"""Weights are held against their hashes, without torch."""

import hashlib
import json
from pathlib import Path

import pytest

import brushcast.models as models
from brushcast.errors import ConfigError, WeightsError


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "weights_folder", lambda: tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    entry = {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"pocket": {"w.safetensors": entry}}))
    return tmp_path


def test_whole_weights_are_found_whole(weights: Path) -> None:
    assert models.verify_model("pocket")["ok"]
    assert models.list_models()[0]["state"] == "ready"
    assert "nothing to fetch" in models.fetch_model("pocket")["message"]


def test_damaged_weights_are_named_with_both_hashes(weights: Path) -> None:
    (weights / "w.safetensors").write_bytes(b"weightz")
    with pytest.raises(WeightsError, match="damaged"):
        models.verify_model("pocket")


def test_missing_weights_are_named(weights: Path) -> None:
    (weights / "w.safetensors").unlink()
    assert models.list_models()[0]["state"] == "missing"
    with pytest.raises(WeightsError, match="is missing"):
        models.verify_model("pocket")


def test_an_unknown_model_lists_what_there_is(weights: Path) -> None:
    with pytest.raises(ConfigError, match="there is pocket"):
        models.verify_model("sora")


def test_a_broken_list_of_weights_is_an_error_of_ours(weights: Path) -> None:
    (weights / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        models.list_models()
