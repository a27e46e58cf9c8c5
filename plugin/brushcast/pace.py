"""Pace: which of the camera's pictures are sent when the worker cannot take all of them. Pure.

A chunk should be complete at the very moment at which the worker becomes free: earlier, its
pictures wait there and grow old; later, the worker waits. So the pace counts from the moment at
which the last chunk's results came, which is when the next one began, and spreads a chunk's
pictures over the time that the worker says a chunk takes, but for the longest gap, which lies
between two chunks. The rate of results would be no measure
of that time: they come no faster than we send, so a pace that follows them can only slow down.
"""

from __future__ import annotations

import math

SMOOTHING = 0.2  # weight of the newest report, a mean already; they come four times a second
SOURCE_SMOOTHING = 0.2
LONGEST_GAP_NS = 200_000_000  # a longer one is a source that stopped, not its rate
APART = 0.5  # of a chunk's time: results so far from each other are not of one chunk
LEAST_APART_NS = 15_000_000
EARLY = 0.1  # of the wanted period: a camera's pictures do not come to the millisecond
ROUNDING = 0.02  # a camera's periods that are nearly a whole number are one
LEAD_NS = 10_000_000  # the way to the worker's GPU thread on a busy machine


class Pace:
    """What the worker is doing, as far as the bridge can tell, and whether a picture is due there.
    In nanoseconds of one clock.

    in_flight: pictures sent that have neither result nor refusal. Some of them the engine holds
    between two chunks, whatever the pace: those are left out of every account.
    """

    def __init__(self, chunk_frames: int = 1, target_fps: int = 0) -> None:
        """target_fps: more pictures a second are not wanted; 0: as many as can be."""
        self._target_ns = 1e9 / target_fps if target_fps else 0.0
        self._due_ns = 0.0  # when the next picture at that rate is due
        self._number = 0  # of the source's pictures
        self._source_period_ns = 0.0
        self._last_capture_ns: int | None = None
        self.reset(chunk_frames)

    def reset(self, chunk_frames: int) -> None:
        """Another worker, another speed: it eats `chunk_frames` pictures at a time."""
        self._chunk_frames = chunk_frames
        self._usual_frames = chunk_frames
        self._takes = 1
        self._chunk_ns = 0.0
        self._held = 0
        self._lead_ns = LEAD_NS
        self._begun_ns: int | None = None  # when the worker began its chunk; None: it collects
        self._result_ns: int | None = None
        self._results = 0  # of the chunk that the worker is painting

    @property
    def chunk_frames(self) -> int:
        """Pictures that the worker eats at a time."""
        return self._chunk_frames

    @property
    def takes(self) -> int:
        """Of so many of the source's pictures the worker takes one; 1 while it takes none."""
        return max(self._takes, 1)

    @property
    def chunk_ns(self) -> float:
        """What a chunk takes; 0 until the worker said."""
        return self._chunk_ns

    @property
    def _inside(self) -> int:
        """Pictures of the worker's chunk that it still owes."""
        return self.chunk_frames - self._results

    def worker_needs(self, chunk_ns: float, round_trip_ns: int = 0, held: int = 0) -> None:
        """The worker's own word: how long it computes a chunk, and how many pictures its engine
        holds between two; and how long a message takes there and back."""
        self._held = held
        if not self._chunk_ns:
            self._chunk_ns = chunk_ns
        self._chunk_ns += SMOOTHING * (chunk_ns - self._chunk_ns)
        self._lead_ns = LEAD_NS + round_trip_ns

    def worker_takes(self, takes: int, chunk_frames: int = 0) -> None:
        """The worker's own word: of so many of the source's pictures it takes one (0: none), so
        many of those at a time (0: as it said when it was reached)."""
        self._takes = takes
        self._chunk_frames = chunk_frames or self._usual_frames

    def wants(self, captured_ns: int, now_ns: int, in_flight: int) -> bool:
        """Whether the picture captured then is to be sent: none that comes after it would be in
        time."""
        if not self._is_taken(captured_ns):
            return False
        if self._last_capture_ns is not None:
            gap_ns = min(captured_ns - self._last_capture_ns, LONGEST_GAP_NS)
            self._source_period_ns += SOURCE_SMOOTHING * (gap_ns - self._source_period_ns)
        self._last_capture_ns = captured_ns
        period_ns = self._chunk_ns / self.chunk_frames
        waiting = self._owed(in_flight) - self._inside
        if self._begun_ns is None or waiting < 0:
            return True  # the worker has nothing to do until its chunk is full
        if period_ns <= self._source_period_ns:
            return True
        full_ns = self._begun_ns + self._chunk_ns - self._lead_ns
        missing = self.chunk_frames - 1 - waiting  # behind this one, in its chunk
        due_ns = full_ns - missing * (self._spacing_ns(period_ns) if missing > 0 else period_ns)
        return now_ns + self._source_period_ns > due_ns

    def _is_taken(self, captured_ns: int) -> bool:
        """Whether the picture is one of those that are wanted at all, however fast the worker
        is."""
        self._number += 1
        if not self._takes or self._number % self._takes:
            return False
        if not self._target_ns:
            return True
        if captured_ns < self._due_ns - EARLY * self._target_ns:
            return False
        self._due_ns = max(self._due_ns, captured_ns - self._target_ns) + self._target_ns
        return True

    def _spacing_ns(self, period_ns: float) -> float:
        """Between a chunk's pictures. Where the camera's do not divide evenly the longest gap is
        the one between two chunks: that makes a chunk's oldest picture younger, and motion is as
        even as in any other order."""
        if not self._source_period_ns:
            return period_ns
        even = period_ns / self._source_period_ns  # in the camera's periods
        longest = math.ceil(even - ROUNDING)
        within = (even * self.chunk_frames - longest) / (self.chunk_frames - 1)
        return max(math.floor(even + ROUNDING), within) * self._source_period_ns

    def sent(self, now_ns: int, in_flight: int) -> None:
        """A picture went out; it is counted in `in_flight`."""
        if self._owed(in_flight) < self._inside:
            self._begun_ns = None
        elif self._begun_ns is None:
            self._begun_ns = now_ns + self._lead_ns // 2

    def returned(self, now_ns: int, in_flight: int) -> None:
        """A result came; it is counted in `in_flight` no more. With the last of a chunk's the
        worker takes the next chunk, if it is full."""
        apart_ns = max(APART * self._chunk_ns, LEAST_APART_NS)
        if self._result_ns is None or now_ns - self._result_ns > apart_ns:
            self._results = 0  # a chunk that was cut short, or refused
        self._result_ns = now_ns
        self._results += 1
        owed = self._owed(in_flight)
        if self._results == self.chunk_frames or not owed:
            self._results = 0
            self._begun_ns = now_ns if owed >= self.chunk_frames else None

    def _owed(self, in_flight: int) -> int:
        """Of those, what waits for its chunk or is in the one that is painted."""
        return max(in_flight - self._held, 0)
