"""Playout: what is shown at each tick. The clock is only a number; pictures are only names."""

import collections
import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brushcast.errors import ConfigError
from brushcast.frame import Frame
from brushcast.playout import (
    BLUR_AFTER_NS,
    CARD_AFTER_NS,
    FADE_NS,
    LIVE_AGE_NS,
    SEEN_MORE,
    Kind,
    Playout,
    PlayoutConfig,
    Shown,
    Styled,
    next_tick_ns,
)

MS = 1_000_000
S = 1000 * MS
START = 1000 * S

Arrival = tuple[int, Styled[str]]  # when, what


def styled(seq: int, captured_ns: int, epoch: int = 0) -> Styled[str]:
    return Styled(f"picture {seq}", seq, captured_ns, epoch)


def play(
    arrivals: Sequence[Arrival],
    *,
    until_ns: int,
    rate_fps: float = 30,
    playout: Playout[str] | None = None,
) -> list[tuple[int, Shown[str]]]:
    """Every tick from START, with the pictures put as they arrive."""
    playout = playout or Playout(PlayoutConfig(rate_fps=rate_fps))
    waiting = collections.deque(sorted(arrivals, key=lambda arrival: arrival[0]))
    now_ns, shown = START, []
    while now_ns < until_ns:
        now_ns = next_tick_ns(now_ns, rate_fps)
        while waiting and waiting[0][0] <= now_ns:
            when_ns, picture = waiting.popleft()
            playout.put(picture, when_ns)
        shown.append((now_ns, playout.pick(now_ns)))
    return shown


def camera(
    *,
    fps: float = 30,
    chunk: int = 4,
    work_ns: int = 100 * MS,
    jitter_ns: int = 0,
    seconds: float = 10,
    start_ns: int = START,
    first_seq: int = 0,
    epoch: int = 0,
) -> list[Arrival]:
    """Pictures captured at `fps` that come back in chunks, all of a chunk at once."""
    chance = random.Random(1)
    arrivals: list[Arrival] = []
    for index in range(0, round(seconds * fps) - chunk + 1, chunk):
        times_ns = [start_ns + round((index + k) * S / fps) for k in range(chunk)]
        done_ns = times_ns[-1] + work_ns + chance.randint(0, jitter_ns)
        arrivals += [
            (done_ns, styled(first_seq + index + k, times_ns[k], epoch)) for k in range(chunk)
        ]
    return arrivals


def holds(shown: Sequence[tuple[int, Shown[str]]]) -> collections.Counter[int]:
    """How many ticks each picture stayed on, without the first and the last."""
    counts: list[int] = []
    last = -1
    for _, answer in shown:
        if answer.seq != last:
            counts.append(0)
            last = answer.seq
        counts[-1] += 1
    return collections.Counter(counts[1:-1])


# ---------------------------------------------------------------------- what may be shown


def test_before_the_first_styled_picture_there_is_only_the_card() -> None:
    for _, answer in play([], until_ns=START + 2 * S):
        assert answer.kind is Kind.CARD
        assert answer.picture is None
        assert answer.under is None
        assert answer.card == "starting"


@pytest.mark.parametrize(
    "raw", [Frame(np.zeros((2, 2, 3), np.uint8), 0, START), np.zeros((2, 2, 3), np.uint8), "raw"]
)
def test_a_raw_frame_cannot_get_in(raw: Any) -> None:
    playout: Playout[Any] = Playout()
    with pytest.raises(TypeError, match="takes Styled"):
        playout.put(raw, START)
    assert playout.pick(START).picture is None


def test_something_that_only_looks_like_a_styled_picture_cannot_get_in() -> None:
    class Sly(Styled[str]):
        pass

    with pytest.raises(TypeError, match="Sly"):
        Playout[str]().put(Sly("raw", 0, START), START)


def test_a_gap_goes_from_live_over_held_and_blurred_to_the_card() -> None:
    arrivals = camera(seconds=2)
    shown = play(arrivals, until_ns=START + 8 * S)
    change_ns = next(now for now, answer in shown if answer.seq == arrivals[-1][1].seq)
    for now_ns, answer in shown:
        gap_ns = now_ns - change_ns
        if gap_ns > CARD_AFTER_NS:
            assert answer.kind is Kind.CARD
            assert answer.card == "reconnecting"
        elif gap_ns > BLUR_AFTER_NS:
            assert answer.kind is Kind.BLURRED
            assert answer.picture == f"picture {arrivals[-1][1].seq}"
        elif gap_ns > 300 * MS:
            assert answer.kind is Kind.HELD
        elif 0 <= gap_ns < 240 * MS:
            assert answer.kind is Kind.LIVE


