"""Languages: each has every text, with the same places for values."""

from __future__ import annotations

import json
import string

import pytest

from brushcast_script.words import LOCALES, Words

NAMES = sorted(path.stem for path in LOCALES.glob("*.json"))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_there_are_two_languages() -> None:
    assert {"en-US", "zh-CN"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_language_says_everything(name: str) -> None:
    english = json.loads((LOCALES / "en-US.json").read_text("utf-8"))
    texts = json.loads((LOCALES / f"{name}.json").read_text("utf-8"))
    own = {key for key in english if not key.startswith("say: ")}
    assert own <= set(texts)
    for key in own:
        assert places(texts[key]) == places(english[key]), key


def test_the_nearest_language_is_chosen() -> None:
    assert Words("zh-CN")("start") == "开始"
    assert Words("zh-TW")("start") == "开始"
    assert Words("fi-FI")("start") == Words("en-US")("start") == "Start"


def test_sentences_of_the_product() -> None:
    assert Words("zh-CN").known("Live.") == "直播中。"
    assert Words("zh-CN").known("something new") == "something new"
