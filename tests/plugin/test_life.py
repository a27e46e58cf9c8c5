"""A worker's states: the table as a whole, and what the pictures say. The clock is a number."""

import itertools

import pytest

from brushcast.life import SERVING, Happening, Life, Output, after, refined

SECOND_NS = 1_000_000_000


@pytest.mark.parametrize(
    ("story", "ends"),
    [
        (["listening", "ready", "paints"], "READY"),
        (["ready"], "READY"),
        (["listening", "ready", "falls short"], "DEGRADED"),
        (["ready", "stalls", "falls short", "paints"], "READY"),
        (["ready", "falls short", "stalls"], "STALLED"),
        (["ready", "stalls", "died", "ready"], "READY"),  # the spare was warm
        (["died", "started", "listening"], "LOADING"),
        (["died", "died", "gave up"], "FAILED"),
        (["gave up", "died", "paints", "stalls", "falls short"], "FAILED"),
        (["gave up", "started", "listening", "ready"], "READY"),
    ],
)
def test_one_thing_leads_to_another(story: list[str], ends: str) -> None:
    life = Life.STARTING
    for word in story:
        life = after(life, Happening(word))
    assert life is Life(ends)


def test_pictures_never_make_a_process_ready_and_every_state_can_end() -> None:
    output = (Happening.PAINTS, Happening.FALLS_SHORT, Happening.STALLS)
    for life, happening in itertools.product(set(Life) - SERVING, output):
        assert after(life, happening) is life, "a picture of a worker that is gone came late"
    for life in set(Life) - {Life.FAILED}:
        assert after(life, Happening.DIED) is Life.BACKOFF
        assert after(life, Happening.GAVE_UP) is Life.FAILED


def test_every_state_is_reached_and_none_is_a_trap() -> None:
    edges = {life: {after(life, h) for h in Happening} - {life} for life in Life}
    for start in Life:
        seen, new = {start}, {start}
        while new:
            new = {target for life in new for target in edges[life]} - seen
            seen |= new
        assert seen == set(Life), f"from {start}"


def test_the_supervisors_ready_leaves_what_the_pictures_say() -> None:
    assert refined(Life.STALLED, Life.READY) is Life.STALLED
    assert refined(Life.BACKOFF, Life.READY) is Life.READY
    assert refined(Life.DEGRADED, Life.BACKOFF) is Life.BACKOFF


class Stream:
    """Pictures at 30 a second, of which so many are painted."""

    def __init__(self) -> None:
        self.output, self.now_ns, self.verdicts = Output(), SECOND_NS, list[Happening | None]()

    def runs(self, seconds: float, *, painted_of_6: int, full: bool = True) -> Happening | None:
        """The last verdict."""
        for number in range(round(30 * seconds)):
            self.now_ns += SECOND_NS // 30
            self.output.asked(self.now_ns)
            if number % 6 < painted_of_6:
                self.output.painted(self.now_ns)
            self.verdicts.append(self.output.verdict(self.now_ns, full_quality=full, rate_fps=30))
        return self.verdicts[-1]


def test_all_pictures_at_full_quality_is_good() -> None:
    stream = Stream()
    assert stream.runs(6, painted_of_6=6) is Happening.PAINTS
    assert set(stream.verdicts) <= {None, Happening.PAINTS}
    assert stream.runs(6, painted_of_6=4) is Happening.PAINTS, "two thirds are more than half"


def test_fewer_than_half_for_some_seconds_falls_short_and_recovers() -> None:
    stream = Stream()
    stream.runs(6, painted_of_6=6)
    assert stream.runs(2.5, painted_of_6=2) is not Happening.FALLS_SHORT, "a moment is none"
    assert stream.runs(6, painted_of_6=2) is Happening.FALLS_SHORT
    assert stream.runs(4, painted_of_6=6) is Happening.PAINTS


def test_a_rung_down_falls_short_however_many_pictures_come() -> None:
    assert Stream().runs(1, painted_of_6=6, full=False) is Happening.FALLS_SHORT


def test_two_seconds_without_a_picture_while_frames_flow_is_a_stall() -> None:
    stream = Stream()
    stream.runs(3, painted_of_6=6)
    assert stream.runs(1.9, painted_of_6=0) is not Happening.STALLS
    assert stream.runs(0.2, painted_of_6=0) is Happening.STALLS
    assert stream.runs(0.5, painted_of_6=6) is not Happening.STALLS


def test_a_source_that_stops_blames_nobody() -> None:
    stream = Stream()
    stream.runs(3, painted_of_6=6)
    stream.now_ns += 60 * SECOND_NS
    assert stream.output.verdict(stream.now_ns, full_quality=True, rate_fps=30) is None
    assert stream.runs(1.5, painted_of_6=0) is not Happening.STALLS, "it has flowed for 1.5 s only"
    assert stream.runs(1.0, painted_of_6=0) is Happening.STALLS


def test_a_new_worker_has_its_time_for_the_first_picture() -> None:
    stream = Stream()
    stream.runs(3, painted_of_6=0)
    stream.output.begins(stream.now_ns)
    assert stream.runs(1.9, painted_of_6=0) is None
    assert stream.runs(0.2, painted_of_6=0) is Happening.STALLS


def test_a_sink_slower_than_the_camera_wants_no_more_than_it_shows() -> None:
    stream = Stream()
    for _ in range(300):
        stream.now_ns += SECOND_NS // 60
        stream.output.asked(stream.now_ns)
        if _ % 3 == 0:
            stream.output.painted(stream.now_ns)
        verdict = stream.output.verdict(stream.now_ns, full_quality=True, rate_fps=30)
    assert verdict is Happening.PAINTS, "20 of 30 that are wanted, though the camera gives 60"