def test_after_the_card_the_live_picture_fades_in_and_no_old_one_returns() -> None:
    again_ns = START + 7 * S
    back = camera(start_ns=again_ns, first_seq=210, seconds=2, epoch=1)
    shown = play(camera(seconds=2) + back, until_ns=START + 9 * S)
    first = next(i for i, (_, answer) in enumerate(shown) if answer.seq >= 210)
    assert shown[first - 1][1].kind is Kind.CARD
    fade = [answer for _, answer in shown[first : first + 9]]
    assert all(answer.under is not None and answer.under.kind is Kind.CARD for answer in fade)
    mixes = [answer.mix for answer in fade]
    assert mixes == sorted(mixes)
    assert 0 < mixes[0] < 0.2
    assert 0.8 < mixes[-1] < 1
    after = shown[first + 12][1]
    assert after.under is None
    assert after.mix == 1
    assert all(answer.seq >= 210 for _, answer in shown[first:])


def test_another_epoch_is_cross_faded_from_the_held_picture() -> None:
    back = camera(start_ns=START + round(2.6 * S), first_seq=78, seconds=2, epoch=1)
    shown = play(camera(seconds=2) + back, until_ns=START + 5 * S)
    first = next(i for i, (_, answer) in enumerate(shown) if answer.seq >= 78)
    answer = shown[first][1]
    assert answer.under is not None
    assert answer.under.kind is Kind.HELD
    for _, fading in shown[first:]:
        seen_more = fading.mix >= SEEN_MORE
        assert fading.kind is (Kind.LIVE if seen_more else Kind.HELD), "of what is seen more of"
    assert answer.under.picture == "picture 59"
    faded_ns = next(now for now, a in shown[first:] if a.under is None) - shown[first][0]
    assert faded_ns == pytest.approx(FADE_NS, abs=34 * MS)


def test_cleared_for_privacy_nothing_captured_before_is_ever_shown() -> None:
    playout: Playout[str] = Playout()
    for when_ns, picture in camera(seconds=1):
        playout.put(picture, when_ns)
    assert playout.pick(START + 1 * S).kind is Kind.LIVE
    playout.clear(START + 1 * S, "paused")
    answer = playout.pick(START + 1 * S + 33 * MS)
    assert (answer.kind, answer.card, answer.under) == (Kind.CARD, "paused", None)
    playout.put(styled(500, START + 1 * S - 1), START + 3 * S)  # it was on its way
    assert playout.pick(START + 3 * S).kind is Kind.CARD
    playout.put(styled(501, START + 3 * S), START + 3 * S)
    assert playout.pick(START + 3 * S + 40 * MS).picture == "picture 501"


def test_another_source_may_count_from_zero_again() -> None:
    playout: Playout[str] = Playout()
    play(camera(seconds=2), until_ns=START + 2 * S, playout=playout)
    playout.reset()
    held = playout.pick(START + 2 * S + 33 * MS)
    assert held.picture is not None
    playout.put(styled(0, START + 2 * S), START + 2 * S + 60 * MS)
    answer = playout.pick(START + 2 * S + 133 * MS)
    assert answer.seq == 0
    assert answer.under is not None


# ---------------------------------------------------------------------- when it is shown


def test_a_chunk_that_arrives_at_once_is_spread_evenly() -> None:
    shown = play(camera(jitter_ns=10 * MS), until_ns=START + 9 * S)
    assert holds(shown[60:]) == {1: len(shown) - 62}


@pytest.mark.parametrize(("fps", "ticks"), [(15, 2), (10, 3), (7.5, 4)])
def test_a_lower_styled_rate_is_held_evenly(fps: float, ticks: int) -> None:
    shown = play(camera(fps=fps, jitter_ns=25 * MS, seconds=20), until_ns=START + 18 * S)
    assert set(holds(shown[90:])) == {ticks}


def test_twenty_per_second_is_one_or_two_ticks() -> None:
    shown = play(camera(fps=20, jitter_ns=10 * MS, seconds=20), until_ns=START + 18 * S)
    assert set(holds(shown[90:])) == {1, 2}


def test_the_delay_is_that_of_the_slowest_arrivals_and_no_more() -> None:
    playout: Playout[str] = Playout()
    play(camera(work_ns=100 * MS), until_ns=START + 9 * S, playout=playout)
    assert 200 * MS <= playout.delay_ns <= 220 * MS  # three periods of waiting and the work


