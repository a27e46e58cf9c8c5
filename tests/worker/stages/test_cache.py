"""RollingCache: which latent frames are seen, where they stand, and when a sink gives way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brushcast_worker.stages.cache import Cursor, RollingCache, likeness


def cache(**settings: object) -> RollingCache:
    sizes: dict[str, object] = {
        "layers": 1,
        "rows": 1,
        "tokens": 1,
        "dim": 2,
        "sinks": 1,
        "window": 4,
    }
    return RollingCache(**{**sizes, **settings})


def frame(n: float) -> Tensor:
    return torch.tensor([[[n, 1.0]]])


def seen(c: RollingCache, n: int) -> list[tuple[int, float]]:
    """Position and content of everything visible after latent frame n, in order of position."""
    c.begin()
    k, v = c.update(0, frame(n), -frame(n))
    assert torch.equal(k, -v)
    return sorted(zip(c.positions, k[0, :, 0].tolist(), strict=True))


def test_sinks_stay_and_the_rest_rolls_in_order_of_age() -> None:
    c = cache()
    views = [[what for _, what in seen(c, n)] for n in range(9)]
    assert views[0] == [0]
    assert views[3] == [0, 1, 2, 3]
    assert views[4] == [0, 2, 3, 4]
    assert views[8] == [0, 6, 7, 8]


def test_slot_positions_never_grow() -> None:
    c = cache()
    for n in range(2000):
        view = seen(c, n)
        assert [place for place, _ in view] == list(range(min(n + 1, 4)))
        assert c.position == min(n, 3)


def test_all_steps_of_a_latent_frame_write_one_slot() -> None:
    c = cache()
    for n in range(7):
        c.begin()
        for step in range(3):
            k, _ = c.update(0, frame(10 * n + step), frame(0))
            assert k.shape[1] == min(n + 1, 4)
    assert sorted(k[0, :, 0].tolist()) == [2.0, 42.0, 52.0, 62.0]


def test_what_is_stored_can_be_read_and_written_from_outside() -> None:
    c, twin = cache(layers=2), cache(layers=2)
    for n in range(6):
        c.begin(), twin.begin()
        for layer in range(2):
            c.update(layer, frame(10 * n + layer), frame(-10 * n - layer))
        for place, value in zip(twin.current(), c.current(), strict=True):
            place.copy_(value)
        assert twin.current()[2][0].tolist() == [10 * n + 1, 1]
        assert twin.current()[3][0].tolist() == [-10 * n - 1, 1]
    for mine, its in zip(c.stored(), twin.stored(), strict=True):
        assert mine.shape == (2, 4, 1, 2)
        assert torch.equal(mine, its)
        assert mine[0, c.slot, 0, 0].abs() == 50


def test_published_positions_restart_at_the_caches_end() -> None:
    c = cache(positions="frame", refresh_at=50)
    places = []
    for n in range(60):
        seen(c, n)
        places.append(c.position)
    assert places[:51] == [*range(50), 4]
    assert max(places) == 49


def test_a_sink_that_no_longer_fits_is_replaced_and_one_that_does_stays() -> None:
    c = cache(sinks=2, window=4, sink_threshold=0.2)
    for content in ([1.0, 0.0], [0.0, 1.0], [1.0, 0.1]):
        c.begin()
        k = torch.tensor([[content]])
        c.update(0, k, k)
        c.end()
    kept, _ = c.update(0, k, k)
    assert kept[0, 0].tolist() == [1.0, 0.0]  # like the new one
    assert kept[0, 1].tolist() == pytest.approx([1.0, 0.1])  # unlike it: gone


def test_without_a_threshold_sinks_are_for_good() -> None:
    c = cache()
    for n in (5, -5, 7, -7, 9):
        c.begin()
        k, _ = c.update(0, frame(n), frame(n))
        c.end()
    assert k[0, 0, 0] == 5


def test_sinks_must_leave_room() -> None:
    with pytest.raises(ValueError, match=r"sinks 4 wants to be in 0\.\.3"):
        cache(sinks=4)


@pytest.mark.parametrize("positions", ["slot", "frame"])
def test_a_sink_made_again_sees_what_it_saw_at_first(positions: str) -> None:
    c = cache(sinks=2, window=4, positions=positions)
    for n in range(57):
        seen(c, n)
        c.end()
    stood = c.slot, c.filled, c.position, c.positions
    for sink in range(2):
        c.begin(again=sink)
        k, _ = c.update(0, frame(100 + sink), -frame(100 + sink))
        assert k[0, :, 0].tolist() == [100.0, 101.0][: sink + 1]
        assert (c.position, c.positions) == (sink, tuple(range(sink + 1)))
        c.end()
    assert (c.slot, c.filled, c.position, c.positions) == stood
    assert [what for _, what in seen(c, 57)] == [100, 101, 56, 57]


def test_a_ring_does_not_turn_for_a_sink() -> None:
    cursor = Cursor(2, 4)
    for _ in range(6):
        cursor.begin()
        cursor.end()
    assert any(cursor.moved)
    cursor.begin(again=1)
    assert not any(cursor.moved)
    cursor.end()
    assert any(cursor.moved)


def test_sources_of_sinks_are_kept_and_go_with_them() -> None:
    c = cache(sinks=2, window=4, sink_threshold=0.2, latent_CHW=(1, 1, 1))
    for n, content in enumerate(([1.0, 0.0], [0.0, 1.0], [1.0, 0.1])):
        c.begin()
        k = torch.tensor([[content]])
        c.update(0, k, k)
        c.end(torch.full((1, 1, 1), float(n)))
    assert [c.source(sink).item() for sink in range(2)] == [0, 2]
    assert c.replaced == c.fork().replaced == 1


def test_likeness_is_the_mean_cosine_of_keys_and_values() -> None:
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    sinks = torch.stack([x, y, -x])[None, None]
    found = likeness(sinks, sinks.flip(2), x[None, None], x[None, None])
    assert found.tolist() == [[0.0, 0.0, 0.0]]
    assert likeness(sinks, sinks, x[None, None], x[None, None]).tolist() == [[1.0, 0.0, -1.0]]
