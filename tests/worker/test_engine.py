"""What every engine promises (engine.Engine), held against every engine that there is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from brushcast.errors import ConfigError
from brushcast.frame import Frame, Pixels, Size
from brushcast.presets import Preset
from brushcast_worker.chunk import PADDING_SEQ, Chunk, chunk_from_frames
from brushcast_worker.engine import Engine, EngineState, Job, load_engine
from tests.worker.conftest import SIZE, chunks, frames, moving, outcome

Presets = dict[str, Preset]


def run(
    engine: Engine,
    source: list[Chunk],
    preset: Preset,
    *,
    steps: int = 1,
    state: EngineState = None,
    lossless: bool = False,
) -> list[Chunk | None]:
    state = engine.open(preset, SIZE) if state is None else state
    return [
        outcome(
            engine,
            [Job(state=state, chunk=chunk, preset=preset, steps=steps, lossless=lossless)],
        )[0]
        for chunk in source
    ]


def pictures(results: list[Chunk | None]) -> Tensor:
    return torch.cat([result.x_TCHW for result in results if result is not None])


def answered(results: list[Chunk | None]) -> list[bool]:
    """Of what came out: whether nothing was computed for it."""
    return [result.reused for result in results if result is not None]


def first_chunks(engine: Engine) -> int:
    """So many chunks of a still scene are computed."""
    return 2 if engine.info.late_frames else 1


def test_says_what_it_is(engine: Engine) -> None:
    info = engine.info
    assert info.default_steps in info.steps
    assert info.default_size.width % info.size_multiple == 0
    assert info.default_size.height % info.size_multiple == 0
    assert info.device_name


def test_pictures_keep_their_size_range_and_names(engine: Engine, presets: Presets) -> None:
    source = chunks(moving(12), engine.info.device)
    sent = [name for chunk in source for name in zip(chunk.seqs, chunk.captured_ns, strict=True)]
    names = []
    for result in run(engine, source, presets["ink"]):
        assert result is not None
        assert result.x_TCHW.shape[1:] == source[0].x_TCHW.shape[1:]
        assert -1 <= float(result.x_TCHW.min()) <= float(result.x_TCHW.max()) <= 1
        names += zip(result.seqs, result.captured_ns, strict=True)
        assert len(result.x_TCHW) == len(result.seqs)
    assert names == sent[: len(sent) - engine.info.late_frames]


def test_the_same_jobs_from_a_fresh_state_give_the_same_bits(
    engine: Engine, presets: Presets
) -> None:
    for steps in engine.info.steps:
        source = chunks(moving(16), engine.info.device)
        first = run(engine, source, presets["ink"], steps=steps)
        assert torch.equal(
            pictures(first), pictures(run(engine, source, presets["ink"], steps=steps))
        )


def test_two_streams_in_turn_equal_two_streams_alone(engine: Engine, presets: Presets) -> None:
    ink, neon = presets["ink"], presets["neon"]
    one, two = (
        chunks(moving(20, seed=1), engine.info.device),
        chunks(moving(20, seed=2, speed_px=2), engine.info.device),
    )
    alone = [pictures(run(engine, one, ink)), pictures(run(engine, two, neon, steps=2))]
    first, second = engine.open(ink, SIZE), engine.open(neon, SIZE)
    in_turn: list[list[Chunk | None]] = [[], []]
    for a, b in zip(one, two, strict=True):
        in_turn[0] += outcome(engine, [Job(state=first, chunk=a, preset=ink, steps=1)])
        in_turn[1] += outcome(engine, [Job(state=second, chunk=b, preset=neon, steps=2)])
    assert torch.equal(pictures(in_turn[0]), alone[0])
    assert torch.equal(pictures(in_turn[1]), alone[1])


def test_streams_that_share_a_forward_equal_streams_alone(engine: Engine, presets: Presets) -> None:
    """Not bit by bit: a product over more rows may add up in another order, and be rounded."""
    looks = [presets["ink"], presets["neon"], presets["comic"]]
    sources = [chunks(moving(20, seed=seed), engine.info.device) for seed in range(3)]
    alone = [pictures(run(engine, s, p)) for s, p in zip(sources, looks, strict=True)]
    states = [engine.open(look, SIZE) for look in looks]
    together: list[list[Chunk | None]] = [[], [], []]
    for tick in range(len(sources[0])):
        jobs = [
            Job(state=states[i], chunk=sources[i][tick], preset=looks[i], steps=1) for i in range(3)
        ]
        for i, result in enumerate(outcome(engine, jobs)):
            together[i].append(result)
    level = 2 / 255  # two looks are 60 apart
    for i in range(3):
        error = (pictures(together[i]) - alone[i]).square().mean().sqrt()
        assert error < (0.01 if "float32" in engine.info.dtype else 0.5) * level


def test_the_first_chunk_comes_out_at_once_and_others_later_by_the_further_steps(
    engine: Engine, presets: Presets
) -> None:
    source = chunks(moving(24), engine.info.device)
    for steps in engine.info.steps:
        results = run(engine, source, presets["ink"], steps=steps)
        late = steps - 1
        comes_out = [result is not None for result in results]
        assert comes_out == [True, *[False] * late, *[True] * (len(results) - 1 - late)]
        seqs = [seq for result in results if result is not None for seq in result.seqs]
        assert seqs == list(range(24 - 4 * late - engine.info.late_frames))


def test_a_change_of_steps_loses_no_picture(engine: Engine, presets: Presets) -> None:
    most = max(engine.info.steps)
    if most == 1:
        pytest.skip("has one step only")
    source = chunks(moving(40), engine.info.device)
    state = engine.open(presets["ink"], SIZE)
    results: list[Chunk | None] = []
    for tick, chunk in enumerate(source):
        steps = 1 if tick < 3 or tick >= 7 else most
        job = Job(state=state, chunk=chunk, preset=presets["ink"], steps=steps)
        results += outcome(engine, [job])
    seqs = [seq for result in results if result is not None for seq in result.seqs]
    assert seqs == list(range(40 - engine.info.late_frames))


TINY = Size(32, 32)


class Camera:
    """A stream of scenes that pan, stop or are cut, and all that came back of it."""

    def __init__(self, state: EngineState) -> None:
        self.state = state
        self.back: list[int] = []
        self.count = 0
        self._scene = 0
        self._last: Pixels | None = None

    def chunk(self, does: str, device: str) -> Chunk:
        """The next four pictures; `middle`: with the cut between the second and the third."""
        pictures = self._shots()
        if does in ("cut", "middle"):
            self._scene += 1
            pictures = self._shots() if does == "cut" else [*pictures[:2], *self._shots()[:2]]
        if does == "still" and self._last is not None:
            pictures = [self._last] * 4
        self._last = pictures[-1]
        self.count += 4
        return chunk_from_frames(frames(pictures, self.count - 4), torch.device(device))

    def padding(self, device: str) -> Chunk:
        assert self._last is not None
        return chunk_from_frames([Frame(self._last, PADDING_SEQ, 0)] * 4, torch.device(device))

    def put(self, pictures: Chunk) -> None:
        self.back += [seq for seq in pictures.seqs if seq != PADDING_SEQ]

    def _shots(self) -> list[Pixels]:
        level = 190 if self._scene % 2 else 0
        pan = moving(self.count + 4, TINY, seed=self._scene)[-4:]
        return [level + picture // 4 for picture in pan]


# Of each stream: what it does, and with how many steps; None: nothing came of it.
Doing = tuple[str, int] | None
doings = st.tuples(st.sampled_from(["pan", "pan", "still", "cut", "middle"]), st.integers(1, 4))
ticks = st.lists(st.lists(st.none() | doings, min_size=3, max_size=3), max_size=8)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(ticks)
@example(  # the second stream's scenes end in one step, and only the first's shapes are alike
    [[None, ("pan", 3), None], [None, ("pan", 3), None], [("pan", 1), ("cut", 1), None]]
)
@example([[("pan", n), ("pan", n), None] for n in (1, 4, 4, 2, 3, 1)])
def test_every_picture_comes_back_once_and_in_order_whatever_the_steps(
    engine: Engine, presets: Presets, ticks: list[list[Doing]]
) -> None:
    """Steps that change at any moment, scenes that are cut or stand still, streams that come and
    go."""
    device, ink = engine.info.device, presets["ink"]
    cameras = [Camera(engine.open(ink, TINY)) for _ in range(3)]

    def step(running: list[tuple[Camera, Chunk, int]]) -> None:
        jobs = [
            Job(state=camera.state, chunk=chunk, preset=ink, steps=min(n, max(engine.info.steps)))
            for camera, chunk, n in running
        ]
        engine.step(jobs, lambda n, pictures: running[n][0].put(pictures))

    for tick in ticks:
        running = [
            (camera, camera.chunk(doing[0], device), doing[1])
            for camera, doing in zip(cameras, tick, strict=True)
            if doing is not None
        ]
        if running:
            step(running)
        for camera in cameras:
            assert camera.back == list(range(len(camera.back)))
    for camera in (camera for camera in cameras if camera.count):
        for _ in range(max(engine.info.steps) + 2):
            step([(camera, camera.padding(device), 2)])
        assert camera.back == list(range(camera.count))


def test_the_seed_decides(engine: Engine, presets: Presets) -> None:
    source = chunks(moving(8), engine.info.device)
    other = dataclasses.replace(presets["ink"], seed=8)
    assert not torch.equal(
        pictures(run(engine, source, presets["ink"])), pictures(run(engine, source, other))
    )


def test_the_past_matters_and_a_fresh_state_has_none(engine: Engine, presets: Presets) -> None:
    """With the past of its scene a chunk differs from the same chunk without."""
    source = chunks(moving(24), engine.info.device)
    state = engine.open(presets["ink"], SIZE)
    with_past = run(engine, source, presets["ink"], state=state)
    without = run(engine, source[-1:], presets["ink"])
    assert not torch.equal(pictures(with_past[-1:]), pictures(without))
    again = run(engine, source, presets["ink"])
    assert torch.equal(pictures(again[-1:]), pictures(with_past[-1:]))


@pytest.mark.parametrize("size", [Size(16, 16), Size(80, 48), Size(48, 112)])
def test_every_size_in_its_multiples(engine: Engine, presets: Presets, size: Size) -> None:
    state = engine.open(presets["ink"], size)
    count = 4 - engine.info.late_frames
    for chunk in chunks(moving(8, size), engine.info.device):
        (result,) = outcome(engine, [Job(state=state, chunk=chunk, preset=presets["ink"], steps=1)])
        assert result is not None
        assert result.x_TCHW.shape == (count, 3, size.height, size.width)
        count = 4


def test_other_sizes_are_refused(engine: Engine, presets: Presets) -> None:
    with pytest.raises(ConfigError, match="100x64.*multiples of 16"):
        engine.open(presets["ink"], Size(100, 64))


def test_steps_that_it_cannot_do_are_refused(engine: Engine, presets: Presets) -> None:
    with pytest.raises(ConfigError, match="99 steps"):
        run(engine, chunks(moving(4), engine.info.device), presets["ink"], steps=99)


@pytest.mark.parametrize("prompt", ["qwertz asdf", "\N{DOG}", "x" * 2000, "a " * 1000])
def test_whatever_is_asked_for_something_is_painted(
    engine: Engine, presets: Presets, prompt: str
) -> None:
    strange = dataclasses.replace(presets["ink"], prompt=prompt)
    assert len(engine.check(strange)) < 300
    (result,) = run(engine, chunks(moving(4), engine.info.device), strange)
    assert result is not None


def test_the_state_follows_the_preset_without_a_jump(engine: Engine, presets: Presets) -> None:
    """The first chunk after a change is near to the old look, later ones arrive at the new one."""
    ink, neon = presets["ink"], presets["neon"]
    source = chunks(moving(80), engine.info.device)
    state = engine.open(ink, SIZE)
    changed = run(engine, source[:8], ink, state=state) + run(engine, source[8:], neon, state=state)
    stays, begins = run(engine, source, ink), run(engine, source, neon)

    def distance(a: list[Chunk | None], b: list[Chunk | None], tick: int) -> float:
        return float((pictures(a[tick : tick + 1]) - pictures(b[tick : tick + 1])).abs().mean())

    looks_apart = distance(stays, begins, 8)
    assert looks_apart > 0
    assert distance(changed, stays, 8) < 0.5 * looks_apart
    assert distance(changed, begins, 19) < 0.5 * distance(stays, begins, 19)


def test_a_still_scene_is_computed_once(engine: Engine, presets: Presets) -> None:
    source = chunks(moving(8) + [moving(8)[-1]] * 24, engine.info.device)
    for steps in engine.info.steps:
        results = run(engine, source, presets["ink"], steps=steps)
        reused = answered(results)
        assert not any(reused[:2])
        assert all(reused[steps + first_chunks(engine) :])
        again = [seq for result in results if result and result.reused for seq in result.seqs]
        assert min(again) > 7, "what moved is painted first, also where it comes late"
        seqs = [seq for result in results if result is not None for seq in result.seqs]
        assert seqs == list(range(len(seqs)))


def test_the_noise_of_a_sensor_does_not_count_as_motion_but_a_small_change_does(
    engine: Engine, presets: Presets
) -> None:
    new = [False] * first_chunks(engine)
    generator = torch.Generator().manual_seed(0)
    still = moving(1)[0].clip(20, 235)

    def noisy() -> object:
        noise = torch.randn(still.shape, generator=generator).mul(1.5).round().numpy()
        return (still + noise).clip(0, 255).astype("uint8")

    noisy_source = [noisy() for _ in range(16)]
    results = run(engine, chunks(noisy_source, engine.info.device), presets["ink"])
    assert answered(results) == [*new, *[True] * (4 - len(new))]
    blink = still.copy()
    blink[24:32, 40:48] = 255 - blink[24:32, 40:48]
    blinking = run(
        engine,
        chunks([still] * 4 * len(new) + [still] * 5 + [blink, blink, still], engine.info.device),
        presets["ink"],
    )
    assert answered(blinking) == [*new, True, False]


def test_a_lossless_stream_reuses_only_what_is_the_same(engine: Engine, presets: Presets) -> None:
    still = moving(1)[0].clip(20, 235)
    brighter = still + 1
    new = [False] * first_chunks(engine)
    source = chunks([still] * 4 * (len(new) + 1) + [brighter] * 4, engine.info.device)
    live = run(engine, source, presets["ink"])
    lossless = run(engine, source, presets["ink"], lossless=True)
    assert answered(live) == [*new, True, True]
    assert answered(lossless) == [*new, True, False]


def test_a_cut_begins_a_scene_without_a_past(engine: Engine, presets: Presets) -> None:
    """After the cut the pictures are those of a stream that began there."""
    dark = [(picture // 4) for picture in moving(16, seed=3)]
    bright = [255 - (picture // 4) for picture in moving(16, seed=4)]
    both = run(engine, chunks([*dark, *bright], engine.info.device), presets["ink"])
    alone = run(engine, chunks(bright, engine.info.device), presets["ink"])
    assert torch.equal(pictures(both)[16:], pictures(alone))
    names = [seq for result in both if result is not None for seq in result.seqs]
    assert names == list(range(32 - engine.info.late_frames))


def test_an_unknown_engine_and_an_absent_device_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown engine 'nope'"):
        load_engine("nope", "cpu")
    with pytest.raises(ConfigError, match="cuda:77"):
        load_engine("pocket-random", "cuda:77")
    with pytest.raises(ConfigError, match="gpu.*wanted auto"):
        load_engine("pocket-random", "gpu")
