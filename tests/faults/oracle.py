"""Oracle: what the audience saw, from the probe's log. Pure but for reading the log.

Every line is a picture that reached the sink. Its gap is the time since the last one, its age the
time since its source picture was made: by the number in its pixels where the worker lets that
through, else by the product's own account.
"""

from __future__ import annotations

import json
import math
from bisect import bisect, bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from brushcast.playout import Kind

NS_PER_MS = 1e6
GAP_P999_MS, GAP_MOST_MS = 50.0, 100.0  # design.md, "Promises"
LIVE_LOCAL_MS, LIVE_REMOTE_MS = 250.0, 500.0  # beside the engine's own delay
# Of a raw picture. The embedded model's ink keeps 0.31 to 0.34 of the secret (other looks as much),
# so of a raw picture that is faded in, two fifths are seen. Of the echo engine a twentieth is:
# it keeps none, and the cards have below 0.05.
LEAK_MOST = 0.6
LEAK_MOST_ECHO = 0.06
STEPS_NS = 2_000_000_000  # for so long a slow step excuses
BLANK = 3.0  # of 255, the deviation of a picture's values; the cards have above 10


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture that reached the sink. at_ns: monotonic. number: of the source picture in it, None
    where it cannot be read. contrast: the deviation of its values, 0 for one colour. captured_ns:
    what the product says of it, -1 for the card. waited_ns, stolen_s: so far, what the process's
    two threads waited in the run queue, and what a host took from this machine.
    """

    at_ns: int
    process: int
    tick: int
    kind: Kind
    captured_ns: int
    badge: bool
    leak: float
    number: int | None
    contrast: float
    waited_ns: int
    stolen_s: float


class Log:
    """The probe's log as it grows. `new` is for one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[Seen]:
        """The whole lines since the last call."""
        lines, self._offset = _whole_lines(self._path, self._offset)
        return [parse(line) for line in lines]


def _whole_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Those from `offset` on, and where the next one begins."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
        return [], offset
    return (whole.split(b"\n"), offset + len(whole) + 1) if whole else ([], offset)


