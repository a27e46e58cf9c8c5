"""Between: the pictures of one stream that are interpolated, from their arrival to their paint.

A stream whose rung has the model paint every second picture only is split here: what is painted
goes to the engine, what is missing waits for its painted neighbours. Every second picture, not
every second chunk: a neighbour is then one picture away and not up to four (docs/BENCHMARKS.md has
what both look like), and nothing has to wait for the chunk after the next.

Where things went is looked for by helping hands while the model paints (`stages.interpolate`).
Owned by the stream's session; GPU thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from brushcast.frame import Frame, Pixels
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.stages.interpolate import Care, Follower, Path


@dataclass(frozen=True, slots=True)
class _Missing:
    seq: int
    before_seq: int  # of the painted neighbour that it follows
    path: Future[Path]


class Between:
    """See the file's head."""

    def __init__(self, hands: Executor) -> None:
        """hands: look for paths and paint along them, beside the GPU thread."""
        self._hands = hands
        self._source: Frame | None = None  # the last picture that went to the engine
        self._missing: dict[int, _Missing] = {}  # by the seq of the painted neighbour behind
        self._painted: tuple[int, Pixels] | None = None  # the last one that came out

    @property
    def ready(self) -> bool:
        """Whether the next picture has a painted neighbour before it: else it must be painted."""
        return self._source is not None

    def split(self, frames: Sequence[Frame], wanted: int, care: Care) -> list[Frame]:
        """Of the stream's next pictures, in order, those that the engine is to paint: `wanted`, or
        all where there are fewer. What is missing lies between two of them."""
        spare = max(len(frames) - wanted, 0) if self.ready else 0
        painted: list[Frame] = []
        held: Frame | None = None
        for n, frame in enumerate(frames):
            if n % 2 == 0 and n // 2 < spare:
                held = frame
                continue
            if held is not None:
                self._look_for(held, frame, care)
                held = None
            painted.append(frame)
            self._source = frame
        return painted

    def painted(self, seqs: Sequence[int], pictures: Sequence[Pixels]) -> list[tuple[int, Pixels]]:
        """What has come out of the engine, with the missing pictures that it completes, in
        order."""
        parts: list[tuple[int, Pixels | Future[Pixels]]] = []
        for seq, pixels_HWC in zip(seqs, pictures, strict=True):
            missing = self._missing.pop(seq, None)
            if missing is not None:
                before = self._painted
                if before is not None and before[0] == missing.before_seq:
                    path = missing.path.result()
                    paint = self._hands.submit(path.paint, before[1], pixels_HWC)
                    parts.append((missing.seq, paint))
                else:
                    parts.append((missing.seq, pixels_HWC))  # its other neighbour never came out
            if seq != PADDING_SEQ:
                self._painted = (seq, pixels_HWC)
            parts.append((seq, pixels_HWC))
        return [(seq, p.result() if isinstance(p, Future) else p) for seq, p in parts]

    def lose(self, seqs: Sequence[int]) -> list[int]:
        """These are never shown; the seqs of the missing pictures that go with them."""
        lost = [self._missing.pop(seq) for seq in seqs if seq in self._missing]
        return [missing.seq for missing in lost]

    def forget(self) -> None:
        """The engine's state is another, or the rung: what comes next has no neighbour."""
        self._source = self._painted = None
        self._missing.clear()

    def _look_for(self, missing: Frame, after: Frame, care: Care) -> None:
        before = self._source
        assert before is not None, "there is nothing to spare before that"
        span_ns = max(after.captured_ns - before.captured_ns, 1)
        path = self._hands.submit(
            _path,
            before.pixels_HWC,
            missing.pixels_HWC,
            after.pixels_HWC,
            care,
            (missing.captured_ns - before.captured_ns) / span_ns,
        )
        self._missing[after.seq] = _Missing(missing.seq, before.seq, path)


def _path(before: Pixels, missing: Pixels, after: Pixels, care: Care, moment: float) -> Path:
    """On a hand's thread: each follows with a Follower of its own."""
    return Follower().follow(before, missing, after, care=care, moment=min(max(moment, 0.0), 1.0))
