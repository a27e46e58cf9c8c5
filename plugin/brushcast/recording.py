"""Recording: an H.264 file that is playable at any moment, also after kill -9, and an ordinary file
once it is closed.

MP4 is written in fragments of at most one second and rewritten into an ordinary file's tables on
close; Matroska and MPEG-TS are streams by nature. Colours are BT.709, limited range, and tagged as
such.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.stream import VideoStream

from brushcast.badge import Corner
from brushcast.errors import SinkError
from brushcast.frame import Pixels, Size
from brushcast.provenance import Origin
from brushcast.yuv import BT709, YuvConverter

log = logging.getLogger(__name__)

FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".ts": "mpegts",
}
TIME_BASE = Fraction(1, 90_000)
# At 1280x720 and 30 per second one thread of `ultrafast` takes an eighth of a core; `superfast`
# already half of one. One quantiser for all: with `crf` a repeated picture got a finer one, 14 kB
# and 5.2 ms; now it is skipped as a whole, 0 kB and 3.0 ms, and a new one takes 4.6 instead of 5.8
# (46 dB). `zerolatency`: nothing is held back that a kill could lose.
LIVE_OPTIONS = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "qp": "22",
    "threads": "1",
    "bf": "0",
}
# No B frames: with them a file of fragments would start late against its sound (no edit list).
OFFLINE_OPTIONS = {"preset": "veryfast", "crf": "18", "bf": "0"}
FRAGMENT_S = 1

_BT709, _LIMITED = 1, 1  # AVCOL_SPC_BT709 (and _PRI_, _TRC_ of the same number), AVCOL_RANGE_MPEG


def check_target(path: Path) -> None:
    """Raises SinkError when a recording can never be written there: folder, unknown ending, no such
    or no writable folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise SinkError(
            f"{path}: ending {path.suffix or 'missing'!r}; wanted one of {', '.join(FORMATS)}"
        )
    if path.is_dir():
        raise SinkError(f"{path}: is a folder; wanted a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise SinkError(f"{path}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise SinkError(f"{path}: the folder {folder} is not writable")
    if path.exists() and not os.access(path, os.W_OK):
        raise SinkError(f"{path}: exists and is not writable")


class Recording:
    """One file being written. One owner thread. An existing file is replaced."""

    def __init__(
        self,
        target: Path,
        size: Size,
        rate: Fraction,
        *,
        sound_of: Path | None = None,
        live: bool = False,
        origin: Origin | None = None,
    ) -> None:
        """rate: pictures per second, for the header and the key frames; times may differ from it.

        sound_of: a clip whose first audio stream is copied in as it is (left out when the format
        cannot hold it).
        live: spend little CPU (one thread). origin: what the file says made its pictures. Raises
        SinkError.
        """
        check_target(target)
        self.target = target
        self.size = size
        self.pictures = 0
        self._rate = rate
        self._format = FORMATS[target.suffix.lower()]
        self._origin = origin
        self._closed = False
        self._pictures = _Encodable(size)
        self._last_ticks = -1
        self._duration_ticks = round(1 / rate / TIME_BASE)
        self._sound: _Sound | None = _open_sound(sound_of) if sound_of is not None else None
        options = LIVE_OPTIONS if live else OFFLINE_OPTIONS
        try:
            try:
                self._open(options)
            except (av.error.FFmpegError, ValueError):
                if self._sound is None:
                    raise
                log.warning("this file format cannot hold the sound of the input: left out")
                self._sound.close()
                self._sound = None
                self._open(options)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise SinkError(f"{target}: cannot be written ({_reason(error)})") from None

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, pixels_HWC: Pixels, time_s: Fraction, badge: Corner | None = None) -> None:
        """Add a picture ([H W 3] uint8 RGB, brought to `size`) that is shown from time_s on,
        counted from the start. badge: where "AI" is laid on it.

        The very same array as before costs no conversion: it must not be written to. Times that do
        not rise are moved on by the least step. Raises SinkError, for example on a full disk.
        """
        ticks = max(round(time_s / TIME_BASE), self._last_ticks + 1)
        self._last_ticks = ticks
        frame = self._pictures.frame(pixels_HWC, badge)
        frame.pts, frame.time_base = ticks, TIME_BASE
        try:
            self._mux(frame)
            self._copy_sound(time_s)
        except (av.error.FFmpegError, OSError) as error:
            raise SinkError(f"{self.target}: cannot be written ({_reason(error)})") from None
        self.pictures += 1

    def close(self) -> None:
        """Finish the file. Never raises; may be called twice. What could not be finished is
        playable so far.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._mux(None)
            if self._last_ticks >= 0:
                self._copy_sound(self._last_ticks * TIME_BASE + 1 / self._rate)
            self._container.close()
            self._say_origin()
        except (av.error.FFmpegError, ValueError, OSError) as error:
            log.warning("the recording could not be finished (%s)", _reason(error))
            with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
                self._container.close()
        finally:
            if self._sound is not None:
                self._sound.close()
                self._sound = None

    def _open(self, options: dict[str, str]) -> None:
        format_name = self._format
        muxer = {"flush_packets": "1"}
        if format_name in ("mp4", "mov"):
            muxer["movflags"] = "frag_keyframe+empty_moov+default_base_moof+hybrid_fragmented"
        elif format_name == "matroska":
            muxer["cluster_time_limit"] = str(1000 * FRAGMENT_S)  # however little there is in one
        container = av.open(f"file:{self.target}", "w", format=format_name, options=muxer)
        try:
            video = container.add_stream("libx264", rate=self._rate)
            assert isinstance(video, VideoStream)
            video.width, video.height, video.pix_fmt = self.size.width, self.size.height, "yuv420p"
            context = video.codec_context
            context.time_base = TIME_BASE
            context.gop_size = max(1, round(self._rate * FRAGMENT_S))
            context.colorspace, context.color_range = _BT709, _LIMITED
            context.color_primaries, context.color_trc = _BT709, _BT709
            context.options = dict(options)
            if self._origin is not None:
                container.metadata.update(self._origin.tags(format_name))
            if self._sound is not None:
                self._sound.begin(container)
            container.start_encoding()
        except BaseException:
            with contextlib.suppress(av.error.FFmpegError, ValueError, OSError):
                container.close()
            raise
        self._container: OutputContainer = container
        self._video: VideoStream = video

    def _say_origin(self) -> None:
        """After an MP4's end, and only all of it or nothing: the file is whole without it."""
        if self._origin is None or not self.target.is_file():
            return
        box = self._origin.closing_box(self._format)
        with self.target.open("ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if box and file.write(box) != len(box):
                file.truncate(end)

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._video.encode(frame):
            packet.duration = self._duration_ticks  # the encoder leaves it open
            self._container.mux(packet)

    def _copy_sound(self, until_s: Fraction) -> None:
        if self._sound is not None:
            for packet in self._sound.packets(until_s):
                self._container.mux(packet)


class _Sound:
    """The packets of a clip's first audio stream, handed over up to a time."""

    def __init__(self, container: InputContainer) -> None:
        self._container = container
        self._stream = container.streams.audio[0]
        self._start_s = Fraction(container.start_time or 0, av.time_base)
        self._target: AudioStream | None = None
        self._packets: Iterator[Packet[AudioStream]] = container.demux(self._stream)
        self._waiting: Packet[AudioStream] | None = None

    def begin(self, target: OutputContainer) -> None:
        self._target = target.add_stream_from_template(self._stream)

    def packets(self, until_s: Fraction) -> Iterator[Packet[AudioStream]]:
        assert self._target is not None
        while True:
            packet = self._waiting or self._following()
            self._waiting = None
            if packet is None:
                return
            assert packet.dts is not None
            time_base = packet.time_base
            if packet.dts * time_base - self._start_s > until_s:
                self._waiting = packet
                return
            shift = round(self._start_s / time_base)
            packet.dts -= shift
            if packet.pts is not None:
                packet.pts -= shift
            packet.stream = self._target
            yield packet

    def close(self) -> None:
        self._container.close()

    def _following(self) -> Packet[AudioStream] | None:
        try:
            return next((packet for packet in self._packets if packet.dts is not None), None)
        except av.error.FFmpegError:
            log.warning("the input's sound ends in the middle of something")
            return None


def _open_sound(path: Path) -> _Sound | None:
    try:
        container = av.open(f"file:{path}", "r")
    except (av.error.FFmpegError, ValueError) as error:
        raise SinkError(f"{path}: the sound cannot be read ({_reason(error)})") from None
    if not container.streams.audio:
        container.close()
        return None
    return _Sound(container)


class _Encodable:
    """Pictures as the encoder takes them: yuv420p, BT.709 limited range. One owner thread."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._yuv = YuvConverter(size, BT709)
        self._last: tuple[Pixels, Corner | None, VideoFrame] | None = None

    def frame(self, pixels_HWC: Pixels, badge: Corner | None) -> VideoFrame:
        """A new frame; the same one again for the very same array, which nobody writes to, with the
        same badge.
        """
        if self._last is None or self._last[0] is not pixels_HWC or self._last[1] != badge:
            frame = VideoFrame(self._size.width, self._size.height, "yuv420p")
            self._yuv.convert(pixels_HWC, [_pixels_of(plane) for plane in frame.planes], badge)
            frame.colorspace, frame.color_range = _BT709, _LIMITED
            self._last = (pixels_HWC, badge, frame)
        return self._last[2]


def _pixels_of(plane: VideoPlane) -> Pixels:
    rows: Pixels = np.frombuffer(memoryview(plane), np.uint8)
    return rows.reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _reason(error: BaseException) -> str:
    text = str(getattr(error, "strerror", None) or error)
    return text[:1].lower() + text[1:]
