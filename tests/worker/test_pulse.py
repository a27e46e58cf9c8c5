"""The pulse: how long a step may take, and what others are told. The clock is set by hand."""

import dataclasses
from typing import Any

import pytest

from brushcast.health import Verdict
from brushcast.presets import Preset
from brushcast_worker.mail import Closed
from brushcast_worker.pulse import (
    IDLE_LIMIT_NS,
    KNOWN_MOST,
    SLOW_STEPS,
    WARM_LIMIT_NS,
    Pulse,
    Serving,
)
from brushcast_worker.session import Session
from tests.worker.conftest import AtOnce, Clock
from tests.worker.loop_rig import STATE, A, B, FakeEngine, Rig

SLOW_START_S = 7.0
COLD_NS = 7_000_000_000


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(clock, slow_start_s=SLOW_START_S, usual_area_px=64 * 64)


def session(clock: Clock, stream: Any = A, **changes: Any) -> Session:
    made = Session(stream, dataclasses.replace(STATE, **changes), FakeEngine(clock).info, AtOnce())
    made.preset = Preset(name="ink", title="Ink", prompt="ink")
    made.engine_state = []
    return made


def step(pulse: Pulse, clock: Clock, *sessions: Session, takes_ms: float = 100) -> int:
    """What it was allowed."""
    pulse.begins(sessions)
    limit_ns = pulse.limit_ns
    clock.sleep_ms(takes_ms)
    pulse.ends()
    return limit_ns


def test_the_first_step_of_anything_new_may_take_longer(pulse: Pulse, clock: Clock) -> None:
    one = session(clock)
    assert step(pulse, clock, one) == COLD_NS
    assert step(pulse, clock, one) == WARM_LIMIT_NS
    one.preset = Preset(name="ink", title="Ink", prompt="red ink")
    assert step(pulse, clock, one) == COLD_NS, "a new look"
    assert step(pulse, clock, one) == WARM_LIMIT_NS
    other = session(clock, B)
    assert step(pulse, clock, one, other) == 2 * COLD_NS, "another stream beside it"
    assert step(pulse, clock, one, other) == WARM_LIMIT_NS
    assert step(pulse, clock, other) == COLD_NS, "alone it is another batch"
    one.engine_state = None
    assert step(pulse, clock, one, other) == 2 * COLD_NS, "a new state"


def test_larger_pictures_and_more_of_them_may_take_as_much_longer(
    pulse: Pulse, clock: Clock
) -> None:
    large = session(clock, width=256)
    assert step(pulse, clock, large) == 4 * COLD_NS
    small = session(clock, B, width=32)
    assert step(pulse, clock, small) == COLD_NS, "never less"
    assert step(pulse, clock, large, session(clock, B, width=256)) == 8 * COLD_NS


def test_a_slow_engine_is_allowed_a_multiple_of_what_it_usually_takes(
    pulse: Pulse, clock: Clock
) -> None:
    one = session(clock)
    step(pulse, clock, one, takes_ms=3000)
    assert step(pulse, clock, one, takes_ms=2500) == SLOW_STEPS * 1_500_000_000, "half the first's"
    assert step(pulse, clock, one, takes_ms=2500) == SLOW_STEPS * 2_500_000_000
    other = session(clock, B)
    step(pulse, clock, other)
    assert step(pulse, clock, other) == WARM_LIMIT_NS, "each kind of work by itself"
    for _ in range(60):
        step(pulse, clock)
        allowed_ns = step(pulse, clock, one, takes_ms=100)
    assert allowed_ns == WARM_LIMIT_NS, "it became quicker"
    for _ in range(3):
        step(pulse, clock, one, takes_ms=2000)
    one.engine_state = None
    assert step(pulse, clock, one) == SLOW_STEPS * 2_000_000_000, "never less than a warm one"


def test_what_warming_up_took_counts(pulse: Pulse, clock: Clock) -> None:
    pulse.warmed_up(100_000_000)
    assert step(pulse, clock, session(clock)) == COLD_NS
    pulse.warmed_up(3_000_000_000)
    assert step(pulse, clock, session(clock, B)) == 30_000_000_000


def test_what_is_remembered_does_not_grow(pulse: Pulse, clock: Clock) -> None:
    one = session(clock)
    for number in range(3 * KNOWN_MOST):
        one.preset = Preset(name="ink", title="Ink", prompt=f"ink {number}")
        step(pulse, clock, one)
        assert len(pulse._usual_ns) <= KNOWN_MOST
    assert step(pulse, clock, one) == WARM_LIMIT_NS


