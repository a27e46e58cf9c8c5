"""The link control on links that exist in numbers only (narrow_link)."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast.frame import Size
from brushcast.h264_chain import LEAST_BITS_A_PIXEL, MOST_BITS_A_PIXEL, bytes_a_picture
from brushcast.link_rate import (
    GOOD_QUALITY,
    QUALITIES,
    START_WINDOW,
    CodecWish,
    JpegRungs,
    LinkRate,
    Plan,
    sizes,
)
from brushcast.wire.messages import Codec
from tests.plugin.narrow_link import FULL, NS, NarrowLink

TRACE = Path(__file__).parent / "traces" / "swamped.json"
MBIT = 125_000  # bytes a second
WIDE = (1000 * MBIT, 1000 * MBIT)


def link(bytes_per_s: tuple[float, float], wish: CodecWish = "auto", **more: object) -> NarrowLink:
    return NarrowLink(LinkRate(wish, 77 * NS), bytes_per_s=bytes_per_s, **more)  # type: ignore[arg-type]


def test_a_wide_link_gets_the_best_jpeg_and_no_window() -> None:
    wide = link(WIDE)
    wide.run(0.1)
    assert wide.rate.plan.quality < QUALITIES[0], "nothing is known of the link yet"
    assert wide.rate.plan.window == START_WINDOW
    wide.run(1)
    assert wide.rate.plan.window is not None, "it opens slowly"
    assert wide.rate.plan.window > START_WINDOW
    assert wide.rate.plan.quality < GOOD_QUALITY, "not better before it is open"
    large = link(WIDE, best_bytes=100_000)
    large.run(0.1)
    assert large.rate.plan.window == 4 + 1, "a chunk must come together"
    wide.run(60)
    plan = wide.rate.plan
    assert (plan.codec, plan.quality, plan.result_quality) == (Codec.JPEG, 88, 88)
    assert (plan.rung, plan.window) == (0, None)
    assert wide.rate.budgets == (None, None)
    assert wide.changes(15, 60) == 0
    assert max(wide.between(5, 60)) < 0.3
    assert len(wide.between(10, 60)) >= 0.98 * 50 * 25


def test_ten_megabits_and_a_tenth_of_a_second_are_enough_for_a_large_picture() -> None:
    """84 kB a picture at 1024x576, 25 a second, would be 17 Mb/s."""
    narrow = link((10 * MBIT, 10 * MBIT), delay_s=0.1, best_bytes=84_000)
    narrow.run(60)
    plan = narrow.rate.plan
    assert plan.codec is Codec.H264
    assert plan.rung == 0
    assert plan.picture_bytes == bytes_a_picture(FULL, MOST_BITS_A_PIXEL), "room enough for that"
    assert max(narrow.between(10, 60)) < 0.1 + 0.1 + 0.15 + 0.15
    assert len(narrow.between(10, 60)) >= 0.98 * 50 * 25
    assert narrow.changes(12, 60) == 0


def test_the_first_jam_is_a_short_one() -> None:
    """Ink, whose strokes do not fit into 10 Mb/s as JPEG. Without the slow start results were up to
    1.7 s old, for four seconds."""
    narrow = link((10 * MBIT, 10 * MBIT), delay_s=0.1, best_bytes=90_000)
    narrow.run(30)
    assert max(narrow.between(0, 5)) < 0.75
    assert max(narrow.between(5, 30)) < 0.1 + 0.1 + 0.15 + 0.1
    assert len(narrow.between(1, 5)) > 4 * 20


def test_better_pictures_wait_until_no_queue_is_left() -> None:
    rungs = JpegRungs()
    rungs.saw(18_600)
    assert rungs.choose(4 * NS, None, calm=False) == 70
    rungs.wait(2 * NS)
    assert rungs.choose(4 * NS, None) == 70
    assert rungs.choose(5 * NS, None) == 80


@pytest.mark.parametrize(("late_ms", "grows"), [(0.0, True), (60.0, False), (130.0, False)])
def test_no_more_and_no_better_pictures_into_a_queue(late_ms: float, grows: bool) -> None:
    """60 ms are no jam yet, and no room for better pictures either; above 100 not even for more."""
    rate = LinkRate("auto", 0)
    plans = []
    for number in range(40):
        now_ns = number * NS // 4
        rate.sent(now_ns, 20_000)
        way_ms = 10.0 if number < 2 else 10.0 + late_ms + 5 * (number % 3)
        rate.answered(now_ns, round(2e6 * way_ms), 250.0 * number + 7_000.0 - way_ms)
        plans.append(
            rate.decide(
                now_ns, fps=25, worker_s=0.3, chunk_frames=4, ladder=sizes(FULL), h264=False
            )
        )
    assert (plans[-1].quality > 70) is grows
    opened = [plan.window or 0 for plan in plans[3:7]]
    assert (opened == sorted(set(opened))) is (late_ms < 100)


def test_the_first_seconds_on_a_very_narrow_link_do_not_jam_it() -> None:
    narrow = link((1 * MBIT, 1 * MBIT), best_bytes=40_000)
    narrow.run(30)
    assert len(narrow.between(0, 8)) > 20, "pictures come all the time"
    assert statistics.median(narrow.between(8, 30)) < 0.5
    assert narrow.rate.plan.codec is Codec.H264


def test_each_direction_has_a_quality_of_its_own() -> None:
    uneven = link((100 * MBIT, 3 * MBIT), "jpeg", fixed=True)
    uneven.run(20)
    assert uneven.rate.budgets[0] is None
    assert uneven.rate.plan.quality == 88
    assert uneven.rate.plan.result_quality <= 50
    uneven = link((3 * MBIT, 100 * MBIT), "jpeg", fixed=True)
    uneven.run(20)
    assert uneven.rate.plan.quality <= 50
    assert uneven.rate.plan.result_quality == 88


def test_a_link_that_gets_narrow_is_followed_within_three_seconds() -> None:
    changing = link((20 * MBIT, 20 * MBIT), "h264")
    changing.run(30)
    changing.bytes_per_s = (0.6 * MBIT, 20 * MBIT)
    changing.run(33)
    room = 0.6 * MBIT / 25
    assert changing.rate.plan.picture_bytes < room
    changing.run(60)
    assert max(changing.between(36, 60)) < 0.8, "no queue that stays"
    assert len(changing.between(36, 60)) > 24 * 20
    changing.bytes_per_s = (20 * MBIT, 20 * MBIT)
    changing.run(120)
    assert changing.rate.plan.picture_bytes > 1.5 * room, "and back, when there is room"


def test_jpeg_on_a_link_that_gets_narrow_becomes_h264_at_once() -> None:
    """The jam of what was under way takes its time: a second of JPEG is four of the new link."""
    changing = link((20 * MBIT, 20 * MBIT), best_bytes=40_000)
    changing.run(30)
    assert [plan.codec for _, plan in changing.plans][-1] is Codec.JPEG
    changing.bytes_per_s = (3 * MBIT, 3 * MBIT)
    changing.run(36)
    assert changing.rate.plan.codec is Codec.H264
    changing.run(60)
    assert max(changing.between(40, 60)) < 0.6
    assert len(changing.between(40, 60)) > 20 * 24


def test_where_h264_does_not_fit_the_picture_gets_smaller_and_large_again() -> None:
    tiny = link((0.15 * MBIT, 0.15 * MBIT))
    tiny.run(60)
    plan = tiny.rate.plan
    assert plan.rung > 0
    small = tiny.ladder[plan.rung]
    assert plan.picture_bytes <= bytes_a_picture(small, MOST_BITS_A_PIXEL)
    assert max(tiny.between(40, 60)) < 2.0
    tiny.bytes_per_s = WIDE
    tiny.run(400)
    assert tiny.rate.plan.rung == 0
    changed = [when_s for when_s, _ in _rung_changes(tiny)]
    assert all(b - a >= 2.0 for a, b in zip(changed, changed[1:], strict=False))


def test_where_nothing_is_small_enough_the_worker_is_told_until_there_is_room() -> None:
    """As many as are sent come from the worker's answer to it; then three of four are missing."""
    rate = LinkRate("h264", 0)
    ladder: tuple[Size, ...] = (FULL,)
    least = bytes_a_picture(FULL, LEAST_BITS_A_PIXEL)

    def plan(now_s: float, budget: float, fps: float = 25.0) -> Plan:
        rate._up.budget = budget
        return rate.decide(
            round(now_s * NS), fps=fps, wanted_fps=25, worker_s=0.1, chunk_frames=4,
            ladder=ladder, h264=True,
        )  # fmt: skip

    enough = 25 * least / 0.9
    assert not plan(0, 1.1 * enough).narrow
    assert not plan(10, 0.8 * enough).narrow, "it may be over in a moment"
    assert plan(12.1, 0.8 * enough).narrow
    assert plan(20, 0.8 * enough, fps=12.5).narrow, "fewer are sent, but for that reason"
    assert plan(30, 1.1 * enough, fps=12.5).narrow, "with room to spare only"
    assert not plan(40, 1.6 * enough, fps=12.5).narrow
    ladder = sizes(FULL)
    for now_s in (50, 53):
        assert not plan(now_s, 0.8 * enough).narrow, "there are smaller ones"


