"""Models against reference vectors: agreement in any size, and a difference found in its place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brushcast_worker import verify as module
from brushcast_worker.__main__ import run_command
from brushcast_worker.models.dit import DiT, DiTConfig
from brushcast_worker.models.wan_vae import WanVAE, WanVAEConfig
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import (
    SECTIONS,
    TOLERANCE,
    Numbers,
    decode_error,
    dit_error,
    encode_error,
    relative_error,
    tolerances,
    verify,
)
from tests.worker.small_vectors import small_vectors, write_vectors

BFLOAT16 = Numbers(dtype=torch.bfloat16)
NETWORKS = ("dit.one_step", "dit.two_steps", "vae.encode", "vae.decode")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return small_vectors()


def test_the_published_numbers_agree(reference: Vectors) -> None:
    errors = verify(reference)
    assert tuple(errors) == SECTIONS
    assert max(errors.values()) < TOLERANCE / 10


def test_other_sizes_agree(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_vectors(tmp_path / "v.safetensors", tensors)
    assert run_command(["verify", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert tuple(told["sections"]) == SECTIONS
    assert max(told["sections"].values()) < TOLERANCE / 10
    assert run_command(["verify", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SECTIONS)
    assert all(line.endswith("agrees") for line in lines)


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("dit.one_step.flow", "dit.one_step"),
        ("dit.two_steps.flow", "dit.two_steps"),
        ("schedule.sigmas", "schedule"),
        ("schedule.timesteps", "schedule"),
        ("schedule.add_noise", "schedule"),
        ("noise.scale", "noise"),
        ("vae.latents", "vae.encode"),
        ("vae.pixels", "vae.decode"),
    ],
)
def test_a_difference_is_told_of_its_section_alone(
    tmp_path: Path,
    tensors: dict[str, Tensor],
    name: str,
    section: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = tensors[name].contiguous().clone()
    x.view(-1)[-1] += 3e-4 * x.abs().max()
    path = write_vectors(tmp_path / "v.safetensors", {**tensors, name: x})
    assert run_command(["verify", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)["sections"]
    assert [key for key, error in told.items() if error > TOLERANCE] == [section]
    assert told[section] == pytest.approx(3e-4, rel=0.5)
    assert run_command(["verify", str(path)]) == 1
    differs = [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line]
    assert [line.split()[0] for line in differs] == [section]


def test_another_first_timestep_is_a_difference(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {**tensors, "noise.step": tensors["noise.step"] + 1}
    path = write_vectors(tmp_path / "v.safetensors", changed)
    assert run_command(["verify", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["sections"]["noise"] == pytest.approx(1 / 701)


def test_a_result_that_is_no_number_does_not_agree(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "vae.weights.decoder.head.2.bias"
    changed = {**tensors, name: torch.full_like(tensors[name], torch.inf)}
    path = write_vectors(tmp_path / "v.safetensors", changed)
    assert run_command(["verify", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # strict JSON
    assert told["sections"]["vae.decode"] is None
    assert not told["agrees"]


@pytest.fixture(scope="module")
def allowed(reference: Vectors) -> dict[str, float]:
    """In bfloat16."""
    return tolerances(reference, torch.bfloat16)


def test_bfloat16_stays_within_what_is_derived(
    reference: Vectors, allowed: dict[str, float]
) -> None:
    errors = verify(reference, BFLOAT16)
    assert tuple(allowed) == tuple(errors) == SECTIONS
    for name, error in errors.items():
        if name in NETWORKS:  # and what is derived is no blank cheque
            assert 0.25 * allowed[name] < error < 0.8 * allowed[name], name
        else:
            assert error < allowed[name] == TOLERANCE


def wrong_epsilon(model: DiT) -> None:
    for part in model.modules():
        if hasattr(part, "eps"):
            part.eps = 1e-2


def skipped_norm(model: DiT) -> None:
    model.blocks[1].norm3.forward = lambda x: x


def swapped_pair(model: DiT) -> None:
    model.rope[:, [0, 1]] = model.rope[:, [1, 0]]


def turned_the_other_way(model: DiT) -> None:
    model.rope[..., 1].neg_()


@pytest.mark.parametrize(
    "defect", [wrong_epsilon, skipped_norm, swapped_pair, turned_the_other_way]
)
def test_a_defect_of_the_transformer_is_seen_in_bfloat16(
    reference: Vectors,
    allowed: dict[str, float],
    defect: Callable[[DiT], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(config: DiTConfig) -> DiT:
        model = DiT(config)
        defect(model)
        return model

    monkeypatch.setattr(module, "DiT", broken)
    for name in ("one_step", "two_steps"):
        error = dit_error(reference.dit, getattr(reference.dit, name), BFLOAT16)
        assert error > allowed[f"dit.{name}"]


def no_attention(model: WanVAE) -> None:
    for half in (model.encoder, model.decoder):
        half.middle[1].forward = lambda x, _: x


def no_norm_before_attention(model: WanVAE) -> None:
    for half in (model.encoder, model.decoder):
        half.middle[1].norm.forward = lambda x: x


@pytest.mark.parametrize("defect", [no_attention, no_norm_before_attention])
def test_a_defect_of_the_autoencoder_is_seen_in_bfloat16(
    reference: Vectors,
    allowed: dict[str, float],
    defect: Callable[[WanVAE], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(config: WanVAEConfig) -> WanVAE:
        model = WanVAE(config)
        defect(model)
        return model

    monkeypatch.setattr(module, "WanVAE", broken)
    assert encode_error(reference.vae, BFLOAT16) > allowed["vae.encode"]
    assert decode_error(reference.vae, BFLOAT16) > allowed["vae.decode"]


def test_the_command_takes_bfloat16(
    tmp_path: Path, tensors: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_vectors(tmp_path / "v.safetensors", tensors))
    assert run_command(["verify", path, "--dtype", "bfloat16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert tuple(told["sections"]) == tuple(told["tolerances"]) == SECTIONS
    assert all(1e-3 < told["sections"][name] < told["tolerances"][name] for name in NETWORKS)
    assert run_command(["verify", path, "--dtype", "float16"]) == 2


@pytest.mark.gpu
def test_bfloat16_of_a_gpu_stays_within_what_is_derived(
    reference: Vectors, allowed: dict[str, float]
) -> None:
    numbers = Numbers(dtype=torch.bfloat16, device=torch.device("cuda"))
    errors = verify(reference, numbers)
    assert all(error < allowed[name] for name, error in errors.items())


def test_relative_error() -> None:
    wanted = torch.tensor([1.0, -4.0])
    assert relative_error(wanted, wanted) == 0
    assert relative_error(torch.tensor([1.5, -4.0]), wanted) == 0.125
    assert relative_error(torch.zeros(2), torch.zeros(2)) == 0
    for seen, against in (
        (torch.tensor([torch.nan, 0]), wanted),
        (wanted, torch.zeros(2)),
        (wanted[:1], wanted),
    ):
        assert relative_error(seen, against) == math.inf
