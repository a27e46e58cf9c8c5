"""The pocket model as a stream, with a switch for everything that makes it one: the same networks,
cache and noise as the worker's engine, without its shortcuts (pictures that stand still are painted
like any other).

Letters: B rows, T pictures, C channels, H W size, S styles, h w latent size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from brushcast_worker.models.pocket import Pocket
from brushcast_worker.models.side_by_side import on_one_core
from brushcast_worker.models.text import STYLES, boldness
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.cache import ROPE_REFRESH_AT, RollingCache
from brushcast_worker.stages.noise import NoiseConfig, NoiseState, noise_scale, open_noise, stroked
from brushcast_worker.stages.schedule import noise_scale_of, pocket_steps, renoise

CHUNK = 4
NEVER = 1 << 30  # latent frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """How to play: what an ablation switches off."""

    strength: float = 0.6
    steps: int = 1
    seed: int = 0
    cache: bool = True  # keys and values of earlier chunks
    memory: bool = True  # the autoencoder's, of earlier chunks
    fixed_noise: bool = True  # off: every chunk of every row has noise of its own
    motion_noise: bool = True  # off: the strength's noise, whatever moves
    sinks: int | None = None  # None: the model's own
    positions: Literal["slot", "frame"] = "slot"
    refresh_at: int = ROPE_REFRESH_AT  # of positions by frame; NEVER: they grow for ever


ALONE = Play(cache=False, memory=False)  # every chunk by itself, with the stream's noise
ALONE_OWN_NOISE = replace(ALONE, fixed_noise=False)  # what an image model does


def one_style(style: str) -> Tensor:
    """Mixing weights ``[1 S]`` of one style."""
    weights = torch.zeros(1, len(STYLES))
    weights[0, STYLES.index(style)] = 1
    return weights


def restyle(
    pocket: Pocket, video_TCHW: Tensor, weights_BS: Tensor, play: Play
) -> tuple[Tensor, Tensor]:
    """Video in [-1, 1], T a multiple of 4, to restyled video and latents ``[T/4 16 h w]`` of the
    one row.
    """
    pictures, latents = restyle_rows(pocket, video_TCHW[None], weights_BS, play)
    return pictures[0], latents[0]


def restyle_rows(
    pocket: Pocket, video_BTCHW: Tensor, weights_BS: Tensor, play: Play
) -> tuple[Tensor, Tensor]:
    """Restyled videos ``[B T 3 H W]`` and latents ``[B T/4 16 h w]``; one video or one row of
    weights serves all rows.
    """
    painted = list(stream(pocket, torch.split(video_BTCHW, CHUNK, 1), weights_BS, play))
    return torch.cat([x for x, _ in painted], 1), torch.cat([z for _, z in painted], 1)


def stream(
    pocket: Pocket, chunks_B4CHW: Iterable[Tensor], weights_BS: Tensor, play: Play
) -> Iterator[tuple[Tensor, Tensor]]:
    """Chunk by chunk, for as long as chunks come: pictures ``[B 4 3 H W]`` and latents
    ``[B 1 16 h w]``.
    """
    player: _Stream | None = None
    for chunk_B4CHW in chunks_B4CHW:
        if player is None:
            player = _Stream(pocket, chunk_B4CHW, weights_BS, play)
        yield player.chunk(chunk_B4CHW)


class Player:
    """Plays any number of rows, as many at once as the device likes: one on a CPU."""

    def __init__(self, pocket: Pocket, rows_at_once: int) -> None:
        self.pocket, self.rows_at_once = pocket, rows_at_once
        parameter = next(pocket.dit.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype

    def play(self, video_BTCHW: Tensor, weights_BS: Tensor, play: Play) -> tuple[Tensor, Tensor]:
        """As ``restyle_rows``; what goes in and comes out is float32 on the CPU or the device."""
        rows = max(len(video_BTCHW), len(weights_BS))
        pictures, latents = [], []
        for start in range(0, rows, self.rows_at_once):
            part = slice(start, start + self.rows_at_once)
            video = video_BTCHW if len(video_BTCHW) == 1 else video_BTCHW[part]
            weights = weights_BS if len(weights_BS) == 1 else weights_BS[part]
            its = play if play.fixed_noise else replace(play, seed=play.seed + start)
            y, z = restyle_rows(self.pocket, video.to(self.device, self.dtype), weights, its)
            pictures.append(y.float())
            latents.append(z)
        return torch.cat(pictures), torch.cat(latents)

    def frame_by_frame(self, video_TCHW: Tensor, style: str, play: Play) -> Tensor:
        """Every picture alone ``[T 3 H W]``: it is all four of its chunk, and nothing was before
        it. The last of the four is the calmest.
        """
        held_T4CHW = video_TCHW[:, None].expand(-1, CHUNK, -1, -1, -1)
        return self.play(held_T4CHW, one_style(style), play)[0][:, -1]

    @torch.inference_mode()
    def draw(self, z_TCHW: Tensor, video_TCHW: Tensor) -> Tensor:
        """What the decoder makes of these latents over the pictures, ``[T 3 H W]``."""
        with on_one_core(self.device):
            z, source = (x[None].to(self.device, self.dtype) for x in (z_TCHW, video_TCHW))
            return self.pocket.vae.decode(z, source)[0][0].float().clamp(-1, 1)


class _Stream:
    """The state of B streams that are played side by side."""

    @torch.inference_mode()
    def __init__(self, pocket: Pocket, first: Tensor, weights_BS: Tensor, play: Play) -> None:
        parameter = next(pocket.dit.parameters())
        self.pocket, self.play = pocket, play
        self.device, self.dtype = first.device, parameter.dtype
        self.rows = max(len(first), len(weights_BS))
        config = pocket.dit.config
        height, width = (side // 8 for side in first.shape[-2:])
        self.tokens = -(-height // config.patch) * -(-width // config.patch)
        bold_B = torch.full((len(weights_BS),), boldness(play.strength), device=self.device)
        context = pocket.dit.context(pocket.styles(weights_BS.to(self.device), bold_B))
        self.context = context if len(weights_BS) == self.rows else context.expand(self.rows)
        shape = (config.latent_channels, height, width)
        noise = open_noise(shape, play.seed, self.device, self.dtype, strokes=True)
        self.noise_BCHW = noise.noise_CHW.expand(self.rows, *shape)
        self.fresh = torch.Generator("cpu").manual_seed(play.seed)
        self.levels = [NoiseState(noise.noise_CHW) for _ in range(len(first))]  # one a video
        self.encoder: Memory | None = None
        self.decoder: Memory | None = None
        self.caches = self._caches()

    @torch.inference_mode()
    def chunk(self, source_B4CHW: Tensor) -> tuple[Tensor, Tensor]:
        """The next four pictures of every stream."""
        with on_one_core(self.device):
            return self._chunk(source_B4CHW)

    def _chunk(self, source: Tensor) -> tuple[Tensor, Tensor]:
        play, dit, vae = self.play, self.pocket.dit, self.pocket.vae
        if not play.cache:
            self.caches = self._caches()
        if not play.memory:
            self.encoder = self.decoder = None
        if not play.fixed_noise:
            drawn = stroked(torch.randn(self.noise_BCHW.shape, generator=self.fresh))
            self.noise_BCHW = drawn.to(self.device, self.dtype)
        z_source, self.encoder = vae.encode(source, self.encoder)
        level = self._level(source)
        if len(source) < self.rows:  # one video under several looks
            source = source.expand(self.rows, *source.shape[1:])
            z_source = z_source.expand(self.rows, *z_source.shape[1:])
            level = level * self.rows
        noise = self.noise_BCHW[:, None]
        z, steps = z_source, [pocket_steps(play.steps, scale) for scale in level]
        for n, cache in enumerate(self.caches):
            step = torch.tensor([[s[n].timestep, s[n].sigma] for s in steps], device=self.device)
            cache.begin()
            z = dit.predict_x0(
                renoise(z, noise, step[:, 1]), timestep_BT=step[:, :1], sigma_BT=step[:, 1:],
                context=self.context, source_BTCHW=z_source, caches=[cache],
            )  # fmt: skip
            cache.end()
        out, self.decoder = vae.decode(z, source, self.decoder)
        return out.clamp(-1, 1), z

    def _level(self, source: Tensor) -> list[float]:
        """Noise level of each video's chunk."""
        s0 = noise_scale_of(self.play.strength)
        if not self.play.motion_noise:
            return [s0] * len(source)
        videos = zip(self.levels, source, strict=True)
        scales = [noise_scale(state, x_TCHW, s0, NoiseConfig()) for state, x_TCHW in videos]
        found: list[float] = torch.stack(scales).tolist()
        return found

    def _caches(self) -> list[RollingCache]:
        """One for each step, as the engine has them."""
        config, play = self.pocket.dit.config, self.play
        return [
            RollingCache(
                layers=config.layers, rows=self.rows, tokens=self.tokens, dim=config.dim,
                sinks=config.sinks if play.sinks is None else play.sinks, window=config.window,
                device=self.device, dtype=self.dtype, positions=play.positions,
                refresh_at=play.refresh_at,
            )
            for _ in range(play.steps)
        ]  # fmt: skip
