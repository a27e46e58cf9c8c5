"""What the causal engine keeps of a stream, and the latent frames that are on their way.

Letters: B rows, T pictures (or latent frames), C channels, H height, W width.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from brushcast.frame import Size
from brushcast_worker.chunk import Chunk
from brushcast_worker.models.dit import Context
from brushcast_worker.models.light_vae import Guide
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.cache import Cache
from brushcast_worker.stages.look import Fade
from brushcast_worker.stages.motion import Seen
from brushcast_worker.stages.schedule import Step

MIXED = -1  # in place of a look's number: under a mixture of two


@dataclass(slots=True)
class Temporal:
    """What a stream remembers of its scene. A cut makes a new one; latent frames under way keep
    theirs."""

    noise_CHW: Tensor  # drawn once per stream
    caches: list[Cache]  # one per denoising step
    sinks: int  # of each cache
    after: int  # pictures of the stream came before this scene
    moved: deque[float]  # in the last chunks, as many as the noise looks back
    level: float | None = None  # of the noise in the last chunk
    latent_CHW: Tensor | None = None  # the last, where motion is measured on latents
    encoder: Memory | None = None
    decoder: Memory | None = None
    made_under: list[int] = field(default_factory=list)  # of each sink: the look's number, or MIXED

    def stale_sink(self, look: int) -> int | None:
        """The first sink that every cache has and that was made under another look."""
        known = min(cache.filled for cache in self.caches)
        stale = (n for n, made in enumerate(self.made_under[:known]) if made != look)
        return next(stale, None)


@dataclass(slots=True)
class LatentFrame:
    """A chunk on its way through the denoising steps. `done`: steps behind it; `chunk`: its source
    pictures; `lead`: finished latent frames that are decoded before it, where a stream begins with
    them."""

    chunk: Chunk
    temporal: Temporal
    source_CHW: Tensor
    x0_CHW: Tensor
    steps: tuple[Step, ...]
    guide: Guide | None
    lead: Sequence[Tensor]
    done: int = 0

    @property
    def over(self) -> bool:
        return self.done == len(self.steps)


@dataclass(slots=True)
class CausalState:
    """One stream's state: made by `open`, changed by `step`."""

    size: Size
    seed: int
    fade: Fade
    wording: tuple[str, float]  # prompt and strength that the fade leads to
    temporal: Temporal
    context: Context | None = None
    coming: Context | None = None  # of the look that the fade leads to
    look: int = 0  # its number, one more with every change
    counts: Counter[str] = field(default_factory=Counter)  # see `CausalEngine.counts`
    seen: Seen | None = None  # None: the next chunk has no past
    shown: Chunk | None = None  # the last that came out
    still_chunks: int = 0  # computed ones in a row that did not move
    under_way: list[LatentFrame] = field(default_factory=list)
    names: deque[tuple[int, int]] = field(default_factory=deque)  # came and did not go yet
    came: int = 0

    def note_sinks(self) -> None:
        """Once a chunk, before it is painted: under which look the sinks of the last were made."""
        temporal, look = self.temporal, self.look if self.fade.over else MIXED
        there = min(temporal.caches[0].filled, temporal.sinks)
        temporal.made_under += [look] * (there - len(temporal.made_under))

    def take(self, chunk: Chunk) -> None:
        """Its pictures' names wait for what is painted: that comes in the same order."""
        self.names.extend(zip(chunk.seqs, chunk.captured_ns, strict=True))
        self.came += len(chunk.seqs)

    def give(self, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The next pictures' seqs and times."""
        seqs, captured_ns = zip(*(self.names.popleft() for _ in range(count)), strict=True)
        return seqs, captured_ns


def again(state: CausalState, shown: Chunk, count: int) -> Chunk:
    """The last picture that was shown, for the next ones."""
    return Chunk(
        shown.x_TCHW[-1].expand(count, -1, -1, -1),
        *state.give(count),
        reused=True,
        arrival=shown.arrival and shown.arrival.last(),
    )


def finished(state: CausalState) -> list[list[LatentFrame]]:
    """Takes the finished latent frames out, oldest first, in runs of one scene."""
    runs: list[list[LatentFrame]] = []
    while state.under_way and state.under_way[0].over:
        frame = state.under_way.pop(0)
        if runs and runs[-1][0].temporal is frame.temporal:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def latents(group: Sequence[LatentFrame]) -> list[Tensor]:
    return [x_CHW for frame in group for x_CHW in (*frame.lead, frame.x0_CHW)]


def source(group: Sequence[LatentFrame]) -> Tensor:
    pictures = [frame.chunk.x_TCHW for frame in group]
    return pictures[0] if len(pictures) == 1 else torch.cat(pictures)
