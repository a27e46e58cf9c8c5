"""The guard thread's decisions; time passes when it waits."""

import threading
from typing import Any

import pytest

from brushcast_worker.pulse import Pulse
from brushcast_worker.step_guard import LOOK_EVERY_S, StepGuard, Watch
from tests.worker.conftest import Clock
from tests.worker.test_pulse import session

LIMIT_NS = 1_500_000_000


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    """In a warm step."""
    pulse = Pulse(clock, slow_start_s=5, usual_area_px=64 * 64)
    one = session(clock)
    for _ in range(2):
        pulse.begins([one])
        pulse.ends()
    pulse.begins([one])
    assert pulse.limit_ns == LIMIT_NS
    return pulse


def look(guard: StepGuard, clock: Clock, seconds: float, every_ms: float = 100) -> str | None:
    """The first reason within so long."""
    for _ in range(round(seconds * 1000 / every_ms)):
        clock.sleep_ms(every_ms)
        if reason := guard.look(clock()):
            return reason
    return None


def test_a_step_that_does_not_end_is_told_with_its_limit(pulse: Pulse, clock: Clock) -> None:
    guard = StepGuard(pulse)
    guard.look(clock())
    assert look(guard, clock, 1.5) is None
    assert look(guard, clock, 0.2) == "the model did not come back within 1.5 s"


def test_each_finished_picture_is_a_sign_of_life(pulse: Pulse, clock: Clock) -> None:
    guard = StepGuard(pulse)
    for _ in range(10):
        assert look(guard, clock, 1.2) is None
        pulse.finished()


def test_a_process_that_was_stopped_is_not_a_model_that_hangs(pulse: Pulse, clock: Clock) -> None:
    guard = StepGuard(pulse)
    assert look(guard, clock, 1) is None
    clock.sleep_ms(3_600_000)
    assert guard.look(clock()) is None
    pulse.finished()
    assert look(guard, clock, 1.4) is None


def test_a_thread_that_is_starved_itself_counts_only_what_it_saw(
    pulse: Pulse, clock: Clock
) -> None:
    guard = StepGuard(pulse)
    assert look(guard, clock, 5, every_ms=2500) is None
    assert look(guard, clock, 20, every_ms=2500) is not None


class Worker:
    """What a Watch is given, and all that it does. Its waits are the test's clock."""

    def __init__(self, pulse: Pulse, clock: Clock, seconds: float) -> None:
        self.said: list[str] = []
        self.left: list[str] = []
        self.link_lives, self.turns = True, True
        self.stop = threading.Event()
        self._pulse, self._clock, self._left_s = pulse, clock, seconds
        self.watch: Any = Watch(
            pulse=pulse, notifier=self, stop=self.stop, done=self,
            link_alive=lambda: self.link_lives, watched=True, clock_ns=clock,
            leave=self.left.append,
        )  # fmt: skip

    def alive(self) -> None:
        self.said.append("alive")

    def stopping(self) -> None:
        self.said.append("stopping")

    def wait(self, seconds: float) -> bool:
        """Stands for the event of the end."""
        assert seconds == LOOK_EVERY_S
        self._clock.sleep_ms(1000 * seconds)
        self._left_s -= seconds
        if self.turns:
            self._pulse.ends()
        return self._left_s <= 0


def test_signs_of_life_come_about_once_a_second(pulse: Pulse, clock: Clock) -> None:
    worker = Worker(pulse, clock, 10)
    worker.watch.stand()
    assert 9 <= worker.said.count("alive") <= 11
    assert worker.left == []


def test_nobody_is_told_where_nobody_asked(pulse: Pulse, clock: Clock) -> None:
    worker = Worker(pulse, clock, 10)
    object.__setattr__(worker.watch, "watched", False)
    worker.watch.stand()
    assert worker.said == []


def test_a_stuck_model_gives_no_sign_of_life_and_ends_the_process(
    pulse: Pulse, clock: Clock
) -> None:
    pulse.limit_ns = 20_000_000_000  # a cold step: long after the last sign nobody ends it yet
    worker = Worker(pulse, clock, 60)
    worker.turns = False
    worker.watch.stand()
    assert worker.left == ["the model did not come back within 20.0 s"]
    assert worker.said.count("alive") <= 21


def test_pictures_that_are_never_finished_give_no_sign_of_life(pulse: Pulse, clock: Clock) -> None:
    worker = Worker(pulse, clock, 10)
    arrive = worker.wait

    def wait(seconds: float) -> bool:
        pulse.arrived()
        return arrive(seconds)

    worker.wait = wait
    worker.watch.stand()
    assert worker.said.count("alive") <= 2, "of ten seconds: in those in which it was not known yet"


def test_a_dead_link_thread_gives_no_sign_of_life(pulse: Pulse, clock: Clock) -> None:
    worker = Worker(pulse, clock, 5)
    worker.link_lives = False
    worker.watch.stand()
    assert worker.said == []


def test_a_model_that_does_not_stop_is_left_behind(pulse: Pulse, clock: Clock) -> None:
    worker = Worker(pulse, clock, 60)
    worker.stop.set()
    worker.watch.stand()
    assert worker.said == ["stopping"]
    assert worker.left == ["the model did not stop"]
