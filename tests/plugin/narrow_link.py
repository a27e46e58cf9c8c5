"""A link that exists in numbers only: two narrow places, a way, a worker. For the link control.

Everything happens at its exact time; nothing sleeps and nothing is drawn but what `noise` says.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from brushcast.frame import Size
from brushcast.link_rate import QUALITIES, RELATIVE_BYTES, LinkRate, Plan, sizes
from brushcast.wire.messages import Codec

NS = 1_000_000_000
FULL = Size(512, 288)
HEARTBEAT_S = 0.25
CREDIT = 24


class NarrowLink:
    """`rate` steers a stream over it. bytes_per_s: there, back. best_bytes: a JPEG at quality 88 of
    the full size. noise: by time, so many seconds later does the worker come to read."""

    def __init__(
        self,
        rate: LinkRate,
        *,
        bytes_per_s: tuple[float, float],
        delay_s: float = 0.05,
        fps: float = 25.0,
        best_bytes: float = 30_000,
        worker_s: float = 0.15,
        h264: bool = True,
        fixed: bool = False,
        noise: Callable[[float], float] = lambda _: 0.0,
    ) -> None:
        self.rate, self.bytes_per_s, self.delay_s, self.fps = rate, bytes_per_s, delay_s, fps
        self.best_bytes, self.worker_s, self.h264, self.noise = best_bytes, worker_s, h264, noise
        self.ladder = (FULL,) if fixed else sizes(FULL)
        self.now_s = 0.0
        self.plans: list[tuple[float, Plan]] = []
        self.results: list[tuple[float, float]] = []  # (when, how old)
        self.skipped = 0
        self._free_s = [0.0, 0.0]
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = self._in_flight = 0
        self._worker_free_s = 0.0
        self._opened_s = -1000.0  # the worker's clock is another
        self._at(0.0, self._frame)
        self._at(0.01, self._ask)
        self._at(0.02, self._decide)

    def run(self, until_s: float) -> None:
        """Everything that happens until then."""
        while self._heap and self._heap[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self._heap)
            event()

    def between(self, first_s: float, last_s: float) -> list[float]:
        """How old the results of that time were, in seconds."""
        return [age_s for when_s, age_s in self.results if first_s <= when_s < last_s]

    def changes(self, first_s: float, last_s: float) -> int:
        """How often what is asked for changed in that time."""
        asked = [
            (plan.codec, plan.quality, plan.result_quality, plan.picture_bytes, plan.result_bytes,
             plan.rung)
            for when_s, plan in self.plans if first_s <= when_s < last_s
        ]  # fmt: skip
        return sum(a != b for a, b in zip(asked, asked[1:], strict=False))

    # ------------------------------------------------------------------ what happens

    def _at(self, when_s: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when_s, self._number, event))

    def _send(self, way: int, length: float, event: Callable[[], None]) -> None:
        begin_s = max(self.now_s, self._free_s[way])
        self._free_s[way] = begin_s + length / self.bytes_per_s[way]
        self._at(self._free_s[way] + self.delay_s, event)

    def _bytes(self, *, back: bool) -> int:
        plan = self.rate.plan
        if plan.codec is Codec.H264:
            return plan.result_bytes if back else plan.picture_bytes
        quality = plan.result_quality if back else plan.quality
        area = self.ladder[plan.rung].area_px / self.ladder[0].area_px
        return round(self.best_bytes * area * RELATIVE_BYTES[QUALITIES.index(quality)])

    @property
    def _now_ns(self) -> int:
        return round(self.now_s * NS) + 77 * NS

    def _frame(self) -> None:
        captured_s = self.now_s
        self._at(self.now_s + 1 / self.fps, self._frame)
        window = self.rate.plan.window
        if self._in_flight >= min(CREDIT, CREDIT if window is None else window):
            self.skipped += 1
            return
        length = self._bytes(back=False)
        self.rate.sent(self._now_ns, length)
        self._in_flight += 1
        self._send(0, length, lambda: self._paint(captured_s))

    def _paint(self, captured_s: float) -> None:
        self._at(self.now_s + self.worker_s, lambda: self._answer(captured_s))

    def _answer(self, captured_s: float) -> None:
        length = self._bytes(back=True)
        self._send(1, length, lambda: self._result(captured_s, length))

    def _result(self, captured_s: float, length: int) -> None:
        self._in_flight -= 1
        self.rate.arrived(length)
        self.results.append((self.now_s, self.now_s - captured_s))

    def _ask(self) -> None:
        self._at(self.now_s + HEARTBEAT_S, self._ask)
        asked_ns = self._now_ns
        self._send(0, 80, lambda: self._asked(asked_ns))

    def _asked(self, asked_ns: int) -> None:
        def read() -> None:
            since_ms = 1000 * (self.now_s - self._opened_s) * 1.00002  # no two clocks agree
            self._send(1, 300, lambda: self._told(asked_ns, since_ms))

        self._at(self.now_s + self.noise(self.now_s), read)

    def _told(self, asked_ns: int, since_ms: float) -> None:
        self.rate.answered(self._now_ns, self._now_ns - asked_ns, since_ms)

    def _decide(self) -> None:
        self._at(self.now_s + 0.25, self._decide)
        plan = self.rate.decide(
            self._now_ns, fps=self.fps, worker_s=self.worker_s, chunk_frames=4,
            ladder=self.ladder, h264=self.h264,
        )  # fmt: skip
        self.plans.append((self.now_s, plan))
