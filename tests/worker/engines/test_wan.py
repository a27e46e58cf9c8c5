"""The Wan engines with random weights; what every engine promises is in test_engine.py."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brushcast.errors import ConfigError, WeightsError
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk
from brushcast_worker.engine import Job, load_engine
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.wan import ROWS, random_wan, wan_from_files
from brushcast_worker.quirks import DEFAULT, Quirks, Rope
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.graphed import Graphed
from tests.worker.conftest import SIZE, chunks, moving

Presets = dict[str, Preset]
NAMES = ("wan-small", "wan-small-tiny")


def with_networks(name: str, device: str, *, eager: bool, quirks: Quirks = DEFAULT) -> CausalEngine:
    """Operator by operator, or by way of static rows: on a GPU with graphs."""
    engine = random_wan(name, device, quirks=quirks, fused=False)
    old: Any = engine._networks
    parts = old._transformer, old._autoencoder, old._dtype
    capture = device == "cuda"
    engine._networks = (
        Eager(*parts, quirks=quirks)
        if eager
        else Graphed(*parts, torch.device(device), capture=capture, pooled=True, quirks=quirks)
    )
    return engine


def painted(
    engine: CausalEngine,
    looks: Sequence[Preset],
    steps: Sequence[int],
    pictures: int = 40,
    then: Mapping[int, Preset] | None = None,
) -> list[torch.Tensor]:
    """Streams that come and go, with steps that change; of each all its pictures. `then`: from
    which tick on the first has another look."""
    states = [engine.open(look, SIZE) for look in looks]
    out: list[list[torch.Tensor]] = [[] for _ in looks]
    looks = list(looks)
    for tick, chunk in enumerate(chunks(moving(pictures), engine.info.device)):
        looks[0] = (then or {}).get(tick, looks[0])
        levels = torch.from_numpy(np.stack(chunk.pixels)).to(engine.info.device)
        sent = dataclasses.replace(chunk, levels_THWC=levels)
        who = [n for n in range(len(looks)) if len(looks) == 1 or (tick + n) % 3]

        def put(n: int, pictures: Chunk, who: list[int] = who) -> None:
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
    near = 1e-4 if device == "cpu" else 0.06  # bfloat16, of a range of 2
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=near, rtol=0)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("rope", ["slot", "frame"])
@pytest.mark.parametrize(("streams", "steps"), [(1, [2]), (3, [1]), (1, [1, 1, 3, 3, 3, 2])])
def test_a_change_of_prompt_is_the_same_by_static_rows(
    streams: int, steps: list[int], rope: Rope, presets: Presets, device: str
) -> None:
    """With sinks that give way, too; the second change comes while the first is under way."""
    looks = [dataclasses.replace(presets["ink"], seed=seed) for seed in range(streams)]
    then = {7: presets["neon"], 9: presets["oil"], 14: presets["ink"]}
    quirks = Quirks(rope=rope, sinks=0.9)
    wanted, got = (
        painted(with_networks("wan-small", device, eager=eager, quirks=quirks), looks, steps, 80,
                then)
        for eager in (True, False)
    )  # fmt: skip
    near = 1e-4 if device == "cpu" else 0.06
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=near, rtol=0)


def test_wans_encoding_is_normalised_where_it_is_asked_for(presets: Presets) -> None:
    plain, other = (
        random_wan("wan-small", "cpu", quirks=Quirks(normalise_encoded=on)) for on in (False, True)
    )
    one, two = (painted(engine, [presets["ink"]], [1], 12)[0] for engine in (plain, other))
    assert float((one - two).abs().mean()) > 1e-3
    with pytest.raises(ConfigError, match="the tiny autoencoder knows no such thing"):
        random_wan("wan-small-tiny", "cpu", quirks=Quirks(normalise_encoded=True))


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
@pytest.mark.parametrize("quirks", [DEFAULT, Quirks(sinks=0.9)])
def test_compiled_parts_paint_the_same(quirks: Quirks, presets: Presets) -> None:
    plain, fused = (with_networks("wan-small", "cpu", eager=False, quirks=quirks) for _ in range(2))
    fused._transformer.fuse()
    one, two = (painted(engine, [presets["ink"]], [2], 28)[0] for engine in (plain, fused))
    torch.testing.assert_close(two, one, atol=1e-4, rtol=0)


class Words:
    """Stands for the text encoder: tokens by the prompt's length."""

    def prompt_tokens(self, prompt: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(len(prompt))
        return torch.randn(3, ROWS["wan-small"].transformer.context_dim, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_published_files_are_what_is_run(name: str, tmp_path: Path, presets: Presets) -> None:
    made = random_wan(name, "cpu", seed=3)
    old: Any = made._networks
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


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="brushcast models fetch wan-1.3b` brings it"):
        load_engine("wan-1.3b-tiny", "cpu")
