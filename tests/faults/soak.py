"""Soak: one run of the product for hours, a fault every few seconds, what it holds on to.

Which fault comes when is drawn with a seed. What is held (memory, handles, threads, shared memory)
is sampled by role; it counts of a process that lived for half of the time: the supervisor and the
camera process, which nobody shoots here. Who was shot has no slope.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brushcast.frame import Size
from tests.faults.oracle import GAP_MOST_MS, Verdict, joined
from tests.faults.processes import weight_of
from tests.faults.rig import SOURCE, Rig
from tests.faults.rows import Check, Row, count, said

SAMPLE_S = 5.0
LOOK_S = 0.5
LOOK_LEAST_S = 0.1
WARM_UP_SHARE = 0.2  # of the time, and ten minutes at most: no slope is taken from it
WARM_UP_MOST_S = 600.0
SLOPE_MOST_MB_PER_H = 1.0  # reliability.md; the measured one has an error of its own
LIVED_SHARE = 0.5  # of the time: a process that lived for less has no slope
BACK_S = 60.0


@dataclass(slots=True)
class Sample:
    at_s: float
    pid: int
    rss_bytes: int
    handles: int
    threads: int


@dataclass(slots=True)
class Soak:
    """What was seen and sampled. faults: how often each was made; slow_ms: how long each took to be
    painted again, the worst of its kind."""

    verdict: Verdict | None = None
    faults: dict[str, int] = field(default_factory=dict)
    back_ms: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    shared_bytes: list[tuple[float, int]] = field(default_factory=list)

    def saw(self, verdict: Verdict) -> None:
        self.verdict = verdict if self.verdict is None else joined(self.verdict, verdict)


def soak(home: Path, *, seconds: float, every_s: float, seed: int, tell: Callable[[str], None]) -> (
    Row
):  # fmt: skip
    """Make faults until the time is over; the row. tell: hears of each fault."""
    rng = random.Random(seed)
    found = Soak()
    with Rig(home, engine="pocket") as rig:
        rig.settle()
        faults = _faults(rig)
        begun_s = time.monotonic()
        next_s, sample_s = begun_s + every_s, begun_s
        while (now_s := time.monotonic()) < begun_s + seconds:
            if now_s >= sample_s:
                sample_s = now_s + SAMPLE_S
                _sample(rig, found, now_s - begun_s)
            if now_s >= next_s:
                next_s = now_s + every_s
                name = rng.choice(sorted(faults))
                _make(rig, found, name, faults[name])
                tell(f"{now_s - begun_s:7.0f} s  {name}: again after {found.back_ms[name]:.0f} ms")
            else:
                with rig.watch() as seen:
                    before = rig.read()[-1]
                    time.sleep(max(LOOK_LEAST_S, min(LOOK_S, next_s - now_s)))
                    rig.until(lambda last=before: rig.read()[-1] is not last, 10, "a picture")
                found.saw(seen())
        raw = rig.raw_in_obs()
    return _row(found, seconds=seconds, raw_in_obs=raw)


def _faults(rig: Rig) -> dict[str, Callable[[], object]]:
    def stop() -> None:
        rig.kill("worker", signal.SIGSTOP)

    def resize() -> None:
        rig.obs.plays(Size(480, 270))
        time.sleep(1.5)
        rig.obs.plays(SOURCE)

    def unplug() -> None:
        rig.obs.plays(None)
        time.sleep(3.0)
        rig.obs.plays(SOURCE)

    def spoil() -> None:
        rig.order("nan")
        time.sleep(1.5)
        rig.order("")

    def slow() -> None:
        rig.order("slow 3")
        time.sleep(4.0)
        rig.order("")

    return {
        "worker SIGKILL": lambda: rig.kill("worker"),
        "bridge SIGKILL": lambda: rig.kill("bridge"),
        "worker SIGSTOP": stop,
        "endless loop": lambda: rig.order("once loop"),
        "out of memory": lambda: rig.order("once memory"),
        "exception": lambda: rig.order("once raise"),
        "crash": lambda: rig.order("once crash"),
        "NaN": spoil,
        "slow": slow,
        "size": resize,
        "unplugged": unplug,
    }  # the camera process is left alive: its gap is of another kind (process_faults)


def _make(rig: Rig, found: Soak, name: str, fault: Callable[[], object]) -> None:
    with rig.watch() as seen:
        fault()
        if name in ("endless loop", "out of memory", "exception", "crash"):
            rig.until(rig.order_was_taken, BACK_S, name)
        begun_ns = time.monotonic_ns()
        try:
            back_ms = rig.live_since(begun_ns, BACK_S)
        except AssertionError:
            found.missed.append(name)
            back_ms = 1000 * BACK_S
            if rig.state().get("state") == "FAILED":
                rig.retry()
            rig.live()
    found.saw(seen())
    found.faults[name] = found.faults.get(name, 0) + 1
    found.back_ms[name] = max(back_ms, found.back_ms.get(name, 0.0))


def _sample(rig: Rig, found: Soak, at_s: float) -> None:
    for role, pid in rig.pids().items():
        if (weight := weight_of(pid)) is not None:
            sample = Sample(at_s, pid, weight.rss_bytes, weight.handles, weight.threads)
            found.samples.setdefault(role, []).append(sample)
    found.shared_bytes.append((at_s, _shared_bytes(rig)))


def _shared_bytes(rig: Rig) -> int:
    """Of the rings: those of OBS, and what the supervisor has mapped in shared memory."""
    total = sum(entry.stat().st_size for entry in rig.obs.folder.iterdir() if entry.is_file())
    for line in Path(f"/proc/{rig.run.process.pid}/maps").read_text().splitlines():
        if "/ring" in line:
            low, _, high = line.split()[0].partition("-")
            total += int(high, 16) - int(low, 16)
    return total


def slope(at_s: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Of a straight line through them: (per hour, its standard error). Least squares; raises
    nothing, (0, inf) for fewer than three."""
    if len(at_s) < 3:
        return 0.0, float("inf")
    hours = np.asarray(at_s) / 3600
    (steep, base), *_ = np.linalg.lstsq(
        np.stack([hours, np.ones_like(hours)], axis=1), np.asarray(values, float), rcond=None
    )
    left = np.asarray(values) - steep * hours - base
    spread = float(((hours - hours.mean()) ** 2).sum())
    error = float(np.sqrt((left**2).sum() / (len(hours) - 2) / spread)) if spread else float("inf")
    return float(steep), error


