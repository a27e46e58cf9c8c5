"""The watchdog: hung workers are shot, slow ones are not. The clock is only a number."""

from brushcast.watchdog import UNREACHABLE_NS, Watchdog

SECOND_NS = 1_000_000_000


def verdict(dog: Watchdog, second: float, *, connected: bool = True) -> str | None:
    return dog.verdict(int(second * SECOND_NS), process_ready=True, connected=connected)


def test_one_silence_is_no_reason() -> None:
    dog = Watchdog()
    dog.lost(hung=True)
    assert verdict(dog, 1) is None


def test_a_worker_without_results_in_the_next_epoch_too_is_shot_once() -> None:
    dog = Watchdog()
    dog.lost(hung=True)
    dog.lost(hung=True)
    assert verdict(dog, 2) == "no result in 2 connections in a row"
    assert verdict(dog, 3) is None


def test_a_result_between_them_forgives() -> None:
    dog = Watchdog()
    for second in range(10):
        dog.lost(hung=True)
        dog.result()
        assert verdict(dog, second) is None


def test_attempts_that_were_never_connected_do_not_count_as_hung() -> None:
    dog = Watchdog()
    for _ in range(5):
        dog.lost(hung=False)
    assert verdict(dog, 1) is None


def unreachable(dog: Watchdog, seconds: float, *, begin_s: float = 0) -> str | None:
    """What it says at the end of a time in which it was asked four times a second."""
    found = None
    for quarter in range(int(4 * seconds) + 1):
        found = verdict(dog, begin_s + quarter / 4, connected=False)
        assert found is None or quarter == int(4 * seconds)
    return found


def test_a_process_that_is_ready_but_answers_nothing_is_shot_in_the_end() -> None:
    dog = Watchdog()
    assert unreachable(dog, UNREACHABLE_NS / SECOND_NS) is not None
    assert unreachable(dog, 1, begin_s=60) is None


def test_one_answer_gives_it_all_the_time_again() -> None:
    dog = Watchdog()
    patience_s = UNREACHABLE_NS / SECOND_NS
    assert unreachable(dog, patience_s - 0.25) is None
    assert verdict(dog, patience_s, connected=True) is None
    assert unreachable(dog, patience_s - 0.5, begin_s=patience_s + 0.25) is None


def test_time_in_which_this_side_did_not_run_is_not_held_against_the_worker() -> None:
    dog = Watchdog()
    assert verdict(dog, 0, connected=False) is None
    assert verdict(dog, 3600, connected=False) is None  # the machine slept


def test_a_worker_that_is_still_loading_has_all_the_time() -> None:
    dog = Watchdog()
    for second in range(100):
        found = dog.verdict(second * SECOND_NS, process_ready=False, connected=False)
        assert found is None
