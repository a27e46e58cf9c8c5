"""A batch between its launch and the last of its pictures; see `loop`."""

from __future__ import annotations

from dataclasses import dataclass, field

from brushcast.frame import Frame
from brushcast_worker.chunk import Chunk
from brushcast_worker.engine import EngineState
from brushcast_worker.latency import Shape
from brushcast_worker.session import Session


@dataclass(slots=True)
class Turn:
    """One stream's part of a batch."""

    session: Session
    shape: Shape  # of its chunk
    frames: list[Frame]  # that are painted
    state: EngineState = None  # that it ran with; the session's is another once it starts anew
    came_out: bool = False  # pictures, good or bad
    reused: bool = False
    wrong: str | None = None  # why pictures must not be shown; the rest of the chunk neither
    rejected: list[int] = field(default_factory=list)  # their seqs


@dataclass(slots=True)
class Flight:
    """A batch that was launched. coming: pictures that the device has not sent back yet."""

    turns: list[Turn]
    begun_ns: int
    coming: list[tuple[Turn, Chunk]] = field(default_factory=list)
