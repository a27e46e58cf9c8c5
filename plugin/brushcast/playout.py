"""Playout: which styled picture is shown at this tick. Pure: no clock, no thread, and pictures are
opaque.

A jitter buffer. A picture captured at t is due at t + delay; the delay follows the slowest of the
recent arrivals, quickly up and slowly down, so that a chunk whose pictures all arrive at once is
spread over time again.

    first styled picture not there yet   CARD, never the camera
    styled pictures come                 LIVE: the newest that is due
    a gap of up to 1 s                   LIVE, then HELD: the last styled picture
    up to 3 s                            BLURRED: the same, out of focus, with a badge
    longer                               CARD; every way back is a cross-fade

What goes in is `Styled` and nothing else: there is no method that takes a `Frame`, so there is no
answer that shows a raw one. Times are monotonic nanoseconds of one host.
"""

from __future__ import annotations

import collections
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from brushcast.errors import ConfigError

Picture = TypeVar("Picture")

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

FADE_NS = 300 * NS_PER_MS
SEEN_MORE = 2 / 3  # of a fade: before that a strong old picture below may be what one sees
LIVE_AGE_NS = 1 * NS_PER_S  # nothing older than this is called live, whatever the delay
# design.md, "Promises": so much beside the engine's own delay, from a worker here or elsewhere.
LIVE_LOCAL_NS, LIVE_REMOTE_NS = 250 * NS_PER_MS, 500 * NS_PER_MS
# What a step takes is told smoothed and a little later: so much shorter may the engine's own delay
# have become since.
TOLD_LATE_NS = 50 * NS_PER_MS
BLUR_AFTER_NS = 1 * NS_PER_S  # design.md, "What is shown"
# two seconds of blur: long enough for a restarted worker to come back under it
CARD_AFTER_NS = 3 * NS_PER_S
HELD_AFTER_PERIODS = 3.0  # a gap of so many styled periods is no longer the rhythm of the worker
HELD_AFTER_LEAST_NS = 250 * NS_PER_MS

ARRIVALS_WINDOW_NS = 3 * NS_PER_S
ARRIVALS_MOST = 256
# Of a chunk's four pictures the oldest has the whole lateness: 0.97 serves seven of eight such
# pictures.
LATENESS_QUANTILE = 0.97
DELAY_MARGIN_NS = 4 * NS_PER_MS  # the bridge's own tick is that late at p99 on two busy cores
DELAY_DOWN = 0.08  # per second of time: motion 8 % faster is not noticed
DELAY_DOWN_FAR = 0.25  # far above the target (after a stall) a short hurry beats a long lateness
DELAY_FAR_NS = 250 * NS_PER_MS

SKIP_AFTER = 0.12  # of a period: so much overdue, a picture pushes the one before it aside
PENDING_MOST = 64  # two seconds at 30 per second
# of an output period: how far a picture may leave its due time to keep an even rhythm
TICK_SLACK = 0.75


class Kind(IntEnum):
    """What the audience sees. The numbers are in the ring's format."""

    CARD = 0
    LIVE = 1
    HELD = 2
    BLURRED = 3


PAINTED = (Kind.LIVE, Kind.HELD, Kind.BLURRED)  # by a model: what the "AI" badge is laid on


@dataclass(frozen=True, slots=True)
class Styled(Generic[Picture]):
    """One picture that came back from the worker. Made by the bridge from a RESULT, nowhere else.

    seq, captured_ns: those of the frame that it was made from. epoch: of the connection that
    brought it. size: what it was painted at, width and height; another one is faded in.
    """

    picture: Picture
    seq: int
    captured_ns: int
    epoch: int = 0
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Layer(Generic[Picture]):
    """A way to show a picture; `picture` is None exactly for the card."""

    kind: Kind
    picture: Picture | None

    def __post_init__(self) -> None:
        assert (self.picture is None) == (self.kind is Kind.CARD)


@dataclass(frozen=True, slots=True)
class Shown(Generic[Picture]):
    """The answer for one tick: `top` over `under`. picture: that of `top`. kind: its kind too, but
    what is fresh is called live only when twice as much of it is seen as of the old picture below.

    under: what is being faded from, None outside fades. mix: the weight of `top`, 1 outside fades.
    card: which card, when `top` or `under` is one. seq, captured_ns: of the picture in `top`; -1
    for the card. live_until_ns: when that picture is too old to be called live; 0 for the card.
    """

    kind: Kind
    picture: Picture | None
    under: Layer[Picture] | None
    mix: float
    card: str
    seq: int
    captured_ns: int
    live_until_ns: int = 0