def _rung_changes(narrow: NarrowLink) -> list[tuple[float, int]]:
    rungs = [(when_s, plan.rung) for when_s, plan in narrow.plans]
    return [b for a, b in zip(rungs, rungs[1:], strict=False) if a[1] != b[1]]


def test_a_worker_that_knows_no_h264_gets_jpeg_and_smaller_pictures() -> None:
    old = link((1 * MBIT, 1 * MBIT), h264=False)
    old.run(40)
    assert {plan.codec for _, plan in old.plans} == {Codec.JPEG}
    assert old.rate.plan.rung > 0
    assert max(plan.quality for when_s, plan in old.plans if 4 < when_s < 8) <= 40
    assert statistics.median(old.between(25, 40)) < 1.0


def test_a_size_that_the_user_chose_stays() -> None:
    fixed = link((0.15 * MBIT, 0.15 * MBIT), fixed=True)
    fixed.run(60)
    assert {plan.rung for _, plan in fixed.plans} == {0}
    assert fixed.rate.plan.picture_bytes == bytes_a_picture(FULL, LEAST_BITS_A_PIXEL)
    assert fixed.skipped > 100, "the rate falls instead"
    assert statistics.median(fixed.between(40, 60)) < 1.5


def test_a_busy_worker_is_not_taken_for_a_narrow_link() -> None:
    """Now and then its link thread comes to read 0.2 s late, for a second."""

    def noise(now_s: float) -> float:
        return 0.2 if now_s % 9 > 8 else 0.0

    busy = link((30 * MBIT, 30 * MBIT), "h264", noise=noise)
    busy.run(120)
    most = bytes_a_picture(FULL, MOST_BITS_A_PIXEL)
    assert {plan.picture_bytes for when_s, plan in busy.plans if when_s > 5} == {most}
    assert busy.changes(5, 120) == 0