def test_the_delay_rises_at_once_falls_slowly_and_motion_never_jumps() -> None:
    slow = camera(work_ns=300 * MS, start_ns=START + 4 * S, first_seq=120, seconds=4)
    fast = camera(work_ns=100 * MS, start_ns=START + 8 * S, first_seq=240, seconds=12)
    playout: Playout[str] = Playout()
    delays = []
    arrivals = collections.deque(camera(seconds=4) + slow + fast)
    now_ns, seqs = START, []
    while now_ns < START + 19 * S:
        now_ns = next_tick_ns(now_ns, 30)
        while arrivals and arrivals[0][0] <= now_ns:
            when_ns, picture = arrivals.popleft()
            playout.put(picture, when_ns)
        seqs.append(playout.pick(now_ns).seq)
        delays.append(playout.delay_ns)
    assert max(delays[120:240]) >= 400 * MS
    assert delays[-1] <= 220 * MS
    for before, after in zip(delays[30:], delays[31:], strict=False):
        assert after - before >= -0.26 * 34 * MS
    steps = [after - before for before, after in zip(seqs[30:], seqs[31:], strict=False)]
    assert max(steps) <= 2
    assert min(steps) >= 0


def test_pictures_later_than_the_longest_delay_are_shown_at_once() -> None:
    config = PlayoutConfig(max_delay_s=0.5)
    arrivals = camera(work_ns=2 * S, seconds=10)
    shown = play(arrivals, until_ns=START + 9 * S, playout=Playout(config))
    assert {answer.kind for _, answer in shown[150:]} == {Kind.HELD}  # too old to be called live
    assert len({answer.seq for _, answer in shown[150:]}) > 20


@pytest.mark.parametrize(
    ("step_ms", "chunk", "held", "remote", "most_ms"),
    [
        (80, 4, 0, False, 200 + 3 * 33.3 + 80),  # it keeps up with the camera
        (240, 4, 0, False, 200 + 3 * 60 + 240),  # it cannot: the pictures come as it takes them
        (80, 4, 4, False, 200 + 7 * 33.3 + 80),  # a stream batch of two steps
        (80, 4, 0, True, 450 + 3 * 33.3 + 80),
        (600, 4, 0, False, 1000),  # never more than a second
    ],
)
def test_old_is_not_called_live_what_the_engine_itself_takes_aside(
    step_ms: float, chunk: int, held: int, remote: bool, most_ms: float
) -> None:
    """The results stop: the last picture is held, and called so as soon as it is too old."""
    playout: Playout[str] = Playout()
    playout.engine_needs(step_ms * MS, chunk, held, remote=remote)
    arrivals = camera(chunk=chunk, work_ns=round(step_ms * MS), seconds=4)
    shown = play(arrivals, until_ns=START + 6 * S, playout=playout)
    ages_ms = [
        (now_ns - answer.captured_ns) / MS for now_ns, answer in shown if answer.kind is Kind.LIVE
    ]
    held_ms = [
        (now_ns - answer.captured_ns) / MS for now_ns, answer in shown if answer.kind is Kind.HELD
    ]
    assert max(ages_ms) <= most_ms
    assert min(held_ms) > min(most_ms, max(ages_ms))
    assert len(ages_ms) > 60, "most of it was live"
    for age_ms, kind in ((most_ms - 35, Kind.LIVE), (most_ms - 30, Kind.HELD)):
        fresh: Playout[str] = Playout()  # its only picture is judged by its age alone
        fresh.engine_needs(step_ms * MS, chunk, held, remote=remote)
        now_ns = START + round(age_ms * MS)
        fresh.put(styled(1, START), now_ns - 5 * MS)
        answer = fresh.pick(now_ns)
        assert answer.kind is kind, "it stands for 33 ms more"
        assert answer.live_until_ns == pytest.approx(START + most_ms * MS, abs=2 * MS)


def test_what_was_not_shown_is_counted_with_its_reason() -> None:
    playout: Playout[str] = Playout()
    playout.put(styled(5, START), START + 50 * MS)
    playout.pick(START + 60 * MS)
    playout.put(styled(4, START - 33 * MS), START + 70 * MS)
    playout.put(styled(5, START), START + 70 * MS)
    for seq in range(6, 106):
        playout.put(styled(seq, START + 71 * MS + seq), START + 80 * MS)
    assert playout.counts.late == 2
    assert playout.counts.overflow == 100 - playout.pending
    assert playout.pending <= 64


