"""The Wan engines with random weights; what every engine promises is in test_engine.py."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from brushcast.catalogue import read_catalogue
from brushcast.errors import ConfigError, OutOfMemory, WeightsError
from brushcast.frame import Size
from brushcast.gpu_memory import Gpu
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk, read_back
from brushcast_worker.engine import ENGINES, Job, load_engine
from brushcast_worker.engines import wan
from brushcast_worker.engines.attention_choice import BACKENDS, AttentionChoice
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.causal_state import CausalState
from brushcast_worker.engines.wan import ROWS, check_room, random_wan, wan_from_files
from brushcast_worker.quirks import DEFAULT, Quirks, Rope
from brushcast_worker.stages.eager import Eager
from brushcast_worker.stages.resident import Resident
from brushcast_worker.warm_up import warm_up
from tests.worker.conftest import SIZE, chunks, moving
from tests.worker.stages.recording import record

Presets = dict[str, Preset]
NAMES = ("wan-small", "wan-small-tiny", "wan-small-fp8")
NEAR = {"cpu": 1e-4, "cuda": 1e-3}  # of a range of 2, in float32


@pytest.fixture(autouse=True)
def _whole_float32() -> Iterator[None]:
    """A GPU's convolutions round to 10 bits unless they are told not to."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def with_networks(name: str, device: str, *, eager: bool, quirks: Quirks = DEFAULT) -> CausalEngine:
    """Operator by operator, or by way of static rows: on a GPU with graphs. In float32, so that
    they can be held against each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wan, "choose_dtype", lambda _: torch.float32)
        engine = random_wan(name, device, quirks=quirks, fused=False)
    old: Any = engine._networks
    parts = old._transformer, old._autoencoder, old._dtype
    capture = device == "cuda"
    engine._networks = (
        Eager(*parts, quirks=quirks)
        if eager
        else Resident(*parts, torch.device(device), capture=capture, quirks=quirks)
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
    # Of a range of 2. In 8 bits a level's edge is a step; a GPU's are multiplied in bfloat16.
    near = {"cpu": 2e-3, "cuda": 0.06}[device] if name.endswith("fp8") else NEAR[device]
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
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=NEAR[device], rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["wan-small", "wan-small-tiny"])
def test_what_a_gpu_is_fastest_with_loses_no_more_than_its_type_does(
    name: str, presets: Presets
) -> None:
    """Compiled blocks, kernels of our own, weights in other forms: bfloat16's error, not more."""
    plain = random_wan(name, "cuda", fused=False)
    rounded: Any = plain._networks
    plain._networks = Eager(rounded._transformer, rounded._autoencoder, rounded._dtype)
    whole = with_networks(name, "cuda", eager=True)
    exact: Any = whole._networks  # drawn in another type they are other weights
    exact._transformer.load_state_dict(rounded._transformer.state_dict())
    vae = rounded._autoencoder._autoencoder
    exact._autoencoder._autoencoder.load_state_dict(vae.state_dict())
    wanted, *both = (
        painted(engine, [presets["ink"]], [2])[0]
        for engine in (whole, plain, random_wan(name, "cuda"))
    )
    off_plain, off = (float((x - wanted).square().mean().sqrt()) for x in both)
    assert 0 < off < 1.5 * off_plain
    assert off_plain < 0.1 * float(wanted.std())


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
@pytest.mark.parametrize(
    ("name", "quirks", "near"),
    [
        ("wan-small", DEFAULT, 1e-4),
        ("wan-small", Quirks(sinks=0.9), 1e-4),
        ("wan-small-fp8", DEFAULT, 0.01),
    ],
)
def test_compiled_parts_paint_the_same(
    name: str, quirks: Quirks, near: float, presets: Presets
) -> None:
    plain, fused = (with_networks(name, "cpu", eager=False, quirks=quirks) for _ in range(2))
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


def test_the_attention_that_was_measured_is_reported_and_used(
    monkeypatch: pytest.MonkeyPatch, presets: Presets
) -> None:
    """On the CPU the static rows run without graphs, within what was chosen."""
    chosen = AttentionChoice(times_ms={"efficient": 0.5, "flash": 1.0})
    monkeypatch.setattr(wan, "choose_attention", lambda *_: chosen)
    engine = random_wan("wan-small", "cpu")
    assert dict(engine.info.attention_ms) == {"efficient": 0.5, "flash": 1.0}
    assert engine.info.attention == "efficient 0.50 ms, flash 1.00 ms"
    old: Any = engine._networks
    parts = old._transformer, old._autoencoder, old._dtype, torch.device("cpu")
    engine._networks = Resident(*parts, capture=False, kernels=chosen.kernels)
    orders = []
    old._transformer.blocks[0].register_forward_pre_hook(
        lambda *_: orders.append(torch._C._get_sdp_priority_order()[:3])
    )
    painted(engine, [presets["ink"]], [2], 16)
    assert orders
    assert all(order == [int(BACKENDS[name]) for name in chosen.order] for order in orders)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", NAMES)
