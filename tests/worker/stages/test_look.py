"""Crossing over from one look to another."""

from __future__ import annotations

import torch

from brushcast_worker.stages.look import FADE_CHUNKS, Fade, Look

INK = Look(torch.zeros(1, 2, 3), 0.2)
NEON = Look(torch.ones(1, 2, 3), 0.8)


def test_a_new_stream_stands_at_its_look() -> None:
    fade = Fade(INK, INK)
    assert fade.over
    assert fade.now() is INK


def test_arrives_after_half_a_second_of_chunks_without_going_back_or_too_far() -> None:
    fade = Fade(INK, INK).towards(NEON)
    parts = [float(fade.advance().tokens_BLC.mean()) for _ in range(FADE_CHUNKS)]
    assert parts == sorted(parts)
    assert 0 < parts[0] < 0.5
    assert parts[-1] == 1
    assert fade.over
    assert fade.advance() is NEON


def test_the_strength_goes_the_same_way() -> None:
    fade = Fade(INK, INK).towards(NEON)
    look = fade.advance()
    assert abs((look.s0 - 0.2) / 0.6 - float(look.tokens_BLC.mean())) < 1e-6


def test_a_change_of_mind_begins_where_the_fade_stands() -> None:
    fade = Fade(INK, INK).towards(NEON)
    halfway = fade.advance()
    back = fade.towards(INK)
    assert torch.equal(back.start.tokens_BLC, halfway.tokens_BLC)
    assert float(back.advance().tokens_BLC.mean()) < float(halfway.tokens_BLC.mean())
