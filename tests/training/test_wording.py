"""The text encoder's lessons: what a wording names, and what it does not."""

from __future__ import annotations

import random

import torch

from brushcast_worker.models.text import STYLES, TextEncoder
from tests.worker.models.test_text import WORDINGS
from training.wording import HINT, PHRASES, named_loss, teach, wording


def test_every_look_has_many_names() -> None:
    assert set(PHRASES) == set(STYLES)
    assert all(len(set(names)) >= 16 for names in PHRASES.values())


def test_the_wordings_that_are_tested_are_not_taught() -> None:
    taught = {phrase.lower() for phrases in PHRASES.values() for phrase in phrases}
    assert not taught & {text.lower() for texts in WORDINGS.values() for text in texts}


def test_lessons_name_none_one_or_two() -> None:
    rng = random.Random(0)
    counts = {0: 0, 1: 0, 2: 0}
    for _ in range(600):
        text, said = wording(rng)
        named = [value for value in said if value]
        counts[len(named)] += 1
        assert set(named) <= {1.0, HINT}
        assert "{" not in text
    assert min(counts.values()) > 30


def test_a_few_lessons_help() -> None:
    torch.manual_seed(0)
    encoder, rng = TextEncoder(), random.Random(1)
    texts, said = zip(*(wording(rng) for _ in range(100)), strict=True)
    before = float(named_loss(encoder(texts), torch.tensor(said)).detach())
    teach(encoder, 0, steps=60)
    assert float(named_loss(encoder(texts), torch.tensor(said)).detach()) < 0.6 * before
