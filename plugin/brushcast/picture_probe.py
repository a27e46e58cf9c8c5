"""PictureProbe: looks at three consecutive painted pictures once a second, in a thread of its own.

The thread has the bridge's own priority on purpose: with a lower one it would lose the processor
while it holds the interpreter, and the bridge would wait for it. It works for about 6 ms a second,
most of them in OpenCV, which lets go of the interpreter.
"""

from __future__ import annotations

import collections
import logging
import statistics
import threading
from dataclasses import dataclass

from brushcast.frame import Pixels
from brushcast.picture_figures import PictureFigures, measure
from brushcast.slot import Latest

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
EVERY_NS = NS_PER_S
WAIT_S = 0.5
JOIN_S = 2.0
NORMAL_SAMPLES = 30  # whose median is what is normal for this stream and look
NORMAL_LEAST = 5  # before so many were seen nothing is called an artefact
BLURRED_BELOW = 0.6  # of the normal sharpness
WARPED_ABOVE = 2.0  # times the normal warp error
WARPED_LEAST = 0.02  # of full scale: below it nobody sees anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was seen so far. newest: None before the first. number: of samples; of these blurred:
    far less sharp than is normal here, warped: compensated neighbours differ far more than is."""

    newest: PictureFigures | None = None
    number: int = 0
    blurred: int = 0
    warped: int = 0


class Judge:
    """Which samples are artefacts, against the stream's own recent ones. Pure."""

    def __init__(self) -> None:
        self.probed = Probed()
        self._sharpness: collections.deque[float] = collections.deque(maxlen=NORMAL_SAMPLES)
        self._warp_error: collections.deque[float] = collections.deque(maxlen=NORMAL_SAMPLES)

    def forget_normal(self) -> None:
        """Another look: what was normal says nothing of it."""
        self._sharpness.clear()
        self._warp_error.clear()

    def judge(self, figures: PictureFigures) -> Probed:
        blurred = warped = False
        if len(self._sharpness) >= NORMAL_LEAST:
            blurred = figures.sharpness < BLURRED_BELOW * statistics.median(self._sharpness)
            most = max(WARPED_LEAST, WARPED_ABOVE * statistics.median(self._warp_error))
            warped = figures.warp_error > most
        self._sharpness.append(figures.sharpness)
        self._warp_error.append(figures.warp_error)
        before = self.probed
        self.probed = Probed(
            newest=figures,
            number=before.number + 1,
            blurred=before.blurred + blurred,
            warped=before.warped + warped,
        )
        return self.probed


class PictureProbe:
    """Owned by the bridge's thread: `start`, `see` for every painted picture that comes on, `stop`.

    `probed` may be read by any thread.
    """

    def __init__(self) -> None:
        self._row: list[Pixels] = []  # up to three consecutive pictures
        self._due_ns = 0
        self._look = 0
        self._work: Latest[tuple[int, list[Pixels]]] = Latest()
        self._stop = threading.Event()
        self._judge = Judge()
        self.probed = self._judge.probed
        self._thread = threading.Thread(target=self._run, name="picture-probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Join the thread."""
        self._stop.set()
        self._work.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def see(self, picture: Pixels, look: int, now_ns: int) -> None:
        """A painted picture came on. look: a number that changes with the look. Never waits, and
        keeps nothing while nothing is due."""
        if now_ns < self._due_ns:
            return
        # Playout may skip a picture: neighbours on the screen are neighbours.
        if self._row and (self._row[0].shape != picture.shape or look != self._look):
            self._row = []
        self._look = look
        self._row.append(picture)
        if len(self._row) == 3:
            self._work.put((look, self._row))
            self._row, self._due_ns = [], now_ns + EVERY_NS

    def interrupted(self) -> None:
        """What is shown next is no neighbour of what was shown before."""
        self._row = []

    def _run(self) -> None:
        known = 0
        try:
            while not self._stop.is_set():
                work = self._work.get(WAIT_S)
                if work is None:
                    continue
                look, row = work
                if look != known:
                    known = look
                    self._judge.forget_normal()
                self.probed = self._judge.judge(measure(*row))
        except Exception:
            log.exception("the picture probe stopped; the pictures go on without it")
