"""Link control: what a network can carry, and how pictures are packed to fit it. Pure: times are
arguments, in nanoseconds of the bridge's monotonic clock.

Measured, each direction for itself (link_direction), from questions (PING) that travel behind the
pictures. A queue lowers a direction's budget below what was delivered, at once; without one it
grows slowly again, as far as it is used. Until the first queue there is no budget.

Given up in this order: JPEG quality; JPEG for H.264, which takes a fifth of the bytes but needs
every picture and a process that may die; H.264's bytes; the picture's size; and last the rate. That
falls by itself, because no more pictures may be on their way than the link can hold; where it lasts
the worker's ladder is told (`Plan.narrow`), which takes every second or third picture, evenly.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from brushcast.codec import JPEG_QUALITY
from brushcast.frame import Size
from brushcast.h264_chain import LEAST_BITS_A_PIXEL, MOST_BITS_A_PIXEL, bytes_a_picture
from brushcast.link_direction import NS_PER_MS, NS_PER_S, QUEUE_MS, Direction, Least
from brushcast.wire.messages import Codec

CodecWish = Literal["auto", "jpeg", "h264"]
CODEC_WISHES: tuple[CodecWish, ...] = get_args(CodecWish)

QUALITIES = (JPEG_QUALITY, 80, 70, 60, 50, 40, 30)
RELATIVE_BYTES = (1.0, 0.76, 0.62, 0.53, 0.48, 0.42, 0.36)  # of the bundled clip, at 512x288
GOOD_QUALITY = 80  # a poorer JPEG is worse than H.264 in every way (36 dB at 23 kB, 36 at 1.5 kB)
START_RUNG = 2  # what a link carries is not known yet: half the bytes, and few on their way
START_WINDOW = 8  # or fewer, where they are large
START_BYTES = 150_000
HOLD_NS = NS_PER_S // 2  # so late an answer, or none: what is on its way must arrive first
UP_AFTER_NS = 3 * NS_PER_S  # quality: down at once, up slowly, and only with room
ROOM = 0.8
CODEC_AFTER_NS = NS_PER_S // 2
SIZE_DOWN_AFTER_NS = 2 * NS_PER_S
SIZE_UP_AFTER_NS = 20 * NS_PER_S
SIZE_ROOM = 1.5
SLACK_S = 0.25  # of pictures on their way, beside those that the link and the worker must hold
LEAST_AREA_PX = 20_000  # 192x112
SMALLER = 0.6  # the area of a rung of sizes, of the one above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How pictures are packed from now on. quality, result_quality: of JPEG; picture_bytes,
    result_bytes: of H.264, in the mean; there, and back. rung: 0 is the full size. window: so many
    pictures may be on their way; None: as many as the worker grants. narrow: the smallest and
    poorest pictures are too much at the wanted rate."""

    codec: Codec
    quality: int = 0
    result_quality: int = 0
    picture_bytes: int = 0
    result_bytes: int = 0
    rung: int = 0
    window: int | None = None
    narrow: bool = False


def sizes(full: Size) -> tuple[Size, ...]:
    """The full size and smaller ones of its shape, in multiples of 16, largest first."""
    found, scale = [full], SMALLER
    while full.area_px * scale >= LEAST_AREA_PX:
        width = max(16, 16 * round(full.width * math.sqrt(scale) / 16))
        size = Size(width, max(16, 16 * round(width * full.height / full.width / 16)))
        if size.area_px < found[-1].area_px:
            found.append(size)
        scale *= SMALLER
    return tuple(found)


