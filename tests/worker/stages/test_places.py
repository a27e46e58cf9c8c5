"""Memories that stay where they are, and are somebody else's once they are let go."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.stages.autoencoder import Memory
from brushcast_worker.stages.places import Places


def memory(value: float, side: int = 3) -> Memory:
    return torch.full((1, 2, side), value), torch.full((1, side), -value)


def test_streams_have_places_of_their_own_until_they_let_go() -> None:
    places = Places()
    first, second = places.keep(memory(1.0)), places.keep(memory(2.0))
    assert places.of(first) is not places.of(second)
    number, address = places.of(first).number, first[0].data_ptr()
    del first
    third = places.keep(memory(3.0))
    assert (places.of(third).number, third[0].data_ptr()) == (number, address)
    assert [part.flatten()[0].item() for part in (*second, *third)] == [2, -2, 3, -3]


def test_a_place_is_only_for_what_fits() -> None:
    places = Places()
    gone = places.of(places.keep(memory(1.0))).number
    assert places.of(places.keep(memory(1.0, side=4))).number != gone


def test_what_is_kept_is_not_what_was_given() -> None:
    places, given = Places(), memory(1.0)
    kept = places.keep(given)
    given[0].zero_()
    assert (kept[0] == 1).all()


def test_only_what_is_not_there_is_written() -> None:
    places = Places()
    kept = places.keep(memory(1.0))
    place = places.of(kept)
    place.tensors[0].add_(1)  # in place, as a kernel does
    place.write((place.tensors[0], memory(5.0)[1]))
    assert (kept[0] == 2).all()
    assert (kept[1] == -5).all()


def test_free_places_are_given_up_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places()
    kept = places.keep(memory(1.0))
    places.keep(memory(2.0, side=5))

    class Large(torch.Tensor):
        def clone(self, **_: object) -> torch.Tensor:
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        places.keep((torch.zeros(7).as_subclass(Large),))
    assert [place.tensors[0].shape for place in places._places] == [kept[0].shape]
