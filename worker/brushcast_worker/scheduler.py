"""Scheduler: which streams run next, together, or until when to wait. Pure; no clock.

After StreamDiffusionV2's SLO-aware batching (arXiv 2511.07399, section 3.1): a latency model L(T,
B) fitted to what was measured says what a batch of B streams of T pictures will take; the batch is
as large as the most urgent deadline allows, for throughput f = B T / L rises with B until the
device is full. T is the engine's chunk, so B is what is chosen here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from brushcast_worker.ladder import STEP_COST

KNOWN_SHAPES = 64  # batch shapes whose cost is remembered
SMOOTHING = 0.25  # weight of the newest measurement; a chunk's cost is steady, its outliers are not
# wait for another stream only if the batch costs less than this part of the two runs
WORTH_WAITING = 0.85
SAFETY_NS = 5_000_000  # the way to the link thread and onto the wire
# a lossless stream has no deadline, but live ones do not starve it for longer
LOSSLESS_PATIENCE_NS = 2_000_000_000
NEVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class Shape:
    """What may share one forward, and what it costs: the computed size and the denoising steps."""

    width: int
    height: int
    steps: int

    def work(self, pictures: int) -> float:
        """Arbitrary units, in proportion to the arithmetic of `pictures` pictures."""
        return self.width * self.height * pictures * (1 + STEP_COST * self.steps) * 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One stream as the scheduler sees it.

    deadlines_ns: of the waiting pictures, oldest first: until then the step that takes them must be
    over. wanted: pictures that the next chunk must have. owed_ns: the deadline of the oldest
    picture inside the engine, which only a further chunk brings out; None: there is none.
    quiet_ns: until then the source is taken to go on, and to bring that chunk itself. full_ns: when
    the next chunk is expected to be full, from the rate of arrivals; None: unknown. ended: no more
    pictures will come.
    """

    id: Hashable
    shape: Shape
    wanted: int
    deadlines_ns: tuple[int, ...]
    owed_ns: int | None = None
    quiet_ns: int = 0
    full_ns: int | None = None
    lossless: bool = False
    ended: bool = False

    @property
    def due_ns(self) -> int | None:
        """When a result is due, of what the next step takes or else brings out; None: never."""
        return self.deadlines_ns[0] if self.deadlines_ns else self.owed_ns


@dataclass(frozen=True, slots=True)
class Batch:
    """Run these streams now, in one forward, each with its oldest pictures; short ones are
    padded."""

    ids: tuple[Hashable, ...]
    expected_ns: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to run until then, or until something arrives (None: no limit)."""

    until_ns: int | None


class LatencyModel:
    """L(T, B): how long a forward of B streams of T pictures takes, from what was measured.

    A shape that has run answers with its smoothed cost. Any other is placed on the line
    L = fixed + slope * work through the known ones (least squares, neither part negative).
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Shape, int, int], tuple[float, float]] = OrderedDict()

    def learn(self, shape: Shape, streams: int, pictures: int, took_ns: int) -> None:
        """One batch was measured: `streams` streams of `pictures` pictures each."""
        key = (shape, streams, pictures)
        work = shape.work(streams * pictures)
        _, before = self._known.pop(key, (work, float(took_ns)))
        self._known[key] = (work, before + SMOOTHING * (took_ns - before))
        while len(self._known) > KNOWN_SHAPES:
            self._known.popitem(last=False)

    def expect_ns(self, shape: Shape, streams: int, pictures: int) -> int:
        """What such a batch will take; 0 when nothing was ever measured."""
        known = self._known.get((shape, streams, pictures))
        if known is not None:
            return int(known[1])
        fixed_ns, slope = self._line()
        return int(fixed_ns + slope * shape.work(streams * pictures))

    def _line(self) -> tuple[float, float]:
        points = list(self._known.values())
        if not points:
            return 0.0, 0.0
        mean_work = sum(work for work, _ in points) / len(points)
        mean_ns = sum(took for _, took in points) / len(points)
        spread = sum((work - mean_work) ** 2 for work, _ in points)
        if spread <= 1e-12:
            return 0.0, mean_ns / mean_work
        tilt = sum((work - mean_work) * (took - mean_ns) for work, took in points)
        slope = min(max(tilt / spread, 0.0), mean_ns / mean_work)
        return mean_ns - slope * mean_work, slope


