"""Metrics: distributions and rates whose memory does not grow with the length of a run. Pure: the
clock is an argument.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any

RELATIVE_ERROR = 0.01  # a bin is 2 % wide: finer than any difference that a report is read for
SMALLEST = 1e-3  # in the unit of the values; everything below counts as this
NS_PER_S = 1_000_000_000

_BIN_RATIO = math.log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))


class Histogram:
    """A distribution of values of 0 and above, in logarithmic bins. One owner thread.

    A percentile is within 1 % of the true one, `largest` is exact. At most about 1,400 bins for
    1e-3..1e9.
    """

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}
        self.count = 0
        self.largest = 0.0
        self._sum = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count `value` (finite, negative values count as 0)."""
        assert math.isfinite(value), value
        assert count > 0, count
        value = max(0.0, value)
        number = _bin_number(value)
        self._bins[number] = self._bins.get(number, 0) + count
        self.count += count
        self.largest = max(self.largest, value)
        self._sum += value * count

    @property
    def mean(self) -> float:
        return self._sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The smallest value that at least `percent` (0..100) of all values do not exceed; 0 when
        empty.
        """
        if not self.count:
            return 0.0
        wanted = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for number in sorted(self._bins):
            seen += self._bins[number]
            if seen >= wanted:
                middle = SMALLEST * math.exp((number - 0.5) * _BIN_RATIO)
                return min(middle, self.largest)
        return self.largest

    def merge(self, other: Histogram) -> None:
        """Add everything that `other` counted."""
        for number, count in other._bins.items():
            self._bins[number] = self._bins.get(number, 0) + count
        self.count += other.count
        self.largest = max(self.largest, other.largest)
        self._sum += other._sum

    def spread(self, bounds: Sequence[float]) -> dict[str, Any]:
        """As Prometheus wants it, for JSON: `up_to`, how many values do not exceed each of `bounds`
        (rising; a value may count for a bound that it exceeds by 2 %), `sum` and `count`.
        """
        up_to, seen, numbers = [], 0, collections.deque(sorted(self._bins))
        for bound in bounds:
            last = _bin_number(bound)
            while numbers and numbers[0] <= last:
                seen += self._bins[numbers.popleft()]
            up_to.append([bound, seen])
        return {"up_to": up_to, "sum": round(self._sum, 3), "count": self.count}

    def summary(self) -> Mapping[str, float]:
        """`count, mean, p50, p95, p99, p999, max`, as reports hold them."""
        table: dict[str, float] = {"count": self.count, "mean": round(self.mean, 3)}
        for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("p999", 99.9)):
            table[name] = round(self.percentile(percent), 3)
        table["max"] = round(self.largest, 3)
        return table


def _bin_number(value: float) -> int:
    return math.ceil(math.log(max(value, SMALLEST) / SMALLEST) / _BIN_RATIO)


class Rate:
    """How often something happened per second, over the last `window_s`. One owner thread; bounded
    memory.
    """

    def __init__(self, window_s: float = 2.0, most: int = 1000) -> None:
        self._window_ns = round(window_s * NS_PER_S)
        self._times_ns: collections.deque[int] = collections.deque(maxlen=most)

    def add(self, now_ns: int) -> None:
        """It happened now. Times never fall."""
        self._times_ns.append(now_ns)

    def per_second(self, now_ns: int) -> float:
        """0 when it happened less than twice in the window. A silence at the end lowers the
        rate.
        """
        times_ns = self._times_ns
        while times_ns and now_ns - times_ns[0] > self._window_ns:
            times_ns.popleft()
        if len(times_ns) < 2:
            return 0.0
        period_ns = (times_ns[-1] - times_ns[0]) / (len(times_ns) - 1)
        span_ns = max(times_ns[-1] - times_ns[0], now_ns - times_ns[0] - period_ns, 1)
        return (len(times_ns) - 1) * NS_PER_S / span_ns