@pytest.mark.parametrize(
    "config", [{"rate_fps": 0}, {"rate_fps": float("nan")}, {"max_delay_s": -1}]
)
def test_a_configuration_that_cannot_work_is_refused(config: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        PlayoutConfig(**config)


@given(st.integers(0, 10**15), st.floats(1, 240), st.floats(0, 0.99))
def test_ticks_are_after_now_and_on_one_grid(now_ns: int, rate_fps: float, phase: float) -> None:
    period_ns = S / rate_fps
    tick_ns = next_tick_ns(now_ns, rate_fps, phase)
    assert now_ns < tick_ns <= now_ns + period_ns + 2
    assert abs(next_tick_ns(tick_ns, rate_fps, phase) - tick_ns - period_ns) <= 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),  # of the picture before: pictures may come in any order
            st.integers(0, 1500),  # ms from capture to arrival
            st.integers(0, 700),  # ms to the next arrival
            st.integers(0, 3),  # epoch
        ),
        max_size=60,
    ),
    st.sampled_from([10.0, 29.97, 30.0, 60.0]),
)
def test_whatever_arrives_it_never_goes_back_and_never_calls_old_live(
    steps: list[tuple[int, int, int, int]], rate_fps: float
) -> None:
    arrivals: list[Arrival] = []
    when_ns = START
    for index, (back, late_ms, pause_ms, epoch) in enumerate(steps):
        when_ns += pause_ms * MS
        seq = max(0, 10 + index - back)
        arrivals.append((when_ns, styled(seq, when_ns - late_ms * MS, epoch)))
    shown = play(arrivals, until_ns=when_ns + 5 * S, rate_fps=rate_fps)
    put = {picture.picture for _, picture in arrivals}
    newest, change_ns = -1, 0
    for now_ns, answer in shown:
        assert 0 < answer.mix <= 1
        assert (answer.under is None) == (answer.mix == 1)
        assert (answer.picture is None) == (answer.kind is Kind.CARD)
        if answer.picture is None:
            assert answer.seq == -1
            continue
        assert answer.picture in put
        assert answer.seq >= newest
        if answer.seq > newest:
            newest, change_ns = answer.seq, now_ns
        if answer.kind is Kind.LIVE:
            assert now_ns - answer.captured_ns <= LIVE_AGE_NS
        if answer.kind in (Kind.LIVE, Kind.HELD):
            assert now_ns - change_ns <= BLUR_AFTER_NS
        assert now_ns - change_ns <= CARD_AFTER_NS
    assert shown[-1][1].kind is Kind.CARD


def test_a_picture_of_another_size_is_faded_in_and_so_is_the_way_back() -> None:
    """The worker paints smaller under load: strokes change their size, and that must not jump."""
    sizes = [(512, 288) if index // 60 % 2 == 0 else (400, 224) for index in range(300)]
    arrivals = [
        (when_ns, dataclasses.replace(picture, size=sizes[picture.seq]))
        for when_ns, picture in camera()
    ]
    shown = play(arrivals, until_ns=START + 9 * S)
    fades = [
        (answer.under.picture, answer.picture)
        for (_, before), (_, answer) in zip(shown, shown[1:], strict=False)
        if answer.under is not None and before.under is None
    ]
    assert fades[1:] == [(f"picture {n - 1}", f"picture {n}") for n in (60, 120, 180, 240)]
    for _, answer in shown:
        if answer.under is not None and answer.under.kind is not Kind.CARD:
            assert answer.kind is (Kind.LIVE if answer.mix >= SEEN_MORE else Kind.HELD)
    mixes = [answer.mix for _, answer in shown if answer.under is not None][10:]
    assert max(b - a for a, b in zip(mixes, mixes[1:], strict=False)) < 0.15, "no step is large"


def test_a_worker_that_holds_on_purpose_is_said_to_and_no_card_comes() -> None:
    playout: Playout[str] = Playout()
    play(camera(seconds=2), until_ns=START + 2 * S, playout=playout)
    playout.hold(True, START + 2 * S)
    later = [playout.pick(START + 2 * S + n * 33 * MS) for n in range(300)]
    assert {shown.kind for shown in later} == {Kind.HELD}
    later = later[30:]  # what waited for its time has been shown
    assert {shown.picture for shown in later} == {later[0].picture}
    end_ns = START + 12 * S
    playout.hold(False, end_ns)
    assert playout.pick(end_ns).kind is Kind.HELD, "as old as it is"
    playout.put(styled(1000, end_ns), end_ns + 50 * MS)
    back = [playout.pick(end_ns + n * 33 * MS) for n in range(2, 9)]
    assert back[-1].kind is Kind.LIVE
    assert any(shown.under is not None for shown in back), "faded in"


def test_nothing_is_held_before_there_is_anything() -> None:
    playout: Playout[str] = Playout()
    playout.hold(True, START)
    assert playout.pick(START).kind is Kind.CARD


def test_a_worker_that_goes_while_it_holds_leaves_the_usual_way() -> None:
    playout: Playout[str] = Playout()
    play(camera(seconds=2), until_ns=START + 2 * S, playout=playout)
    playout.hold(True, START + 2 * S)
    playout.hold(False, START + 60 * S)
    kinds = [playout.pick(START + 60 * S + n * 33 * MS).kind for n in range(120)]
    assert list(dict.fromkeys(kinds)) == [Kind.HELD, Kind.BLURRED, Kind.CARD]