def parse(line: bytes) -> Seen:
    table = json.loads(line)
    return Seen(**{**table, "kind": Kind(table["kind"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of a stretch of the log. gap_*_ms: between pictures; gap_ours_ms: the longest after what the
    host stole and the run queue took was taken off each. raw: pictures with more of the watermark
    than `leak_most` allowed. live_age_ms: of the oldest picture that was called live; stale: how
    many of those were older than the bar. unread: live pictures without a number that can be read;
    foreign: with one that this source never made. slow: gaps above GAP_P999_MS. blank: pictures of
    one colour.
    """

    pictures: int
    gap_p50_ms: float
    gap_p999_ms: float
    gap_most_ms: float
    gap_ours_ms: float
    raw: int
    leak: float
    shown: dict[str, int]
    live_age_ms: float
    stale: int
    unread: int
    foreign: int
    slow: int
    blank: int
    stolen_ms: float
    waited_ms: float


def judge(
    seen: Sequence[Seen],
    *,
    made_ns: Callable[[int], int | None] | None = None,
    live_most_ms: Callable[[Seen], float] = lambda _: math.inf,
    leak_most: float = LEAK_MOST,
) -> Verdict:
    """seen: the last picture before the stretch, then all of it, at least two. made_ns: when the
    source picture of that number was made (None: unknown); without it the product's word is taken.
    live_most_ms: how old that picture may be and still be called live. A gap at which the process
    changed counts.
    """
    assert len(seen) >= 2, f"{len(seen)} pictures are none to judge"
    gaps_ms = [(b.at_ns - a.at_ns) / NS_PER_MS for a, b in pairwise(seen)]
    judged = seen[1:]
    aged = [(one, age) for one in judged if (age := age_ms(one, made_ns)) is not None]
    live = [one for one in judged if one.kind is Kind.LIVE]
    unread = foreign = 0
    if made_ns is not None:
        unread = sum(one.number is None for one in live)
        foreign = sum(one.number is not None and made_ns(one.number) is None for one in live)
    return Verdict(
        pictures=len(judged),
        gap_p50_ms=percentile(gaps_ms, 50),
        gap_p999_ms=percentile(gaps_ms, 99.9),
        gap_most_ms=max(gaps_ms),
        gap_ours_ms=max(_own_gap_ms(a, b) for a, b in pairwise(seen)),
        raw=sum(one.leak > leak_most for one in judged),
        leak=max(one.leak for one in judged),
        shown=dict(Counter(one.kind.name.lower() for one in judged)),
        live_age_ms=max((age for _, age in aged), default=0.0),
        stale=sum(age > live_most_ms(one) for one, age in aged),
        unread=unread,
        foreign=foreign,
        blank=sum(one.contrast < BLANK for one in judged),
        slow=sum(gap_ms > GAP_P999_MS for gap_ms in gaps_ms),
        stolen_ms=1000 * (seen[-1].stolen_s - seen[0].stolen_s),
        waited_ms=sum(_waited_ms(a, b) for a, b in pairwise(seen)),
    )


class Steps:
    """The engine's own delay at a time: from what its steps took, in its own log, and how many
    pictures it collected for one, as the worker said to the bridge."""

    def __init__(self, took: Path, collects: Path, *, chunk_frames: int, rate_fps: float) -> None:
        """chunk_frames: pictures of a chunk, until the worker says another number: it collects
        more of them where it interpolates some."""
        self._rate_fps = rate_fps
        self._took, self._collects = _Changes(took), _Changes(collects)
        self._chunk_frames = chunk_frames

    def read(self) -> None:
        """What was written since the last call."""
        self._took.read()
        self._collects.read()

    def own_delay_ms(self, at_ns: int) -> float:
        """A chunk is collected, its pictures as far apart as the source gives them or the engine
        takes them, then computed. Of the slowest step that ended within `STEPS_NS` before, and the
        most pictures collected in that time; where nothing was said then, of the last before."""
        took_ms = self._took.most(at_ns, 0.0)
        chunk_frames = self._collects.most_valid(at_ns, self._chunk_frames)
        apart_ms = max(1000 / self._rate_fps, took_ms / chunk_frames)
        return (chunk_frames - 1) * apart_ms + took_ms


class _Changes:
    """A growing file of lines `at_ns value`."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._at_ns: list[int] = []
        self._values: list[float] = []

    def read(self) -> None:
        lines, self._offset = _whole_lines(self._path, self._offset)
        for line in lines:
            at_ns, value = line.split()
            self._at_ns.append(int(at_ns))
            self._values.append(float(value))

    def most(self, at_ns: int, otherwise: float) -> float:
        """Of those that happened within `STEPS_NS` before; where there is none, the last one."""
        first, last = bisect_left(self._at_ns, at_ns - STEPS_NS), bisect(self._at_ns, at_ns)
        return max(self._values[max(0, first - (first == last)) : last], default=otherwise)

    def most_valid(self, at_ns: int, otherwise: float) -> float:
        """Of those that held at some time within `STEPS_NS` before: each holds until the next."""
        first, last = bisect_left(self._at_ns, at_ns - STEPS_NS), bisect(self._at_ns, at_ns)
        before = self._values[first - 1] if first else otherwise
        return max([before, *self._values[first:last]])


def age_ms(one: Seen, made_ns: Callable[[int], int | None] | None = None) -> float | None:
    """How old a picture that is called live was when it was shown; None for others, and where
    nobody knows."""
    if one.kind is not Kind.LIVE:
        return None
    born_ns: int | None = one.captured_ns if one.captured_ns >= 0 else None
    if made_ns is not None and one.number is not None:
        born_ns = made_ns(one.number)
    return None if born_ns is None else (one.at_ns - born_ns) / NS_PER_MS


def live_again_ns(seen: Iterable[Seen], since_ns: int) -> int | None:
    """When the first picture was shown live that was made after `since_ns`; None: not yet."""
    return next(
        (one.at_ns for one in seen if one.kind is Kind.LIVE and one.captured_ns > since_ns), None
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest that so many percent do not exceed: exact, of all of them."""
    ranked = sorted(values)
    return ranked[max(1, math.ceil(len(ranked) * percent / 100)) - 1] if ranked else 0.0


def joined(one: Verdict, other: Verdict) -> Verdict:
    """The worst of two stretches; counts are summed. gap_p50_ms is the longer's."""
    longer = one if one.pictures >= other.pictures else other
    return replace(
        longer,
        pictures=one.pictures + other.pictures,
        gap_p999_ms=max(one.gap_p999_ms, other.gap_p999_ms),
        gap_most_ms=max(one.gap_most_ms, other.gap_most_ms),
        gap_ours_ms=max(one.gap_ours_ms, other.gap_ours_ms),
        raw=one.raw + other.raw,
        leak=max(one.leak, other.leak),
        shown=dict(Counter(one.shown) + Counter(other.shown)),
        live_age_ms=max(one.live_age_ms, other.live_age_ms),
        stale=one.stale + other.stale,
        unread=one.unread + other.unread,
        foreign=one.foreign + other.foreign,
        slow=one.slow + other.slow,
        blank=one.blank + other.blank,
        stolen_ms=one.stolen_ms + other.stolen_ms,
        waited_ms=one.waited_ms + other.waited_ms,
    )


def _waited_ms(before: Seen, after: Seen) -> float:
    if before.process != after.process:
        return 0.0
    return max(0, after.waited_ns - before.waited_ns) / NS_PER_MS


def _own_gap_ms(before: Seen, after: Seen) -> float:
    gap_ms = (after.at_ns - before.at_ns) / NS_PER_MS
    stolen_ms = 1000 * (after.stolen_s - before.stolen_s)
    return max(0.0, gap_ms - _waited_ms(before, after) - stolen_ms)
