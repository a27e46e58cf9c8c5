"""Life: where a worker stands, as one state machine. Pure: no process, no socket, no clock of its
own.

    state     what it means                                 left by
    STARTING  the process was started                       listening → LOADING, ready → READY
    LOADING   its address is bound, the model warms up      ready → READY
    READY     it serves, and paints what is asked           falls short → DEGRADED, stalls → STALLED
    DEGRADED  it paints less or fewer than was asked        paints → READY, stalls → STALLED
    STALLED   it lives, frames flow, nothing comes back     paints → READY, falls short → DEGRADED
    BACKOFF   it died and is started again after a while    started, listening, ready
    FAILED    it died too often: a person must ask          started (Retry), listening, ready

`died` leads from everywhere to BACKOFF and `gave up` to FAILED. What a state's row does not name
leaves the state as it is: an event may be late (the last words of a process that was replaced).

The supervisor sees the process (started, listening, ready, died, gave up), the bridge the pictures
(paints, falls short, stalls). The supervisor's word is told to the bridge, whose board refines it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from brushcast.metrics import Rate

NS_PER_S = 1_000_000_000
STALLED_AFTER_NS = 2 * NS_PER_S  # nothing was finished for so long while frames flowed
SHORT_AFTER_NS = 3 * NS_PER_S  # a spare that loads takes the cores for less than that
LEAST_SHARE = 0.5  # of the wanted pictures: with fewer it falls short
FLOWING_NS = NS_PER_S  # the slowest source that counts as flowing has a picture a second


class Life(StrEnum):
    """Where a worker stands; see the file's head."""

    STARTING = "STARTING"
    LOADING = "LOADING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    STALLED = "STALLED"
    BACKOFF = "BACKOFF"
    FAILED = "FAILED"

    @property
    def serves(self) -> bool:
        """The process said that it is ready, and has not ended since."""
        return self in SERVING


class Happening(StrEnum):
    """What leads from one state to another."""

    STARTED = "started"
    LISTENING = "listening"
    READY = "ready"
    PAINTS = "paints"
    FALLS_SHORT = "falls short"
    STALLS = "stalls"
    DIED = "died"
    GAVE_UP = "gave up"


SERVING = frozenset({Life.READY, Life.DEGRADED, Life.STALLED})

_ENDS = {Happening.DIED: Life.BACKOFF, Happening.GAVE_UP: Life.FAILED}
_BEGINS = {
    Happening.STARTED: Life.STARTING,
    Happening.LISTENING: Life.LOADING,
    Happening.READY: Life.READY,
}
_OUTPUT = {
    Happening.PAINTS: Life.READY,
    Happening.FALLS_SHORT: Life.DEGRADED,
    Happening.STALLS: Life.STALLED,
}
_NEXT: Mapping[Life, Mapping[Happening, Life]] = {
    Life.STARTING: _BEGINS | _ENDS,
    Life.LOADING: {Happening.READY: Life.READY} | _ENDS,
    Life.READY: _OUTPUT | _ENDS,
    Life.DEGRADED: _OUTPUT | _ENDS,
    Life.STALLED: _OUTPUT | _ENDS,
    Life.BACKOFF: _BEGINS | _ENDS,
    Life.FAILED: _BEGINS,
}


def after(life: Life, happening: Happening) -> Life:
    """The state that follows; the same one where the table names no other."""
    return _NEXT[life].get(happening, life)


def refined(life: Life, told: Life) -> Life:
    """The bridge's own state once the supervisor has said its word again: that a worker is READY
    does not make good pictures of bad ones."""
    return life if told is Life.READY and life.serves else told


class Output:
    """What the pictures say of a worker that serves. Owned by the bridge's thread.

    `asked` for every picture of the source while pictures are wanted, `painted` for every styled
    one, `paused` while nobody wants any.
    """

    def __init__(self) -> None:
        self._asked, self._painted = Rate(), Rate()
        self._asked_ns: int | None = None
        self._flowing_since_ns: int | None = None
        self._painted_ns: int | None = None
        self._short_since_ns: int | None = None

    def asked(self, now_ns: int) -> None:
        """The source gave a picture."""
        if self._asked_ns is None or now_ns - self._asked_ns > FLOWING_NS:
            self._flowing_since_ns, self._short_since_ns = now_ns, None
        self._asked_ns = now_ns
        self._asked.add(now_ns)

    def painted(self, now_ns: int) -> None:
        """The worker finished one."""
        self._painted_ns = now_ns
        self._painted.add(now_ns)

    def begins(self, now_ns: int) -> None:
        """Another worker, or the same one again: it has its time from now on."""
        self._painted_ns = self._short_since_ns = None
        if self._flowing_since_ns is not None:
            self._flowing_since_ns = now_ns

    paused = begins

    def verdict(self, now_ns: int, *, full_quality: bool, rate_fps: float) -> Happening | None:
        """How it does, or None while that cannot be said: no frames flow. full_quality: nothing of
        the asked quality was given up. rate_fps: as many pictures a second are wanted at most."""
        flowing = self._asked_ns is not None and now_ns - self._asked_ns <= FLOWING_NS
        if not flowing or self._flowing_since_ns is None:
            return None
        since_ns = max(self._flowing_since_ns, self._painted_ns or 0)
        if now_ns - since_ns >= STALLED_AFTER_NS:
            return Happening.STALLS
        if self._painted_ns is None:
            return None  # the first picture has its time
        wanted = LEAST_SHARE * min(self._asked.per_second(now_ns), rate_fps)
        if full_quality and self._painted.per_second(now_ns) >= wanted:
            self._short_since_ns = None
            return Happening.PAINTS
        if self._short_since_ns is None:
            self._short_since_ns = now_ns
        if now_ns - self._short_since_ns >= SHORT_AFTER_NS or not full_quality:
            return Happening.FALLS_SHORT
        return None