@dataclass(slots=True)
class Counts:
    """What became of the styled pictures. late: a newer one was shown before it came. skipped:
    passed over to catch up.
    """

    received: int = 0
    shown: int = 0
    late: int = 0
    skipped: int = 0
    overflow: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayoutConfig:
    """rate_fps: of the ticks. max_delay_s: the delay never grows beyond it; what comes later is
    shown at once.
    """

    rate_fps: float = 30.0
    max_delay_s: float = 3.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_fps) and self.rate_fps > 0):
            raise ConfigError(f"playout rate {self.rate_fps}: wanted a number above 0")
        if not 0 <= self.max_delay_s <= 60:
            raise ConfigError(f"playout delay of at most {self.max_delay_s} s: wanted 0 to 60")

    @property
    def period_ns(self) -> float:
        return NS_PER_S / self.rate_fps


def next_tick_ns(now_ns: int, rate_fps: float, phase: float = 0.0) -> int:
    """The first tick after now on the grid that all processes of a host share.

    phase: 0..1 of a period. The bridge ticks at 0, the camera process a little later: so neither
    meets the other's edge, and a picture does not wait long in between.
    """
    period_ns = NS_PER_S / rate_fps
    offset_ns = phase * period_ns
    number = math.floor((now_ns - offset_ns) / period_ns) + 1
    tick_ns = round(number * period_ns + offset_ns)
    return tick_ns if tick_ns > now_ns else round((number + 1) * period_ns + offset_ns)


