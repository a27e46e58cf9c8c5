"""Each rule rises when it should, not before, and is over when it should be. The clock is a
number."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from brushcast.alerts import SENTENCES, Alerts, Rule, Seen, latency_limit_ms

S = 1_000_000_000
FINE = Seen(
    live=True, worker="ready", gpu_share=0.7, sample=None, look=1, long_gaps=0, frames_in=0,
    source_failed=False, sinks_failed=0, paused=False,
)  # fmt: skip


class Clockwork:
    """Alerts that are looked at once a second; the source goes on by itself."""

    def __init__(self) -> None:
        self.alerts = Alerts()
        self.second = 0
        self.samples = 0
        self.source = True
        self.frames_in = 0

    def pass_s(self, seconds: int, **seen: object) -> list[str]:
        """What changed, as "+rule" and "-rule"."""
        said = []
        for _ in range(seconds):
            self.second += 1
            self.frames_in += 30 * self.source
            look = dataclasses.replace(FINE, frames_in=self.frames_in)
            look = dataclasses.replace(look, **seen)  # type: ignore[arg-type]
            for change in self.alerts.observe(self.second * S, look):
                said.append(("+" if change.rose else "-") + change.rule.value)
        return said

    def pictures(self, *ages_ms: float, limit_ms: float = 300) -> None:
        for age_ms in ages_ms:
            self.alerts.picture(self.second * S, age_ms, limit_ms)

    def ssim(self, *values: float, look: int = 1) -> list[str]:
        said = []
        for value in values:
            self.samples += 1
            said += self.pass_s(1, sample=(self.samples, value), look=look)
        return said


@pytest.fixture
def clock() -> Clockwork:
    return Clockwork()


def test_nothing_is_wrong_with_a_healthy_stream(clock: Clockwork) -> None:
    clock.pictures(*[200] * 50)
    assert clock.pass_s(300) == []
    assert clock.alerts.active == {}


def test_three_late_pictures_in_a_row_and_not_two(clock: Clockwork) -> None:
    clock.pictures(301, 301, 200, 301, 301)
    assert clock.pass_s(1) == []
    clock.pictures(301)
    assert clock.pass_s(1) == ["+latency"]
    assert clock.alerts.active == {Rule.LATENCY: 2 * S}
    clock.pictures(*[271] * 100)  # under the limit, and not clearly so
    assert clock.pass_s(1) == []
    clock.pictures(*[270] * 29)
    assert clock.pass_s(1) == []
    clock.pictures(270)
    assert clock.pass_s(1) == ["-latency"]


def test_lateness_is_over_when_nothing_comes_on_any_more(clock: Clockwork) -> None:
    clock.pictures(400, 400, 400)
    assert clock.pass_s(5) == ["+latency"]
    assert clock.pass_s(1) == ["-latency"]
    clock.pictures(400, 400)
    assert clock.pass_s(1) == []


def test_the_limit_is_the_promise_and_the_engines_own_delay() -> None:
    local = latency_limit_ms(remote=False, step_ms=60, chunk_frames=4, held_frames=0, source_fps=50)
    assert local == 250 + 60 + 3 * 20
    slow = latency_limit_ms(remote=True, step_ms=4000, chunk_frames=4, held_frames=4, source_fps=50)
    assert slow == 500 + 4 * 20 + 7 * 20, "a worker that does not keep up is late"
    assert latency_limit_ms(
        remote=False, step_ms=9, chunk_frames=0, held_frames=0, source_fps=0
    ) == 250  # fmt: skip


def test_consistency_that_falls_by_a_fifth(clock: Clockwork) -> None:
    assert clock.ssim(*[0.9] * 30) == []
    assert clock.ssim(*[0.73] * 10) == []
    assert clock.ssim(*[0.70] * 2) == []  # of five the median is still the old one
    assert clock.ssim(*[0.70] * 1) == ["+consistency"]
    assert clock.ssim(*[0.79] * 20) == []  # within a fifth, not within a tenth
    assert clock.ssim(*[0.82] * 3) == ["-consistency"]


def test_consistency_needs_something_to_compare_with(clock: Clockwork) -> None:
    assert clock.ssim(*[0.9] * 15, *[0.1] * 2) == []
    assert clock.ssim(*[0.9] * 3, *[0.1] * 3) == ["+consistency"]


def test_another_look_has_another_normal(clock: Clockwork) -> None:
    clock.ssim(*[0.9] * 30)
    assert clock.ssim(*[0.5] * 60, look=2) == []
    assert clock.ssim(*[0.3] * 3, look=2) == ["+consistency"]
    assert clock.ssim(0.3, look=3) == ["-consistency"]


def test_what_lasts_becomes_normal(clock: Clockwork) -> None:
    clock.ssim(*[0.9] * 30)
    said = clock.ssim(*[0.5] * 300)
    assert said == ["+consistency", "-consistency"]


def test_the_same_sample_counts_once(clock: Clockwork) -> None:
    clock.ssim(*[0.9] * 30)
    assert clock.pass_s(60, sample=(31, 0.1)) == []


def test_a_full_gpu(clock: Clockwork) -> None:
    assert clock.pass_s(30, gpu_share=0.96) == []
    assert clock.pass_s(1, gpu_share=0.96) == ["+gpu-busy"]
    assert clock.pass_s(60, gpu_share=0.93) == []
    assert clock.pass_s(10, gpu_share=0.89) == []
    assert clock.pass_s(1, gpu_share=0.89) == ["-gpu-busy"]


def test_a_moment_of_full_load_is_none(clock: Clockwork) -> None:
    for _ in range(5):
        assert clock.pass_s(29, gpu_share=0.99) == []
        assert clock.pass_s(1, gpu_share=0.9) == []


def test_an_idle_gpu_only_while_live(clock: Clockwork) -> None:
    assert clock.pass_s(200, gpu_share=0.1, live=False) == []
    assert clock.pass_s(60, gpu_share=0.29) == []
    assert clock.pass_s(1, gpu_share=0.29) == ["+gpu-idle"]
    assert clock.pass_s(30, gpu_share=0.33) == []
    assert clock.pass_s(11, gpu_share=0.4) == ["-gpu-idle"]
    clock.pass_s(61, gpu_share=0.1)
    assert clock.pass_s(1, gpu_share=0.1, live=False) == ["-gpu-idle"]


def test_an_unknown_gpu_is_neither(clock: Clockwork) -> None:
    assert clock.pass_s(300, gpu_share=None) == []


@pytest.mark.parametrize("word", ["reconnecting", "backoff", "stalled"])
def test_a_worker_that_is_down(clock: Clockwork, word: str) -> None:
    assert clock.pass_s(1, worker=word) == []
    assert clock.pass_s(1) == []
    assert clock.pass_s(2, worker=word) == ["+worker"]
    assert clock.pass_s(2, worker="loading") == []
    assert clock.pass_s(1) == ["-worker"]


def test_words_that_are_new_are_not_down(clock: Clockwork) -> None:
    assert clock.pass_s(60, worker="degraded") == []


def test_a_failed_worker_takes_the_place_of_one_that_comes_back(clock: Clockwork) -> None:
    assert clock.pass_s(2, worker="reconnecting") == ["+worker"]
    assert clock.pass_s(1, worker="failed") == ["-worker", "+worker-failed"]
    assert clock.pass_s(1, worker="loading") == ["+worker", "-worker-failed"]
    assert clock.pass_s(5) == ["-worker"]


def test_a_long_gap_is_told_for_half_a_minute(clock: Clockwork) -> None:
    assert clock.pass_s(5, long_gaps=3) == []  # there at the first look: the start
    assert clock.pass_s(1, long_gaps=4) == ["+gap"]
    assert clock.pass_s(29, long_gaps=4) == []
    assert clock.pass_s(1, long_gaps=4) == ["-gap"]
    assert clock.pass_s(1, long_gaps=0) == []  # the camera process began anew
    assert clock.pass_s(1, long_gaps=1) == ["+gap"]


def test_a_camera_that_is_silent_or_says_so(clock: Clockwork) -> None:
    clock.source = False
    assert clock.pass_s(60) == []  # not opened yet
    clock.source = True
    clock.pass_s(1)
    clock.source = False
    assert clock.pass_s(2) == []
    assert clock.pass_s(1) == ["+source"]
    clock.source = True
    assert clock.pass_s(2) == []
    assert clock.pass_s(1) == ["-source"]
    assert clock.pass_s(1, source_failed=True) == ["+source"]


def test_an_output_that_failed(clock: Clockwork) -> None:
    assert clock.pass_s(1, sinks_failed=1) == ["+sink"]
    assert clock.pass_s(1) == ["-sink"]


def test_every_rule_has_one_sentence_that_the_script_speaks_too() -> None:
    assert set(SENTENCES) == set(Rule)
    chinese = Path(__file__).parents[2] / "obs_scripts/brushcast_script/locale/zh-CN.json"
    text = chinese.read_text("utf-8")
    for sentence in SENTENCES.values():
        assert sentence.endswith(".")
        assert sentence.count(":") == 1
        assert f'"say: {sentence}"' in text
