"""Exchange: how the bridge's pictures are packed for the worker, and the painted ones unpacked.

To a worker on this machine they go raw. To one elsewhere the link control (link_rate) says how, and
this is where its answers are carried out: codec and quality of what is sent, the stream's state for
what comes back and for the worker's ladder, the size, and how many pictures may be on their way.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from typing import Any

from brushcast.asked import Asked
from brushcast.config import BridgeConfig
from brushcast.delay_split import DelaySplit
from brushcast.errors import MalformedMessage
from brushcast.frame import Frame, Pixels, Size, fit
from brushcast.h264_chain import begins_chain
from brushcast.link_direction import NS_PER_S
from brushcast.link_rate import LinkRate, sizes
from brushcast.pace import Pace
from brushcast.packing import Packer, Unpacker
from brushcast.wire.bodies import MAX_CREDIT_FRAMES
from brushcast.wire.events import ClientEvent, Connected, FrameRefused, StatusReceived
from brushcast.wire.link import ClientLink
from brushcast.wire.messages import Codec, Header, Payload, StreamState

log = logging.getLogger(__name__)

KEY_PATIENCE_NS = NS_PER_S  # beside a round trip: then a keyframe is asked for once more
FIGURES_NS = 2 * NS_PER_S  # what a rate of the report is a mean of


class Exchange:
    """One stream's, over all its connections. Owned by the bridge's thread."""

    def __init__(self, config: BridgeConfig, wake: Callable[[], None], now_ns: int) -> None:
        """wake: called from another thread when there is something to take."""
        self._rate = LinkRate(config.codec, now_ns) if config.remote else None
        self._full_size, self._fixed_size = config.model_size, config.fixed_size
        self._fit = config.fit
        self._packer, self._unpacker = Packer(), Unpacker(wake)
        self._split = DelaySplit()
        self._asked = Asked()
        self._h264: bool | None = None  # whether the worker knows it; None: it did not say yet
        self._worker_held = 0
        self._key_seq = -1  # the last keyframe that was sent
        self._wants_key = False
        self._key_asked_ns: int | None = None
        self._counts: collections.Counter[str] = collections.Counter()
        self._passed: collections.deque[tuple[int, int, int]] = collections.deque()

    # ------------------------------------------------------------------ there

    @property
    def codec(self) -> Codec:
        """Of pictures that go out; what comes back is in the same."""
        if self._rate is None:
            return Codec.RAW
        return self._rate.plan.codec if self._h264 else Codec.JPEG

    @property
    def window(self) -> int:
        """How many pictures may be on their way."""
        window = None if self._rate is None else self._rate.plan.window
        return MAX_CREDIT_FRAMES if window is None else window

    @property
    def _ladder(self) -> tuple[Size, ...]:
        return (self._full_size,) if self._fixed_size else sizes(self._full_size)

    def fitted(self, full: Size) -> Size:
        """What is sent from now on, where that is the full size."""
        self._full_size = full
        ladder = self._ladder
        return full if self._rate is None else ladder[min(self._rate.plan.rung, len(ladder) - 1)]

    def send(self, link: ClientLink, frame: Frame, now_ns: int) -> bool:
        """A frame to the worker; there is credit. False: the link did not take it."""
        state, codec = link.stream_state, self.codec
        size = Size(state.width, state.height)
        pixels_HWC = fit(frame.pixels_HWC, size, self._fit)
        self._asked.sent(size)
        payload = self._pack(pixels_HWC, codec)
        went = link.send_frame(
            payload,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            width=state.width,
            height=state.height,
            codec=codec,
            now_ns=now_ns,
        )
        if not went:
            self._packer.restart()  # it would leave a hole in a chain
            return False
        if codec is Codec.H264 and begins_chain(payload):
            self._key_seq = frame.seq
            self._counts["keyframes"] += 1
        self._counts["bytes_there"] += len(payload)
        if self._rate is not None:
            self._rate.sent(now_ns, len(payload))
        return True

    def _pack(self, pixels_HWC: Pixels, codec: Codec) -> Payload:
        if self._rate is None:
            return self._packer.pack(pixels_HWC, codec)
        plan = self._rate.plan
        return self._packer.pack(
            pixels_HWC, codec, quality=plan.quality, picture_bytes=plan.picture_bytes
        )

    # ------------------------------------------------------------------ and back

    def put(self, header: Header, payload: Payload) -> None:
        """A result's payload. Raises MalformedMessage, for one larger than asked for too."""
        self._asked.check(header)
        self._counts["bytes_back"] += len(payload)
        if self._rate is not None:
            self._rate.arrived(len(payload))
        try:
            self._unpacker.put(header, payload)
        except MalformedMessage:
            self._wants_key = self._wants_key or header.codec is Codec.H264
            raise

    def take(self, now_ns: int) -> list[tuple[Header, Pixels | None]]:
        """Painted pictures in order; None for one that cannot be decoded. A keyframe is asked for
        with the next changes, then."""
        taken = self._unpacker.take(now_ns)
        for header, pixels_HWC in taken:
            if pixels_HWC is None:
                self._wants_key = True
            else:
                self._wants_key, self._key_asked_ns = False, None
                self._split.result(now_ns - header.captured_ns)
        return taken

    def happened(self, event: ClientEvent, now_ns: int) -> None:
        """What the link tells of the connection."""
        if isinstance(event, Connected):
            self._h264 = "h264" in event.welcome.codecs.split()
            self._packer.restart()
            self._unpacker.forget()
            if self._h264 and self._rate is not None and self._rate.wish != "jpeg":
                self._unpacker.prepare()
            self._split.reset()
            self._wants_key, self._key_asked_ns, self._key_seq = False, None, -1
            if self._rate is not None:
                self._rate.connected()
        elif isinstance(event, FrameRefused):
            if event.key_wanted and event.seq >= self._key_seq:
                log.info("the worker asks for a keyframe")
                self._packer.restart()
        elif isinstance(event, StatusReceived):
            self._worker_held = event.status.held_frames
            self._split.answered(event.round_trip_ns)
            if self._rate is not None:
                self._rate.answered(now_ns, event.round_trip_ns, event.since_ms)

    # ------------------------------------------------------------------ what follows from it

    def changes(
        self, state: StreamState, pace: Pace, fps: float, now_ns: int
    ) -> dict[str, Any]:  # fmt: skip
        """What the stream's state should say from now on, where it says something else. fps: of the
        source."""
        if self._rate is None:
            return {}
        wanted_fps, fps = fps, fps / pace.takes
        if pace.chunk_ns:
            most_fps = pace.chunk_frames * NS_PER_S / pace.chunk_ns
            wanted_fps, fps = min(wanted_fps, most_fps), min(fps, most_fps)
        before = self._rate.plan
        plan = self._rate.decide(
            now_ns,
            fps=fps,
            wanted_fps=wanted_fps,
            worker_s=2 * pace.chunk_ns / NS_PER_S + self._worker_held / max(fps, 1.0),
            chunk_frames=pace.chunk_frames,
            ladder=self._ladder,
            h264=self._h264 is not False,
        )
        if plan.codec is not before.codec:
            log.info("pictures go as %s from now on", plan.codec.name)
        size = self.fitted(self._full_size)
        wanted = {
            "result_quality": plan.result_quality, "result_bytes": plan.result_bytes,
            "width": size.width, "height": size.height, "network_limited": plan.narrow,
        }  # fmt: skip
        if self._asks_for_key(now_ns):
            wanted["result_keys"] = state.result_keys + 1
        return {name: value for name, value in wanted.items() if value != getattr(state, name)}

    def _asks_for_key(self, now_ns: int) -> bool:
        if not self._wants_key or self._rate is None:
            return False
        patience_ns = KEY_PATIENCE_NS + round(2e6 * (self._rate.round_trip_ms or 0.0))
        if self._key_asked_ns is not None and now_ns - self._key_asked_ns < patience_ns:
            return False
        self._key_asked_ns = now_ns
        self._counts["keyframes_asked"] += 1
        return True

    def figures(self, delay_ms: float, now_ns: int) -> dict[str, Any]:
        """For the panel and the report: how pictures go, and the parts of this delay."""
        there, back = self._counts["bytes_there"], self._counts["bytes_back"]
        self._passed.append((now_ns, there, back))
        while len(self._passed) > 2 and now_ns - self._passed[1][0] >= FIGURES_NS:
            self._passed.popleft()
        first_ns, first_there, first_back = self._passed[0]
        seconds = max(now_ns - first_ns, 1) / NS_PER_S
        split = self._split.of(delay_ms)
        found: dict[str, Any] = {
            "network_ms": split and split.network_ms,
            "worker_ms": split and split.worker_ms,
            "playout_ms": split and split.playout_ms,
            "codec": self.codec.name.lower(),
            "kbps_there": round((there - first_there) / seconds / 125),
            "kbps_back": round((back - first_back) / seconds / 125),
        }
        if self._rate is None:
            return found
        plan, decoder = self._rate.plan, self._unpacker.decoder
        budgets = [budget and round(budget / 125) for budget in self._rate.budgets]
        return found | {
            "quality": plan.quality, "result_quality": plan.result_quality,
            "picture_bytes": plan.picture_bytes, "result_bytes": plan.result_bytes,
            "rung": plan.rung, "window": plan.window, "changes": self._rate.changes,
            "budget_kbps_there": budgets[0], "budget_kbps_back": budgets[1],
            "queue_ms_there": round(self._rate.queues_ms[0]),
            "queue_ms_back": round(self._rate.queues_ms[1]),
            "keyframes": self._counts["keyframes"],
            "keyframes_asked": self._counts["keyframes_asked"],
            "decoder_deaths": decoder.deaths if decoder is not None else 0,
        }  # fmt: skip

    def close(self) -> None:
        """End the decoder's process, if there is one."""
        self._unpacker.close()
