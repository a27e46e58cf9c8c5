"""Ladder: what a stream gives up, in which order, and when. Pure: the caller brings the clock.

One ladder per live stream. It hears of every finished chunk (was it late, how old was it) and
answers with a rung when the rung changes: down within three chunks or as soon as the queue is
hopelessly old, up one rung at a time after ten good seconds, and more slowly each time that going
up was a mistake.

Pressure is lateness as well: OBS, on the same machine, cannot keep its own pace. Whether a rung
helped OBS is known only when its ten calm seconds are over, so that pressure costs one rung, and
another one only when it outlasts that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

Kind = Literal["steps", "interpolate", "size", "rate", "hold"]

LATE_IN_A_ROW = 3  # chunks; requirements.md: "3 in a row over the latency threshold"
# a chunk this many times older than its deadline allows: do not wait for a third one
HOPELESS_AGE = 2.0
# after a change the chunks that were already under way are not held against the new rung
SETTLE_NS = 600_000_000
UP_AFTER_NS = 10_000_000_000  # good time before a rung is tried again
UP_AFTER_MAX_NS = 160_000_000_000  # the same after repeated failures, doubled each time
# a step down this soon after a step up means that the step up was wrong
UP_FAILED_NS = 8_000_000_000
# Between two rungs that pressure costs: it is taken away after 10 calm seconds
# (brushcast.obs_pressure), and the measuring behind it looks back over 5.
PRESSURE_SETTLE_NS = 16_000_000_000
UP_HEADROOM = 0.8  # the higher rung must be expected to need at most this part of the deadline
# a denoising step against encoding and decoding, of the pocket model; only rungs are compared with
# it
STEP_COST = 0.5
OBSERVED = 16  # chunks whose age is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One place on the ladder. `steps`: denoising steps; `area`: part of the asked picture's area
    that is computed."""

    kind: Kind | None
    name: str
    steps: int
    area: float

    @property
    def cost(self) -> float:
        """What a chunk costs here, relative to other rungs of the same stream."""
        return self.area * (1 + STEP_COST * self.steps)


# The order of sacrifice (design.md). A rung not in IMPLEMENTED is named here and never reached.
ORDER: tuple[tuple[Kind, str, float], ...] = (
    ("steps", "fewer steps", 1.0),
    ("interpolate", "every second chunk", 1.0),
    ("size", "smaller picture", 0.62),
    ("size", "small picture", 0.38),
    ("rate", "lower rate", 0.38),
    ("hold", "hold", 0.38),
)
IMPLEMENTED: frozenset[Kind] = frozenset({"steps", "size"})


def rungs_for(steps: int) -> tuple[Rung, ...]:
    """The reachable rungs of a stream that asks for `steps`, best first. Steps are halved down to
    1."""
    rungs = [Rung(kind=None, name="full", steps=steps, area=1.0)]
    for kind, name, area in ORDER:
        if kind not in IMPLEMENTED:
            continue
        if kind == "steps":
            while rungs[-1].steps > 1:
                fewer = rungs[-1].steps // 2
                rungs.append(Rung(kind=kind, name=name, steps=fewer, area=1.0))
        else:
            rungs.append(Rung(kind=kind, name=name, steps=rungs[-1].steps, area=area))
    return tuple(rungs)


class Ladder:
    """Where one stream stands. Owned by the stream's session; GPU thread."""

    def __init__(self, steps: int, *, fixed_size: bool = False) -> None:
        """fixed_size: the user chose the size. Slowness then costs pictures, which the bridge
        leaves out evenly; only what does not fit into memory is painted smaller all the same.
        """
        self.rungs = rungs_for(steps)
        self._fixed_size = fixed_size
        self._at = 0
        self._best = 0  # rungs above this one did not fit into memory
        self._late_in_a_row = 0
        self._ages: deque[float] = deque(maxlen=OBSERVED)
        self._changed_ns: int | None = None
        self._good_since_ns: int | None = None
        self._went_up_ns: int | None = None
        self._up_after_ns = UP_AFTER_NS
        self._gave_way_ns: int | None = None  # the last rung down under the pressure of now
        self._is_new = True

    @property
    def rung(self) -> Rung:
        return self.rungs[self._at]

    @property
    def index(self) -> int:
        """0 at the top."""
        return self._at

    def observe(
        self, now_ns: int, *, age: float, dropped: int = 0, pressed: bool = False
    ) -> Rung | None:
        """A chunk is done. The rung to stand on from now on, or None when nothing changes.

        age: from the first picture's arrival to the result, as a part of the time allowed (above 1:
        late). dropped: pictures of this stream that went stale in the queue since the last call.
        pressed: the machine's other work suffers; see the file's head.
        """
        if not pressed:
            self._gave_way_ns = None
        elif self._is_new:
            self._gave_way_ns = now_ns  # loading the model did it: that is over, and no rung helps
        self._is_new = False
        late = age > 1 or dropped > 0 or (pressed and self._may_give_way(now_ns))
        settling = self._changed_ns is not None and now_ns - self._changed_ns < SETTLE_NS
        if late and settling:
            return None
        if late:
            self._good_since_ns = None
            self._late_in_a_row += 1
            if self._late_in_a_row >= LATE_IN_A_ROW or age > HOPELESS_AGE:
                rung = self._down(now_ns)
                if pressed and rung is not None:
                    self._gave_way_ns = now_ns
                return rung
            return None
        self._late_in_a_row = 0
        if pressed:
            self._good_since_ns = None
            return None
        self._ages.append(age)
        if self._good_since_ns is None:
            self._good_since_ns = now_ns
        if self._may_go_up(now_ns):
            return self._move(self._at - 1, now_ns, went_up=True)
        return None

    def out_of_memory(self, now_ns: int) -> Rung | None:
        """Down to the next rung that needs less memory, for good; None when there is none."""
        for at in range(self._at + 1, len(self.rungs)):
            if self.rungs[at].area < self.rung.area:
                self._best = at
                return self._move(at, now_ns, went_up=False)
        return None

    def _may_give_way(self, now_ns: int) -> bool:
        """Whether pressure may cost a rung now: the last one had time to help."""
        return self._gave_way_ns is None or now_ns - self._gave_way_ns >= PRESSURE_SETTLE_NS

    def _down(self, now_ns: int) -> Rung | None:
        if self._at + 1 >= len(self.rungs):
            return None
        if self._fixed_size and self.rungs[self._at + 1].area < self.rung.area:
            return None
        if self._went_up_ns is not None and now_ns - self._went_up_ns < UP_FAILED_NS:
            self._up_after_ns = min(2 * self._up_after_ns, UP_AFTER_MAX_NS)
        return self._move(self._at + 1, now_ns, went_up=False)

    def _may_go_up(self, now_ns: int) -> bool:
        if self._at <= self._best or self._good_since_ns is None:
            return False
        since = max(self._good_since_ns, self._changed_ns or self._good_since_ns)
        if now_ns - since < self._up_after_ns or len(self._ages) < LATE_IN_A_ROW:
            return False
        dearer = self.rungs[self._at - 1].cost / self.rung.cost
        return max(self._ages) * dearer <= UP_HEADROOM

    def _move(self, at: int, now_ns: int, *, went_up: bool) -> Rung:
        self._at = at
        self._changed_ns = now_ns
        self._went_up_ns = now_ns if went_up else None
        self._late_in_a_row = 0
        self._ages.clear()
        self._good_since_ns = None
        return self.rung