class LinkRate:
    """One stream's. Owned by the bridge's thread; times never fall."""

    def __init__(self, wish: CodecWish, now_ns: int) -> None:
        first = Codec.H264 if wish == "h264" else Codec.JPEG
        self.wish = wish
        start = QUALITIES[START_RUNG]
        self._plan = Plan(codec=first, quality=start, result_quality=start)
        self._up, self._down = Direction(), Direction()
        self._jpeg_up, self._jpeg_down = JpegRungs(), JpegRungs()
        self._log: deque[tuple[int, int]] = deque(maxlen=4096)  # (sent at, bytes until then)
        self._sent_bytes = self._arrived_bytes = 0
        self._round_trips = Least()
        self._last_round_trip_ns = 0
        self._answered = False  # on this connection
        self._opened = 0  # so many pictures more than at its start may be on their way
        self._heard_ns = now_ns  # the last answer
        self._tight_ns: int | None = None  # since when JPEG does not do
        self._small_ns: int | None = None  # since when the size does not do
        self._narrow_ns: int | None = None  # since when no size does
        self._sized_ns = self._bytes_ns = now_ns
        self.changes = 0  # of codec, quality, bytes and size, in this run

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def round_trip_ms(self) -> float | None:
        """The last question's, queues and all; None before the first."""
        return self._last_round_trip_ns / NS_PER_MS or None

    @property
    def budgets(self) -> tuple[float | None, float | None]:
        """Bytes a second, there and back; None: no limit was found."""
        return self._up.budget, self._down.budget

    @property
    def queues_ms(self) -> tuple[float, float]:
        """What waits before the narrow place, there and back."""
        return self._up.queue_ms, self._down.queue_ms

    def connected(self) -> None:
        """Another connection: what waited is gone, and its clock is another; budgets stay."""
        self._log.clear()
        self._round_trips, self._answered, self._opened = Least(), False, 0
        self._up.connected()
        self._down.connected()

    def sent(self, now_ns: int, length: int) -> None:
        """A picture of so many bytes went out."""
        self._sent_bytes += length
        self._log.append((now_ns, self._sent_bytes))
        if self._plan.codec is Codec.JPEG:
            self._jpeg_up.saw(length)

    def arrived(self, length: int) -> None:
        """A result of so many bytes came in."""
        self._arrived_bytes += length
        if self._plan.codec is Codec.JPEG:
            self._jpeg_down.saw(length)

    def answered(self, now_ns: int, round_trip_ns: int, since_ms: float) -> None:
        """A PONG. since_ms: how long the stream was open when its PING came there, by the worker's
        own clock; 0 where it does not say."""
        if not round_trip_ns:
            return
        self._last_round_trip_ns, self._heard_ns = round_trip_ns, now_ns
        self._answered = True
        self._round_trips.add(now_ns, round_trip_ns / NS_PER_MS)
        if not since_ms:
            return
        asked_ms, now_ms = (now_ns - round_trip_ns) / NS_PER_MS, now_ns / NS_PER_MS
        before = 0
        for sent_ns, until_bytes in reversed(self._log):
            if sent_ns <= now_ns - round_trip_ns:
                before = until_bytes
                break
        self._up.measured(now_ns, since_ms, since_ms - asked_ms, before, round_trip_ns)
        self._down.measured(
            now_ns, now_ms, now_ms - since_ms, self._arrived_bytes, round_trip_ns
        )  # fmt: skip

    def decide(
        self,
        now_ns: int,
        *,
        fps: float,
        wanted_fps: float = 0.0,
        worker_s: float,
        chunk_frames: int,
        ladder: Sequence[Size],
        h264: bool,
    ) -> Plan:
        """What to do from now on. fps: of the pictures that are sent; wanted_fps: so many would be
        if the link were wide, 0: as many. worker_s: how long the worker keeps one. chunk_frames:
        how many it eats at a time. ladder: the sizes there are, largest first. h264: the worker
        knows it."""
        before = self._plan
        each = [direction.bytes_each(fps) for direction in (self._up, self._down)]
        window = self._window(now_ns, fps, worker_s, chunk_frames, limited=any(each))
        self._choose_codec(now_ns, each, h264)
        if self._plan.codec is Codec.JPEG:
            self._plan = replace(
                self._plan,
                quality=self._jpeg_up.choose(now_ns, each[0], calm=self._up.is_calm),
                result_quality=self._jpeg_down.choose(now_ns, each[1], calm=self._down.is_calm),
            )
        self._choose_size(now_ns, each, ladder)
        self._choose_narrow(now_ns, each, ladder, fps / max(wanted_fps, fps, 1.0))
        if self._plan.codec is Codec.H264:
            self._choose_bytes(now_ns, each, ladder[self._plan.rung])
        self.changes += self._plan != replace(before, window=self._plan.window)
        self._plan = replace(self._plan, window=window)
        return self._plan

    def _window(
        self, now_ns: int, fps: float, worker_s: float, chunk_frames: int, *, limited: bool
    ) -> int | None:
        """It begins small and grows by one a decision, so that the first queue is a short one (slow
        start, as RFC 5681, section 3.1, has it for TCP)."""
        base_ns = round((self._round_trips.value or 0.0) * NS_PER_MS)
        late_ns = max(now_ns - self._heard_ns, self._last_round_trip_ns)
        if self._answered and late_ns > base_ns + HOLD_NS:
            return 1
        way_s = base_ns / NS_PER_S + worker_s + SLACK_S
        enough = max(chunk_frames + 1, math.ceil(fps * way_s))
        if limited:
            return enough
        large = self._jpeg_up.bytes_at(QUALITIES[START_RUNG]) * START_WINDOW > START_BYTES
        start = chunk_frames + 1 if large else max(START_WINDOW, 2 * chunk_frames)
        self._opened += self._answered and max(self.queues_ms) <= QUEUE_MS
        if self._answered and start + self._opened >= enough:
            return None
        self._jpeg_up.wait(now_ns)
        self._jpeg_down.wait(now_ns)
        return start + self._opened

    # ------------------------------------------------------------------ parts

    def _choose_codec(self, now_ns: int, each: Sequence[float | None], h264: bool) -> None:
        if not h264:
            self._plan = replace(self._plan, codec=Codec.JPEG)
            return
        if self.wish == "h264":
            self._plan = replace(self._plan, codec=Codec.H264)
        if self.wish != "auto" or self._plan.codec is not Codec.JPEG:
            return  # what was too narrow once stays so: going back would be found out by a jam
        rungs = (self._jpeg_up, self._jpeg_down)
        tight = any(
            room is not None and rung.bytes_at(GOOD_QUALITY) > room
            for room, rung in zip(each, rungs, strict=True)
        )
        self._tight_ns = (self._tight_ns or now_ns) if tight else None
        if self._tight_ns is not None and now_ns - self._tight_ns >= CODEC_AFTER_NS:
            self._plan = replace(self._plan, codec=Codec.H264)

    def _choose_bytes(self, now_ns: int, each: Sequence[float | None], size: Size) -> None:
        """H.264's: another rate costs a keyframe, so small changes are none."""
        least, most = (
            bytes_a_picture(size, bits) for bits in (LEAST_BITS_A_PIXEL, MOST_BITS_A_PIXEL)
        )
        wanted = [max(least, min(most, round(room if room is not None else most))) for room in each]
        now = [self._plan.picture_bytes, self._plan.result_bytes]
        chosen = list(now)
        for number, (old, new) in enumerate(zip(now, wanted, strict=True)):
            up = new > old / ROOM or (new == most and old < most)
            if new < 0.9 * old or (up and now_ns - self._bytes_ns >= UP_AFTER_NS) or not old:
                chosen[number] = new
        if chosen != now:
            self._bytes_ns = now_ns
            self._plan = replace(self._plan, picture_bytes=chosen[0], result_bytes=chosen[1])

    def _choose_size(
        self, now_ns: int, each: Sequence[float | None], ladder: Sequence[Size]
    ) -> None:
        rung = min(self._plan.rung, len(ladder) - 1)
        room = min((one for one in each if one is not None), default=math.inf)
        too_large = room < self._least_bytes(ladder, rung)
        self._small_ns = (self._small_ns or now_ns) if too_large else None
        waited_ns = now_ns - self._sized_ns
        if too_large and self._small_ns is not None:
            if min(now_ns - self._small_ns, waited_ns) >= SIZE_DOWN_AFTER_NS:
                rung = min(rung + 1, len(ladder) - 1)
        elif rung and room > SIZE_ROOM * self._least_bytes(ladder, rung - 1):
            rung -= waited_ns >= SIZE_UP_AFTER_NS
        if rung != self._plan.rung:
            self._sized_ns, self._small_ns = now_ns, None
            self._jpeg_up.scaled(ladder[rung].area_px / ladder[self._plan.rung].area_px)
            self._jpeg_down.scaled(ladder[rung].area_px / ladder[self._plan.rung].area_px)
            self._plan = replace(self._plan, rung=rung)

    def _choose_narrow(
        self, now_ns: int, each: Sequence[float | None], ladder: Sequence[Size], share: float
    ) -> None:
        """share: of the wanted pictures, those that are sent."""
        last = len(ladder) - 1
        room = share * min((one for one in each if one is not None), default=math.inf)
        least = self._least_bytes(ladder, last)
        too_much = self._plan.rung >= last and room < least
        self._narrow_ns = (self._narrow_ns or now_ns) if too_much else None
        if self._narrow_ns is not None and now_ns - self._narrow_ns >= SIZE_DOWN_AFTER_NS:
            self._plan = replace(self._plan, narrow=True)
        elif self._plan.rung < last or room > SIZE_ROOM * least:
            self._plan = replace(self._plan, narrow=False)

    def _least_bytes(self, ladder: Sequence[Size], rung: int) -> float:
        """What a picture of that rung takes at the poorest that is still good to look at."""
        if self._plan.codec is Codec.H264:
            return bytes_a_picture(ladder[rung], LEAST_BITS_A_PIXEL)
        area = ladder[rung].area_px / ladder[min(self._plan.rung, len(ladder) - 1)].area_px
        poorest = QUALITIES[-1]
        return area * max(
            self._jpeg_up.bytes_at(poorest), self._jpeg_down.bytes_at(poorest)
        )  # fmt: skip


