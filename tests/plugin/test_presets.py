"""Presets: strict files, the user's own, and names that cannot leave the folder."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import PresetError
from brushcast.presets import (
    BUILT_IN_FOLDER,
    Preset,
    find_preset,
    load_presets,
    parse_preset,
    read_preset,
    save_preset,
    write_preset,
)

LETTERS = st.characters(categories=["L", "N", "P", "S"], exclude_characters="|:")  # of mixtures
PRINTABLE = st.text(LETTERS | st.just(" "), max_size=200)
GOOD = 'title = "Ink"\nprompt = "black ink"\n'


def test_the_built_in_presets_are_there_and_valid() -> None:
    found = load_presets()
    assert {"watercolour", "ink", "comic", "neon"} <= set(found)
    assert next(iter(found)) == "watercolour", "the first that people meet"
    assert set(found) == {path.stem for path in BUILT_IN_FOLDER.glob("*.toml")}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title = ", "TOML"),
        (GOOD + "width = 512", "unknown key 'width'"),
        ('title = "Ink"', "'prompt' is missing"),
        (GOOD + "strength = 1.5", "strength 1.5"),
        (GOOD + "strength = true", "strength True"),
        (GOOD + "seed = -1", "seed -1"),
        (GOOD + "seed = 1.0", "seed 1.0"),
        ('title = "Ink"\nprompt = "  "', "prompt is empty"),
        ('title = 3\nprompt = "x"', "title is int"),
        ('title = "\\u001b[2J"\nprompt = "x"', "title .* wanted printable text"),
        ('title = "x"\nprompt = "ink\\rwater"', "prompt .* wanted printable text"),
        (GOOD + 'engine = "a\\u0007b"', "engine .* wanted printable text"),
    ],
)
def test_a_malformed_preset_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(PresetError, match=complaint):
        parse_preset("mine", text)


@pytest.mark.parametrize("name", ["", "../up", "a b", "A", "x" * 65, "a/b", "a.b"])
def test_names_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(PresetError, match="preset name"):
        parse_preset(name, GOOD)


@given(
    PRINTABLE,
    PRINTABLE.filter(bool),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_reads_back_the_same(
    title: str, prompt: str, strength: float, seed: int
) -> None:
    if not prompt.strip() or not (title + prompt).isprintable():
        return
    preset = Preset(name="mine", title=title, prompt=prompt, strength=strength, seed=seed)
    assert parse_preset("mine", write_preset(preset)) == preset


def test_a_users_preset_replaces_the_built_in_one(tmp_path: Path) -> None:
    save_preset(Preset(name="ink", title="My ink", prompt="ink"), tmp_path / "presets")
    assert load_presets(tmp_path / "presets")["ink"].title == "My ink"
    assert load_presets(tmp_path / "absent")["ink"].title == "Ink"


def test_an_unknown_preset_lists_what_there_is() -> None:
    with pytest.raises(PresetError, match=r"unknown preset 'oi1'.*watercolour"):
        find_preset("oi1", load_presets())


def test_files_that_are_no_presets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="preset file"):
        read_preset(tmp_path / "absent.toml")
    (tmp_path / "big.toml").write_text("# " + "x" * 100_000)
    with pytest.raises(PresetError, match="larger than"):
        read_preset(tmp_path / "big.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match="preset file"):
        read_preset(tmp_path / "bytes.toml")


def test_brackets_without_end_are_one_sentence() -> None:
    with pytest.raises(PresetError, match="nested too deeply"):
        parse_preset("deep", "title = " + "[" * 30_000)
