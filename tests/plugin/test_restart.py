"""The restart policy, with a clock that is only a number."""

import random

from brushcast.restart import BREAKER_FAILURES, GOOD_OUTPUT_S, RestartPolicy

SECOND_NS = 1_000_000_000


def test_the_first_restart_is_at_once_and_later_ones_wait_longer() -> None:
    policy = RestartPolicy(random.Random(1))
    delays = [policy.died() for _ in range(BREAKER_FAILURES - 1)]
    assert delays[0] == 0
    assert all(delay is not None and delay < 5 for delay in delays)
    assert delays[1] < delays[2] < delays[3]  # type: ignore[operator]


def test_the_breaker_opens_after_failures_in_a_row_and_a_person_closes_it() -> None:
    policy = RestartPolicy(random.Random(1))
    for _ in range(BREAKER_FAILURES - 1):
        assert policy.died() is not None
    assert policy.died() is None
    policy.retry()
    assert policy.died() == 0


def test_a_worker_that_is_shot_again_and_again_but_paints_in_between_is_always_started() -> None:
    policy = RestartPolicy(random.Random(1))
    now_ns = 0
    for _ in range(100):
        for _ in range(int(GOOD_OUTPUT_S) + 2):
            now_ns += SECOND_NS
            policy.good_output(now_ns)
        assert policy.died() == 0


def test_uptime_without_output_forgives_nothing() -> None:
    policy = RestartPolicy(random.Random(1))
    for _ in range(BREAKER_FAILURES - 1):
        policy.good_output(SECOND_NS)  # one picture only, then it dies
        assert policy.died() is not None
    assert policy.died() is None


def test_a_picture_now_and_then_is_no_good_output() -> None:
    """It paints one, is stuck, paints another: ten seconds apart they are not ten good ones."""
    policy = RestartPolicy(random.Random(1))
    now_ns = 0
    for _ in range(BREAKER_FAILURES):
        for _ in range(3):
            now_ns += 10 * SECOND_NS
            policy.good_output(now_ns)
        given_up = policy.died() is None
    assert given_up


def test_a_job_whose_pictures_are_far_apart_says_so() -> None:
    policy = RestartPolicy(random.Random(1), output_gap_s=60)
    now_ns = 0
    for _ in range(3 * BREAKER_FAILURES):
        for _ in range(3):
            now_ns += 10 * SECOND_NS
            policy.good_output(now_ns)
        assert policy.died() == 0