class JpegRungs:
    """The quality of one direction's JPEGs, from what its pictures take."""

    def __init__(self) -> None:
        self._rung = START_RUNG
        self._bytes = 0.0  # a picture at that rung, smoothed
        self._changed_ns = 0

    def saw(self, length: int) -> None:
        """A picture took so many bytes. The first after a change may still be of the old rung."""
        self._bytes = self._bytes + 0.1 * (length - self._bytes) if self._bytes else float(length)

    def wait(self, now_ns: int) -> None:
        """Not better for a while: more pictures are on their way from now on."""
        self._changed_ns = now_ns

    def scaled(self, factor: float) -> None:
        """Pictures have so many times the area from now on."""
        self._bytes *= factor

    def bytes_at(self, quality: int) -> float:
        """What a picture would take; 0 before there was one."""
        there = RELATIVE_BYTES[QUALITIES.index(quality)]
        return self._bytes * there / RELATIVE_BYTES[self._rung]

    def choose(self, now_ns: int, room: float | None, *, calm: bool = True) -> int:
        """The best quality whose pictures fit into so many bytes; the poorest if none does. calm:
        there is no queue, so that it may be better."""
        rung, limit = self._rung, math.inf if room is None else room
        if self.bytes_at(QUALITIES[rung]) > limit:
            fitting = (n for n, quality in enumerate(QUALITIES) if self.bytes_at(quality) <= limit)
            rung = next(fitting, len(QUALITIES) - 1)
        elif rung and calm and now_ns - self._changed_ns >= UP_AFTER_NS:
            rung -= self.bytes_at(QUALITIES[rung - 1]) <= ROOM * limit
        if rung != self._rung:
            self._bytes *= RELATIVE_BYTES[rung] / RELATIVE_BYTES[self._rung]
            self._rung, self._changed_ns = rung, now_ns
        return QUALITIES[rung]
