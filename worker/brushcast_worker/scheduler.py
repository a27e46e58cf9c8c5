"""Scheduler: which streams run next, together, or until when to wait. Pure; no clock.

After StreamDiffusionV2's SLO-aware batching (arXiv 2511.07399, section 3.1): the latency model L(T,
B) says what a batch of B streams of T pictures will take. Throughput f = B T / L rises with B until
the device is full; beyond that knee a larger batch only makes everyone wait. So a batch is as large
as pays, and no larger than the most urgent deadline allows. T is the engine's chunk: a longer one
is more delay, and brings next to nothing (docs/BENCHMARKS.md has the figures).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from brushcast_worker.latency import LatencyModel, Shape

# Of the best throughput: what comes this near to it is as good, and the smaller batch is the sooner
# done. Costs are known to a few per cent.
KNEE = 0.97
# wait for another stream only if the batch costs less than this part of the two runs
WORTH_WAITING = 0.85
SAFETY_NS = 5_000_000  # the way to the link thread and onto the wire
# a lossless stream has no deadline, but live ones do not starve it for longer
LOSSLESS_PATIENCE_NS = 2_000_000_000
NEVER_NS = 1 << 62


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


class Scheduler:
    """Chooses the next batch. Owned by the GPU thread; holds the latency model and nothing of any
    stream."""

    def __init__(self, max_streams: int = 8) -> None:
        self.latency = LatencyModel()
        self._max_streams = max_streams
        self._fit: dict[Shape, int] = {}  # streams in one forward; none: as many as there are

    def limit(self, shape: Shape, most: int) -> None:
        """More streams of this shape in one forward do not fit into memory."""
        self._fit[shape] = most

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
        """B at the knee, among those that meet the most urgent deadline, or among all if none
        does. A B in time that was never measured is tried: only so the knee is found."""
        most = min(most, self._max_streams, self._fit.get(first.shape, most))
        every = range(1, most + 1)
        costs_ns = [self.latency.expect_ns(first.shape, b, first.wanted) for b in every]
        costs_ns = list(accumulate(costs_ns, max))  # whatever was measured: more is not sooner
        in_time = sum(now_ns + cost_ns <= _due_ns(first) for cost_ns in costs_ns)
        if in_time and not self.latency.measured(first.shape, in_time, first.wanted):
            return in_time
        rates = [b / max(cost_ns, 1) for b, cost_ns in zip(every, costs_ns, strict=True)]
        rates = rates[: in_time or most]
        return 1 + next(n for n, rate in enumerate(rates) if rate >= KNEE * max(rates))

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
        if first.lossless or count >= self._fit.get(first.shape, self._max_streams):
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
