"""LatencyModel: L(T, B), how long a forward of B streams of T pictures takes, learnt while it runs.

After StreamDiffusionV2's SLO-aware batching (arXiv 2511.07399, section 3.1). Pure; no clock.

What has run answers for itself, by the median of its last runs: a device's curve has a knee where
it is full, and no formula knows the place. What has not run lies on the surface

    L(T, B) = fixed + shared * work(T) + own * work(B T)

through what has, no part of it negative: `fixed` is launched once a forward, `shared` is paid once
for all streams, `own` by each. A least-squares fit of relative errors; what was seen long ago
weighs less, and what was seen once (a kernel is compiled, a graph recorded) next to nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from brushcast_worker.ladder import STEP_COST

KNOWN_SHAPES = 64  # batch shapes whose cost is remembered
RUNS = 7  # of a shape that are remembered: the median follows a change after four
MEASURED = 3  # runs after which a shape's cost is known, whatever one of them was
FORGETTING = 0.97  # weight of a shape against the one that ran after it
SEEN_ONCE = 0.01  # weight of a single run: mostly the one that compiles
# The parts of the surface that are tried, the simplest first: a later one must fit clearly better.
_FIXED, _SHARED, _OWN = range(3)
_PARTS = (
    (_OWN,),
    (_FIXED, _OWN),
    (_SHARED, _OWN),
    (_FIXED, _SHARED, _OWN),
    (_FIXED,),
    (_SHARED,),
    (_FIXED, _SHARED),
)
_BETTER = 0.9  # of the error: clearly
_EXACT = 1e-8  # mean square of the relative error: as good as none
_SINGULAR = 1e-12


@dataclass(frozen=True, slots=True)
class Shape:
    """What may share one forward, and what it costs: the computed size, the denoising steps, and of
    how many pictures the model paints one."""

    width: int
    height: int
    steps: int
    every: int = 1

    def work(self, pictures: int) -> float:
        """Arbitrary units, in proportion to the arithmetic of `pictures` pictures."""
        painted = pictures / self.every
        return self.width * self.height * painted * (1 + STEP_COST * self.steps) * 1e-6


@dataclass(frozen=True, slots=True)
class _Point:
    """One shape on the surface: what `fixed`, `shared` and `own` are multiplied with, and L."""

    factors: tuple[float, float, float]
    took_ns: float
    weight: float


_Surface = tuple[float, float, float]  # fixed, shared, own
_Key = tuple[Shape, int, int]  # shape, streams, pictures of each


class LatencyModel:
    """See the file's head. Owned by the scheduler; GPU thread."""

    def __init__(self) -> None:
        self._runs: OrderedDict[_Key, deque[int]] = OrderedDict()  # the last one used is the last
        self._surface: _Surface | None = None  # None: to be fitted anew

    def learn(self, shape: Shape, streams: int, pictures: int, took_ns: int) -> None:
        """One batch was measured: `streams` streams of `pictures` pictures each."""
        key = (shape, streams, pictures)
        self._runs.setdefault(key, deque(maxlen=RUNS)).append(took_ns)
        self._runs.move_to_end(key)
        if len(self._runs) > KNOWN_SHAPES:
            self._runs.popitem(last=False)
        self._surface = None

    def measured(self, shape: Shape, streams: int, pictures: int) -> bool:
        """Whether such batches ran often enough for their cost to be known."""
        return len(self._runs.get((shape, streams, pictures), ())) >= MEASURED

    def expect_ns(self, shape: Shape, streams: int, pictures: int) -> int:
        """What such a batch will take; 0 when nothing was ever measured."""
        key = (shape, streams, pictures)
        runs = self._runs.get(key, ())
        if len(runs) > 1:
            return _low_median(runs)
        if self._surface is None:
            self._surface = _fitted(self._points())
        guess_ns = int(_dot(self._surface, _factors(key)))
        return min(*runs, guess_ns) if runs else guess_ns

    def best_rate(self, shape: Shape, pictures: int) -> float:
        """Pictures per second of the best batch of such chunks that was measured; 0 for none."""
        return max(
            (
                1e9 * key[1] * pictures / max(_low_median(runs), 1)
                for key, runs in self._runs.items()
                if (key[0], key[2]) == (shape, pictures)
            ),
            default=0.0,
        )

    def _points(self) -> list[_Point]:
        newest_first = reversed(self._runs.items())
        return [
            _Point(
                _factors(key),
                max(_low_median(runs), 1),
                FORGETTING**age * (1.0 if len(runs) > 1 else SEEN_ONCE),
            )
            for age, (key, runs) in enumerate(newest_first)
        ]


def _low_median(runs: Sequence[int]) -> int:
    return sorted(runs)[(len(runs) - 1) // 2]


def _factors(key: _Key) -> _Surface:
    shape, streams, pictures = key
    return 1.0, shape.work(pictures), shape.work(streams * pictures)


def _fitted(points: Sequence[_Point]) -> _Surface:
    """The simplest surface among those that fit best; all zero where there is no point."""
    best, error = (0.0, 0.0, 0.0), float("inf")
    for parts in _PARTS:
        found = _solved(points, parts) if points else None
        if found is None or min(found) < 0:
            continue
        misses = _error(points, found)
        if misses < _BETTER * error and error > _EXACT:
            best, error = found, misses
    return best


def _solved(points: Sequence[_Point], parts: Sequence[int]) -> _Surface | None:
    """The surface of these parts alone with the least weighted square of relative errors, by its
    normal equations; None where the points do not tell."""
    rows = [[p.factors[part] / p.took_ns for part in parts] for p in points]
    scale = [max(row[n] for row in rows) for n in range(len(parts))]
    rows = [[x / by for x, by in zip(row, scale, strict=True)] for row in rows]
    weights = [p.weight for p in points]
    matrix = [
        [
            *(_weighted(weights, rows, a, b) for b in range(len(parts))),
            sum(weight * row[a] for weight, row in zip(weights, rows, strict=True)),
        ]
        for a in range(len(parts))
    ]
    solution = _eliminated(matrix, _SINGULAR * sum(weights))
    if solution is None:
        return None
    surface = [0.0, 0.0, 0.0]
    for part, by, x in zip(parts, scale, solution, strict=True):
        surface[part] = x / by
    return surface[_FIXED], surface[_SHARED], surface[_OWN]


def _weighted(weights: Sequence[float], rows: Sequence[Sequence[float]], a: int, b: int) -> float:
    return sum(weight * row[a] * row[b] for weight, row in zip(weights, rows, strict=True))


def _eliminated(matrix: list[list[float]], least: float) -> list[float] | None:
    """Gauss-Jordan, of `[n n+1]`; None where a pivot is below `least`."""
    size = len(matrix)
    for n in range(size):
        pivot = max(range(n, size), key=lambda row: abs(matrix[row][n]))
        matrix[n], matrix[pivot] = matrix[pivot], matrix[n]
        if abs(matrix[n][n]) <= least:
            return None
        for row in (row for row in range(size) if row != n):
            times = matrix[row][n] / matrix[n][n]
            matrix[row] = [x - times * y for x, y in zip(matrix[row], matrix[n], strict=True)]
    return [matrix[n][size] / matrix[n][n] for n in range(size)]


def _error(points: Sequence[_Point], surface: _Surface) -> float:
    """The weighted mean square of the relative errors."""
    squares = sum(p.weight * (_dot(surface, p.factors) / p.took_ns - 1) ** 2 for p in points)
    return squares / sum(p.weight for p in points)


def _dot(surface: _Surface, factors: _Surface) -> float:
    return sum(a * b for a, b in zip(surface, factors, strict=True))
