"""The poison guard. The clock is a number, of seconds."""

import dataclasses
from typing import Any

from brushcast.frame import Size
from brushcast.poison import PoisonGuard, Return
from brushcast.presets import Preset
from brushcast.wire.messages import StreamState

SECOND_NS = 1_000_000_000
INK = Preset(name="ink", title="Ink", prompt="ink")
NEON = Preset(name="neon", title="Neon", prompt="neon")


class Bridge:
    """A state with its revision, and the guard that hears of everything."""

    def __init__(self) -> None:
        self.look = INK
        self.state = StreamState(
            revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=64, height=48
        )
        self.now_s = 100.0
        self.guard = PoisonGuard(self.state, INK, self._ns)

    @property
    def _ns(self) -> int:
        return round(self.now_s * SECOND_NS)

    def changes(self, look: Preset | None = None, **parts: Any) -> None:
        if look is not None:
            self.look = look
            parts |= {"preset": look.name, "prompt": look.prompt}
        self.state = dataclasses.replace(self.state, revision=self.state.revision + 1, **parts)
        self.guard.changed(self.state, self.look, self._ns)

    def paints(self, seconds: float, *, per_second: int = 10) -> None:
        for _ in range(round(seconds * per_second)):
            self.now_s += 1 / per_second
            self.guard.painted(self.state.revision, self._ns)

    def crashes(self, after_s: float = 1.0) -> Return | None:
        """So long after the state was given to a worker; then another one gets it."""
        self.now_s += after_s
        found = self.guard.crashed(self._ns)
        self.now_s += 2
        self.guard.given(self._ns)
        return found


def test_two_crashes_after_a_change_lead_back_to_the_last_good_state() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    assert bridge.crashes() is None, "one may be chance"
    back = bridge.crashes()
    assert back is not None
    assert back.asked.look is INK
    assert back.asked.parts()["prompt"] == "ink"
    assert "Neon" in back.message
    assert "Ink" in back.message
    assert "look" in back.message


def test_what_is_good_again_is_not_blamed_for_later_crashes() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    bridge.crashes()
    bridge.crashes()
    bridge.changes(INK)
    assert [bridge.crashes() for _ in range(5)] == [None] * 5


def test_a_state_that_painted_for_five_seconds_is_good() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    bridge.crashes()
    bridge.paints(6)
    assert bridge.crashes() is None
    bridge.changes(INK)
    assert bridge.crashes() is None
    back = bridge.crashes()
    assert back is not None
    assert back.asked.look is NEON


def test_pictures_that_come_now_and_then_or_not_for_five_seconds_prove_nothing() -> None:
    for seconds, per_second in ((4.5, 10), (20, 0.4)):
        bridge = Bridge()
        bridge.paints(6)
        bridge.changes(NEON)
        bridge.crashes()
        bridge.paints(seconds, per_second=per_second)  # type: ignore[arg-type]
        assert bridge.crashes() is not None, (seconds, per_second)


def test_pictures_of_the_look_before_do_not_prove_the_new_one() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    for _ in range(80):
        bridge.now_s += 0.1
        bridge.guard.painted(bridge.state.revision - 1, bridge._ns)
    assert bridge.crashes() is None
    assert bridge.crashes() is not None


def test_a_crash_long_after_the_change_is_another_matter() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    assert [bridge.crashes(after_s=31) for _ in range(5)] == [None] * 5


def test_there_is_no_way_back_from_the_first_state() -> None:
    bridge = Bridge()
    assert [bridge.crashes() for _ in range(5)] == [None] * 5
    bridge.paints(3)
    bridge.changes(NEON)
    assert [bridge.crashes() for _ in range(5)] == [None] * 5, "ink was never good either"


def test_what_is_no_wish_of_the_user_changes_nothing() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    bridge.crashes()
    bridge.changes(pressure=True)
    back = bridge.crashes()
    assert back is not None
    assert "pressure" not in back.asked.parts(), "OBS's need is not taken back"


def test_another_wish_begins_anew() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    bridge.crashes()
    bridge.changes(strength=0.9)
    assert bridge.crashes() is None
    assert bridge.crashes() is not None


def test_a_size_that_kills_is_not_taken_again_before_the_user_changes_something() -> None:
    bridge = Bridge()
    bridge.paints(6)
    large = Size(128, 96)
    assert bridge.guard.may_try(large)
    bridge.changes(width=128, height=96)
    assert not bridge.guard.may_try(large), "it has it"
    bridge.crashes()
    back = bridge.crashes()
    assert back is not None
    assert "size" in back.message
    bridge.changes(**back.asked.parts())
    assert (bridge.state.width, bridge.state.height) == (64, 48)
    assert not bridge.guard.may_try(large)
    assert bridge.guard.may_try(Size(256, 192))
    bridge.changes(NEON)
    assert bridge.guard.may_try(large)


def test_a_network_that_breaks_is_not_the_looks_fault_unless_nothing_was_painted() -> None:
    bridge = Bridge()
    bridge.paints(6)
    bridge.changes(NEON)
    for _ in range(3):
        bridge.paints(1)
        assert bridge.guard.lost(bridge._ns) is None
        bridge.guard.given(bridge._ns)
    assert bridge.guard.lost(bridge._ns) is None
    assert bridge.guard.lost(bridge._ns) is not None
