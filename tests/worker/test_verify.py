"""Models against reference vectors: agreement in any size, and a difference found in its place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from brushcast_worker.__main__ import run_command
from brushcast_worker.vectors import Vectors
from brushcast_worker.verify import TOLERANCE, relative_error, verify
from tests.worker.small_vectors import small_vectors, write_vectors

SECTIONS = ("dit.one_step", "dit.two_steps", "schedule", "noise", "vae.encode", "vae.decode")


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
