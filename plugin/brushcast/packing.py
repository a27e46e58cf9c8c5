"""Packing: one stream's pictures into payloads and back, whatever the codec.

RAW and JPEG are a picture each (codec.py). H.264 is a chain: every payload needs the ones before
it, so whoever packs must send all that was packed, or `restart`; and whoever unpacks and gets None
for a picture must ask the other side for a keyframe. Both sides of a link use both classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from brushcast import codec
from brushcast.frame import Pixels, Size
from brushcast.h264 import Encoder
from brushcast.h264_decoder import Decoder
from brushcast.wire.messages import Codec, Header, Payload

CODECS = "raw jpeg h264"  # what WELCOME says that this package unpacks


class Packer:
    """One direction's way out. Owned by one thread."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def pack(
        self, pixels_HWC: Pixels, wanted: Codec, *, quality: int = 0, picture_bytes: int = 0
    ) -> Payload:
        """The payload of a [H W 3] uint8 RGB picture. quality: of JPEG, 1..100; picture_bytes: of
        H.264, in the mean; 0: as good as it gets.

        H.264 that follows another codec begins with a keyframe. Raises WireError when no encoder
        is left.
        """
        if wanted is Codec.H264:
            return self._encoder.encode(pixels_HWC, picture_bytes)
        self._encoder.restart()
        return codec.encode(pixels_HWC, wanted, quality or codec.JPEG_QUALITY)

    def restart(self) -> None:
        """The next picture needs none before it."""
        self._encoder.restart()


@dataclass(slots=True)
class _Slot:
    """A picture's place in the order. done: `pixels_HWC` is what became of it."""

    header: Header
    done: bool = False
    pixels_HWC: Pixels | None = None


class Unpacker:
    """One direction's way in. Owned by one thread; pictures come out in the order in which their
    payloads came in, H.264 a little later: its process starts with the first of it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """wake: called from another thread when there is something to take."""
        self._wake = wake
        self._slots: deque[_Slot] = deque()
        self._decoder: Decoder[_Slot] | None = None

    @property
    def decoder(self) -> Decoder[_Slot] | None:
        """Of H.264, once there was any."""
        return self._decoder

    def prepare(self) -> None:
        """H.264 may come: its process is started now, so that the first picture need not wait."""
        if self._decoder is None:
            self._decoder = Decoder(self._wake, prepared=True)

    def put(self, header: Header, payload: Payload) -> None:
        """A FRAME's or RESULT's payload. Raises MalformedMessage for what cannot be a picture of
        the header's size."""
        slot = _Slot(header)
        if header.codec is Codec.H264:
            if self._decoder is None:
                self._decoder = Decoder(self._wake)
            self._decoder.put(slot, payload, Size(header.width, header.height))
        else:
            slot.pixels_HWC, slot.done = codec.decode(header, payload), True
        self._slots.append(slot)

    def take(self, now_ns: int) -> list[tuple[Header, Pixels | None]]:
        """What is ready: [H W 3] uint8 RGB of the header's size, or None: it could not be decoded,
        and nothing can until a keyframe comes. now_ns: monotonic."""
        if self._decoder is not None:
            self._decoder.tick(now_ns)
            for slot, pixels_HWC in self._decoder.take():
                slot.pixels_HWC, slot.done = pixels_HWC, True
        ready = []
        while self._slots and self._slots[0].done:
            slot = self._slots.popleft()
            ready.append((slot.header, slot.pixels_HWC))
        return ready

    def forget(self) -> None:
        """What came so far is not wanted any more: another connection begins."""
        self._slots.clear()

    def close(self) -> None:
        """End the decoder's process, if there is one, and forget what waits for it. Twice is
        harmless; another picture begins anew."""
        self._slots.clear()
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
