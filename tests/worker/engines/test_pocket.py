"""The embedded model: loading, and the devices that it can go to."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from brushcast.errors import WeightsError
from brushcast.presets import Preset, load_presets
from brushcast_worker.engine import Job
from brushcast_worker.engines import pocket
from brushcast_worker.models.int8 import Int8Linear, int8_pays
from brushcast_worker.models.pocket import FILE, build_pocket, load_pocket, save_pocket
from brushcast_worker.models.text import STYLES
from tests.worker.conftest import SIZE, chunks, moving, outcome

TRAINED = (pocket.WEIGHTS / FILE).is_file()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pocket, "WEIGHTS", tmp_path)
    return tmp_path


def test_loads_what_was_saved(folder: Path) -> None:
    save_pocket(build_pocket(), folder / FILE)
    info = pocket.load_pocket("cpu").info
    assert info.name == "pocket"
    assert info.steps == (1, 2)
    assert "M parameters" in info.description


@pytest.mark.parametrize("pays", [False, True])
def test_it_computes_in_8_bits_where_that_pays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    if pays and not int8_pays():
        pytest.skip("this CPU has no VNNI instructions")
    monkeypatch.setattr(pocket, "int8_pays", lambda: pays)
    monkeypatch.setattr(pocket, "choose_dtype", lambda device: torch.float32)
    save_pocket(build_pocket(), folder / FILE)
    engine = pocket.load_pocket("cpu")
    assert engine.info.dtype == ("float32, int8" if pays else "float32")
    ffn = engine._transformer.blocks[0].ffn
    assert isinstance(ffn[0], Int8Linear) == pays
    assert isinstance(ffn[1], torch.nn.GELU) != pays


def test_weights_with_a_missing_part_are_refused_and_it_is_named(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_pocket(build_pocket(), folder / FILE)
    tensors = load_file(folder / FILE)
    gone = next(name for name in tensors if name.startswith("dit.blocks.1."))
    del tensors[gone]
    save_file(tensors, folder / FILE)
    with pytest.raises(WeightsError, match=gone.removeprefix("dit.")):
        pocket.load_pocket("cpu")


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_pocket(build_pocket(), folder / FILE)
    tensors = load_file(folder / FILE)
    save_file({name: tensor.flatten()[:1] for name, tensor in tensors.items()}, folder / FILE)
    with pytest.raises(WeightsError, match="size mismatch"):
        pocket.load_pocket("cpu")


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\xff" * 64])
def test_a_broken_file_is_refused(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    with pytest.raises(WeightsError, match=FILE):
        pocket.load_pocket("cpu")


def test_missing_weights_are_named(folder: Path) -> None:
    with pytest.raises(WeightsError, match=str(folder)):
        pocket.load_pocket("cpu")


@pytest.mark.skipif(not TRAINED, reason="not trained yet")
def test_the_shipped_weights_load() -> None:
    assert pocket.load_pocket("cpu").info.device == "cpu"


@pytest.mark.skipif(not TRAINED, reason="not trained yet")
def test_a_change_of_look_does_not_flash(presets: dict[str, Preset]) -> None:
    """While ink becomes neon the picture is never much brighter or darker than both."""
    engine = pocket.load_pocket("cpu")
    state = engine.open(presets["ink"], SIZE)
    means = []
    for tick, chunk in enumerate(chunks(moving(64, speed_px=2))):
        preset = presets["ink" if tick < 6 else "neon"]
        (result,) = outcome(engine, [Job(state=state, chunk=chunk, preset=preset, steps=1)])
        assert result is not None
        means += result.x_TCHW.mean((1, 2, 3)).tolist()
    ink, neon = sum(means[16:24]) / 8, sum(means[-8:]) / 8
    low, high = min(ink, neon), max(ink, neon)
    assert all(low - 0.1 <= mean <= high + 0.1 for mean in means[24:])
    steps = [abs(b - a) for a, b in pairwise(means[24:])]
    assert max(steps) <= 0.6 * (high - low) + 0.05


def test_a_prompt_becomes_tokens_and_strength_a_noise_level() -> None:
    looks = pocket.PocketLooks(build_pocket())
    weak = looks.look(Preset(name="a", title="", prompt="ink", strength=0.1))
    strong = looks.look(Preset(name="a", title="", prompt="ink", strength=0.9))
    assert weak.s0 < strong.s0
    assert not torch.equal(weak.tokens_BLC, strong.tokens_BLC)


@pytest.mark.parametrize("preset", load_presets().values(), ids=lambda preset: preset.name)
def test_a_built_in_preset_is_its_look_and_no_mixture(preset: Preset) -> None:
    reading = load_pocket(pocket.WEIGHTS).text.read(preset.prompt)
    assert reading.sure
    assert reading.weights[STYLES.index(preset.name)] > 0.95, reading


def test_an_unknown_wording_gives_the_nearest_look_and_says_which() -> None:
    looks = pocket.PocketLooks(load_pocket(pocket.WEIGHTS))
    remark = looks.remark(Preset(name="a", title="", prompt="qwertz"))
    match = re.fullmatch(r"'qwertz' names no look that is known; the nearest is (\S+)", remark)
    assert match is not None
    assert match[1] in STYLES[1:]


def test_random_weights_are_the_same_every_time() -> None:
    one, two = pocket.random_pocket("cpu"), pocket.random_pocket("cpu")
    for a, b in zip(one._transformer.parameters(), two._transformer.parameters(), strict=True):
        assert torch.equal(a, b)
        assert bool(a.any())
