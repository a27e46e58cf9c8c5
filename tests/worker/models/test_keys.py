"""Weights from elsewhere: what is read, and what a wrong file is answered with."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from brushcast.errors import WeightsError
from brushcast_worker.models.dit import DiT, DiTConfig
from brushcast_worker.models.keys import (
    check_weights,
    last_moments,
    load_weights,
    read_weights,
    umt5_weights,
)
from tests.worker.small_umt5 import LAYERS, small_weights

SIZES = DiTConfig(
    dim=24, layers=1, heads=2, ffn_dim=16, patch=2, context_dim=8, context_tokens=3, sinks=1,
    window=3, freq_dim=8,
)  # fmt: skip


def tiny() -> DiT:
    return DiT(SIZES).requires_grad_(False)


def small() -> nn.Module:
    return nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 2)})


def weights_of(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {prefix + name: torch.randn_like(x) for name, x in model.state_dict().items()}


@pytest.mark.parametrize("top", ["", "generator", "generator_ema", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_published_transformer_is_loaded(tmp_path: Path, top: str, prefix: str) -> None:
    weights = weights_of(tiny(), prefix)
    path = tmp_path / "model.pt"
    torch.save({top: weights} if top else weights, path)
    model = tiny()
    load_weights(model, read_weights(path), path.name)
    for name, x in model.state_dict().items():
        assert torch.equal(x, weights[prefix + name]), name


def test_the_generator_goes_before_its_average(tmp_path: Path) -> None:
    one, other = ({"w": torch.full((2,), value)} for value in (1.0, 2.0))
    torch.save({"generator_ema": other, "generator": one, "step": 7}, tmp_path / "model.pt")
    assert read_weights(tmp_path / "model.pt")["w"].tolist() == [1, 1]


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_every_kind_of_file_gives_the_same(tmp_path: Path, kind: str) -> None:
    weights = weights_of(small())
    path = tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    found = read_weights(path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_half_precision_becomes_the_models_own() -> None:
    model, weights = small(), {k: x.bfloat16() for k, x in weights_of(small()).items()}
    load_weights(model, weights, "w")
    assert model["a"].weight.dtype == torch.float32
    assert torch.equal(model["a"].weight, weights["a.weight"].float())


def test_an_error_lists_what_is_wrong() -> None:
    weights = weights_of(small())
    weights["c.weight"] = weights.pop("a.weight")
    weights["b.bias"] = torch.zeros(5)
    before = small()
    kept = {k: x.clone() for k, x in before.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(before, weights, "w.pth")
    said = str(error.value)
    assert "w.pth is not this model's: of 4 tensors wanted and 4 found" in said
    assert "1 missing: a.weight" in said
    assert "1 unexpected: c.weight" in said
    assert "1 of another shape: b.bias 5 (wanted 2)" in said
    assert all(torch.equal(x, kept[k]) for k, x in before.state_dict().items()), "half loaded"


def test_a_long_list_is_cut_and_counted() -> None:
    with torch.device("meta"):
        model = tiny()
    count = len(model.state_dict())
    with pytest.raises(WeightsError, match=rf"{count} missing: .* and {count - 4} more; 1 unexp"):
        check_weights(model, {"x": torch.zeros(1)}, "w")


def test_only_a_prefix_of_all_is_a_prefix() -> None:
    weights = weights_of(small())
    weights["model.a.weight"] = weights.pop("a.weight")
    with pytest.raises(WeightsError, match=r"missing: a.weight; 1 unexpected: model.a.weight"):
        load_weights(small(), weights, "w")


def test_names_from_a_file_cannot_write_to_the_terminal() -> None:
    name = "\x1b[2J\n" + "x" * 5000
    with pytest.raises(WeightsError) as error:
        load_weights(small(), {name: torch.zeros(1)}, "w")
    assert "\x1b" not in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_huge_shape_is_refused_before_it_is_copied() -> None:
    weights = weights_of(small())
    weights["a.weight"] = torch.zeros(1).expand(1 << 30, 1 << 30)  # 4 bytes in the file
    with pytest.raises(WeightsError, match="1073741824x1073741824"):
        load_weights(small(), weights, "w")


class Growing(nn.Module):
    """The names of a tiny autoencoder: one layer of two that make moments, one block."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.ModuleDict({"conv": nn.ModuleList([nn.Conv2d(4, 2, 3)])})
        grow = nn.ModuleDict({"conv": nn.Conv2d(2, 2, 1, bias=False)})
        self.decoder = nn.ModuleList([block, grow, nn.Conv2d(2, 2, 3)])


