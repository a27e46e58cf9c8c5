"""Chunk: consecutive pictures of one stream as one device tensor, and the copies in and out.

Letters: B streams, T pictures, C channels (3, RGB), H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brushcast.frame import Frame, Pixels
from brushcast_worker.models.side_by_side import as_they_come, on_one_core

HANDS = 4  # copy pictures into pinned memory; more of them wait for each other
PADDING_SEQ = -1  # of a picture that only fills up a chunk: nobody waits for it


@dataclass(frozen=True, slots=True)
class Arrival:
    """Pictures on their way to host memory: there once `done` has happened on the device (None:
    already). extremes: the least and the greatest value before rounding, NaN if any was."""

    levels_THWC: Tensor  # uint8
    extremes_2: Tensor
    done: torch.cuda.Event | None

    def last(self) -> Arrival:
        """The last picture alone."""
        return Arrival(self.levels_THWC[-1:], self.extremes_2, self.done)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pictures of one stream, in order. Lives on the GPU thread.

    x_TCHW: float in [-1, 1], on the engine's device. seqs, captured_ns: of each picture; a seq of
    PADDING_SEQ marks one that was repeated to fill the chunk. reused: nothing was computed for it,
    an earlier result stands for it (a cache hit), the same in every picture. pixels: the same
    pictures in host memory, where they came from there. arrival: the same pictures, where the
    engine has sent them to host memory already; `x_TCHW` is there no sooner. levels_THWC: the same
    pictures as uint8 on the engine's device, where they came there so.
    """

    x_TCHW: Tensor
    seqs: tuple[int, ...]
    captured_ns: tuple[int, ...]
    reused: bool = False
    pixels: tuple[Pixels, ...] = ()
    arrival: Arrival | None = None
    levels_THWC: Tensor | None = None

    @property
    def coming(self) -> bool:
        """Whether to read it back is to wait for the device: it may be given more to do first."""
        return self.arrival is not None and self.arrival.done is not None

    def __post_init__(self) -> None:
        assert self.x_TCHW.shape[1:2] == (3,), self.x_TCHW.shape
        assert len(self.seqs) == len(self.captured_ns) == self.x_TCHW.shape[0]


def chunk_from_frames(frames: Sequence[Frame], device: torch.device) -> Chunk:
    """Copy pictures of one size to the device as one tensor: uint8 over the bus, scaled there."""
    return chunks_from_frames([frames], device)[0]


def chunks_from_frames(streams: Sequence[Sequence[Frame]], device: torch.device) -> list[Chunk]:
    """The same for several streams, as many pictures of each, all of one size: in one copy where
    there is a bus."""
    if device.type == "cuda":
        levels_BTHWC = _over_the_bus(streams, device)
        # Two kernels, and both ends are exact.
        x_BTHWC = levels_BTHWC.sub(127.5).div_(127.5)
        parts = zip(streams, x_BTHWC, levels_BTHWC, strict=True)
        return [_chunk(frames, x_THWC, levels_THWC) for frames, x_THWC, levels_THWC in parts]
    return [_chunk(frames, _scaled(frames, device), None) for frames in streams]


