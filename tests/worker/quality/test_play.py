"""The player paints what the worker's engine paints, and every switch does something."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch import Tensor

from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.engine import Job
from brushcast_worker.engines.causal import CausalEngine
from brushcast_worker.engines.pocket import choose_dtype, pocket_engine
from brushcast_worker.models.pocket import Pocket
from brushcast_worker.models.text import boldness
from brushcast_worker.quality.drift import looped
from brushcast_worker.quality.networks import load_networks
from brushcast_worker.quality.play import (
    ALONE,
    ALONE_OWN_NOISE,
    CHUNK,
    NEVER,
    Play,
    Player,
    one_style,
    restyle,
    restyle_rows,
    stream,
)
from brushcast_worker.stages.look import Look
from brushcast_worker.stages.noise import NoiseConfig
from brushcast_worker.stages.schedule import noise_scale_of
from tests.worker.conftest import chunks, moving, outcome

SIZE = Size(64, 48)
OIL = one_style("oil")


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return load_networks("pocket-random", "cpu").pocket


def video(pictures: int = 16, speed_px: int = 3) -> Tensor:
    seen = torch.stack([torch.from_numpy(p) for p in moving(pictures, SIZE, speed_px=speed_px)])
    return seen.permute(0, 3, 1, 2).float() / 127.5 - 1


class Oil:
    """What PocketLooks says of oil, whatever the prompt is."""

    def __init__(self, pocket: Pocket) -> None:
        self._styles = pocket.styles

    def look(self, preset: Preset) -> Look:
        bold = torch.tensor([boldness(preset.strength)])
        return Look(self._styles(OIL, bold), noise_scale_of(preset.strength))


@pytest.mark.parametrize("steps", [1, 2])
def test_it_paints_what_the_engine_paints(pocket: Pocket, steps: int) -> None:
    device = torch.device("cpu")
    info = pocket_engine(pocket, device, choose_dtype(device), None).info
    engine = CausalEngine(
        info=info,
        transformer=pocket.dit,
        autoencoder=pocket.vae,
        looks=Oil(pocket),
        noise=NoiseConfig(strokes=True),
    )
    preset = Preset(name="mine", title="Mine", prompt="oil", strength=0.8, seed=5)
    state, painted = engine.open(preset, SIZE), []
    for chunk in chunks(moving(16, SIZE, speed_px=3)):
        done = outcome(engine, [Job(state=state, chunk=chunk, preset=preset, steps=steps)])[0]
        painted += [] if done is None else [done.x_TCHW]
    theirs = torch.cat(painted)  # a stream batch of two steps keeps the last chunk
    play = Play(strength=0.8, steps=steps, seed=5)
    ours, _ = restyle(pocket, video(), OIL, play)
    # The engine measures motion on every second row of bytes.
    torch.testing.assert_close(ours[: len(theirs)].float(), theirs, atol=0.02, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(pocket: Pocket) -> None:
    first, again, other = (restyle(pocket, video(8), OIL, Play(seed=s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_rows_side_by_side_are_each_what_they_are_alone(pocket: Pocket) -> None:
    looks = torch.cat([OIL, one_style("ink"), one_style("neon")])
    both = torch.stack([video(8), video(8).flip(0), video(8, speed_px=0)])
    rows, latents = restyle_rows(pocket, both, looks, Play())
    shared, _ = restyle_rows(pocket, both[:1], looks, Play())
    for n in range(3):
        alone, z = restyle(pocket, both[n], looks[n : n + 1], Play())
        torch.testing.assert_close(rows[n], alone, atol=2e-4, rtol=0)
        torch.testing.assert_close(latents[n], z, atol=2e-3, rtol=0)
        one_source, _ = restyle(pocket, both[0], looks[n : n + 1], Play())
        torch.testing.assert_close(shared[n], one_source, atol=2e-4, rtol=0)


def test_the_player_cuts_rows_into_what_the_device_likes(pocket: Pocket) -> None:
    looks = torch.cat([OIL, one_style("ink"), one_style("neon")])
    one, many = (Player(pocket, rows).play(video(8)[None], looks, Play())[0] for rows in (1, 8))
    torch.testing.assert_close(one, many, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    "off",
    [
        Play(cache=False),
        Play(sinks=0),
        Play(motion_noise=False),
        Play(fixed_noise=False),
        Play(memory=False),
        Play(positions="frame", refresh_at=NEVER),
        Play(positions="frame", refresh_at=5),
    ],
    ids=str,
)
def test_every_switch_changes_the_stream(pocket: Pocket, off: Play) -> None:
    long = video(32)
    _, ours = restyle(pocket, long, OIL, Play())
    pictures, z = restyle(pocket, long, OIL, off)
    assert pictures.isfinite().all()
    if off.memory:
        assert float((z[-1] - ours[-1]).abs().max()) > 1e-5
    else:
        assert not torch.allclose(pictures, restyle(pocket, long, OIL, Play())[0], atol=1e-4)


def test_positions_by_frame_are_by_slot_until_the_window_is_full(pocket: Pocket) -> None:
    window = pocket.dit.config.window
    growing = Play(positions="frame", refresh_at=NEVER)
    _, ours = restyle(pocket, video(4 * (window + 1)), OIL, Play())
    _, theirs = restyle(pocket, video(4 * (window + 1)), OIL, growing)
    torch.testing.assert_close(theirs[:window], ours[:window], atol=1e-5, rtol=0)
    assert not torch.equal(theirs[window], ours[window])


def test_frame_by_frame_knows_nothing_of_the_frames_before(pocket: Pocket) -> None:
    player = Player(pocket, 4)
    source = video(8)
    found = player.frame_by_frame(source, "oil", ALONE)
    backwards = player.frame_by_frame(source.flip(0), "oil", ALONE)
    torch.testing.assert_close(found, backwards.flip(0), atol=2e-4, rtol=0)
    held = player.frame_by_frame(source[:1].expand(4, -1, -1, -1), "oil", ALONE)
    torch.testing.assert_close(held, held[:1].expand_as(held), atol=2e-4, rtol=0)
    own = player.frame_by_frame(source[:1].expand(4, -1, -1, -1), "oil", ALONE_OWN_NOISE)
    assert all(not torch.allclose(own[n], own[0], atol=1e-4) for n in (1, 2, 3))
    one_by_one = Player(pocket, 1).frame_by_frame(
        source[:1].expand(4, -1, -1, -1), "oil", ALONE_OWN_NOISE
    )
    assert not torch.allclose(one_by_one[1], one_by_one[0], atol=1e-4)


def test_a_stream_runs_as_long_as_it_is_fed(pocket: Pocket) -> None:
    played = stream(pocket, islice(looped(video(4)), 6), OIL, Play())
    shapes = [(x.shape, z.shape) for x, z in played]
    assert shapes == [((1, CHUNK, 3, 48, 64), (1, 1, 16, 6, 8))] * 6


def test_the_decoder_alone_draws_what_the_stream_begins_with(pocket: Pocket) -> None:
    player = Player(pocket, 1)
    source = video(4)
    pictures, z = player.play(source[None], OIL, Play())
    torch.testing.assert_close(player.draw(z[0], source), pictures[0], atol=1e-5, rtol=0)
    assert not torch.allclose(player.draw(torch.zeros_like(z[0]), source), pictures[0], atol=1e-3)


def test_boldness_follows_the_strength(pocket: Pocket) -> None:
    weak, strong = (restyle(pocket, video(4), OIL, Play(strength=s))[1] for s in (0.6, 1))
    assert not torch.allclose(weak, strong, atol=1e-3)
