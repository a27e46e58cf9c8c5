"""What a worker knows of itself, from a loop that really runs (on an engine that obeys the
test)."""

from __future__ import annotations

import pytest

from brushcast_worker.gpu_gauge import GpuReading
from brushcast_worker.mail import Status
from brushcast_worker.worker_figures import WorkerFigures
from tests.worker.conftest import Clock
from tests.worker.loop_rig import Rig

MS, S = 1_000_000, 1_000_000_000
READING = GpuReading(share=0.7, used_bytes=3, total_bytes=9)


class FakeGauge:
    """Tells what the test says, and counts."""

    def __init__(self, device: str = "cuda") -> None:
        self.device, self.reading, self.asked = device, READING, 0

    def read(self) -> GpuReading | None:
        self.asked += 1
        return self.reading


def figures_of(rig: Rig) -> WorkerFigures:
    return rig.loop._figures


def statuses(rig: Rig) -> list[Status]:
    return [letter for letter in rig.posted if isinstance(letter, Status)]


@pytest.fixture
def rig() -> Rig:
    return Rig(Clock())


def later(rig: Rig, ms: int) -> Rig:
    """Time passes, and the loop comes round."""
    rig.clock.sleep_ms(ms)
    return rig.turn()


def test_pictures_and_padding_are_counted_apart(rig: Rig) -> None:
    rig.open().send(0, 1, 2, 3).turn(2)
    rig.send(4, 5, end=True).turn()
    later(rig, 600).turn(2)
    later(rig, 600)
    told = figures_of(rig).published
    assert rig.painted() == [0, 1, 2, 3, 4, 5]
    assert (told.pictures, told.padding, told.batches, told.streams) == (6, 2, 2, 1)
    assert told.steps["count"] == 2
    assert told.steps["sum"] == pytest.approx(20)
    assert told.rungs == {"full": 1}


def test_the_batch_share_is_against_the_best_batch_of_the_shape(rig: Rig) -> None:
    for first in range(0, 24, 4):
        (rig.open() if not first else rig).send(*range(first, first + 4)).turn()
    later(rig, 600)
    assert figures_of(rig).published.batch_share == pytest.approx(1.0)
    rig.engine.takes_ms = 20.0
    for first in range(24, 56, 4):
        rig.send(*range(first, first + 4)).turn()
        if first == 24:
            later(rig, 600)
            slower = figures_of(rig).published.batch_share
    assert 0.8 < slower < 0.9, "one batch of half the speed, smoothed"


def test_padding_is_no_efficiency(rig: Rig) -> None:
    for first in range(0, 24, 4):
        (rig.open() if not first else rig).send(*range(first, first + 4)).turn()
    rig.send(24, end=True).turn()
    later(rig, 600).turn()
    later(rig, 600)
    told = figures_of(rig).published
    assert told.padding == 3
    assert told.batch_share == pytest.approx(1 - 0.3 * 0.75), "a quarter of a chunk, smoothed"


def test_what_a_gpu_tells_reaches_the_status(rig: Rig) -> None:
    gauge = FakeGauge()
    figures = WorkerFigures(gauge=lambda device: gauge)  # type: ignore[return-value]
    figures.loaded(rig.engine.info)
    rig.loop._figures = figures
    rig.open().send(0, 1, 2, 3).turn()
    later(rig, 600)
    status = statuses(rig)[-1].status
    assert (status.gpu_share, status.gpu_used_bytes, status.gpu_total_bytes) == (0.7, 3, 9)
    assert figures.published.gpu == READING
    asked = gauge.asked
    later(rig, 500)
    later(rig, 500)
    assert gauge.asked == asked + 1, "once a second"
    gauge.reading = None
    later(rig, 1100)
    assert statuses(rig)[-1].status.gpu_share == -1.0


def test_without_a_gpu_it_is_unknown(rig: Rig) -> None:
    rig.open().send(0, 1, 2, 3).turn()
    later(rig, 600)
    status = statuses(rig)[-1].status
    assert (status.gpu_share, status.gpu_total_bytes, status.cache_share) == (-1.0, 0, -1.0)


def test_the_cache_share_is_the_engines_own_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"chunks": 8, "remembered": 7}
    monkeypatch.setattr(rig.engine, "counts", lambda state: counts)
    rig.open().send(0, 1, 2, 3).turn()
    later(rig, 600)
    assert statuses(rig)[-1].status.cache_share == 0.875
    assert figures_of(rig).published.cache_share == 0.875
