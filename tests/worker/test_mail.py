"""The boxes between the two threads."""

from __future__ import annotations

import threading

from brushcast_worker.mail import MAIL_MOST, Outbox, Refused, Stream

LETTERS = [Refused(Stream(1, 1), seq, "stale") for seq in range(MAIL_MOST + 1)]


def test_letters_keep_their_order_and_wake_the_reader() -> None:
    woken: list[int] = []
    outbox = Outbox(lambda: woken.append(1), threading.Event())
    for letter in LETTERS[:3]:
        outbox.post(letter)
    assert list(outbox.take()) == LETTERS[:3]
    assert list(outbox.take()) == []
    assert len(woken) == 3


def test_a_full_box_waits_for_its_reader() -> None:
    outbox = Outbox(lambda: None, threading.Event())
    for letter in LETTERS[:MAIL_MOST]:
        outbox.post(letter)
    writer = threading.Thread(target=outbox.post, args=(LETTERS[MAIL_MOST],))
    writer.start()
    taken: list[object] = []
    while len(taken) <= MAIL_MOST:
        taken += outbox.take()
    writer.join(5)
    assert taken == LETTERS


def test_nobody_waits_for_a_reader_that_stopped() -> None:
    stop = threading.Event()
    outbox = Outbox(lambda: None, stop)
    for letter in LETTERS[:MAIL_MOST]:
        outbox.post(letter)
    stop.set()
    outbox.post(LETTERS[MAIL_MOST])