def _over_the_bus(streams: Sequence[Sequence[Frame]], device: torch.device) -> Tensor:
    """uint8 `[B T H W C]`, by way of pinned memory: several streams are copied there side by side,
    and each part crosses the bus while the next is copied."""
    shape = len(streams), len(streams[0]), *streams[0][0].pixels_HWC.shape
    host_BTHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    there_BTHWC = torch.empty(shape, dtype=torch.uint8, device=device)
    size = -(-len(streams) // HANDS)
    parts = [slice(begin, begin + size) for begin in range(0, len(streams), size)]

    def copied(part: slice) -> slice:
        for frames, room_THWC in zip(streams[part], host_BTHWC[part].numpy(), strict=True):
            for frame, room_HWC in zip(frames, room_THWC, strict=True):
                np.copyto(room_HWC, frame.pixels_HWC)
        return part

    for part in as_they_come(copied, parts):
        there_BTHWC[part].copy_(host_BTHWC[part], non_blocking=True)
    return there_BTHWC


def _scaled(frames: Sequence[Frame], device: torch.device) -> Tensor:
    """Float `[T H W C]` in [-1, 1], made on the CPU."""
    pictures = [frame.pixels_HWC for frame in frames]
    x_THWC = torch.empty(len(pictures), *pictures[0].shape)
    with on_one_core(device):
        for x_HWC, pixels_HWC in zip(x_THWC, pictures, strict=True):  # one stays in the cache
            np.copyto(x_HWC.numpy(), pixels_HWC)
            x_HWC.mul_(2 / 255).sub_(1)
    return x_THWC.to(device)


def _chunk(frames: Sequence[Frame], x_THWC: Tensor, levels_THWC: Tensor | None) -> Chunk:
    return Chunk(
        x_THWC.permute(0, 3, 1, 2),
        tuple(frame.seq for frame in frames),
        tuple(frame.captured_ns for frame in frames),
        pixels=tuple(frame.pixels_HWC for frame in frames),
        levels_THWC=levels_THWC,
    )


@dataclass(frozen=True, slots=True)
class ReadBack:
    """A chunk in host memory: the pictures as [H W 3] uint8, and the least and greatest value
    before rounding (NaN if any value was)."""

    pictures: list[Pixels]
    low: float
    high: float


def read_back(chunk: Chunk) -> ReadBack:
    """Copy a chunk to host memory; waits for the device once. A reused one repeats one picture."""
    if chunk.arrival is not None:
        return _arrived(chunk.arrival, len(chunk.seqs) if chunk.reused else 1)
    x_TCHW = chunk.x_TCHW[:1] if chunk.reused else chunk.x_TCHW
    # On a CPU picture by picture: one stays in the cache.
    size = 1 if x_TCHW.device.type == "cpu" else len(x_TCHW)
    pixels_THWC: list[Tensor] = []
    extremes: list[Tensor] = []
    with on_one_core(x_TCHW.device):  # beside a busy process 5 ms; with threads 25
        for part_TCHW in torch.split(x_TCHW, size):
            pixels_THWC += _to_host(as_levels(part_TCHW))
            extremes += torch.aminmax(part_TCHW)
    values = torch.stack(extremes).tolist()  # the wait: everything before it has arrived then, too
    repeated = len(chunk.seqs) if chunk.reused else 1
    pictures = [pixels_HWC.numpy() for pixels_HWC in pixels_THWC]
    return ReadBack(pictures * repeated, float(np.min(values)), float(np.max(values)))


def send_back(levels_BTHWC: Tensor, extremes_B2: Tensor) -> list[Arrival]:
    """Begin to copy the pictures of B streams to host memory, all in one; see `Arrival`. What comes
    next on the device may change the tensors."""
    host_BTHWC, host_B2 = _to_host(levels_BTHWC), _to_host(extremes_B2)
    done = None
    if levels_BTHWC.device.type == "cuda":
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # not in its stubs
        done.record()
    return [Arrival(x, e, done) for x, e in zip(host_BTHWC, host_B2, strict=True)]


def _arrived(arrival: Arrival, repeated: int) -> ReadBack:
    if arrival.done is not None:
        arrival.done.synchronize()
    low, high = arrival.extremes_2.tolist()
    pictures = [pixels_HWC.numpy() for pixels_HWC in arrival.levels_THWC]
    return ReadBack((pictures[:1] if repeated > 1 else pictures) * repeated, low, high)


def as_levels(x_TCHW: Tensor) -> Tensor:
    """[-1, 1] to [T H W C] uint8: 128 + 127.5 x, cut off. Rounds half up, and 1 is 255."""
    levels_TCHW = torch.add(torch.tensor(128.0), x_TCHW.float(), alpha=127.5).clamp_(0, 255)
    if levels_TCHW.device.type == "cpu":
        # By way of int16, in half the time: torch has no vector code from float to uint8.
        levels_TCHW = levels_TCHW.to(torch.int16)
    return torch.stack(levels_TCHW.to(torch.uint8).unbind(1), -1)


def _to_host(x: Tensor) -> Tensor:
    """Without waiting: a CUDA tensor is complete in pinned memory once its stream has come here."""
    if x.device.type != "cuda":
        return x.to("cpu", copy=True)
    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return host.copy_(x, non_blocking=True)