def test_what_was_too_narrow_once_does_not_flap() -> None:
    edge = link((6 * MBIT, 6 * MBIT))
    edge.run(180)
    codecs = [plan.codec for _, plan in edge.plans]
    assert sum(a is not b for a, b in zip(codecs, codecs[1:], strict=False)) <= 1
    assert edge.changes(20, 180) <= 16


def test_another_connection_knows_what_the_last_one_learnt_and_no_old_clock() -> None:
    narrow = link((2 * MBIT, 2 * MBIT), "h264")
    narrow.rate.sent(77 * NS, 1)
    narrow.run(20)
    budgets = narrow.rate.budgets
    narrow.rate.connected()
    assert narrow.rate.budgets == budgets
    assert narrow.rate.plan.codec is Codec.H264
    narrow._opened_s = narrow.now_s  # the worker's clock begins anew
    changes = narrow.rate.changes
    narrow.run(40)
    assert narrow.rate.changes - changes <= 2
    assert max(narrow.between(25, 40)) < 0.6


def test_a_worker_that_does_not_tell_its_time_leaves_everything_as_it_is() -> None:
    rate = LinkRate("auto", 0)
    for number in range(100):
        now_ns = number * NS // 4
        rate.sent(now_ns, 30_000)
        rate.answered(now_ns, 900_000_000, 0.0)
        rate.answered(now_ns, 0, 5.0)
        plan = rate.decide(
            now_ns, fps=25, worker_s=0.1, chunk_frames=4, ladder=sizes(FULL), h264=True
        )
    assert rate.budgets == (None, None)
    assert plan.codec is Codec.JPEG


