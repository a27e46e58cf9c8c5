"""Reference vectors: any sizes are read, and a file of anybody's can do no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brushcast.errors import VectorsError
from brushcast_worker.vectors import read_vectors
from tests.worker.small_vectors import FIELDS, small_vectors, write_vectors


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return small_vectors()


def refused(path: Path, words: str) -> None:
    with pytest.raises(VectorsError, match=words) as error:
        read_vectors(path)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 1000


def test_any_sizes_are_read(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    found = read_vectors(write_vectors(tmp_path / "v.safetensors", tensors))
    assert (found.dit.config.dim, found.dit.config.layers, found.dit.config.window) == (24, 1, 4)
    assert found.dit.two_steps.frames == (0, 0, 1, 1, 2, 2, 3, 3)
    assert found.dit.one_step.timesteps == (900, 500, 400, 200)
    assert (found.vae.config.chunk, found.vae.config.scale) == (2, 4)
    assert found.vae.config.normalise_encoded
    assert (found.schedule.steps, found.schedule.shift) == (50, 3.0)
    assert found.noise.scales == (0.8, 0.71)


def test_what_may_be_left_out(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    fields = {**FIELDS, "schedule": {"shift": 3, "steps": 50, "of": "no use"}}
    found = read_vectors(write_vectors(tmp_path / "v.safetensors", tensors, fields))
    assert found.schedule.extra_step
    assert found.schedule.sigma_min == 0


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 99, b"\x40" + b"\0" * 7 + b"{" * 64])
def test_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(content)
    refused(path, "no safetensors file")


def test_a_file_that_is_cut_off(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    path = write_vectors(tmp_path / "v.safetensors", tensors)
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "no safetensors file")


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = json.dumps(
        {"dit.context": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    ).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refused(path, "no safetensors file")


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path, "no safetensors file")
    refused(tmp_path / "v.safetensors", "no safetensors file")


@pytest.mark.parametrize("name", ["dit", "vae", "schedule"])
def test_missing_metadata(tmp_path: Path, tensors: dict[str, Tensor], name: str) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != name}
    refused(write_vectors(tmp_path / "v", tensors, fields), f"no metadata '{name}'")


def test_no_metadata_at_all(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    refused(write_vectors(tmp_path / "v", tensors, {}), "no metadata 'dit'")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "[" * 100_000])
def test_metadata_that_is_no_object(tmp_path: Path, tensors: dict[str, Tensor], text: str) -> None:
    refused(write_vectors(tmp_path / "v", tensors, {**FIELDS, "vae": text}), "'vae' is no JSON obj")


@pytest.mark.parametrize(
    "name",
    ["dit.context", "dit.one_step.x", "dit.two_steps.flow", "dit.one_step.frame", "vae.latents",
     "vae.z", "schedule.sigmas", "schedule.add_noise", "noise.video", "noise.step"],
)  # fmt: skip
def test_a_missing_tensor(tmp_path: Path, tensors: dict[str, Tensor], name: str) -> None:
    rest = {key: x for key, x in tensors.items() if key != name}
    refused(write_vectors(tmp_path / "v", rest), f"no tensor {name}")


@pytest.mark.parametrize("part", ["dit", "vae"])
def test_no_weights_or_some_of_them(tmp_path: Path, tensors: dict[str, Tensor], part: str) -> None:
    prefix = f"{part}.weights."
    rest = {key: x for key, x in tensors.items() if not key.startswith(prefix)}
    refused(write_vectors(tmp_path / "v", rest), rf"{part}.weights.*an empty mapping")
    gone = next(key for key in tensors if key.startswith(prefix))
    rest = {key: x for key, x in tensors.items() if key != gone}
    refused(write_vectors(tmp_path / "v", rest), f"1 missing: {gone.removeprefix(prefix)}")


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("dit", {"num_layers": 10**12}, "num_layers is 1000000000000; wanted an integer 1 to 512"),
        ("dit", {"num_layers": 500}, "missing"),
        ("dit", {"dim": 2**17}, "of another shape"),
        ("dit", {"dim": 10**30}, "dim is 1000"),
        ("dit", {"dim": 23}, "dim 23 wants"),
        ("dit", {"dim": -24}, "dim is -24"),
        ("dit", {"dim": 24.0}, "dim is 24.0"),
        ("dit", {"dim": True}, "dim is True"),
        ("dit", {"dim": "x" * 10**6}, "dim is 'xxx"),
        ("dit", {"dim": None}, "dim is nothing"),
        ("dit", {"num_heads": 0}, "num_heads is 0"),
        ("dit", {"num_heads": 5}, "heads 5"),
        ("dit", {"text_len": 3}, "text_len is too small"),
        ("dit", {"text_len": 10**9}, "text_len is 1000000000"),
        ("dit", {"window_frames": 10**6}, "window_frames is"),
        ("dit", {"sink_frames": 4}, "sinks 4 wants"),
        ("dit", {"out_dim": 4}, "in_dim and out_dim alike"),
        ("dit", {"patch_size": [1, 2, 4]}, "square patches"),
        ("dit", {"patch_size": [2, 2]}, "patch_size"),
        ("vae", {"dim": 5}, "dim 5"),
        ("vae", {"z_dim": 4}, "z_dim 4, but mean and std of 16"),
        ("vae", {"num_res_blocks": 10**6}, "num_res_blocks is"),
        ("vae", {"num_res_blocks": 3}, "missing"),
        ("vae", {"dim_mult": [1] * 10**4}, "dim_mult is"),
        ("vae", {"dim_mult": [1, 10**9, 2]}, "dim_mult is"),
        ("vae", {"dim_mult": 3}, "dim_mult is 3"),
        ("vae", {"dim_mult": [1, 2]}, "2 changes of time for 2 levels"),
        ("vae", {"temporal_downsample": [1, 0]}, "temporal_downsample is"),
        ("schedule", {"steps": 10**9}, "steps is 1000000000"),
        ("schedule", {"steps": 51}, "schedule.sigmas is 50; wanted 51"),
        ("schedule", {"shift": "inf"}, "shift is 'inf'"),
        ("schedule", {"shift": float("nan")}, "shift is nan"),
        ("schedule", {"sigma_min": -1}, "sigma_min is -1"),
        ("schedule", {"extra_one_step": "no"}, "extra_one_step is 'no'"),
    ],
)
def test_hostile_sizes(
    tmp_path: Path, tensors: dict[str, Tensor], part: str, change: dict[str, object], words: str
) -> None:
    fields = {**FIELDS, part: {**FIELDS[part], **change}}
    refused(write_vectors(tmp_path / "v", tensors, fields), words)


def test_caches_that_no_machine_could_pay(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    wide = torch.zeros(1, 3, 1, 800, 800)
    changed = {**tensors, "dit.one_step.x": wide, "dit.one_step.flow": wide}
    fields = {**FIELDS, "dit": {**FIELDS["dit"], "window_frames": 1000}}
    refused(write_vectors(tmp_path / "v", changed, fields), "GiB of caches and attention")


@pytest.mark.parametrize(
    ("name", "x", "words"),
    [
        ("dit.one_step.x", torch.zeros(4, 3, 2, 4, 6), "wanted anyx3x1xanyxany"),
        ("dit.one_step.x", torch.zeros(0, 3, 1, 4, 6), "is 0x3x1x4x6"),
        ("dit.one_step.flow", torch.zeros(4, 3, 1, 4, 4), "dit.one_step.flow is"),
        ("dit.one_step.frame", torch.tensor([0, 1, 3, 4]), "each the one before or the next"),
        ("dit.one_step.frame", torch.tensor([1, 2, 3, 4]), "each the one before or the next"),
        ("dit.one_step.frame", torch.tensor([0, 1]), "dit.one_step.frame is 2; wanted 4"),
        ("dit.one_step.timestep", torch.tensor([1.0, 2, 3, torch.nan]), "no finite number"),
        ("dit.context", torch.zeros(4, 7), "dit.context is 4x7; wanted anyx6"),
        ("dit.weights.head.head.bias", torch.zeros(7), "head.head.bias 7 .wanted 12"),
        ("vae.video", torch.zeros(3, 8, 8, 12), "8 pictures of 12x8"),
        ("vae.video", torch.zeros(3, 9, 9, 12), "9 pictures of 12x9"),
        ("vae.latents", torch.zeros(16, 4, 2, 3), "vae.latents is 16x4x2x3; wanted 16x5x2x3"),
        ("vae.pixels", torch.zeros(3, 7, 8, 12).fill_(torch.inf), "no finite number"),
        ("noise.video", torch.zeros(3, 8, 8, 8), "wanted 1 and chunks of 4"),
        ("noise.scale", torch.zeros(3), "noise.scale is 3; wanted 2"),
        ("schedule.x0", torch.zeros(3, 3, 4, 5), "schedule.x0 is 3x3x4x5; wanted 2x..."),
        ("schedule.t", torch.zeros(()), "schedule.t is"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, tensors: dict[str, Tensor], name: str, x: Tensor, words: str
) -> None:
    refused(write_vectors(tmp_path / "v", {**tensors, name: x}), words)
