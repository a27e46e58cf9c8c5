"""H.264 for live pictures: one picture in, one payload (h264_chain) out, at once. No picture refers
to a later one, so nothing waits in the encoder.
"""

from __future__ import annotations

import logging
from fractions import Fraction

import av
import av.error
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from brushcast.errors import WireError
from brushcast.frame import Pixels, Size
from brushcast.h264_chain import MOST_BITS_A_PIXEL, NUMBER, bytes_a_picture
from brushcast.h264_child import MATRIX
from brushcast.wire.messages import Payload

log = logging.getLogger(__name__)

# The receiver's buffer: a keyframe may take as much as so many pictures, and no more.
BUFFER_PICTURES = 4
ANEW = 0.1  # another wish than this much does not cost a keyframe
_NOMINAL_FPS = 30  # rates are given per picture: the encoder's seconds mean nothing
_LONGEST_CHAIN = 2**30  # keyframes come when asked for, never by the clock

# Tried in this order. All: no later pictures, constant rate, nothing held back.
_ENCODERS: dict[str, dict[str, str]] = {
    "h264_nvenc": {
        "preset": "p2",
        "tune": "ull",
        "rc": "cbr",
        "zerolatency": "1",
        "delay": "0",
        "no-scenecut": "1",
    },
    "libx264": {"preset": "superfast", "tune": "zerolatency", "sc_threshold": "0"},
}


class Encoder:
    """One chain of pictures. Owned by one thread. A wish that cannot be had without one (another
    size, another rate, `restart`) begins with a keyframe."""

    def __init__(self) -> None:
        self.name = ""  # of the encoder at work
        self._candidates = list(_ENCODERS)
        self._context: VideoCodecContext | None = None
        self._size = Size(2, 2)
        self._picture_bytes = 0
        self._number = 0
        self._taken = 0  # pictures since it was opened

    def restart(self) -> None:
        """The next picture is a keyframe."""
        self._context = None

    def encode(self, pixels_HWC: Pixels, picture_bytes: int = 0) -> Payload:
        """The payload of a [H W 3] uint8 RGB picture with even sides, of about `picture_bytes` in
        the mean (0: as good as it gets). Raises WireError when no encoder is left."""
        height, width, _ = pixels_HWC.shape
        size = Size(width, height)
        wanted = picture_bytes or bytes_a_picture(size, MOST_BITS_A_PIXEL)
        another_rate = abs(wanted / max(self._picture_bytes, 1) - 1) > ANEW
        if size != self._size or another_rate:
            self.restart()
        while True:
            try:
                if self._context is None:
                    self._context = self._open(size, wanted)
                return self._packed(self._context, pixels_HWC)
            except (av.error.FFmpegError, ValueError) as error:  # ValueError: no such encoder
                log.debug("%s: %s", self.name, error)
                self._candidates.remove(self.name)
                self.restart()

    def _open(self, size: Size, picture_bytes: int) -> VideoCodecContext:
        if not self._candidates:
            raise WireError(f"H.264 of {size}: none of {', '.join(_ENCODERS)} does it")
        self.name = self._candidates[0]
        self._size, self._picture_bytes, self._number = size, picture_bytes, 0
        self._taken = 0
        rate_bits = 8 * picture_bytes * _NOMINAL_FPS
        context = av.CodecContext.create(self.name, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = size.width, size.height, "yuv420p"
        context.time_base = Fraction(1, _NOMINAL_FPS)
        context.framerate = Fraction(_NOMINAL_FPS)
        context.bit_rate, context.gop_size, context.max_b_frames = rate_bits, _LONGEST_CHAIN, 0
        context.thread_count = 1
        context.options = {
            **_ENCODERS[self.name],
            "maxrate": str(rate_bits),
            "bufsize": str(8 * picture_bytes * BUFFER_PICTURES),
        }
        context.open()
        return context

    def _packed(self, context: VideoCodecContext, pixels_HWC: Pixels) -> Payload:
        rgb = VideoFrame.from_ndarray(np.ascontiguousarray(pixels_HWC), format="rgb24")
        frame = rgb.reformat(format="yuv420p", dst_colorspace=MATRIX)
        frame.pts, self._taken = self._taken, self._taken + 1
        packets = context.encode(frame)
        if len(packets) != 1:
            raise WireError(f"{self.name}: {len(packets)} packets for a picture, wanted 1")
        number = 0 if packets[0].is_keyframe else self._number  # some make their own
        self._number = number + 1
        return NUMBER.pack(number) + bytes(packets[0])