def test_alive_is_a_loop_that_turns_or_a_step_in_its_time(pulse: Pulse, clock: Clock) -> None:
    one = session(clock)
    step(pulse, clock, one)
    assert pulse.limit_ns == IDLE_LIMIT_NS
    pulse.begins([one])
    clock.sleep_ms(1900)
    assert pulse.alive, "two seconds are allowed to the truth"
    clock.sleep_ms(200)
    assert not pulse.alive
    pulse.finished()
    assert pulse.alive


def test_stalled_is_pictures_in_and_none_out_for_two_seconds(pulse: Pulse, clock: Clock) -> None:
    assert not pulse.stalled, "nobody sends anything"
    pulse.arrived()
    pulse.finished()
    for _ in range(19):
        clock.sleep_ms(100)
        pulse.arrived()
        assert not pulse.stalled
    clock.sleep_ms(300)
    pulse.arrived()
    assert pulse.stalled
    clock.sleep_ms(1500)
    assert not pulse.stalled, "nothing comes any more, so nothing is missing"
    pulse.arrived()
    pulse.finished()
    assert not pulse.stalled


def test_a_step_that_takes_long_is_a_stall_though_it_may(pulse: Pulse, clock: Clock) -> None:
    pulse.begins([session(clock)])
    clock.sleep_ms(1900)
    assert pulse.working
    assert not pulse.stalled
    clock.sleep_ms(200)
    assert pulse.stalled, "nothing is finished: that is the truth"
    assert pulse.alive, "the first chunk of something new may take so long"
    pulse.ends()
    assert not pulse.working
    assert not pulse.stalled


def test_others_can_read_what_the_loop_did_last(clock: Clock) -> None:
    rig = Rig(clock).open()
    pulse = rig.loop.pulse
    assert (pulse.arrived_ns, pulse.finished_ns) == (None, None)
    rig.send(0, 1, 2, 3)
    clock.sleep_ms(50)
    rig.turn()
    assert pulse.arrived_ns == clock.now_ns - 10_000_000
    assert pulse.finished_ns == clock.now_ns
    marks = pulse.marks
    clock.sleep_ms(5000)
    assert pulse.finished_ns == clock.now_ns - 5_000_000_000
    assert pulse.alive, "between two turns it may wait for mail"
    rig.turn()
    assert pulse.marks > marks


def test_a_step_that_fails_is_over_for_the_guard_too(clock: Clock) -> None:
    rig = Rig(clock).open()
    rig.engine.fails = [RuntimeError("a kernel")]
    rig.send(0, 1, 2, 3).turn()
    assert rig.loop.pulse.limit_ns == IDLE_LIMIT_NS


def test_the_first_pictures_of_all_have_their_time(pulse: Pulse, clock: Clock) -> None:
    pulse.arrived()
    assert not pulse.stalled
    clock.sleep_ms(60_000)
    pulse.arrived()
    assert not pulse.stalled, "what waited from before the pause is no stall"


def test_loading_is_alive_and_not_ready(pulse: Pulse) -> None:
    serving = Serving()
    assert (serving.live(), serving.ready()) == (
        Verdict(True, "loading"),
        Verdict(False, "loading"),
    )
    serving.begins(pulse)
    assert (serving.live(), serving.ready()) == (Verdict(True, "live"), Verdict(True, "idle"))


def test_ready_is_a_finished_picture(pulse: Pulse, clock: Clock) -> None:
    for _ in range(25):
        pulse.arrived()
        clock.sleep_ms(100)
    assert pulse.ready() == Verdict(False, "stalled")
    pulse.finished()
    assert pulse.ready() == Verdict(True, "ready")
    for _ in range(30):
        clock.sleep_ms(100)
        assert pulse.ready().good
    assert pulse.ready() == Verdict(True, "idle"), "nobody waits for anything"


def test_a_loop_that_hangs_is_stuck(pulse: Pulse, clock: Clock) -> None:
    pulse.begins([session(clock)])
    clock.sleep_ms(1 + COLD_NS / 1e6)
    assert (pulse.live(), pulse.ready()) == (Verdict(False, "stuck"), Verdict(False, "stuck"))
    pulse.ends()
    assert (pulse.live(), pulse.ready()) == (Verdict(True, "live"), Verdict(True, "idle"))


def test_a_stream_that_ends_owes_nothing(clock: Clock) -> None:
    rig = Rig(clock).open().open(B).send(0).turn()
    rig.inbox.put(Closed(A))
    rig.inbox.put(Closed(B))
    rig.turn()
    clock.sleep_ms(5000)
    rig.turn()
    assert rig.loop.pulse.ready() == Verdict(True, "idle")
