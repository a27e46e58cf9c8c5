"""The newest item wins, nothing vanishes uncounted, and nobody waits for ever."""

from __future__ import annotations

import threading

from brushcast.slot import Latest


def test_the_newest_item_replaces_the_waiting_one_and_hands_it_back() -> None:
    slot: Latest[int] = Latest()
    assert slot.put(1) is None
    assert slot.put(2) == 1
    assert slot.take() == 2
    assert slot.take() is None


def test_get_waits_for_an_item_from_another_thread() -> None:
    slot: Latest[str] = Latest()
    came: list[str | None] = []
    reader = threading.Thread(target=lambda: came.append(slot.get(10)), name="reader")
    reader.start()
    slot.put("picture")
    reader.join(10)
    assert came == ["picture"]


def test_get_gives_up_after_its_time() -> None:
    assert Latest[int]().get(0.01) is None


def test_close_wakes_every_waiting_thread() -> None:
    slot: Latest[int] = Latest()
    came: list[int | None] = []
    readers = [threading.Thread(target=lambda: came.append(slot.get())) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert slot.close() is None
    for reader in readers:
        reader.join(10)
    assert came == [None, None, None]
    assert slot.closed


def test_a_closed_slot_hands_back_what_it_is_given_and_what_it_held() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    assert slot.close() == 1
    assert slot.put(2) == 2
    assert slot.get() is None


def test_between_threads_every_item_comes_out_or_is_handed_back() -> None:
    slot: Latest[int] = Latest()
    taken: list[int] = []

    def read() -> None:
        while (item := slot.get()) is not None:
            taken.append(item)

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    replaced = [old for item in range(20_000) if (old := slot.put(item)) is not None]
    left = slot.close()
    reader.join(10)
    assert taken == sorted(taken)
    rest = [] if left is None else [left]
    assert sorted(taken + replaced + rest) == list(range(20_000))


def test_a_deeper_one_keeps_the_order_and_gives_up_its_oldest() -> None:
    slot: Latest[int] = Latest(3)
    assert [slot.put(number) for number in range(5)] == [None, None, None, 0, 1]
    assert [slot.take() for _ in range(4)] == [2, 3, 4, None]
