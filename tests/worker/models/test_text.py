"""What a prompt means: read by the trained encoder that the product ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import brushcast_worker
from brushcast_worker.models.pocket import load_pocket
from brushcast_worker.models.text import (
    STYLES,
    Reading,
    StyleEmbedding,
    TextEncoder,
    boldness,
    pieces_of,
    with_strength,
    words_of,
)

# None of these is among the phrases and templates of the training (tests/worker/training).
WORDINGS = {
    "watercolour": (
        "loose watercolours of my grandma",
        "an aquarell of the harbour",
        "wattercolor",
    ),
    "oil": ("like van Gogh's sunflowers", "thick oil colours on old canvas", "an oil-painted king"),
    "ink": ("scratchy ink pens", "a crosshatched inky etching", "drawn with my fountain pens"),
    "pencil": ("quick pencil sketches", "graphite pencils on kraft paper", "my sketch-book"),
    "comic": ("a page of a graphic novel, superheroes", "my comicbooks", "halftoned popart page"),
    "neon": ("neon-lit cyberpunk alley", "glowing neons everywhere", "synth-waves"),
    "ukiyo-e": ("waves like Hokusai's", "a japanese woodblock of the sea", "ukiyoe prints"),
    "papercut": ("layers of cut-out paper", "origami cranes", "paper-cuts on a table"),
    "anime": ("studio ghibli meadow", "an animé girl", "cartoonish and cel-shaded"),
    "stained-glass": ("windows of a cathedral", "a stained-glas saint", "leaded church glass"),
    "pixel-art": ("8bit hero", "a pixelart knight", "sprites of a gameboy"),
    "charcoal": ("charcoals, smudged", "a charcoaled portrait", "kohlezeichnungen"),
    "blueprint": (
        "an architect's blueprint",
        "blueprints of my face",
        "technical drawing of it",
    ),
    "clay": ("claymation sheep", "a plasticine man", "figures of modelling-clay"),
    "none": ("no filter at all", "the original, untouched"),
}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_pocket(Path(brushcast_worker.__file__).parent / "weights").text


@pytest.mark.parametrize("style", STYLES)
def test_every_look_answers_to_its_name(encoder: TextEncoder, style: str) -> None:
    reading = encoder.read(style)
    assert reading.named[0] == style
    assert reading.weights[STYLES.index(style)] > 0.8


@pytest.mark.parametrize(
    ("style", "wording"), [(style, text) for style, texts in WORDINGS.items() for text in texts]
)
def test_wordings_near_a_look_give_it(encoder: TextEncoder, style: str, wording: str) -> None:
    reading = encoder.read(wording)
    assert reading.named[0] == style, reading
    assert reading.sure


@pytest.mark.parametrize(
    ("wording", "styles"),
    [
        ("ink with neon colours", {"ink", "neon"}),
        ("half oil, half pixel art", {"oil", "pixel-art"}),
        ("a charcoal drawing in comic colours", {"charcoal", "comic"}),
        ("watercolour meets stained glass", {"watercolour", "stained-glass"}),
    ],
)
def test_mixtures_are_mixed(encoder: TextEncoder, wording: str, styles: set[str]) -> None:
    reading = encoder.read(wording)
    assert set(reading.named[:2]) == styles, reading
    assert all(0.3 < reading.weights[STYLES.index(style)] < 0.7 for style in styles)


def test_a_hint_is_less_than_a_half(encoder: TextEncoder) -> None:
    reading = encoder.read("watercolour with a hint of ink")
    ink, watercolour = (reading.weights[STYLES.index(s)] for s in ("ink", "watercolour"))
    assert 0.1 < ink < 0.45 < watercolour


@pytest.mark.parametrize(
    "wording", ["qwertz asdf", "banana dream", "", "\N{ARTIST PALETTE}", "123"]
)
def test_an_unknown_wording_gives_one_nearest_look(encoder: TextEncoder, wording: str) -> None:
    reading = encoder.read(wording)
    assert not reading.sure
    assert len(reading.named) == 1
    assert reading.named[0] != "none"
    assert reading.weights[STYLES.index(reading.named[0])] == 1


@given(st.text(max_size=400))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_is_read(wording: str) -> None:
    torch.manual_seed(0)
    reading = TextEncoder().read(wording)
    assert isinstance(reading, Reading)
    assert sum(reading.weights) == pytest.approx(1, abs=1e-5)
    assert reading.named


def test_several_wordings_at_once_are_read_as_one_by_one() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder()
    torch.nn.init.normal_(encoder.near.weight)
    texts = ["ink", "a long wording about neon lights at night", ""]
    together = encoder(texts)
    alone = torch.cat([encoder([text]) for text in texts])
    torch.testing.assert_close(together, alone)


def test_words_and_their_pieces() -> None:
    assert words_of("  Ukiyo-e, PRINT_s ") == ["ukiyo", "e", "print", "s"]
    assert words_of("!?") == [""]
    assert len(words_of("a " * 500)) < 50
    like = len(set(pieces_of("watercolour")) & set(pieces_of("watercolours")))
    assert like > len(set(pieces_of("watercolour")) & set(pieces_of("blueprint")))


def test_strength_is_opacity_up_to_the_default() -> None:
    look = [0.0] * len(STYLES)
    look[3] = 1.0
    assert with_strength(look, 0.0)[0] == 1
    assert with_strength(look, 0.3)[0] == pytest.approx(0.5)
    assert with_strength(look, 0.6) == pytest.approx(look)
    assert with_strength(look, 1.0) == pytest.approx(look)


def test_boldness_rises_with_the_strength() -> None:
    assert [boldness(s) for s in (0.0, 0.4, 0.8, 1.0)] == [0, 0, 1, 1]
    assert boldness(0.6) == pytest.approx(0.5)


def test_a_mixture_of_styles_is_a_mixture_of_tokens() -> None:
    table = StyleEmbedding(3, tokens=2, width=3)
    one, two = torch.eye(3)[1:2], torch.eye(3)[2:3]
    none = torch.zeros(1)
    both = table((one + two) / 2, none)
    torch.testing.assert_close(both, (table(one, none) + table(two, none)) / 2)
    bold = table(one, torch.ones(1)) - table(one, none)
    torch.testing.assert_close(bold[0], table.hand_LC)
