"""When OBS is taken to suffer, and when no longer. The clock is only a number."""

from __future__ import annotations

import dataclasses

from brushcast.obs_pressure import ObsStats, PressureGauge, Tally

S = 1_000_000_000
PERIOD_MS = 1000 / 30


class Run:
    """An OBS that is read once a second."""

    def __init__(self, fps: int = 30) -> None:
        self.gauge = PressureGauge()
        self.tally = Tally()
        self.now_s = 100
        self.stats = ObsStats(
            fps=fps, render_ms=4, render_frames=0, render_skipped=0,
            output_frames=0, output_skipped=0,
        )  # fmt: skip
        self.second()

    def second(
        self, *, render_ms: float = 4, skipped: int = 0, out: int = 0, out_skipped: int = 0
    ) -> bool:
        """One second of OBS, then a reading; whether there is pressure."""
        self.now_s += 1
        before = self.stats
        self.stats = dataclasses.replace(
            before,
            render_ms=render_ms,
            render_frames=before.render_frames + int(before.fps),
            render_skipped=before.render_skipped + skipped,
            output_frames=before.output_frames + out,
            output_skipped=before.output_skipped + out_skipped,
        )
        return self.read()

    def read(self) -> bool:
        self.gauge.observe(self.stats, 1000 / self.stats.fps, self.now_s * S)
        pressed = self.gauge.pressed(self.now_s * S)
        self.tally.observe(self.stats, self.now_s * S, pressed=pressed)
        return pressed

    def calm_seconds(self) -> int:
        """How many seconds pressure goes on when nothing is wrong any more."""
        seconds = 0
        while self.second():
            seconds += 1
        return seconds


def test_an_obs_in_time_is_left_alone() -> None:
    run = Run()
    assert not any(run.second(render_ms=0.8 * PERIOD_MS - 0.1) for _ in range(600))


def test_a_picture_that_takes_most_of_its_time_is_pressure_for_ten_calm_seconds() -> None:
    run = Run()
    assert run.second(render_ms=0.8 * PERIOD_MS + 0.1)
    assert run.calm_seconds() == 9, "and gone with the tenth"


def test_the_period_is_that_of_the_set_rate_not_of_the_reached_one() -> None:
    run = Run()
    slow = dataclasses.replace(run.stats, fps=10.0, render_ms=40)
    run.gauge.observe(slow, PERIOD_MS, run.now_s * S)
    assert run.gauge.pressed(run.now_s * S)


def test_calm_begins_anew_with_every_bad_second() -> None:
    run = Run()
    assert run.second(render_ms=40)
    assert all(run.second() for _ in range(8))
    assert run.second(render_ms=40)
    assert run.calm_seconds() == 9


def test_more_than_one_skipped_frame_in_a_hundred_is_pressure() -> None:
    run = Run()
    assert not any(run.second() for _ in range(10))
    assert not run.second(skipped=1), "1 of 150"
    assert run.second(skipped=1), "2 of 150"
    assert run.gauge.skipped_share == 2 / 150


def test_one_skipped_frame_alone_is_none_however_early_or_slow() -> None:
    run = Run()
    assert not run.second(skipped=1)
    assert run.gauge.skipped_share is None, "too few frames to say"
    assert run.calm_seconds() == 0
    slow = Run(fps=10)
    assert not any(slow.second() for _ in range(20))
    assert not any(slow.second(skipped=skipped) for skipped in (1, 0, 0, 0, 0, 0))
    assert slow.gauge.skipped_share == 1 / 100


def test_what_an_output_leaves_out_counts_as_well() -> None:
    run = Run()
    for _ in range(10):
        assert not run.second(out=30)
    assert run.second(out=30, out_skipped=5)
    assert run.gauge.skipped_share == 5 / 150


def test_what_was_skipped_long_ago_is_forgotten() -> None:
    run = Run()
    for _ in range(10):
        run.second()
    assert run.second(skipped=15)
    assert run.calm_seconds() == 4 + 9, "five seconds of window, then ten calm ones"
    assert run.gauge.skipped_share == 0


def test_counters_that_begin_anew_are_no_figures() -> None:
    run = Run()
    for _ in range(10):
        run.second()
    run.stats = dataclasses.replace(run.stats, render_frames=0, render_skipped=0)
    assert not run.read()
    assert run.gauge.skipped_share is None
    run.stats = dataclasses.replace(run.stats, render_frames=200, render_skipped=400)
    run.now_s += 1
    assert run.read()
    assert run.gauge.skipped_share == 1.0, "more skipped than drawn is nonsense, and at most all"


def test_another_connection_keeps_the_pressure_and_forgets_the_counters() -> None:
    run = Run()
    run.second(render_ms=40)
    run.gauge.forget()
    assert run.gauge.skipped_share is None
    assert run.gauge.pressed((run.now_s + 9) * S)
    assert not run.gauge.pressed((run.now_s + 10) * S)


def test_the_report_sums_a_run_up() -> None:
    run = Run()
    for _ in range(9):
        run.second(render_ms=4, out=30)
    run.second(render_ms=34, skipped=3, out=30, out_skipped=1)
    run.calm_seconds()
    report = run.tally.report()
    assert report["readings"] == 1 + 10 + 14
    assert report["render_ms_max"] == 34
    assert report["render_ms"] == round((34 + 24 * 4) / 25, 2)
    assert (report["render_frames"], report["render_skipped"]) == (720, 3)
    assert (report["output_frames"], report["output_skipped"]) == (300, 1)
    # The share of the skipped is above one in a hundred for as long as it is in the window.
    assert report["pressure_s"] == 14


def test_the_report_of_nothing_is_empty() -> None:
    report = Tally().report()
    assert (report["readings"], report["render_ms"], report["render_ms_max"]) == (0, None, None)


def test_the_report_does_not_count_what_happened_while_nobody_asked() -> None:
    run = Run()
    run.second(render_ms=40)
    run.tally.forget()
    run.now_s += 1000
    run.stats = dataclasses.replace(run.stats, render_frames=10**6)
    run.read()
    assert run.tally.report()["render_frames"] == 30
    assert run.tally.report()["pressure_s"] == 1
