"""Ladder: what a stream gives up, in which order, and when. Pure: the caller brings the clock.

One ladder per live stream. It hears of every finished chunk (`Outcome`: how old it was, what it
cost against the rate that is wanted, what else is short) and answers with a rung when that changes.

Down: three deadlines' worth of lateness in a row, by then as many rungs at once as the lateness
measured asks for: one change. Up: one rung after ten good seconds, and more slowly each time that
going up was a mistake. Two changes are ten seconds apart; only an overload that is hopeless (older
than twice the deadline) does not wait for that on its way down, and that once in ten seconds. So
going down takes 3 s, and nothing flaps.

Pressure is lateness as well: OBS, on the same machine, cannot keep its own pace. Whether a rung
helped OBS is known only when its ten calm seconds are over, so that pressure costs one rung, and
another one only when it outlasts that.

Beside the rungs stand two things that are short on their own: memory, which a smaller picture
relieves, and the network, which takes smaller and fewer pictures, but as many steps as ever.
Out of memory waits for nothing (the picture cannot be painted at all), and is never tried again.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import Literal

Kind = Literal["steps", "interpolate", "size", "rate", "hold"]

# Deadlines. requirements.md: "3 in a row over the latency threshold"; a chunk that is three times
# as old as it may be needs no second one
LATE_SUM = 3.0
HOPELESS_AGE = 2.0  # deadlines
# after a change the chunks that were already under way are not held against the new rung
SETTLE_NS = 600_000_000
APART_NS = 10_000_000_000  # between two changes
UP_AFTER_NS = 10_000_000_000  # good time before a rung is tried again
UP_AFTER_MAX_NS = 160_000_000_000  # the same after repeated failures, doubled each time
# a step down this soon after a step up means that the step up was wrong
UP_FAILED_NS = 18_000_000_000
# Between two rungs that pressure costs: it is taken away after 10 calm seconds
# (brushcast.obs_pressure), and the measuring behind it looks back over 5.
PRESSURE_SETTLE_NS = 16_000_000_000
NETWORK_SETTLE_NS = 10_000_000_000  # between two that the network costs
# A rung fits that is expected to need no more of the time allowed, and of what the wanted rate
# leaves; that rate may be missed by a tenth before anything is given up for it.
FITS_AGE = 0.8
FITS_LOAD = 0.95
LOAD_MOST = 1.1
MEMORY_NEAR = 0.95  # part of the device's memory: a new state may not fit
MEMORY_CALM = 0.85
# a denoising step against encoding and decoding, of the pocket model; only rungs are compared with
# it
STEP_COST = 0.5
# an interpolated picture against a painted one (docs/BENCHMARKS.md)
BETWEEN_COST = 0.2
OBSERVED = 16  # chunks that are remembered
AREAS = (1.0, 0.62, 0.38)
RATES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One place on the ladder. steps: denoising steps. area: part of the asked picture's area that
    is computed. every: of so many pictures the model paints one, the others are interpolated.
    takes: of so many of the source's pictures one is taken; 0: none, nothing is computed."""

    kind: Kind | None
    name: str
    steps: int
    area: float
    every: int = 1
    takes: int = 1

    @property
    def chunk_cost(self) -> float:
        """What a chunk costs here, relative to other rungs of the same stream."""
        return self.area * (1 + STEP_COST * self.steps)

    @property
    def cost(self) -> float:
        """What the source's pictures cost here, relative to other rungs of the same stream."""
        if not self.takes:
            return 0.0
        painted = 1 / self.every
        return self.chunk_cost * (painted + BETWEEN_COST * (1 - painted)) / self.takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished chunk told.

    age: from the first picture's arrival to the result, as a part of the time allowed (above 1:
    late). collect: of that, the part in which its pictures came. load: what the chunk took, as a
    part of the time that the wanted rate leaves; 0: no rate is wanted. dropped: pictures that went
    stale in the queue since the last one. pressed: the machine's other work suffers. network: the
    link is the bottleneck. memory: part of the device's that is in use, 0: unknown. begun_ns: when
    the first picture arrived; None: unknown.
    """

    age: float
    collect: float = 0.0
    load: float = 0.0
    dropped: int = 0
    pressed: bool = False
    network: bool = False
    memory: float = 0.0
    begun_ns: int | None = None


# The order of sacrifice (design.md).
ORDER: tuple[tuple[Kind, str], ...] = (
    ("steps", "fewer steps"),
    ("interpolate", "every second picture"),
    ("size", "smaller picture"),
    ("size", "small picture"),
    ("rate", "lower rate"),
    ("rate", "low rate"),
    ("hold", "hold"),
)


def rungs_for(
    steps: int, *, fixed_size: bool = False, told: bool = True, waits: bool = True
) -> tuple[Rung, ...]:
    """The rungs of a stream that asks for `steps`, best first; each keeps what those before it gave
    up. Steps are halved down to 1.

    fixed_size: the user chose the size, no rung makes it smaller. told: the bridge follows what it
    is told of the rate; without that there is neither a lower one nor hold. waits: its deadlines
    leave time to wait for the second picture; else a smaller picture comes first.
    """
    rungs = [Rung(kind=None, name="full", steps=steps, area=1.0)]
    order = list(ORDER)
    if not waits:
        order.insert(3, order.pop(1))
    areas, rates = list(AREAS[1:]), list(RATES[1:])
    for kind, name in order:
        last = dataclasses.replace(rungs[-1], kind=kind, name=name)
        if kind == "steps":
            while rungs[-1].steps > 1:
                rungs.append(dataclasses.replace(last, steps=rungs[-1].steps // 2))
        elif kind == "interpolate":
            rungs.append(dataclasses.replace(last, every=2))
        elif kind == "size" and not fixed_size:
            rungs.append(dataclasses.replace(last, area=areas.pop(0)))
        elif kind == "rate" and told:
            rungs.append(dataclasses.replace(last, takes=rates.pop(0)))
        elif kind == "hold" and told:
            rungs.append(dataclasses.replace(last, takes=0))
    return tuple(rungs)


class Ladder:
    """Where one stream stands. Owned by the stream's session; GPU thread."""

    def __init__(
        self, steps: int, *, fixed_size: bool = False, told: bool = True, waits: bool = True
    ) -> None:
        """As in `rungs_for`. What does not fit into memory is painted smaller all the same."""
        self.rungs = rungs_for(steps, fixed_size=fixed_size, told=told, waits=waits)
        self._fixed_size, self._told = fixed_size, told
        self._at = 0
        self._at_least = 0  # better ones did not fit into memory
        self._area = 0  # of AREAS: what memory and the network leave
        self._area_least = 0  # larger ones did not fit into memory
        self._rate = 0  # of RATES: what the network leaves
        self._late: list[Outcome] = []  # in a row
        self._good: deque[Outcome] = deque(maxlen=OBSERVED)
        self._changed_ns: int | None = None
        self._good_since_ns: int | None = None
        self._went_up_ns: int | None = None
        self._up_after_ns = UP_AFTER_NS
        self._hurried_ns: int | None = None  # the last change that came too soon after another
        self._gave_way_ns: int | None = None  # the last rung down under the pressure of now
        self._thinned_ns: int | None = None  # the same for the network
        self._memory_tried = False  # a smaller picture, and memory has not been calm since
        self._is_new = True

    @property
    def rung(self) -> Rung:
        return self._as_it_is(self._at)

    @property
    def index(self) -> int:
        """0 at the top."""
        return self._at

    def observe(self, now_ns: int, chunk: Outcome) -> Rung | None:
        """A chunk is done. The rung to stand on from now on, or None when nothing changes."""
        first, self._is_new = self._is_new, False
        self._note(now_ns, chunk, first=first)
        late = self._is_late(now_ns, chunk)
        if first or self._is_of_before(now_ns, chunk):
            return None  # the first one waited for the model's first steps, which are slow ones
        if late:
            self._late.append(chunk)
            self._good_since_ns = None
            if sum(max(late.age / self._patience, 1) for late in self._late) >= LATE_SUM:
                return self._down(now_ns)
            return None
        self._late.clear()
        self._good.append(chunk)
        short = self._give_space(now_ns, chunk)
        if short is not None or chunk.pressed or chunk.network:
            self._good_since_ns = None
            return short
        if self._good_since_ns is None:
            self._good_since_ns = now_ns
        return self._up(now_ns)

    def idle(self, now_ns: int) -> Rung | None:
        """Nothing is computed on the lowest rung, so nothing is learnt there: after a while the one
        above is tried. Call it now and then; the rung to stand on from now on, or None."""
        if self.rung.takes or self._changed_ns is None:
            return None
        if now_ns - self._changed_ns < self._up_after_ns:
            return None
        return self._move(now_ns, self._at - 1, went_up=True)

    def out_of_memory(self, now_ns: int) -> Rung | None:
        """A smaller picture and one step (each has a cache of its own), for good; None when there
        is no smaller one."""
        area = self._smaller_area()
        if area is None:
            return None
        self._area = self._area_least = area
        self._at_least = sum(rung.kind == "steps" for rung in self.rungs)
        return self._move(now_ns, max(self._at, self._at_least))

    # ------------------------------------------------------------------ what a chunk means

    @property
    def _patience(self) -> float:
        """A picture may be older where fewer are taken: that is what those rungs give up."""
        return float(max(self.rung.takes, 1))

    def _is_of_before(self, now_ns: int, chunk: Outcome) -> bool:
        """Whether this chunk was under way when the rung changed."""
        if self._changed_ns is None:
            return False
        begun_ns = self._changed_ns if chunk.begun_ns is None else chunk.begun_ns
        return begun_ns < self._changed_ns or now_ns - self._changed_ns < SETTLE_NS

    def _note(self, now_ns: int, chunk: Outcome, *, first: bool) -> None:
        if not chunk.pressed:
            self._gave_way_ns = None
        elif first:
            self._gave_way_ns = now_ns  # loading the model did it: that is over, and no rung helps
        if not chunk.network:
            self._thinned_ns = None
        if chunk.memory < MEMORY_CALM:
            self._memory_tried = False

    def _is_late(self, now_ns: int, chunk: Outcome) -> bool:
        gives_way = chunk.pressed and (
            self._gave_way_ns is None or now_ns - self._gave_way_ns >= PRESSURE_SETTLE_NS
        )
        too_old = chunk.age > self._patience
        return too_old or chunk.load > LOAD_MOST or chunk.dropped > 0 or gives_way

    def _as_it_is(self, at: int) -> Rung:
        """That rung with what memory and the network leave."""
        rung = self.rungs[at]
        area, takes = min(rung.area, AREAS[self._area]), rung.takes
        if takes:
            takes = max(takes, RATES[self._rate])
        if (area, takes) == (rung.area, rung.takes):
            return rung
        name = "smaller picture" if area < rung.area else "lower rate"
        if rung.kind in ("rate", "hold"):
            name = rung.name
        return dataclasses.replace(rung, area=area, takes=takes, name=name)

    def _is_too_much(self, chunk: Outcome) -> bool:
        return chunk.age > self._patience or chunk.load > LOAD_MOST

    def _fits(self, chunk: Outcome, to: Rung) -> bool:
        """Whether a chunk like this one is expected to do well there."""
        here = self.rung
        if not to.takes:
            return True
        # What is late comes together as slowly as it is painted; what is in time as the source
        # goes, and sooner where more of its pictures are taken.
        own = 0.0 if to.cost < here.cost else chunk.collect
        sooner = to.takes * to.every / (here.takes * here.every)
        age = (chunk.age - own) * to.chunk_cost / here.chunk_cost + own * sooner
        load = chunk.load * to.cost / here.cost
        return age / to.takes <= FITS_AGE and load <= FITS_LOAD

    # ------------------------------------------------------------------ changes

    def _down(self, now_ns: int) -> Rung | None:
        """As far as the lateness asks for; at least one rung."""
        late = sorted(self._late, key=lambda chunk: max(chunk.age, chunk.load))
        typical = late[len(late) // 2]
        hopeless = typical.age > HOPELESS_AGE * self._patience
        if not self._may_change(now_ns, hopeless=hopeless):
            del self._late[: -int(LATE_SUM)]
            return None
        at = self._lower(typical)
        if at is None:
            self._late.clear()
            return None
        if self._went_up_ns is not None and now_ns - self._went_up_ns < UP_FAILED_NS:
            self._up_after_ns = min(2 * self._up_after_ns, UP_AFTER_MAX_NS)
            if not hopeless:
                at = self._at + 1  # it was good there
        if self._changed_ns is not None and now_ns - self._changed_ns < APART_NS:
            self._hurried_ns = now_ns
        if typical.pressed:
            self._gave_way_ns = now_ns
        return self._move(now_ns, at)

    def _lower(self, typical: Outcome) -> int | None:
        """The first rung below on which such a chunk would be in time, else the last that computes
        anything. Nobody jumps into hold: first it is seen what the rung above it does, and it
        helps against nothing but lateness."""
        here, found = self.rung, None
        for at in range(self._at + 1, len(self.rungs)):
            to = self._as_it_is(at)
            if to.cost >= here.cost:
                continue  # it gives up what is given up already
            if not to.takes:
                return at if found is None and typical.age > self._patience else found
            found = at
            if not self._is_too_much(typical) or self._fits(typical, to):
                return at
        return found

    def _may_change(self, now_ns: int, *, hopeless: bool = False) -> bool:
        if self._changed_ns is None or now_ns - self._changed_ns >= APART_NS:
            return True
        return hopeless and (self._hurried_ns is None or now_ns - self._hurried_ns >= APART_NS)

    def _give_space(self, now_ns: int, chunk: Outcome) -> Rung | None:
        """For what is short beside time: memory, the network."""
        if not self._may_change(now_ns):
            return None
        area = self._smaller_area()
        if chunk.memory >= MEMORY_NEAR and not self._memory_tried and area is not None:
            self._memory_tried, self._area = True, area
            return self._move(now_ns, self._at)
        if not chunk.network:
            return None
        if self._thinned_ns is not None and now_ns - self._thinned_ns < NETWORK_SETTLE_NS:
            return None
        self._thinned_ns = now_ns
        if area is not None and not self._fixed_size:
            self._area = area
        elif self._told and self._rate + 1 < len(RATES):
            self._rate += 1
        else:
            return None
        return self._move(now_ns, self._at)

    def _smaller_area(self) -> int | None:
        """The next of AREAS below what is painted now."""
        smaller = (n for n, area in enumerate(AREAS) if area < self.rung.area)
        return next(smaller, None)

    def _up(self, now_ns: int) -> Rung | None:
        assert self._good_since_ns is not None
        since_ns = max(self._good_since_ns, self._changed_ns or self._good_since_ns)
        if now_ns - since_ns < max(self._up_after_ns, APART_NS) or len(self._good) < LATE_SUM:
            return None
        memory_calm = self._good[-1].memory < MEMORY_CALM
        before = self._at, self._area, self._rate
        here = self.rung
        if self._rate:
            self._rate -= 1
        elif self._area > self._area_least and memory_calm:
            self._area -= 1
        elif self._at > self._at_least:
            self._at -= 1
        else:
            return None
        to, (self._at, self._area, self._rate), after = (
            self.rung, before, (self._at, self._area, self._rate),
        )  # fmt: skip
        # self._at is where it was: `_fits` compares with here
        if to.cost > here.cost and not all(self._fits(chunk, to) for chunk in self._good):
            return None
        if self._went_up_ns is not None:  # and that was right
            self._up_after_ns = max(self._up_after_ns // 2, UP_AFTER_NS)
        at, self._area, self._rate = after
        return self._move(now_ns, at, went_up=True)

    def _move(self, now_ns: int, at: int, *, went_up: bool = False) -> Rung:
        self._at = at
        self._changed_ns = now_ns
        self._went_up_ns = now_ns if went_up else None
        self._late.clear()
        self._good.clear()
        self._good_since_ns = None
        return self.rung