class Playout(Generic[Picture]):
    """The jitter buffer of one stream. Owned and called by the bridge's thread; times must not fall
    from call to call.
    """

    def __init__(self, config: PlayoutConfig | None = None) -> None:
        self._config = config or PlayoutConfig()
        self.counts = Counts()
        self._pending: list[Styled[Picture]] = []  # by seq
        self._delay = _Delay(round(self._config.max_delay_s * NS_PER_S))
        self._rhythm = _Rhythm(self._config.period_ns)
        self._seq_floor = -1
        self._captured_floor_ns = -1
        self._epoch = 0
        self._newest: Styled[Picture] | None = None  # the picture that is on, in whatever way
        self._changed_ns = 0  # when it came on
        self._fresh = True  # the next picture is faded in
        self._holding = False  # the worker says that it computes nothing
        self._live_age_ns = LIVE_AGE_NS
        self._card = "starting"
        self._layer: Layer[Picture] = Layer(Kind.CARD, None)
        self._under: Layer[Picture] | None = None
        self._fade_start_ns = 0

    @property
    def delay_ns(self) -> int:
        """From capture to the tick at which a picture is due; 0 before the first one came."""
        return round(self._delay.now)

    @property
    def pending(self) -> int:
        """How many pictures wait for their time."""
        return len(self._pending)

    def put(self, styled: Styled[Picture], now_ns: int) -> None:
        """A styled picture arrived. Older than what was shown: dropped and counted. Raises
        TypeError for anything else.
        """
        if type(styled) is not Styled:
            raise TypeError(f"playout takes Styled pictures, not {type(styled).__name__}")
        self.counts.received += 1
        if styled.captured_ns < self._captured_floor_ns:
            self.counts.late += 1
            return
        if styled.epoch != self._epoch:
            self._epoch = styled.epoch
            # another connection, another lateness; its first picture is faded in
            self._delay.reset()
        self._delay.arrived(now_ns, now_ns - styled.captured_ns)
        if styled.seq <= self._seq_floor:
            self.counts.late += 1
            return
        at = len(self._pending)
        while at and self._pending[at - 1].seq > styled.seq:
            at -= 1
        if at and self._pending[at - 1].seq == styled.seq:
            self.counts.late += 1
            return
        self._pending.insert(at, styled)
        if len(self._pending) > PENDING_MOST:
            self.counts.overflow += 1
            del self._pending[0]

    def pick(self, now_ns: int) -> Shown[Picture]:
        """What to show at this tick. Call it once per output period."""
        self._delay.advance(now_ns)
        chosen = self._choose(now_ns)
        if chosen is not None:
            self._take(chosen, now_ns)
        self._show_as(self._kind(now_ns), now_ns)
        return self._answer(now_ns)

    def reset(self) -> None:
        """Another source or a new look: what waits is dropped, sequence and delay start afresh, and
        the picture that is on is held until the first new one fades in."""
        self._pending.clear()
        self._seq_floor = -1
        self._delay.reset()
        self._rhythm.reset()
        self._fresh = True

    def clear(self, now_ns: int, card: str = "starting") -> None:
        """To the card now, without a fade (pause, privacy). What was captured before is never
        shown, however late it comes.
        """
        self.reset()
        self._captured_floor_ns = now_ns
        self._newest = None
        self._under = None
        self._card = card
        self._layer = Layer(Kind.CARD, None)

    def hold(self, on: bool, now_ns: int) -> None:
        """The worker is there and computes nothing, on purpose: the last picture stays, sharp and
        said to be held, however long. After it the first new one is faded in."""
        if self._holding and not on:
            self._changed_ns, self._fresh = now_ns, True
        self._holding = on

    def engine_needs(
        self, step_ns: float, chunk_frames: int, held_frames: int, *, remote: bool
    ) -> None:
        """How long the engine takes for a chunk, whose pictures come as far apart as it can take
        them, and how many it keeps for a later one: its own delay, and with it the age up to which
        a picture may be called live."""
        apart_ns = max(self._config.period_ns, step_ns / chunk_frames)
        own_ns = (chunk_frames - 1 + held_frames) * apart_ns + step_ns
        beside_ns = (LIVE_REMOTE_NS if remote else LIVE_LOCAL_NS) - TOLD_LATE_NS
        self._live_age_ns = min(round(own_ns) + beside_ns, LIVE_AGE_NS)

    def name_card(self, card: str) -> None:
        """Which card is shown when one is: `starting`, `reconnecting`, `failed`, `paused`."""
        self._card = card

    def _choose(self, now_ns: int) -> Styled[Picture] | None:
        """Take the picture whose time has come out of the pending ones."""
        pending = self._pending
        if not pending:
            return None
        slack_ns = self._rhythm.slack_ns()
        if pending[0].captured_ns + self._delay.now > now_ns + slack_ns:
            return None
        overdue_ns = now_ns - SKIP_AFTER * self._config.period_ns
        while len(pending) > 1 and pending[1].captured_ns + self._delay.now <= overdue_ns:
            self.counts.skipped += 1
            del pending[0]
        return pending.pop(0)

    def _take(self, styled: Styled[Picture], now_ns: int) -> None:
        last, self._newest = self._newest, styled
        gap_ns = now_ns - self._changed_ns
        other = last is None or (last.epoch, last.size) != (styled.epoch, styled.size)
        if other or self._fresh or gap_ns > BLUR_AFTER_NS:
            self._begin_fade(now_ns)
            self._rhythm.reset()
        else:
            assert last is not None
            self._rhythm.changed(styled.captured_ns - last.captured_ns)
        self._fresh = False
        self._changed_ns = now_ns
        self._seq_floor = styled.seq
        self.counts.shown += 1

    def _kind(self, now_ns: int) -> Kind:
        if self._newest is None:
            return Kind.CARD
        if self._holding:
            return Kind.HELD
        gap_ns = now_ns - self._changed_ns
        if gap_ns > CARD_AFTER_NS:
            return Kind.CARD
        if gap_ns > BLUR_AFTER_NS:
            return Kind.BLURRED
        held_after_ns = max(HELD_AFTER_LEAST_NS, HELD_AFTER_PERIODS * self._rhythm.styled_period_ns)
        until_ns = now_ns + self._config.period_ns  # it stands until the next tick
        too_old = until_ns - self._newest.captured_ns > self._live_age_ns
        return Kind.HELD if too_old or gap_ns > held_after_ns else Kind.LIVE

    def _show_as(self, kind: Kind, now_ns: int) -> None:
        """Going out of focus and to the card is faded too; LIVE and HELD are the same picture."""
        if kind in (Kind.BLURRED, Kind.CARD) and kind is not self._layer.kind:
            self._begin_fade(now_ns)
        if kind is Kind.CARD and self._newest is not None:
            self._newest = None
            self._card = "reconnecting"
        picture = self._newest.picture if self._newest is not None else None
        self._layer = Layer(kind, picture)
        self._rhythm.tick()

    def _begin_fade(self, now_ns: int) -> None:
        self._under = self._layer
        self._fade_start_ns = now_ns

    def _answer(self, now_ns: int) -> Shown[Picture]:
        mix = 1.0
        if self._under is not None:
            # The first tick of a fade already shows a little of the new picture: a fade of n ticks
            # has n steps.
            passed_ns = now_ns - self._fade_start_ns + self._config.period_ns
            mix = passed_ns / (FADE_NS + self._config.period_ns)
            if mix >= 1.0:
                mix, self._under = 1.0, None
        newest, kind = self._newest, self._layer.kind
        if kind is Kind.LIVE and self._under is not None and mix < SEEN_MORE:
            kind = Kind.LIVE if self._under.kind is Kind.CARD else Kind.HELD
        return Shown(
            kind=kind,
            picture=self._layer.picture,
            under=self._under,
            mix=mix,
            card=self._card,
            seq=newest.seq if newest is not None else -1,
            captured_ns=newest.captured_ns if newest is not None else -1,
            live_until_ns=newest.captured_ns + self._live_age_ns if newest is not None else 0,
        )


