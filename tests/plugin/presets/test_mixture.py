"""A prompt that is a mixture, and one that is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import PresetError
from brushcast.presets import Preset
from brushcast.presets.mixture import MOST_PARTS, parse_mixture


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("watercolour", [("watercolour", 1)]),
        ("a poster: red on black :2", [("a poster: red on black :2", 1)]),
        ("ink | neon", [("ink", 0.5), ("neon", 0.5)]),
        (" ink :3| neon night, rain : 1 ", [("ink", 0.75), ("neon night, rain", 0.25)]),
        ("ink:.5|a poster: red|oil:0.5", [("ink", 0.25), ("a poster: red", 0.5), ("oil", 0.25)]),
        ("ink :0 | neon", [("neon", 1)]),
    ],
)
def test_parts_and_their_shares(prompt: str, parts: list[tuple[str, float]]) -> None:
    found = parse_mixture(prompt)
    assert [words for words, _ in found] == [words for words, _ in parts]
    assert [share for _, share in found] == pytest.approx([share for _, share in parts])


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("ink |", "the part '' of a mixture says no look"),
        ("ink | :2", "the part ':2' of a mixture says no look"),
        ("ink :0 | neon :0", "every part of the mixture weighs 0"),
        ("|".join(["ink"] * (MOST_PARTS + 1)), f"a mixture of {MOST_PARTS + 1}, wanted at most"),
    ],
)
def test_what_is_no_mixture_is_refused_with_the_preset(prompt: str, told: str) -> None:
    with pytest.raises(PresetError, match=told):
        Preset(name="mine", title="Mine", prompt=prompt)


@given(st.text(alphabet="ab:|. 019", max_size=30))
def test_whatever_is_written_shares_sum_to_one_or_it_is_refused(prompt: str) -> None:
    try:
        found = parse_mixture(prompt)
    except PresetError:
        return
    assert sum(share for _, share in found) == pytest.approx(1)
    assert all(share > 0 for _, share in found)
