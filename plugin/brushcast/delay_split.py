"""Where a picture's delay comes from: the network, the worker, playout. Pure.

Of two hosts' clocks nothing is subtracted. What is measured on this one: how old results are when
they come (from the capture), how long a question takes there and back, and when pictures are shown.
What is left of a result's age without the network is the worker's, with what the bridge and the
codecs take.
"""

from __future__ import annotations

import collections
import statistics
from dataclasses import dataclass

NS_PER_MS = 1_000_000
RESULTS = 60  # the last so many: two seconds
QUESTIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """In milliseconds; together the delay from capture to output. network_ms: there and back.
    worker_ms: until the result came, without that. playout_ms: until its time to be shown."""

    network_ms: float
    worker_ms: float
    playout_ms: float


class DelaySplit:
    """One connection's. Owned by the bridge's thread."""

    def __init__(self) -> None:
        self._ages_ms: collections.deque[float] = collections.deque(maxlen=RESULTS)
        self._round_trips_ms: collections.deque[float] = collections.deque(maxlen=QUESTIONS)

    def reset(self) -> None:
        """Another connection."""
        self._ages_ms.clear()
        self._round_trips_ms.clear()

    def result(self, age_ns: int) -> None:
        """A result came that long after its picture was captured."""
        self._ages_ms.append(age_ns / NS_PER_MS)

    def answered(self, round_trip_ns: int) -> None:
        """A question took so long there and back; 0 is no measurement."""
        if round_trip_ns:
            self._round_trips_ms.append(round_trip_ns / NS_PER_MS)

    def of(self, delay_ms: float) -> Split | None:
        """The parts of this delay, from capture to output; None before there is a measurement."""
        if not self._ages_ms or not self._round_trips_ms:
            return None
        age_ms = min(statistics.median(self._ages_ms), delay_ms)
        network_ms = min(statistics.median(self._round_trips_ms), age_ms)
        return Split(
            network_ms=round(network_ms, 1),
            worker_ms=round(age_ms - network_ms, 1),
            playout_ms=round(delay_ms - age_ms, 1),
        )