def test_without_an_answer_nothing_more_is_sent() -> None:
    rate = LinkRate("auto", 0)

    def window(now_s: float) -> int | None:
        return rate.decide(
            round(now_s * NS), fps=25, worker_s=0.1, chunk_frames=4, ladder=sizes(FULL), h264=True
        ).window

    rate.answered(NS, NS // 10, 50.0)
    assert window(1.2) == START_WINDOW + 1
    assert window(3.0) == 1
    rate.answered(3 * NS, NS // 10, 2000.0)
    assert window(3.5) == START_WINDOW + 2
    rate.connected()
    assert window(3.6) == START_WINDOW, "another connection, perhaps another way"


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.floats(0.5, 100), st.floats(0.5, 100)),
    st.floats(0.001, 0.25),
    st.floats(8, 30),
    st.floats(8_000, 80_000),
    st.sampled_from(["auto", "jpeg", "h264"]),
)
def test_on_any_link_pictures_keep_coming_in_time(
    mbits: tuple[float, float], delay_s: float, fps: float, best_bytes: float, wish: CodecWish
) -> None:
    there, back = mbits
    any_link = link(
        (there * MBIT, back * MBIT), wish, delay_s=delay_s, fps=fps, best_bytes=best_bytes
    )
    any_link.run(45)
    ages = any_link.between(30, 45)
    assert len(ages) > 15 * 2
    assert statistics.median(ages) < 2 * delay_s + 0.15 + 0.6 + 2 * best_bytes * 0.36 / MBIT / 0.4
    if wish != "jpeg":
        assert len(ages) > 15 * 0.6 * min(fps, 24 / (2 * delay_s + 0.15))
        assert statistics.median(ages) < 2 * delay_s + 0.15 + 0.4
        assert any_link.changes(30, 45) <= 6
    for _, plan in any_link.plans:
        assert plan.quality in QUALITIES
        assert plan.result_quality in QUALITIES
        assert 0 <= plan.rung < len(any_link.ladder)
        assert plan.picture_bytes <= bytes_a_picture(FULL, MOST_BITS_A_PIXEL)


@given(st.integers(8, 256), st.integers(8, 256))
def test_sizes_are_multiples_of_sixteen_in_the_pictures_shape(wide: int, high: int) -> None:
    full = Size(16 * wide, 16 * high)
    found = sizes(full)
    assert found[0] == full
    areas = [size.area_px for size in found]
    assert areas == sorted(set(areas), reverse=True)
    for size in found:
        assert size.width % 16 == size.height % 16 == 0
        if 1 / 3 < wide / high < 3:
            assert abs(size.width / size.height / (wide / high) - 1) < 0.2


def test_the_quality_follows_what_pictures_take() -> None:
    rungs = JpegRungs()
    rungs.saw(18_600)
    assert rungs.choose(0, None) == 70
    assert rungs.choose(4 * NS, None) == 80
    assert rungs.choose(4 * NS, 16_500) == 60
    assert rungs.choose(5 * NS, 100_000) == 60, "down at once, up slowly"
    assert rungs.choose(8 * NS, 100_000) == 70
    rungs.saw(100_000)
    assert rungs.choose(9 * NS, 10) == QUALITIES[-1]


def test_a_recorded_run_on_a_swamped_machine_ends_with_a_whole_picture() -> None:
    """traces/swamped.json: what a bridge saw on two cores with a load of 25, over 10 Mb/s and 0.1 s
    each way: answers come late for want of a processor, a picture a second. s: sent (ms, bytes),
    r: result (bytes), a: answered (ms, round trip, since), d: decide (ms, fps, worker's s)."""
    events = json.loads(TRACE.read_text())
    rate = LinkRate("auto", 0)
    plans = []
    for kind, *said in events:
        if kind == "c":
            rate.connected()
        elif kind == "r":
            rate.arrived(said[0])
        elif kind == "s":
            rate.sent(round(said[0] * 1e6), said[1])
        elif kind == "a":
            rate.answered(round(said[0] * 1e6), round(said[1] * 1e6), said[2])
        else:
            plans.append(
                rate.decide(
                    round(said[0] * 1e6),
                    fps=said[1],
                    worker_s=said[2],
                    chunk_frames=4,
                    ladder=sizes(FULL),
                    h264=True,
                )  # fmt: skip
            )
    assert len(plans) > 60
    assert {plan.rung for plan in plans} == {0}
    codecs = [plan.codec for plan in plans]
    assert sum(a is not b for a, b in zip(codecs, codecs[1:], strict=False)) <= 1
    assert rate.changes <= 8
    last = plans[-1]
    most = bytes_a_picture(FULL, MOST_BITS_A_PIXEL)
    assert last.codec is Codec.JPEG or min(last.picture_bytes, last.result_bytes) == most
