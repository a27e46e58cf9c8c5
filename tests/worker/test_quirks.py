"""Quirks: what is written is what is meant, and nothing else is understood."""

from __future__ import annotations

import math

import pytest

from brushcast.errors import ConfigError
from brushcast_worker.quirks import DEFAULT, Quirks, parse_quirks


def test_nothing_is_the_default() -> None:
    assert parse_quirks("") == parse_quirks(" , ") == DEFAULT == Quirks()


def test_each_is_set_by_its_name() -> None:
    found = parse_quirks("rope=frame, sinks = 0.2,recache=off,normalise_encoded=on")
    assert found == Quirks(rope="frame", sinks=0.2, recache=False, normalise_encoded=True)
    assert parse_quirks("sinks=off").sinks is None
    assert parse_quirks("noise=latent,noise_window=3") == Quirks(noise="latent", noise_window=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rope", "quirk 'rope': wanted each of normalise_encoded, rope, sinks, recache, noise"),
        ("rope=", "quirk 'rope=': wanted each"),
        ("ropes=slot", "quirk 'ropes=slot': wanted each"),
        ("rope=slot,rope=slot", "at most once"),
        ("rope=time", "quirk rope 'time': wanted slot or frame"),
        ("recache=yes", "quirk 'yes': wanted on or off"),
        ("sinks=much", "quirk sinks 'much': wanted a cosine, or off"),
        ("sinks=2", "quirk sinks 2.0: wanted a cosine from -1 to 1"),
        ("noise=both", "quirk noise 'both': wanted pixel or latent"),
        ("noise_window=0", "quirk noise_window 0: wanted 1 to 32"),
        ("noise_window=-1", "quirk noise_window '-1': wanted a number"),
        ("sinks=nan", "quirk sinks nan: wanted a cosine"),
    ],
)
def test_what_cannot_be_is_said(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_quirks(text)


def test_a_threshold_is_a_cosine() -> None:
    with pytest.raises(ConfigError, match="from -1 to 1"):
        Quirks(sinks=math.inf)
