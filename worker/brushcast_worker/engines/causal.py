"""CausalEngine: any causal few-step video diffusion model, streamed; `step` names its stages.

Letters: B rows, T pictures (or latent frames), C channels, H height, W width.

Stream batch (StreamDiffusionV2, arXiv 2511.07399, section 3.2): every tick one forward holds all
latent frames that are under way, of every stream: a stream of n steps has n of them, each at its
own noise level and with its own cache, and the oldest comes out. So a chunk comes out n - 1 ticks
after it went in, and a step more costs delay before it costs rate. A stream's first chunk alone
takes all its steps in one tick: somebody waits for a picture.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from brushcast.errors import ConfigError, OutOfMemory
from brushcast.frame import Size
from brushcast.presets import Preset
from brushcast_worker.chunk import Chunk
from brushcast_worker.engine import EngineInfo, Job, Put, StageTimer
from brushcast_worker.engines.causal_state import (
    CausalState,
    LatentFrame,
    Temporal,
    again,
    finished,
    latents,
    source,
)
from brushcast_worker.engines.looks import Looks, MixedLooks
from brushcast_worker.models.dit import Context, DiT
from brushcast_worker.models.light_vae import CHUNK, SCALE, Guide
from brushcast_worker.models.side_by_side import on_one_core
from brushcast_worker.quirks import DEFAULT, Quirks
from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.cache import Cache, Grid
from brushcast_worker.stages.decode import Decoded
from brushcast_worker.stages.denoise import Row
from brushcast_worker.stages.look import Fade
from brushcast_worker.stages.motion import (
    CUT_ABOVE,
    LOSSLESS_STILL_BELOW,
    STILL_BELOW,
    Motion,
    Picture,
    Seen,
    noise_level,
)
from brushcast_worker.stages.noise import NoiseConfig, open_noise
from brushcast_worker.stages.noise import motion as latent_motion
from brushcast_worker.stages.portions import Portions
from brushcast_worker.stages.schedule import Schedule


class Networks(Protocol):
    """How the transformer and the autoencoder are run: `Eager`, or on a GPU `Graphed`. Each is
    given all streams of a step; see the stages of these names."""

    def cache(self, grid: Grid) -> Cache:
        """For one stream and one denoising step, of latent frames of that height and width."""
        ...

    def measure(self, chunks: Sequence[Chunk], seen: Sequence[Seen | None]) -> list[Motion]: ...

    def encode(
        self, pictures_TCHW: Sequence[Tensor], memories: Sequence[Memory | None]
    ) -> tuple[list[Tensor], list[Memory]]: ...

    def guide(self, pictures_TCHW: Tensor) -> Guide | None: ...

    def denoise(self, rows: Sequence[Row]) -> list[Tensor]: ...

    def paint_one_by_one(self, height: int, width: int) -> bool: ...

    def decode(
        self,
        x0_TCHW: Sequence[Tensor],
        sources_TCHW: Sequence[Tensor],
        memories: Sequence[Memory | None],
        guides: Sequence[Guide | None],
    ) -> Iterator[Decoded]: ...


@dataclass(slots=True)
class _Turn:
    """One job while `step` works on it."""

    job: Job
    state: CausalState
    put: Callable[[Chunk], None]
    still: bool = False


class CausalEngine:
    """Implements `engine.Engine` for a causal transformer over a streaming autoencoder. Holds
    weights, and on a GPU their graphs, whose memory is scratch: what a stream knows is its own."""

    def __init__(
        self,
        *,
        info: EngineInfo,
        transformer: DiT,
        networks: Networks,
        looks: Looks,
        noise: NoiseConfig,
        schedule: Schedule,
        timer: StageTimer | None = None,
        quirks: Quirks = DEFAULT,
    ) -> None:
        self.info = info
        self._transformer = transformer
        self._looks = MixedLooks(looks)
        self._noise = noise
        self._schedule = schedule
        self._device = torch.device(info.device)
        self._dtype = next(transformer.parameters()).dtype
        self._networks, self._quirks = networks, quirks
        self._portions = Portions("decoding")
        self._begin = timer.begin if timer is not None else _no_timer

    @torch.inference_mode()
    def check(self, preset: Preset) -> str:
        """See `engine.Engine.check`."""
        return self._looks.remark(preset)

    @torch.inference_mode()
    def open(self, preset: Preset, size: Size) -> CausalState:
        """A new stream. Raises OutOfMemory, ConfigError for a size that is no multiple of 16,
        PromptError."""
        multiple = self.info.size_multiple
        if size.width % multiple or size.height % multiple:
            raise ConfigError(f"size {size}: wanted both sides in multiples of {multiple}")
        look = self._looks.look(preset)
        with _memory_errors(size, 1):
            temporal = self._temporal(size, preset.seed, self.info.default_steps)
        return CausalState(
            size, preset.seed, Fade(look, look), (preset.prompt, preset.strength), temporal
        )

    def frames_wanted(self, state: CausalState) -> int:
        """Always 4."""
        return CHUNK

    def counts(self, state: CausalState) -> dict[str, int]:
        """See `engine.Engine.counts`: `chunks`; of them `remembered`, with a memory of their scene
        (neither a stream's first nor behind a cut), and `still`, answered with what was shown;
        `cuts`; sinks that were `replaced` and `made anew`."""
        names = "chunks", "remembered", "still", "cuts", "made anew", "replaced"
        told = state.counts + Counter(replaced=state.temporal.caches[0].replaced)
        return {name: told[name] for name in names}

    @torch.inference_mode()
    def step(self, jobs: Sequence[Job], put: Put) -> None:
        """Advance every job's stream by one chunk; see `engine.Engine.step`."""
        with _memory_errors(jobs[0].state.size, len(jobs)), on_one_core(self._device):
            turns = []
            for n, job in enumerate(jobs):
                with _memory_errors(job.state.size, 1, job=n):
                    turns.append(self._follow(job, partial(put, n)))
            self._begin("motion")
            chunks, seen = [turn.job.chunk for turn in turns], [turn.state.seen for turn in turns]
            motions = self._networks.measure(chunks, seen)
            for turn, motion in zip(turns, motions, strict=True):
                self._still_or_cut(turn, motion)
            moving = [turn for turn in turns if not turn.still]
            if moving:
                self._begin("encode")
                self._encode(moving)
                self._begin("denoise")
                if self._quirks.recache:
                    self._recache(moving)
                self._denoise(moving)
                self._begin("decode")
                self._decode(moving)
            self._begin("other")

    # ------------------------------------------------------------------ the stages, in order

    def _follow(self, job: Job, put: Callable[[Chunk], None]) -> _Turn:
        """The state follows the job's preset and steps: a new look is faded to, a new seed is a new
        scene."""
        state, preset = job.state, job.preset
        assert isinstance(state, CausalState)
        assert job.chunk.x_TCHW.shape == (CHUNK, 3, state.size.height, state.size.width)
        assert len(job.chunk.pixels) == CHUNK
        if job.steps not in self.info.steps:
            raise ConfigError(f"{job.steps} steps: wanted one of {self.info.steps}")
        if state.wording != (preset.prompt, preset.strength):
            state.fade = state.fade.towards(self._looks.look(preset))
            state.wording = (preset.prompt, preset.strength)
            state.look, state.coming = state.look + 1, None
        if state.seed != preset.seed:
            state.seed = preset.seed
            self._new_scene(state, job.steps)
        caches = state.temporal.caches
        under_way = [frame for frame in state.under_way if frame.temporal is state.temporal]
        del caches[max([job.steps, *(len(frame.steps) for frame in under_way)]) :]
        while len(caches) < job.steps:  # a further step starts with what the one before it knows
            caches.append(caches[-1].fork())
        state.note_sinks()
        return _Turn(job, state, put)

    def _still_or_cut(self, turn: _Turn, motion: Motion) -> None:
        """A cut is a new scene without a past; a chunk with nothing new is answered at once."""
        state, chunk = turn.state, turn.job.chunk
        if motion.cut > CUT_ABOVE:
            self._new_scene(state, turn.job.steps)
            state.counts["cuts"] += 1
            (motion,) = self._networks.measure([chunk], [None])
        if self._noise.form == "pixel":
            self._set_level(state, motion.rms)
        turn.still = self._repeat(turn, motion)
        state.counts["chunks"] += 1
        state.counts["still"] += turn.still
        state.counts["remembered"] += state.temporal.caches[0].filled > 0
        levels = chunk.levels_THWC
        last = Picture(chunk.pixels[-1], None if levels is None else levels[-1])
        state.seen = Seen(state.seen.reference if state.seen and turn.still else last, last)

    def _repeat(self, turn: _Turn, motion: Motion) -> bool:
        """Whether the last output stands for this chunk too; then it is put out again."""
        state, chunk = turn.state, turn.job.chunk
        below = LOSSLESS_STILL_BELOW if turn.job.lossless else STILL_BELOW
        if motion.peak >= below or self._changing(state):
            state.still_chunks = 0
            return False
        # What is under way must be still too, or the output would jump back to it; and so must what
        # a late autoencoder has not painted yet.
        late = self.info.late_frames > 0
        settled = len(state.under_way) == turn.job.steps - 1 <= state.still_chunks - late
        if state.shown is None or not settled:
            state.still_chunks += 1
            return False
        state.take(chunk)  # the pictures under way are the same: only their names move on
        turn.put(again(state, state.shown, CHUNK))
        return True

    def _encode(self, turns: Sequence[_Turn]) -> None:
        """Pictures to a latent frame, which joins those under way with the noise level of its
        motion."""
        pictures = [turn.job.chunk.x_TCHW for turn in turns]
        memories = [turn.state.temporal.encoder for turn in turns]
        encoded, memories_after = self._networks.encode(pictures, memories)
        for turn, z_TCHW, memory in zip(turns, encoded, memories_after, strict=True):
            temporal = turn.state.temporal
            temporal.encoder = memory
            if self._noise.form == "latent":  # the host waits for the latents here
                self._set_level(turn.state, float(latent_motion(z_TCHW, temporal.latent_CHW)))
                temporal.latent_CHW = z_TCHW[-1]
            assert temporal.level is not None, "measured before"
            steps = self._schedule(turn.job.steps, temporal.level)
            alone = len(turns) == 1  # several streams are decoded together
            guide = self._networks.guide(pictures[0]) if alone else None
            frame = LatentFrame(
                turn.job.chunk, temporal, z_TCHW[-1], z_TCHW[-1], steps, guide, list(z_TCHW[:-1])
            )
            turn.state.under_way.append(frame)
            turn.state.take(turn.job.chunk)

    def _set_level(self, state: CausalState, moved: float) -> None:
        """The chunk's noise level, by the fastest motion of the last ones."""
        temporal = state.temporal
        temporal.moved.append(moved)
        fastest, s0 = max(temporal.moved), state.fade.now().s0
        temporal.level = noise_level(fastest, s0, temporal.level, self._noise)

    def _at_once(self, state: CausalState) -> None:
        """What a stream begins with takes all its steps at once: the chunk behind a lead is not
        late, and a stream's first pictures do not wait for further ones. The numbers are the
        same: each step's cache takes the same latent frames in the same order."""
        frame = state.under_way[-1]
        frame.lead = [self._all_steps(state, frame, z_CHW) for z_CHW in frame.lead]
        if state.shown is None and len(state.under_way) == 1:
            frame.x0_CHW = self._all_steps(state, frame, frame.source_CHW)
            frame.done = len(frame.steps)

    def _all_steps(self, state: CausalState, frame: LatentFrame, z_CHW: Tensor) -> Tensor:
        temporal, x0_CHW = frame.temporal, z_CHW
        context = self._context(state) if state.context is None else state.context
        for step, cache in zip(frame.steps, temporal.caches, strict=False):
            row = Row(x0_CHW, z_CHW, temporal.noise_CHW, step, cache, context)
            (x0_CHW,) = self._networks.denoise([row])
        return x0_CHW

    def _recache(self, turns: Sequence[_Turn]) -> None:
        """One sink of each stream that was made under another look is made anew under the one that
        is coming, from its source and through all steps, in every cache of the scene: a sink a
        chunk, so that none takes long. The rolling latent frames give way by themselves."""
        states = [turn.state for turn in turns]
        due = [(s, sink) for s in states if (sink := s.temporal.stale_sink(s.look)) is not None]
        source_CHW = [state.temporal.caches[0].source(sink) for state, sink in due]
        x0_CHW = list(source_CHW)
        for number in range(max((len(state.temporal.caches) for state, _ in due), default=0)):
            who = [n for n, (state, _) in enumerate(due) if number < len(state.temporal.caches)]
            rows = [self._again(*due[n], number, x0_CHW[n], source_CHW[n]) for n in who]
            for n, x in zip(who, self._networks.denoise(rows), strict=True):
                x0_CHW[n] = x
        for state, sink in due:
            state.temporal.made_under[sink] = state.look
            state.counts["made anew"] += 1

    def _again(
        self, state: CausalState, sink: int, number: int, x0_CHW: Tensor, source_CHW: Tensor
    ) -> Row:
        """The row of a sink that is made anew, before its step of that number."""
        temporal, fade = state.temporal, state.fade
        assert temporal.level is not None, "measured before"
        level = temporal.level + fade.end.s0 - fade.now().s0  # of the look that is coming
        step = self._schedule(len(temporal.caches), min(max(level, 0.0), 1.0))[number]
        cache, coming = temporal.caches[number], self._coming(state)
        return Row(x0_CHW, source_CHW, temporal.noise_CHW, step, cache, coming, sink)

    def _denoise(self, turns: Sequence[_Turn]) -> None:
        """One forward: each latent frame under way gets its next step, at its own noise level."""
        frames, rows = [], []
        for turn in turns:
            self._at_once(turn.state)
            context = self._context(turn.state)
            for frame in turn.state.under_way:
                if frame.over:  # it had fewer steps than one before it, and waits for that
                    continue
                step, temporal = frame.steps[frame.done], frame.temporal
                noise_CHW, cache = temporal.noise_CHW, temporal.caches[frame.done]
                frames.append(frame)
                rows.append(Row(frame.x0_CHW, frame.source_CHW, noise_CHW, step, cache, context))
        for frame, x0_CHW in zip(frames, self._networks.denoise(rows) if rows else [], strict=True):
            frame.x0_CHW = x0_CHW
            frame.done += 1

    def _decode(self, turns: Sequence[_Turn]) -> None:
        """Latent frames that have all their steps behind them become pictures, and are put out. A
        stream's scenes one after the other: its pictures stay in order."""
        runs = [(turn, finished(turn.state)) for turn in turns]
        for scene in range(max(len(groups) for _, groups in runs)):
            done = [(turn, groups[scene]) for turn, groups in runs if len(groups) > scene]
            size = turns[0].state.size
            for part in self._portions.split(size, done):
                with _memory_errors(size, len(part), partial(self._paint_less, size, len(part))):
                    self._paint(part)

    def _paint_less(self, size: Size, streams: int) -> bool:
        """So many streams at once ran out of memory: fewer from now on, or one picture after the
        other. Whether that is possible."""
        fewer = self._portions.too_many(size, streams)
        return fewer or self._networks.paint_one_by_one(size.height // SCALE, size.width // SCALE)

    def _paint(self, done: Sequence[tuple[_Turn, list[LatentFrame]]]) -> None:
        """Of each stream the latent frames of one scene."""
        groups = [group for _, group in done]
        decoded = self._networks.decode(
            [torch.stack(latents(group)) for group in groups],
            [source(group) for group in groups],
            [group[0].temporal.decoder for group in groups],
            [group[0].guide if len(group) == 1 else None for group in groups],
        )
        for number, x_TCHW, memory, arrival in decoded:
            turn, group = done[number]
            state, temporal = turn.state, group[0].temporal
            temporal.decoder = memory
            # A late autoencoder's last ones of the scene before.
            lost = temporal.after - (state.came - len(state.names))
            if lost > 0 and state.shown is not None:
                turn.put(again(state, state.shown, lost))
            state.shown = Chunk(x_TCHW, *state.give(len(x_TCHW)), arrival=arrival)
            turn.put(state.shown)
            self._begin("decode")

    # ------------------------------------------------------------------ parts of a state

    def _context(self, state: CausalState) -> Context:
        """The prompt's keys and values: made anew only while the look changes."""
        if state.context is None or not state.fade.over:
            look = state.fade.advance()
            if state.fade.over:
                state.context = self._coming(state)
            else:
                state.context = self._transformer.context(look.tokens_BLC)
        return state.context

    def _coming(self, state: CausalState) -> Context:
        """As `_context`, of the look that the fade leads to."""
        if state.coming is None:
            state.coming = self._transformer.context(state.fade.end.tokens_BLC)
        return state.coming

    def _changing(self, state: CausalState) -> bool:
        """Whether the same picture would now be painted otherwise."""
        stale = self._quirks.recache and state.temporal.stale_sink(state.look) is not None
        return stale or not state.fade.over

    def _new_scene(self, state: CausalState, steps: int) -> None:
        """A memory without a past."""
        state.counts["replaced"] += state.temporal.caches[0].replaced
        state.temporal = self._temporal(state.size, state.seed, steps, state.came)
        state.seen = None

    def _temporal(self, size: Size, seed: int, steps: int, after: int = 0) -> Temporal:
        config, device, dtype = self._transformer.config, self._device, self._dtype
        height, width = size.height // SCALE, size.width // SCALE
        shape_CHW = (config.latent_channels, height, width)
        strokes = self._noise.strokes
        noise_CHW = open_noise(shape_CHW, seed, device, dtype, strokes=strokes).noise_CHW
        caches = [self._networks.cache((height, width)) for _ in range(steps)]
        moved: deque[float] = deque(maxlen=self._noise.window)
        return Temporal(noise_CHW, caches, config.sinks, after, moved)


@contextmanager
def _memory_errors(
    size: Size, streams: int, too_many: Callable[[], bool] | None = None, job: int | None = None
) -> Iterator[None]:
    """too_many: told of it, says whether less is wanted from now on. job: as of `OutOfMemory`."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAlloc" not in str(error):
            raise
        again = too_many is not None and too_many()
        raise OutOfMemory(f"{size}, {streams} streams: {error}", again=again, job=job) from None


def _no_timer(stage: str) -> None:
    return None
