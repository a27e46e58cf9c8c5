"""Pictures to a device tensor and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from brushcast.frame import Frame
from brushcast_worker.chunk import (
    Chunk,
    as_levels,
    chunk_from_frames,
    chunks_from_frames,
    read_back,
    send_back,
)

CPU = torch.device("cpu")


def every_level() -> list[Frame]:
    rng = np.random.default_rng(0)
    return [
        Frame(rng.permutation(3 * 256).astype(np.uint8).reshape(16, 16, 3), seq, 10 * seq)
        for seq in range(4)
    ]


def test_there_and_back_again_is_exact() -> None:
    sent = every_level()
    chunk = chunk_from_frames(sent, CPU)
    assert chunk.x_TCHW.shape == (4, 3, 16, 16)
    assert (float(chunk.x_TCHW.min()), float(chunk.x_TCHW.max())) == (-1.0, 1.0)
    assert chunk.seqs == (0, 1, 2, 3)
    assert chunk.captured_ns == (0, 10, 20, 30)
    for frame, pixels_HWC, kept_HWC in zip(
        sent, read_back(chunk).pictures, chunk.pixels, strict=True
    ):
        assert np.array_equal(frame.pixels_HWC, pixels_HWC)
        assert kept_HWC is frame.pixels_HWC
        assert pixels_HWC.flags.c_contiguous


def test_a_colour_stays_in_its_channel_and_place() -> None:
    pixels_HWC = np.zeros((16, 32, 3), np.uint8)
    pixels_HWC[3, 20] = (255, 128, 1)
    chunk = chunk_from_frames([Frame(pixels_HWC, 0, 0)], CPU)
    assert chunk.x_TCHW[0, 0, 3, 20] == 1
    assert read_back(chunk).pictures[0][3, 20].tolist() == [255, 128, 1]


def test_what_is_out_of_range_is_cut_off() -> None:
    chunk = Chunk(torch.tensor([-9.0, 0.0, 9.0]).reshape(1, 3, 1, 1), (0,), (0,))
    assert read_back(chunk).pictures[0].tolist() == [[[0, 128, 255]]]


@pytest.mark.gpu
def test_there_and_back_again_over_the_bus() -> None:
    sent = every_level()
    back = read_back(chunk_from_frames(sent, torch.device("cuda")))
    for frame, pixels_HWC in zip(sent, back.pictures, strict=True):
        assert np.array_equal(frame.pixels_HWC, pixels_HWC)


def test_a_reused_chunk_repeats_its_picture() -> None:
    x_TCHW = chunk_from_frames(every_level()[:1], CPU).x_TCHW.expand(4, -1, -1, -1)
    chunk = Chunk(x_TCHW, (4, 5, 6, 7), (0, 0, 0, 0), reused=True)
    back = read_back(chunk)
    assert len(back.pictures) == 4
    assert all(np.array_equal(p, every_level()[0].pixels_HWC) for p in back.pictures)


def test_the_extremes_are_told_and_nan_is_not_hidden() -> None:
    x_TCHW = torch.zeros(1, 3, 4, 4)
    x_TCHW[0, 1, 2, 3] = 0.5
    back = read_back(Chunk(x_TCHW, (0,), (0,)))
    assert (back.low, back.high) == (0.0, 0.5)
    x_TCHW[0, 0, 0, 0] = float("nan")
    assert math.isnan(read_back(Chunk(x_TCHW, (0,), (0,))).high)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_several_streams_go_to_the_device_together(device: str) -> None:
    streams = [every_level(), every_level()[::-1], every_level()]
    together = chunks_from_frames(streams, torch.device(device))
    for frames, chunk in zip(streams, together, strict=True):
        alone = chunk_from_frames(frames, torch.device(device))
        assert torch.equal(chunk.x_TCHW, alone.x_TCHW)
        assert (float(chunk.x_TCHW.min()), float(chunk.x_TCHW.max())) == (-1.0, 1.0)
        assert chunk.seqs == tuple(frame.seq for frame in frames)
        assert all(a is b.pixels_HWC for a, b in zip(chunk.pixels, frames, strict=True))
        if device == "cuda":
            assert chunk.levels_THWC is not None
            assert np.array_equal(chunk.levels_THWC.cpu(), chunk.pixels)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pictures_of_several_streams_are_sent_together(device: str) -> None:
    """Each stream gets its own, as they were when they were sent."""
    chunks = [chunk_from_frames(every_level(), torch.device(device)) for _ in range(2)]
    levels = torch.stack([as_levels(chunk.x_TCHW) for chunk in chunks])
    levels[1] = 255 - levels[1]
    extremes = torch.tensor([[-1.0, 0.5], [0.0, torch.nan]], device=device)
    arrivals = send_back(levels, extremes)
    levels.zero_()
    extremes.zero_()
    wanted = np.stack([frame.pixels_HWC for frame in every_level()])
    whole, inverted = (
        read_back(Chunk(chunk.x_TCHW, chunk.seqs, chunk.captured_ns, arrival=arrival))
        for chunk, arrival in zip(chunks, arrivals, strict=True)
    )
    assert np.array_equal(whole.pictures, wanted)
    assert (whole.low, whole.high) == (-1, 0.5)
    assert np.array_equal(inverted.pictures, 255 - wanted)
    assert math.isnan(inverted.high)
    last = Chunk(chunks[0].x_TCHW, (4, 5, 6, 7), (0,) * 4, reused=True, arrival=arrivals[0].last())
    assert np.array_equal(read_back(last).pictures, [wanted[3]] * 4)


def test_every_picture_has_a_name() -> None:
    with pytest.raises(AssertionError):
        Chunk(torch.zeros(2, 3, 4, 4), (0,), (0,))