def test_of_more_moments_than_wanted_the_last_are_taken(tmp_path: Path) -> None:
    weights = weights_of(Growing())
    weights["decoder.1.conv.weight"] = torch.arange(8.0).view(4, 2, 1, 1)
    torch.save(weights, tmp_path / "w.pth")
    model = Growing()
    load_weights(model, last_moments(read_weights(tmp_path / "w.pth"), model), "w.pth")
    assert model.state_dict()["decoder.1.conv.weight"].flatten().tolist() == [4, 5, 6, 7]
    for name, x in model.state_dict().items():
        assert name == "decoder.1.conv.weight" or torch.equal(x, weights[name]), name


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("decoder.1.conv.weight", (3, 2, 1, 1)),  # no whole number of moments
        ("decoder.1.conv.weight", (4, 3, 1, 1)),
        ("decoder.1.conv.weight", (1, 2, 1, 1)),  # too few
        ("decoder.1.conv.weight", ()),
        ("decoder.0.conv.0.weight", (4, 4, 3, 3)),  # a block
        ("decoder.2.weight", (4, 2, 3, 3)),
    ],
)
def test_nothing_else_is_cut_to_fit(name: str, shape: tuple[int, ...]) -> None:
    weights = weights_of(Growing())
    weights[name] = torch.zeros(shape)
    model = Growing()
    found = "x".join(map(str, shape)) or "scalar"
    with pytest.raises(WeightsError, match=f"1 of another shape: {name} {found} "):
        load_weights(model, last_moments(weights, model), "w")


def test_names_that_are_not_the_models_stay_for_the_error() -> None:
    weights = weights_of(Growing()) | {"decoder.9.conv.weight": torch.zeros(4, 2, 1, 1)}
    with pytest.raises(WeightsError, match="1 unexpected: decoder.9.conv.weight"):
        load_weights(Growing(), last_moments(weights, Growing()), "w")


class Harm:
    """Unpickling it runs a command of the file's choice."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_with_code_is_not_run(tmp_path: Path, new: bool) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "it-ran"
    torch.save({"w": Harm(trace)}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(WeightsError, match="could run code"):
        read_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04.", b"\xff" * 4096, b"PK\x03\x04"])
def test_broken_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"w.{suffix}"):
        read_weights(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_cut_off_files(tmp_path: Path, suffix: str, part: float) -> None:
    whole = tmp_path / f"w.{suffix}"
    weights = {"a": torch.randn(100, 100)}
    save_file(weights, whole) if suffix == "safetensors" else torch.save(weights, whole)
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=f"w.{suffix}"):
        read_weights(whole)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="no file of torch"):
        read_weights(tmp_path / "w.pth")


def sparse() -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (2,), check_invariants=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.zeros(1)], "a list"),
        ({}, "an empty mapping"),
        ({"w": "text"}, "w is a str"),
        ({"w": sparse()}, "sparse"),
        ({"w": torch.zeros(2, dtype=torch.int64)}, "int64"),
        ({"w": torch.zeros(2, device="meta")}, "meta"),
        ({7: torch.zeros(2)}, "a int as a name"),
        ({"generator": torch.zeros(2)}, "a tensor of"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=words):
        read_weights(tmp_path / "w.pth")


def test_other_endings_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "w.bin").touch()
    with pytest.raises(WeightsError, match="wanted a file that ends in"):
        read_weights(tmp_path / "w.bin")
    with pytest.raises(WeightsError, match="no weights at"):
        read_weights(tmp_path / "w.pth")
    (tmp_path / "d.pth").mkdir()
    with pytest.raises(WeightsError, match="no weights at"):
        read_weights(tmp_path / "d.pth")


def test_the_text_encoders_names_become_those_of_transformers() -> None:
    weights = small_weights()
    named = umt5_weights(weights, "t5.pth")
    assert len(named) == len(weights) + 1 == 3 + 10 * LAYERS
    assert named["shared.weight"] is named["encoder.embed_tokens.weight"]
    block = "encoder.block.1.layer"
    assert named[f"{block}.1.DenseReluDense.wi_0.weight"] is weights["blocks.1.ffn.gate.0.weight"]
    bias = named[f"{block}.0.SelfAttention.relative_attention_bias.weight"]
    assert bias is weights["blocks.1.pos_embedding.embedding.weight"]


@pytest.mark.parametrize(
    "name", ["blocks.01.norm1.weight", "blocks.0.norm3.weight", "decoder.x", "blocks.0.norm1.bias"]
)
def test_names_that_no_text_encoder_has(name: str) -> None:
    weights = {**small_weights(), name: torch.zeros(1)}
    with pytest.raises(WeightsError, match="t5.pth is no UMT5 encoder of Wan: 1 unexpected"):
        umt5_weights(weights, "t5.pth")
