"""What a prompt means."""

from __future__ import annotations

import pytest
import torch

from brushcast_worker.models.text import (
    STYLES,
    StyleEmbedding,
    UnknownPromptError,
    style_weights,
    with_strength,
)  # fmt: skip


def named(prompt: str) -> set[str]:
    return {style for style, w in zip(STYLES, style_weights(prompt), strict=True) if w}


@pytest.mark.parametrize(
    ("prompt", "styles"),
    [
        ("a loose watercolour on rough paper with aquarelle blooms", {"watercolour"}),
        ("Ukiyo-e woodblock print", {"ukiyo-e"}),
        ("ink with neon glow", {"ink", "neon"}),
        ("layered paper cut-out", {"papercut"}),
        ("coloured pencil drawing", {"pencil"}),
    ],
)
def test_words_name_styles(prompt: str, styles: set[str]) -> None:
    assert named(prompt) == styles
    assert sum(style_weights(prompt)) == pytest.approx(1)


@pytest.mark.parametrize("style", STYLES)
def test_every_style_answers_to_its_name(style: str) -> None:
    assert named(style) == {style}


def test_an_unknown_wording_says_what_is_known() -> None:
    with pytest.raises(UnknownPromptError, match="'a Vermeer'.*watercolour.*neon"):
        style_weights("a Vermeer")


def test_strength_is_opacity_up_to_the_default() -> None:
    look = style_weights("ink")
    assert with_strength(look, 0.0)[0] == 1
    assert with_strength(look, 0.3)[0] == pytest.approx(0.5)
    assert with_strength(look, 0.6) == pytest.approx(look)
    assert with_strength(look, 1.0) == pytest.approx(look)


def test_a_mixture_of_styles_is_a_mixture_of_tokens() -> None:
    table = StyleEmbedding(len(STYLES), tokens=2, width=3)
    one, two = torch.tensor([style_weights("ink")]), torch.tensor([style_weights("oil")])
    both = torch.tensor([style_weights("ink and oil")])
    torch.testing.assert_close(table(both), (table(one) + table(two)) / 2)
