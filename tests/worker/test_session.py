"""One stream's session, without an engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from brushcast.errors import PresetError
from brushcast.frame import Frame, Size
from brushcast.wire.messages import StreamState
from brushcast_worker.chunk import PADDING_SEQ
from brushcast_worker.engine import EngineInfo
from brushcast_worker.ladder import Rung
from brushcast_worker.mail import Arrived, Stream
from brushcast_worker.session import BAD_IN_A_ROW, Session, chosen_steps, look_of
from tests.worker.conftest import AtOnce

MS = 1_000_000
STREAM = Stream(7, 1)
INFO = EngineInfo(
    name="fake",
    device="cpu",
    device_name="fake",
    dtype="float32",
    chunk_frames=4,
    steps=(1, 2),
    default_steps=1,
    default_size=Size(64, 64),
    size_multiple=16,
    description="",
)
STATE = StreamState(
    revision=1, preset="ink", prompt="ink", strength=0.6, seed=7, width=128, height=64, steps=2
)


def session(**changes: object) -> Session:
    state = dataclasses.replace(STATE, **changes)
    made = Session(STREAM, state, INFO, AtOnce())
    made.follow(state, look_of(state))
    made.engine_state = "some state"
    return made


def finish(made: Session, seqs: Sequence[int], now_ns: int, *, reused: bool) -> Rung | None:
    """A chunk that comes out at once."""
    made.painted(seqs, now_ns, reused=reused)
    return made.finish(now_ns)


def picture(seq: int, *, level: int = 100, at_ms: int = 0, allowed_ms: int = 500) -> Arrived:
    pixels_HWC = np.full((64, 128, 3), level, np.uint8)
    pixels_HWC[::2] = 0
    return Arrived(
        stream=STREAM,
        frame=Frame(pixels_HWC, seq, seq * 10),
        arrived_ns=at_ms * MS,
        deadline_ns=(at_ms + allowed_ms) * MS,
        end=False,
    )


def test_a_chunk_takes_the_oldest_pictures_and_is_filled_with_its_last() -> None:
    made = session()
    for seq in range(6):
        made.arrive(picture(seq, level=100 + seq))
    assert [frame.seq for frame in made.take(4)] == [0, 1, 2, 3]
    short = made.take(4)
    assert [frame.seq for frame in short] == [4, 5, PADDING_SEQ, PADDING_SEQ]
    assert np.array_equal(short[3].pixels_HWC, short[1].pixels_HWC)
    flush = made.take(4)
    assert [frame.seq for frame in flush] == [PADDING_SEQ] * 4
    assert np.array_equal(flush[0].pixels_HWC, short[1].pixels_HWC)


def test_the_scheduler_sees_what_is_owed() -> None:
    made = session()
    assert made.as_waiting(4).due_ns is None
    made.arrive(picture(0, at_ms=0))
    made.arrive(picture(1, at_ms=33))
    seen = made.as_waiting(4)
    assert seen.deadlines_ns == (500 * MS, 533 * MS)
    assert (seen.due_ns, seen.owed_ns) == (500 * MS, None)
    assert seen.full_ns == 99 * MS
    assert (seen.shape.width, seen.shape.height, seen.shape.steps) == (128, 64, 2)
    made.take(4)
    inside = made.as_waiting(4)
    assert inside.deadlines_ns == ()
    assert (inside.due_ns, inside.owed_ns) == (500 * MS, 500 * MS)
    assert inside.quiet_ns == (33 + 250) * MS
    finish(made, [0, 1], 0, reused=False)
    assert made.as_waiting(4).due_ns is None


def test_dropped_pictures_are_named_and_held_against_the_rung() -> None:
    made = session()
    for seq in range(8):
        made.arrive(picture(seq))
    assert made.drop_oldest(3) == [0, 1, 2]
    assert [frame.seq for frame in made.take(4)] == [3, 4, 5, 6]


def test_late_results_lead_down_to_fewer_steps_and_a_smaller_picture() -> None:
    made = session()
    rungs = []
    for tick in range(12):
        made.arrive(picture(tick, at_ms=1000 * tick))
        made.take(1)
        rung = finish(made, [tick], (1000 * tick + 900) * MS, reused=False)
        if rung is not None:
            rungs.append((rung.steps, str(made.size)))
        if made.engine_state is None:
            made.engine_state = "another state"
    assert [steps for steps, _ in rungs] == [1], "nearly twice too late: one jump"
    assert Size.parse(rungs[0][1]).area_px < 0.5 * 128 * 64


def test_fewer_steps_keep_the_state_and_another_size_is_a_new_one() -> None:
    made = session()
    for tick in range(4):
        made.arrive(picture(tick, at_ms=0, allowed_ms=1))
        made.take(1)
        finish(made, [tick], 1_050_000, reused=False)
    assert made.steps == 1
    assert made.engine_state == "some state"
    made.out_of_memory(0)
    assert made.engine_state is None
    assert made.size.width % 16 == made.size.height % 16 == 0


def test_a_lossless_stream_never_leaves_the_top() -> None:
    made = session(lossless=True)
    for tick in range(50):
        made.arrive(picture(tick, allowed_ms=1))
        made.take(1)
        assert finish(made, [tick], 10_000 * MS * tick, reused=False) is None
    assert made.out_of_memory(0) is None
    assert (made.steps, str(made.size)) == (2, "128x64")


@pytest.mark.parametrize(("lossless", "steps"), [(False, 1), (True, 2)])
def test_pressure_is_lateness_to_a_live_stream_and_nothing_to_a_file(
    lossless: bool, steps: int
) -> None:
    made = session(lossless=lossless)
    made.arrive(picture(100, at_ms=-1000))
    made.take(1)
    finish(made, [100], -990 * MS, reused=False)
    asked = dataclasses.replace(made.asked, revision=2, pressure=True)
    assert made.follow(asked, None) == []
    assert made.engine_state is not None, "nothing starts anew"
    for tick in range(10):
        made.arrive(picture(tick, at_ms=1000 * tick))
        made.take(1)
        finish(made, [tick], (1000 * tick + 10) * MS, reused=False)
    assert made.steps == steps


def test_a_size_that_was_asked_for_is_kept_however_late_the_results_are() -> None:
    made = session(fixed_size=True)
    for tick in range(12):
        made.arrive(picture(tick, at_ms=1000 * tick))
        made.take(1)
        finish(made, [tick], (1000 * tick + 900) * MS, reused=False)
    assert (made.steps, str(made.size)) == (1, "128x64")
    made.follow(dataclasses.replace(made.asked, fixed_size=False), None)
    assert made.steps == 2, "another ladder, from its top"


def test_the_bridge_is_told_a_mean_of_the_last_chunks() -> None:
    made = session()
    for took_ms in (100, 100, 200):
        made.took(took_ms * MS)
    assert 100 < made.status(0, 0).step_ms < 150


def test_pictures_are_brought_to_the_computed_size() -> None:
    made = session(width=100, height=50)
    assert made.size.width % 16 == made.size.height % 16 == 0
    made.arrive(picture(0))
    assert made.take(4)[0].size == made.size


def test_a_huge_picture_is_scaled_down_before_the_model() -> None:
    assert session(width=8192, height=8192).size.area_px <= 1.1 * 1920 * 1088


def test_a_change_of_size_lets_all_pictures_fall_and_names_them() -> None:
    made = session()
    for seq in range(6):
        made.arrive(picture(seq))
    made.take(4)
    larger = dataclasses.replace(STATE, revision=2, width=256)
    assert made.follow(larger, look_of(larger)) == [0, 1, 2, 3, 4, 5]
    assert made.engine_state is None
    assert made.as_waiting(4).due_ns is None


def test_an_unknown_look_leaves_the_last_good_one() -> None:
    made = session()
    before = made.preset
    other = dataclasses.replace(STATE, revision=2, prompt="qwertz")
    assert made.follow(other, None) == []
    assert made.preset == before
    assert made.asked.revision == 2


class TestRejecting:
    def test_results_are_held_against_what_they_were_made_from(self) -> None:
        made = session()
        made.arrive(picture(0, level=10))
        made.take(4)
        source, nobodys = made.sources([0, -1])
        assert source is not None
        assert source.max() == 10
        assert nobodys is None

    def test_a_new_state_that_does_no_better_is_hopeless(self) -> None:
        made = session()
        for tick in range(2 * BAD_IN_A_ROW):
            assert not made.hopeless
            made.engine_state = object()
            made.arrive(picture(tick))
            made.take(4)
            made.reject([tick])
        assert made.hopeless

    def test_a_good_one_between_gives_hope(self) -> None:
        made = session()
        for tick in range(6 * BAD_IN_A_ROW):
            made.engine_state = object()
            made.arrive(picture(tick))
            made.take(4)
            if tick == 2 * BAD_IN_A_ROW - 1:
                finish(made, [tick], 0, reused=False)
            else:
                made.reject([tick])
            if tick < 4 * BAD_IN_A_ROW - 1:
                assert not made.hopeless, tick
        assert made.hopeless

    def test_five_in_a_row_are_a_new_state(self) -> None:
        made = session()
        for tick in range(BAD_IN_A_ROW):
            assert made.engine_state is not None
            made.arrive(picture(tick))
            made.take(4)
            assert made.reject([tick]) == [tick]
        assert made.engine_state is None

    def test_a_good_one_between_begins_the_count_again(self) -> None:
        made = session()
        for tick in range(4 * BAD_IN_A_ROW):
            made.arrive(picture(tick))
            made.take(4)
            if tick % BAD_IN_A_ROW:
                made.reject([tick])
            else:
                finish(made, [tick], 0, reused=False)
        assert made.engine_state is not None


def test_a_chunk_that_was_not_taken_waits_again_in_order() -> None:
    made = session()
    for seq in range(6):
        made.arrive(picture(seq))
    made.take(4)
    made.take_back()
    assert [frame.seq for frame in made.take(6)] == [0, 1, 2, 3, 4, 5]


def test_the_status_tells_what_happened() -> None:
    made = session()
    for tick in range(20):
        for seq in range(4 * tick, 4 * tick + 4):
            made.arrive(picture(seq, at_ms=200 * tick))
        made.take(4)
        seqs = range(4 * tick, 4 * tick + 4)
        finish(made, seqs, (200 * tick + 100) * MS, reused=tick % 2 == 1)
    made.arrive(picture(99))
    status = made.status(3900 * MS, 12345)
    assert status.engine_fps == pytest.approx(20, rel=0.1)
    assert (status.cache_hits, status.queue_frames, status.memory_bytes) == (40, 1, 12345)
    assert status.rung == "full"
    assert status.held_frames == 4, "two steps, none late"


def test_steps_nearest_to_what_was_asked() -> None:
    assert [chosen_steps(asked, INFO) for asked in (0, 1, 2, 9)] == [1, 1, 2, 2]


def test_a_mode_decides_where_nothing_was_asked() -> None:
    many = dataclasses.replace(INFO, steps=(1, 2, 3, 4), default_steps=2)
    assert [chosen_steps(0, many, mode) for mode in ("", "low-latency", "quality")] == [2, 2, 3]
    assert chosen_steps(0, INFO, "quality") == 2, "it has no more"
    assert [chosen_steps(4, many, mode) for mode in ("low-latency", "quality")] == [4, 4]


def test_another_mode_is_another_ladder() -> None:
    made = session(mode="balanced", steps=1)
    seconds = [made._ladder.rungs[1].kind]
    made.follow(dataclasses.replace(made.asked, revision=2, mode="low-latency"), None)
    seconds.append(made._ladder.rungs[1].kind)
    assert seconds == ["interpolate", "size"]
    assert session()._ladder.rungs[-1].takes == 1, "a bridge that knows no modes"


@pytest.mark.parametrize(("period_ms", "rung"), [(133, "every second picture"), (1000, "full")])
def test_a_wanted_rate_is_kept_unless_it_is_the_source_that_is_slow(
    period_ms: int, rung: str
) -> None:
    """A chunk takes 200 ms; at 30 a second it may take 133."""
    made = session(mode="balanced", steps=1, target_fps=30)
    for tick in range(8):
        made.arrive(picture(tick, at_ms=period_ms * tick))
        made.take(1)
        finish(made, [tick], (period_ms * tick + 200) * MS, reused=False)
        made.took(200 * MS)
    assert made._ladder.rung.name == rung


def test_a_file_is_never_interpolated_whatever_its_state_says() -> None:
    made = session(lossless=True, mode="low-latency", target_fps=240, network_limited=True)
    for tick in range(50):
        made.arrive(picture(tick, allowed_ms=1))
        made.take(1)
        made.took(10**10)
        assert finish(made, [tick], 10_000 * MS * tick, reused=False) is None
    assert made.status(0, 0).takes == 1
    assert made.rest(10**15) is None


def test_the_link_and_the_device_reach_the_ladder() -> None:
    for changes, memory in (({"network_limited": True}, 0.5), ({}, 0.99)):
        made = session(mode="balanced", **changes)
        for tick in range(3):
            made.arrive(picture(tick, at_ms=1000 * tick))
            made.take(1)
            made.painted([tick], (1000 * tick + 9) * MS, reused=False)
            made.finish((1000 * tick + 9) * MS, memory=memory)
        assert made.size.area_px < 128 * 64
        assert made.steps == 2


def test_a_state_that_is_no_preset_is_refused() -> None:
    with pytest.raises(PresetError, match="prompt is empty"):
        look_of(dataclasses.replace(STATE, prompt="  "))
