"""The pace: how a camera's pictures are chosen for a slow worker. The clock is only a number."""

from brushcast.pace import Pace

CAMERA_NS = 33_333_333


def run(worker_ns: float, *, seconds: int = 20, credit: int = 8) -> list[int]:
    """A worker that returns pictures four by four and says once a second what it needs, and a
    camera at 30 fps; the times of what was sent."""
    pace, sent, in_flight, busy_until, waiting = Pace(), [], 0, 0.0, 0
    done: list[float] = []
    for index in range(seconds * 30):
        now_ns = index * CAMERA_NS
        while done and done[0] <= now_ns:
            done.pop(0)
            in_flight -= 1
        if index % 30 == 29:
            pace.worker_needs(worker_ns)
        if not pace.wants(now_ns) or in_flight >= credit:
            continue
        in_flight, waiting = in_flight + 1, waiting + 1
        sent.append(now_ns)
        if waiting == 4:
            waiting = 0
            busy_until = max(busy_until, float(now_ns)) + 4 * worker_ns
            done += [busy_until] * 4
    return sent


def gaps(sent: list[int]) -> list[int]:
    tail = sent[len(sent) // 2 :]
    return [round((b - a) / CAMERA_NS) for a, b in zip(tail, tail[1:], strict=False)]


def test_a_worker_that_keeps_up_gets_every_picture() -> None:
    assert len(run(25e6)) == 600


def test_a_slow_worker_gets_pictures_evenly_not_in_bursts() -> None:
    sent = run(50e6)  # 20 pictures a second out of 30
    assert 380 < len(sent) < 415, "as many as the worker can paint, and no fewer"
    assert max(gaps(sent)) <= 2, "never two of the camera's pictures skipped in a row"


def test_a_worker_at_half_the_rate_gets_every_second_picture() -> None:
    seen = gaps(run(66.7e6))
    assert sum(gap == 2 for gap in seen) > 0.9 * len(seen)


def test_a_worker_that_became_fast_again_gets_every_picture_soon() -> None:
    pace = Pace()
    for index in range(300):
        pace.wants(index * CAMERA_NS)
        if index % 30 == 0:
            pace.worker_needs(100e6)
    assert pace.period_ns > CAMERA_NS
    wanted = []
    for index in range(300, 600):
        wanted.append(pace.wants(index * CAMERA_NS))
        if index % 30 == 0:
            pace.worker_needs(20e6)
    assert all(wanted[-120:])


def test_reset_forgets_the_old_worker() -> None:
    pace = Pace()
    pace.worker_needs(100e6)
    pace.reset()
    assert pace.period_ns == 0