class _Delay:
    """The delay law. `now` follows a high quantile of the recent lateness: up at once, since a
    picture later than the delay has made the last one stand still already; down no faster than
    motion may be bent.
    """

    def __init__(self, most_ns: int) -> None:
        self._most_ns = most_ns
        self._arrivals: collections.deque[tuple[int, int]] = collections.deque(maxlen=ARRIVALS_MOST)
        self._target = 0.0
        self._moved_ns: int | None = None
        self.now = 0.0

    def reset(self) -> None:
        self._arrivals.clear()
        self._moved_ns = None

    def arrived(self, now_ns: int, lateness_ns: int) -> None:
        if self._arrivals and now_ns - self._arrivals[-1][0] > BLUR_AFTER_NS:
            self.reset()  # the picture is faded in anyway: nothing has to be bent
        self._arrivals.append((now_ns, max(0, lateness_ns)))
        while now_ns - self._arrivals[0][0] > ARRIVALS_WINDOW_NS:
            self._arrivals.popleft()
        ranked = sorted(lateness for _, lateness in self._arrivals)
        rank = math.ceil(LATENESS_QUANTILE * len(ranked)) - 1
        self._target = min(float(ranked[rank] + DELAY_MARGIN_NS), float(self._most_ns))
        if self._moved_ns is None:
            self.now, self._moved_ns = self._target, now_ns

    def advance(self, now_ns: int) -> None:
        if self._moved_ns is None:
            return
        passed_ns, self._moved_ns = now_ns - self._moved_ns, now_ns
        if self.now < self._target:
            # the picture has stood still for so long already: go on from there
            self.now = self._target
        else:
            far = self.now - self._target > DELAY_FAR_NS
            pace = DELAY_DOWN_FAR if far else DELAY_DOWN
            self.now = max(self._target, self.now - pace * passed_ns)


class _Rhythm:
    """Keeps the number of ticks per picture even: with 15 styled pictures per second at 30, always
    two, never 1 and 3.
    """

    def __init__(self, period_ns: float) -> None:
        self._period_ns = period_ns
        self.styled_period_ns = 0.0
        self._ticks = 0  # since the picture came on

    def reset(self) -> None:
        self.styled_period_ns = 0.0
        self._ticks = 0

    def changed(self, step_ns: int) -> None:
        """The picture changed to one that was captured `step_ns` later."""
        step = float(min(max(step_ns, 0), NS_PER_S))
        known = self.styled_period_ns
        self.styled_period_ns = step if not known else known + 0.1 * (step - known)
        self._ticks = 0

    def tick(self) -> None:
        self._ticks += 1

    def slack_ns(self) -> float:
        """How much before its time the next picture may come on; negative: how much after."""
        if not self.styled_period_ns:
            return 0.0
        ticks = self.styled_period_ns / self._period_ns
        fewest, most = max(1, math.floor(ticks + 0.1)), max(1, math.ceil(ticks - 0.1))
        if self._ticks < fewest:
            return -TICK_SLACK * self._period_ns
        return TICK_SLACK * self._period_ns if self._ticks >= most else 0.0