class Scheduler:
    """Chooses the next batch. Owned by the GPU thread; holds the latency model and nothing of any
    stream."""

    def __init__(self, max_streams: int = 8) -> None:
        self.latency = LatencyModel()
        self._max_streams = max_streams

    def stale(self, stream: Waiting, now_ns: int) -> int:
        """How many of the oldest waiting pictures to drop: those that would be late even if they
        ran now.

        Never of a lossless stream, and never so many that the newest pictures do not fill a chunk.
        """
        if stream.lossless:
            return 0
        spare = len(stream.deadlines_ns) - stream.wanted
        done_ns = now_ns + self.latency.expect_ns(stream.shape, 1, stream.wanted)
        late = sum(deadline_ns < done_ns for deadline_ns in stream.deadlines_ns[: max(spare, 0)])
        return late

    def next(self, streams: Sequence[Waiting], now_ns: int) -> Batch | Wait:
        """The batch to run now, or until when to wait. Stale pictures have been dropped before."""
        ready = [stream for stream in streams if self._starts_ns(stream) <= now_ns]
        if not ready:
            starts = [self._starts_ns(stream) for stream in streams if stream.due_ns is not None]
            return Wait(min(starts) if starts else None)
        ready.sort(key=_due_ns)
        first = ready[0]
        mates = [s for s in ready[1:] if s.shape == first.shape and s.wanted == first.wanted]
        count = self._best_count(first, 1 + len(mates), now_ns)
        until_ns = self._worth_waiting(first, count, streams, ready, now_ns)
        if until_ns is not None:
            return Wait(until_ns)
        ids = (first.id, *(mate.id for mate in mates[: count - 1]))
        return Batch(ids, self.latency.expect_ns(first.shape, count, first.wanted))

    def _starts_ns(self, stream: Waiting) -> int:
        """When this stream can or must run: at once with a full chunk, else just in time to pad
        what waits, or what is inside once the source brings no more."""
        if len(stream.deadlines_ns) >= stream.wanted:
            return 0
        if stream.due_ns is None:
            return NEVER_NS
        if stream.ended:
            return 0
        if stream.lossless:
            return NEVER_NS
        needed_ns = self.latency.expect_ns(stream.shape, 1, stream.wanted) + SAFETY_NS
        starts_ns = [deadline_ns - needed_ns for deadline_ns in stream.deadlines_ns[:1]]
        if stream.owed_ns is not None:
            starts_ns.append(max(stream.owed_ns - needed_ns, stream.quiet_ns))
        return min(starts_ns)

    def _best_count(self, first: Waiting, most: int, now_ns: int) -> int:
        """The largest B that meets the most urgent deadline; if none does, the B of the best
        throughput."""
        most = min(most, self._max_streams)
        costs = [self.latency.expect_ns(first.shape, b, first.wanted) for b in range(1, most + 1)]
        in_time = [b for b, cost in enumerate(costs, 1) if now_ns + cost <= _due_ns(first)]
        if in_time:
            return in_time[-1]
        return max(range(1, most + 1), key=lambda b: (b / max(costs[b - 1], 1), b))

    def _worth_waiting(
        self,
        first: Waiting,
        count: int,
        streams: Sequence[Waiting],
        ready: Sequence[Waiting],
        now_ns: int,
    ) -> int | None:
        """Until when to wait for one more stream of this shape, if a larger batch is cheaper and in
        time."""
        if first.lossless or count >= self._max_streams:
            return None
        ready_ids = {stream.id for stream in ready}
        soon = [
            s.full_ns
            for s in streams
            if s.id not in ready_ids
            and s.shape == first.shape
            and s.wanted == first.wanted
            and s.full_ns is not None
            and s.full_ns > now_ns
        ]
        if not soon:
            return None
        until_ns = min(soon)
        alone = self.latency.expect_ns(first.shape, 1, first.wanted)
        now_cost = self.latency.expect_ns(first.shape, count, first.wanted)
        together = self.latency.expect_ns(first.shape, count + 1, first.wanted)
        cheaper = 0 < together < WORTH_WAITING * (now_cost + alone)
        if not cheaper or until_ns + together + SAFETY_NS > _due_ns(first):
            return None
        # Waiting must cost less than the batch saves, or the device idles for nothing.
        return until_ns if until_ns - now_ns < now_cost + alone - together else None


def _due_ns(stream: Waiting) -> int:
    if stream.due_ns is None:
        return NEVER_NS
    return stream.due_ns + LOSSLESS_PATIENCE_NS if stream.lossless else stream.due_ns
