"""Clip: a video file, decoded picture by picture, in order, upright and with square pixels."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from brushcast.errors import SourceError
from brushcast.frame import MAX_SIDE_PX, Pixels, Size

DEFAULT_RATE = Fraction(30)  # for files that do not say
RATES = (Fraction(1), Fraction(240))  # what a file may say; the rest is nonsense of its header
DECODER_THREADS = 2

# Values of AVColorSpace and of PyAV's swscale colour spaces.
_UNSPECIFIED = 2
_SPACES = {1: "ITU709", 5: "ITU601", 6: "ITU601", 7: "SMPTE240M", 4: "FCC"}
_HD_HEIGHT_PX = 720  # files that name no matrix: BT.709 from here on, as players do


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """The first audio stream of a clip."""

    codec: str
    rate_hz: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInfo:
    """What a file says about itself. size: as shown (turned upright, square pixels, even sides).

    rate: mean pictures per second. seconds, pictures: None when the file does not say; estimates
    otherwise.
    """

    size: Size
    rate: Fraction
    seconds: float | None
    pictures: int | None
    codec: str
    audio: AudioInfo | None


@dataclass(frozen=True, slots=True)
class ClipPicture:
    """One decoded picture. pixels_HWC: [H W 3] uint8 RGB. time_s: on the file's clock, which its
    sound shares.
    """

    pixels_HWC: Pixels
    index: int
    time_s: Fraction
    duration_s: Fraction


class Clip:
    """An open video file. One owner thread; use as a context manager or close it."""

    def __init__(self, path: Path | str) -> None:
        """Open and look at the first picture. Raises SourceError: missing, a folder, empty, no
        video, nothing decodable.
        """
        self.path = Path(path)
        self.damaged = 0  # packets that could not be decoded
        _check_file(self.path)
        self._container, self._stream = self._open()
        try:
            self._frames = self._decoded()
            first = next(self._frames, None)
            if first is None:
                raise SourceError(
                    f"{self.path}: no picture could be decoded (codec "
                    f"{self._stream.codec_context.name}); the file seems to be cut off or damaged"
                )
            shape = self._upright(first).shape
        except BaseException:
            self._container.close()
            raise
        self.info = self._describe(Size(shape[1], shape[0]))
        self._first: VideoFrame | None = first

    def __enter__(self) -> Clip:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pictures(self) -> Iterator[ClipPicture]:
        """Every picture from the start, in order. Damaged packets are left out and counted in
        `damaged`.

        Each call begins anew; only the last iterator may be used.
        """
        if self._first is None:
            self._frames.close()
            self._container.close()
            self._container, self._stream = self._open()
            self.damaged = 0
            self._frames = self._decoded()
        first, self._first = self._first, None
        frames = itertools.chain([first] if first is not None else [], self._frames)
        start_s = Fraction(self._container.start_time or 0, av.time_base)
        last_s = expected_s = Fraction(0)
        usual_s = 1 / self.info.rate
        for index, frame in enumerate(frames):
            duration_s = usual_s
            if frame.pts is None or frame.time_base is None:
                time_s = expected_s
            else:
                time_s = frame.pts * frame.time_base - start_s
                if frame.duration:
                    duration_s = frame.duration * frame.time_base
            if time_s < last_s and index:
                time_s = expected_s  # a broken clock: the pictures still come in order
            last_s, expected_s = time_s, time_s + duration_s
            pixels = self._upright(frame)
            if pixels.shape[:2] != (self.info.size.height, self.info.size.width):
                size = (self.info.size.width, self.info.size.height)  # a size change in mid-file
                pixels = np.asarray(cv2.resize(pixels, size), np.uint8)
            yield ClipPicture(pixels, index, time_s, duration_s)

    def close(self) -> None:
        """Never raises; may be called twice."""
        self._first = None
        # First the iterator, then its container: the other way round Python may crash at its exit.
        with contextlib.suppress(ValueError):  # another thread is in it, against the rules
            self._frames.close()
        self._container.close()

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            # The prefix keeps a file named like an address from being taken for one.
            container = av.open(f"file:{self.path}", "r")
        except (av.error.FFmpegError, ValueError) as error:
            raise SourceError(f"{self.path}: not a video file ({_reason(error)})") from None
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            container.close()
            raise SourceError(f"{self.path}: has no video stream, only {kinds}")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if max(width, height) > MAX_SIDE_PX:
            container.close()
            raise SourceError(f"{self.path}: {width}x{height}; wanted at most {MAX_SIDE_PX} a side")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        return container, stream

    def _decoded(self) -> Generator[VideoFrame, None, None]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # the file ends in the middle of something
                self.damaged += 1
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self.damaged += 1
                continue
            for frame in frames:
                assert isinstance(frame, VideoFrame)
                yield frame

    def _upright(self, frame: VideoFrame) -> Pixels:
        pixels = rgb_of(frame)
        aspect = self._stream.sample_aspect_ratio
        if aspect and aspect != 1 and Fraction(1, 8) <= aspect <= 8:
            height, width, _ = pixels.shape
            wanted = (max(2, round(width * aspect)), height)
            pixels = np.asarray(cv2.resize(pixels, wanted, interpolation=cv2.INTER_AREA), np.uint8)
        quarter_turns = round(frame.rotation / 90) % 4
        if quarter_turns:
            pixels = np.rot90(pixels, quarter_turns)
        height, width, _ = pixels.shape
        return np.ascontiguousarray(pixels[: height // 2 * 2, : width // 2 * 2])

    def _describe(self, size: Size) -> ClipInfo:
        stream, container = self._stream, self._container
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        if not RATES[0] <= rate <= RATES[1]:
            rate = DEFAULT_RATE
        seconds: float | None = None
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration:
            seconds = container.duration / av.time_base
        pictures = stream.frames or (round(seconds * rate) if seconds else None)
        audio: AudioInfo | None = None
        if container.streams.audio:
            sound = container.streams.audio[0].codec_context
            audio = AudioInfo(
                codec=sound.name, rate_hz=sound.sample_rate, channels=sound.layout.nb_channels
            )
        return ClipInfo(
            size=size,
            rate=Fraction(rate),
            seconds=seconds,
            pictures=pictures,
            codec=stream.codec_context.name,
            audio=audio,
        )


def rgb_of(frame: VideoFrame) -> Pixels:
    """The picture as [H W 3] uint8 RGB, with the colour matrix that it names (or that players
    assume).
    """
    space = frame.colorspace
    if space == _UNSPECIFIED:
        space = 1 if frame.height >= _HD_HEIGHT_PX else 5
    matrix = _SPACES.get(space, "DEFAULT")
    return np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=matrix), np.uint8)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise SourceError(f"{path}: is a folder; wanted a video file")
    try:
        length_bytes = path.stat().st_size
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise SourceError(f"{path}: {_reason(error)}; wanted a video file") from None
    if not path.is_file():
        raise SourceError(f"{path}: is no regular file; wanted a video file")
    if length_bytes == 0:
        raise SourceError(f"{path}: has zero bytes; wanted a video file")


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text)[:1].lower() + str(text)[1:]