def _row(found: Soak, *, seconds: float, raw_in_obs: int) -> Row:
    assert found.verdict is not None
    verdict = found.verdict
    checks = [
        Check(figure="gap", value=verdict.gap_most_ms, bar=GAP_MOST_MS, unit="ms"),
        said("longest gap, less run queue and host", verdict.gap_ours_ms, "ms"),
        Check(
            figure="gaps above 50 ms", value=100 * verdict.slow / verdict.pictures, bar=0.1,
            unit="%",
        ),
        count("raw", verdict.raw, 0),
        count("raw in OBS's ring", raw_in_obs, 0),
        count("live but too old", verdict.stale, 0),
        count("not painted again within a minute", len(found.missed), 0),
        said("faults", sum(found.faults.values())),
        said("pictures", verdict.pictures),
    ]  # fmt: skip
    warm_s = min(WARM_UP_SHARE * seconds, WARM_UP_MOST_S)
    for role, samples in sorted(found.samples.items()):
        checks += _held(role, [one for one in samples if one.at_s >= warm_s], seconds)
    shared = [size for at_s, size in found.shared_bytes if at_s >= warm_s]
    if shared:
        checks.append(
            Check(figure="shared memory", value=(max(shared) - shared[0]) / 1e6, bar=0.0,
                  unit="MB more")
        )  # fmt: skip
    return Row(
        fault=f"soak of {seconds:.0f} s",
        promise="no picture missing, none raw, nothing held on to",
        checks=tuple(checks),
        verdict=verdict,
        note=", ".join(
            f"{name} x{found.faults[name]} (again after {found.back_ms[name]:.0f} ms at most)"
            for name in sorted(found.faults)
        ),
    )


def _held(role: str, samples: list[Sample], seconds: float) -> list[Check]:
    """Of the incarnation that lived longest; of all of them the greatest numbers."""
    if not samples:
        return []
    lives: dict[int, list[Sample]] = {}
    for one in samples:
        lives.setdefault(one.pid, []).append(one)
    longest = max(lives.values(), key=lambda life: life[-1].at_s - life[0].at_s)
    lived_s = longest[-1].at_s - longest[0].at_s
    checks = [
        said(f"{role}: handles", f"{longest[0].handles} to {longest[-1].handles}"),
        said(f"{role}: threads", f"{longest[0].threads} to {longest[-1].threads}"),
    ]
    steep, error = slope([one.at_s for one in longest], [one.rss_bytes / 1e6 for one in longest])
    if lived_s < LIVED_SHARE * seconds:
        return [*checks, said(f"{role}: lived at most", lived_s, "s")]
    # A slope that its own error does not tell from the bar breaks no promise.
    return [
        said(f"{role}: handles", f"{longest[0].handles} to {longest[-1].handles}"),
        Check(figure=f"{role}: more handles", value=_growth(longest, "handles"), bar=0),
        Check(figure=f"{role}: more threads", value=_growth(longest, "threads"), bar=0),
        Check(
            figure=f"{role}: memory", value=steep - 2 * error, bar=SLOPE_MOST_MB_PER_H,
            unit=f"MB/h (slope {steep:.2f} less twice its error {error:.2f})",
        ),
    ]  # fmt: skip


def _growth(life: list[Sample], what: str) -> int:
    """The least of the last third above the most of the first: a rise that lasts."""
    third = max(1, len(life) // 3)
    first: list[int] = [getattr(one, what) for one in life[:third]]
    last: list[int] = [getattr(one, what) for one in life[-third:]]
    return max(0, min(last) - max(first))
