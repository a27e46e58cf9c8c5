"""The Wan engines with random weights; what every engine promises is in test_engine.py."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brushcast.catalogue import read_catalogue
from brushcast.errors import ConfigError, WeightsError
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk, read_back
from brushcast_worker.engine import ENGINES, Job, load_engine
from brushcast_worker.engines import wan
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.wan import ROWS, random_wan, wan_from_files
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.resident import Resident
from tests.worker.conftest import SIZE, chunks, moving

Presets = dict[str, Preset]
NAMES = ("wan-small", "wan-small-tiny", "wan-small-fp8")


def with_networks(name: str, device: str, *, eager: bool) -> CausalEngine:
    """Operator by operator, or by way of static rows: on a GPU with graphs."""
    engine = random_wan(name, device, fused=False)
    old: Any = engine._networks
    parts = old._transformer, old._autoencoder, old._dtype
    capture = device == "cuda"
    engine._networks = (
        Eager(*parts) if eager else Resident(*parts, torch.device(device), capture=capture)
    )
    return engine


def painted(
    engine: CausalEngine, looks: Sequence[Preset], steps: Sequence[int], pictures: int = 40
) -> list[torch.Tensor]:
    """Streams that come and go, with steps that change; of each all its pictures."""
    states = [engine.open(look, SIZE) for look in looks]
    out: list[list[torch.Tensor]] = [[] for _ in looks]
    for tick, chunk in enumerate(chunks(moving(pictures), engine.info.device)):
        levels = torch.from_numpy(np.stack(chunk.pixels)).to(engine.info.device)
        sent = dataclasses.replace(chunk, levels_THWC=levels)
        who = [n for n in range(len(looks)) if len(looks) == 1 or (tick + n) % 3]

        def put(n: int, pictures: Chunk, who: list[int] = who) -> None:
            read_back(pictures)  # waits
            out[who[n]].append(pictures.x_TCHW.clone())

        count = steps[tick % len(steps)]
        engine.step(
            [Job(state=states[n], chunk=sent, preset=looks[n], steps=count) for n in who], put
        )
    return [torch.cat(pictures) for pictures in out]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("streams", "steps"), [(1, [2]), (3, [2]), (1, [1, 1, 3, 3, 3, 2])])
def test_static_rows_paint_what_operators_paint(
    name: str, streams: int, steps: list[int], presets: Presets, device: str
) -> None:
    looks = [dataclasses.replace(presets["ink"], seed=seed) for seed in range(streams)]
    wanted = painted(with_networks(name, device, eager=True), looks, steps)
    got = painted(with_networks(name, device, eager=False), looks, steps)
    # Of a range of 2: a CPU's float32, a GPU's bfloat16. In 8 bits a level's edge is a step.
    near = 0.06 if device == "cuda" else 2e-3 if name.endswith("fp8") else 1e-4
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=near, rtol=0)


def test_a_prompt_is_seen(presets: Presets) -> None:
    engine = random_wan("wan-small", "cpu")
    ink, neon = (painted(engine, [presets[name]], [2])[0] for name in ("ink", "neon"))
    assert float((ink - neon).abs().mean()) > 1e-4


def test_random_weights_are_the_same_every_time() -> None:
    one, two = (random_wan("wan-small", "cpu")._transformer for _ in range(2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_published_sizes_are_in_the_table() -> None:
    with torch.device("meta"):
        sizes = {name: _parameters(name) for name in ("wan-1.3b", "wan-14b")}
    assert sizes == {"wan-1.3b": pytest.approx(1.419e9, rel=1e-3),
                     "wan-14b": pytest.approx(14.29e9, rel=1e-3)}  # fmt: skip


def _parameters(name: str) -> int:
    from brushcast_worker.models.dit import DiT

    return sum(p.numel() for p in DiT(ROWS[name].transformer).parameters())


def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown engine 'wan-2b-random': there is .*wan-14b-tiny"
    ):
        load_engine("wan-2b-random", "cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants g++ on a CPU")
@pytest.mark.parametrize(("name", "near"), [("wan-small", 1e-4), ("wan-small-fp8", 0.01)])
def test_compiled_parts_paint_the_same(name: str, near: float, presets: Presets) -> None:
    plain, fused = (with_networks(name, "cpu", eager=False) for _ in range(2))
    fused._transformer.fuse()
    one, two = (painted(engine, [presets["ink"]], [2], 28)[0] for engine in (plain, fused))
    torch.testing.assert_close(two, one, atol=near, rtol=0)


class Words:
    """Stands for the text encoder: tokens by the prompt's length."""

    def prompt_tokens(self, prompt: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(len(prompt))
        return torch.randn(3, ROWS["wan-small"].transformer.context_dim, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_published_files_are_what_is_run(name: str, tmp_path: Path, presets: Presets) -> None:
    made = random_wan(name, "cpu", seed=4)
    old: Any = random_wan(name.removesuffix("-fp8"), "cpu", seed=4)._networks
    files = {
        "transformer": tmp_path / "model.pt",
        "vae": tmp_path / "vae.pth",
        "tiny_vae": tmp_path / "vae.pth",
    }
    weights = {f"model.{k}": x for k, x in old._transformer.state_dict().items()}
    torch.save({"generator": weights}, files["transformer"])
    torch.save(old._autoencoder._autoencoder.state_dict(), files["vae"])
    loaded = wan_from_files(name, files, Words(), torch.device("cpu"))
    for a, b in zip(loaded._transformer.parameters(), made._transformer.parameters(), strict=True):
        assert torch.equal(a, b)
    made._looks = loaded._looks
    one, two = (painted(engine, [presets["ink"]], [2], 16)[0] for engine in (made, loaded))
    assert one.std() > 0.01, "nothing to see"
    assert torch.equal(one, two)
    tokens = loaded._looks.look(presets["ink"]).tokens_BLC
    assert tokens.shape == (1, 8, 32)
    assert not tokens[:, 3:].any()


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    made: Any = random_wan("wan-small", "cpu")._networks
    weights = made._transformer.state_dict()
    weights["head.head.weight"] = weights["head.head.weight"][:3]
    file = tmp_path / "model.pt"
    torch.save(weights, file)
    with pytest.raises(WeightsError, match=r"head\.head\.weight"):
        wan_from_files(
            "wan-small", {"transformer": file, "vae": file}, Words(), torch.device("cpu")
        )


def test_8_bit_floats_paint_the_same_but_for_rounding(presets: Presets) -> None:
    plain, rounded = (random_wan(name, "cpu") for name in ("wan-small", "wan-small-fp8"))
    assert rounded.info.dtype == f"{plain.info.dtype}, fp8"
    one, two = (painted(engine, [presets["ink"]], [2])[0] for engine in (plain, rounded))
    assert 0 < float((two - one).abs().mean()) < 0.02 * float(one.std())


def test_a_gpu_without_8_bit_floats_is_told_what_it_can_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wan, "choose_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(wan, "device_name", lambda _: "NVIDIA A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    said = r"wan-14b-tiny-fp8 wants a GPU .*8\.9.*, NVIDIA A100 does not: wan-14b-tiny runs there"
    for name in ("wan-14b-tiny-fp8", "wan-14b-tiny-fp8-random"):
        with pytest.raises(ConfigError, match=said):
            load_engine(name, "cuda")


def test_every_published_engine_has_its_files_in_the_catalogue() -> None:
    models = {ROWS[name].model for name in ENGINES if name.startswith("wan") and name in ROWS}
    assert models == set(read_catalogue())


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name, model in (("wan-1.3b-tiny", "wan-1.3b"), ("wan-14b-tiny-fp8", "wan-14b-fp8")):
        with pytest.raises(WeightsError, match=f"brushcast models fetch {model}` brings it"):
            load_engine(name, "cpu")