def test_a_warmed_engine_builds_nothing_more_for_the_next_stream(
    name: str, presets: Presets, device: str
) -> None:
    """What would be a CUDA graph each is recorded while it warms up, not before somebody's eyes."""
    engine = with_networks(name, device, eager=False)
    networks: Any = engine._networks
    of_networks = networks.graphs, networks._painting
    if device == "cpu":
        for graphs in of_networks:
            record(graphs)
    warm_up(engine, presets["neon"], SIZE, time.monotonic_ns)
    before = {key for graphs in of_networks for key in graphs._statics}
    assert {name for name, *_ in before} >= {
        "encode, 0",
        "decode, 1",
        "encode, first",
        "decode, first",
    }
    assert sum(graphs.recorded for graphs in of_networks) == len(before)
    painted(engine, [presets["ink"]], [engine.info.default_steps], 48)
    more = {key for graphs in of_networks for key in graphs._statics} - before
    assert {name for name, *_ in more} <= ({"motion"} if device == "cpu" else set())


@pytest.mark.parametrize("name", NAMES)
def test_the_first_chunk_alone_is_what_it_would_be_in_the_stream_batch(
    name: str, presets: Presets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps at once or with those of the chunks behind it: the same pictures."""
    got = painted(random_wan(name, "cpu"), [presets["ink"]], [3], 40)[0]
    monkeypatch.setattr(CausalEngine, "_at_once", _lead_alone)
    wanted = painted(random_wan(name, "cpu"), [presets["ink"]], [3], 40)[0]
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def _lead_alone(engine: CausalEngine, state: CausalState) -> None:
    frame = state.under_way[-1]
    frame.lead = [engine._all_steps(state, frame, z_CHW) for z_CHW in frame.lead]


@pytest.mark.parametrize(
    ("gib", "level", "words"),
    [(12.0, "INFO", "X has 12 GiB: enough."), (7.7, "WARNING", "for small pictures or one stream")],
)
def test_the_memory_is_judged_before_anything_is_loaded(
    gib: float, level: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As fetching judges it: a card of 8 GB may report a little less."""
    with caplog.at_level("INFO"):
        check_room(read_catalogue()["wan-1.3b"], Gpu(name="X", gib=gib, capability=8.9))
    (record,) = caplog.records
    assert record.levelname == level
    assert words in record.message


def test_too_little_memory_is_refused_with_what_fits() -> None:
    models = read_catalogue()
    with pytest.raises(OutOfMemory, match="X has 24 GiB: too little. wan-1.3b fits"):
        check_room(models["wan-14b"], Gpu(name="X", gib=24, capability=8.9))
    with pytest.raises(OutOfMemory, match="X has 4 GiB: too little. pocket fits"):
        check_room(models["wan-1.3b"], Gpu(name="X", gib=4, capability=8.9))


def test_a_process_compiles_as_many_shapes_as_streams_can_make() -> None:
    """With torch's own limit the ninth ends in an error, in the middle of somebody's stream."""
    seen = []

    def compiled(graph: torch.fx.GraphModule, _: object) -> object:
        seen.append(graph)
        return graph.forward

    settings = torch._dynamo.config.patch(recompile_limit=8)
    with settings, torch.compiler.config.patch(cache_key_tag=""):  # type: ignore[attr-defined]
        wan.prepare_compiling(AttentionChoice(times_ms={"cudnn": 1.0, "flash": 2.0}))
        assert torch.compiler.config.cache_key_tag == "cudnn,flash,math"
        fused = torch.compile(lambda x: 2 * x + 1, backend=compiled, fullgraph=True, dynamic=False)
        for rows in range(2, 32):
            x = torch.ones(rows, 3)
            assert torch.equal(fused(x), 3 * x)
    assert len(seen) == 30


@pytest.mark.parametrize("quirks", [DEFAULT, Quirks(sinks=0.9)], ids=["", "sinks"])
def test_another_size_needs_no_compiled_code_of_its_own(
    built: list[torch.fx.GraphModule], presets: Presets, quirks: Quirks
) -> None:
    """It took 31 s on an H200, in the middle of a stream whose picture should get smaller."""
    engine = with_networks("wan-small-tiny", "cpu", eager=False, quirks=quirks)
    networks: Any = engine._networks
    with (
        torch._dynamo.config.patch(recompile_limit=8),
        torch.compiler.config.patch(cache_key_tag=""),  # type: ignore[attr-defined]
    ):
        wan.prepare_compiling(AttentionChoice(times_ms={"cudnn": 1.0}))
        networks._transformer.fuse()
        networks._autoencoder.fuse()
        warm_up(engine, presets["ink"], Size(64, 64), time.monotonic_ns)
        before = len(built)
        for size in (Size(96, 64), Size(80, 48), Size(64, 64)):
            warm_up(engine, presets["ink"], size, time.monotonic_ns)
        assert len(built) == before > 8


def test_a_streams_beginning_needs_no_compiled_code_of_its_own(
    built: list[torch.fx.GraphModule], presets: Presets
) -> None:
    """10 s for each: the lead runs as it is, what follows as in the steady state."""
    engine = with_networks("wan-small", "cpu", eager=False)
    wanted = painted(engine, [presets["ink"]], [2], 24)[0]
    networks: Any = engine._networks
    networks._autoencoder.fuse()
    got = painted(engine, [presets["ink"]], [2], 24)[0]
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
    assert len(built) == 2, "to encode, and to decode"
