"""The pace: how a camera's pictures are chosen for a slow worker. The clock is only a number."""

from dataclasses import dataclass, field
from random import Random

import pytest

from brushcast.pace import Pace

CAMERA_NS = 33_333_333
CHUNK = 4
STEP_NS = 1_000_000


@dataclass
class Run:
    """What happened in the second half of a run."""

    sent: list[int] = field(default_factory=list)  # when
    idle_ns: int = 0  # the worker had nothing to do
    waited_ns: list[int] = field(default_factory=list)  # each picture, for its chunk to begin
    seconds: float = 0.0

    @property
    def gaps(self) -> list[int]:
        """Between pictures that were sent, in the camera's."""
        return [round((b - a) / CAMERA_NS) for a, b in zip(self.sent, self.sent[1:], strict=False)]


def chunk_returned(pace: Pace, now_ns: int, waiting: int) -> None:
    """All results of a chunk, while so many pictures wait behind it."""
    for left in range(CHUNK - 1, -1, -1):
        pace.returned(now_ns, left + waiting)


def run(
    chunk_ns: float,
    *,
    seconds: int = 20,
    credit: int = 2 * CHUNK,
    said: float = 1.0,
    early_ns: float = 0.0,
    held: int = 0,
) -> Run:
    """A camera at 30 fps and a worker that eats four pictures at a time and says once a second
    what it needs, times `said`; half a chunk comes out so much earlier, and so many pictures stay
    behind in the engine."""
    pace, seen = Pace(CHUNK), Run(seconds=seconds / 2)
    behind = 0
    waiting: list[int] = []
    inside, free_ns, camera_ns = 0, 0, 0
    for now_ns in range(0, seconds * 1_000_000_000, STEP_NS):
        late = now_ns > seconds * 500_000_000
        while inside and now_ns >= free_ns - (early_ns if inside > CHUNK // 2 else 0):
            inside -= 1
            if behind < held:
                behind += 1
                continue
            pace.returned(now_ns, behind + inside + len(waiting))
        if not inside and len(waiting) >= CHUNK:
            if late:
                seen.waited_ns += [now_ns - sent_ns for sent_ns in waiting[:CHUNK]]
            del waiting[:CHUNK]
            inside, free_ns = CHUNK, now_ns + round(chunk_ns)
        if late and not inside:
            seen.idle_ns += STEP_NS
        if now_ns % 1_000_000_000 == 0 and now_ns:
            pace.worker_needs(said * chunk_ns, held=held)
        if now_ns >= camera_ns:
            camera_ns += CAMERA_NS
            in_flight = behind + inside + len(waiting)
            if pace.wants(now_ns, now_ns, in_flight) and in_flight < credit + held:
                waiting.append(now_ns)
                pace.sent(now_ns, in_flight + 1)
                if late:
                    seen.sent.append(now_ns)
    return seen


def test_a_worker_that_keeps_up_gets_every_picture() -> None:
    assert len(run(100e6).sent) >= 299


def test_a_slow_worker_is_never_idle_and_its_pictures_hardly_wait() -> None:
    for chunk_ms in (150, 180, 218, 266, 350):
        seen = run(chunk_ms * 1e6)
        assert seen.idle_ns < 0.02 * seen.seconds * 1e9, chunk_ms
        # Evenly spread pictures wait three eighths of a chunk, and half a camera's period.
        mean_ns = sum(seen.waited_ns) / len(seen.waited_ns)
        assert mean_ns < 0.375 * chunk_ms * 1e6 + 0.5 * CAMERA_NS + 15e6, chunk_ms


def test_pictures_that_the_engine_holds_back_are_no_work_ahead_of_it() -> None:
    """Two steps hold a chunk, four hold three, a late autoencoder three pictures more: a worker
    that is slower than the camera is fed as if there were none of them."""
    for chunk_ms in (180, 266, 350):
        plain = run(chunk_ms * 1e6)
        for held in (3, 4, 7, 15):
            seen = run(chunk_ms * 1e6, held=held)
            assert abs(len(seen.sent) - len(plain.sent)) <= 2, (chunk_ms, held)
            assert seen.idle_ns < 0.02 * seen.seconds * 1e9, (chunk_ms, held)


def test_pictures_that_come_out_early_bring_no_others_in_early() -> None:
    for chunk_ms in (131, 160, 200, 266):
        early, together = (run(chunk_ms * 1e6, early_ns=ns) for ns in (50e6, 0))
        assert len(early.sent) == len(together.sent)
        waited_ns = [sum(seen.waited_ns) / len(seen.waited_ns) for seen in (early, together)]
        assert waited_ns[0] < waited_ns[1] + 3e6


def test_a_slow_worker_gets_pictures_evenly_not_in_bursts() -> None:
    seen = run(200e6)  # 20 pictures a second out of 30
    assert 195 <= len(seen.sent) <= 205, "as many as the worker can paint, and no fewer"
    assert max(seen.gaps) <= 2, "never two of the camera's pictures skipped in a row"


def test_the_longest_gap_is_between_two_chunks() -> None:
    """Five of the camera's pictures to a chunk of four: the one left out is never in the middle."""
    seen = run(5 * CAMERA_NS)
    oldest_ns = sorted(seen.waited_ns[::CHUNK])
    assert oldest_ns[len(oldest_ns) // 2] < 4 * CAMERA_NS, "three gaps, and the way there"
    assert max(seen.gaps) == 2
    assert len(seen.sent) >= 238


def test_a_worker_at_half_the_rate_gets_every_second_picture() -> None:
    seen = run(266.7e6).gaps
    assert sum(gap == 2 for gap in seen) > 0.7 * len(seen)


def test_a_worker_that_is_slower_than_it_says_gets_what_its_credit_allows() -> None:
    seen = run(240e6, said=0.7)
    assert seen.idle_ns < 0.02 * seen.seconds * 1e9


def test_a_far_worker_gets_its_pictures_earlier_by_the_way_there() -> None:
    near, far = Pace(CHUNK), Pace(CHUNK)
    near.worker_needs(400e6)
    far.worker_needs(400e6, round_trip_ns=60_000_000)
    for pace in (near, far):
        pace.wants(0, 0, 0)
        pace.wants(CAMERA_NS, CAMERA_NS, 0)
        chunk_returned(pace, CAMERA_NS, CHUNK)
    asked_ns = 2 * CAMERA_NS
    assert far.wants(asked_ns, asked_ns, CHUNK)
    assert not near.wants(asked_ns, asked_ns, CHUNK)


def test_pictures_that_are_refused_are_made_up_for() -> None:
    pace = Pace(CHUNK)
    pace.worker_needs(400e6)
    chunk_returned(pace, 0, CHUNK)
    assert not pace.wants(1, 1, CHUNK + 1)
    assert pace.wants(2, 2, CHUNK - 1), "fewer than a chunk: the worker waits for us"


def test_after_a_chunk_that_was_cut_short_the_next_one_is_collected_at_once() -> None:
    """A source that stopped: the worker filled its chunk up, and owes nothing any more."""
    pace = Pace(CHUNK)
    pace.worker_needs(400e6)
    for in_flight in (1, 0):
        pace.returned(0, in_flight)
    for sent in range(CHUNK):
        now_ns = 1_000_000_000 + sent * CAMERA_NS
        assert pace.wants(now_ns, now_ns, sent), sent
        pace.sent(now_ns, sent + 1)


def test_reset_forgets_the_old_worker() -> None:
    pace = Pace(CHUNK)
    pace.worker_needs(400e6)
    chunk_returned(pace, 0, CHUNK)
    pace.reset(1)
    assert pace.chunk_ns == 0
    assert pace.wants(1, 1, 5)


def taken(pace: Pace, fps: float, seconds: float) -> float:
    """Of a camera's pictures a second, those that a worker without a limit is sent."""
    random = Random(3)
    count = 0
    for n in range(round(fps * seconds)):
        captured_ns = round(n * 1e9 / fps + random.uniform(-2e6, 2e6))
        count += pace.wants(captured_ns, captured_ns, 0)
    return count / seconds


@pytest.mark.parametrize(("takes", "fps"), [(1, 30), (2, 15), (3, 10), (0, 0)])
def test_a_worker_that_takes_every_nth_picture_is_sent_no_other(takes: int, fps: int) -> None:
    pace = Pace(4)
    pace.worker_takes(takes)
    assert taken(pace, 30, 20) == pytest.approx(fps, abs=0.1)
    pace.reset(4)
    assert taken(pace, 30, 20) == pytest.approx(30, abs=0.1), "another worker takes all of them"


@pytest.mark.parametrize("target", [5, 10, 15, 20, 24, 30, 60])
@pytest.mark.parametrize("camera", [30, 60])
def test_no_more_pictures_are_sent_than_are_wanted(camera: int, target: int) -> None:
    assert taken(Pace(4, target), camera, 20) == pytest.approx(min(target, camera), rel=0.03)


def test_a_chunk_may_come_to_take_more_pictures() -> None:
    pace = Pace(4)
    pace.worker_takes(1, 8)
    pace.worker_needs(1600e6)
    for n in range(8):
        assert pace.wants(n * 33_000_000, n * 33_000_000, n), "the chunk is not full"
        pace.sent(n * 33_000_000, n + 1)
    soon_ns = 8 * 33_000_000
    assert not pace.wants(soon_ns, soon_ns, 8), "it is, and the worker paints it now"
