"""Embeddings on disk: keyed by content, private, whole, bounded, made again when broken."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brushcast.errors import EngineError, PromptError, WeightsError
from brushcast_worker.prompt_cache import (
    FILE_BYTES_MAX,
    EmbeddingCache,
    Recipe,
    clean_prompt,
    content_hash,
)

RECIPE = Recipe(tokenizer="a" * 64, weights="b" * 64)
KEY = RECIPE.key("ink")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
needs_ftfy = pytest.mark.skipif(
    importlib.util.find_spec("ftfy") is None, reason="ftfy is not installed (requirements/wan.txt)"
)


def tokens(length: int = 3, channels: int = 8) -> torch.Tensor:
    return torch.arange(length * channels).view(length, channels).to(torch.bfloat16)


def test_what_is_kept_comes_back_bit_by_bit(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "prompts")
    assert cache.get(KEY) is None
    cache.put(KEY, tokens())
    found = EmbeddingCache(tmp_path / "prompts").get(KEY)
    assert found is not None
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, tokens())


def test_everything_that_decides_the_numbers_is_in_the_key() -> None:
    recipes = [
        RECIPE,
        Recipe(tokenizer="c" * 64, weights="b" * 64),
        Recipe(tokenizer="a" * 64, weights="c" * 64),
        Recipe(tokenizer="a" * 64, weights="b" * 64, dtype="float32"),
        Recipe(tokenizer="a" * 64, weights="b" * 64, max_tokens=256),
    ]
    keys = {recipe.key(words) for recipe in recipes for words in ("ink", "Ink", "")}
    assert len(keys) == 15


@pytest.mark.parametrize(
    "changed",
    [{"weights": "../../x"}, {"tokenizer": "A" * 64}, {"dtype": "float16"}, {"max_tokens": 1}],
)
def test_a_recipe_of_nonsense_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(EngineError, match="wanted"):
        Recipe(**{"tokenizer": "a" * 64, "weights": "b" * 64, **changed})


@pytest.mark.parametrize("prompt", ["../../etc/passwd", "/root/x", "a\0b", "\ud800", "C:\\x", "."])
def test_no_prompt_names_a_path(tmp_path: Path, prompt: str) -> None:
    cache = EmbeddingCache(tmp_path / "prompts")
    cache.put(RECIPE.key(prompt), tokens())
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.parent == tmp_path / "prompts"
    assert len(file.name) == 64 + len(".safetensors")


@posix
def test_folder_and_files_are_the_users_own(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        (tmp_path / "prompts").mkdir(mode=0o777)
        EmbeddingCache(tmp_path / "prompts").put(KEY, tokens())
    finally:
        os.umask(old)
    (file,) = (tmp_path / "prompts").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_no_words_stand_on_the_disk(tmp_path: Path) -> None:
    EmbeddingCache(tmp_path).put(RECIPE.key("my secret garden"), tokens())
    assert not [path for path in tmp_path.iterdir() if b"secret" in path.read_bytes()]


def broken() -> dict[str, bytes]:
    from safetensors.torch import save

    whole = save({"tokens": tokens()})
    return {
        "empty": b"",
        "nonsense": b"hello",
        "cut": whole[:-5],
        "long": whole + b"x",
        "other name": save({"x": tokens()}),
        "two": save({"tokens": tokens(), "x": tokens()}),
        "flat": save({"tokens": tokens().flatten()}),
        "none": save({"tokens": tokens(0)}),
        "integers": save({"tokens": tokens().to(torch.int32)}),
        "nan": save({"tokens": tokens() * float("nan")}),
        "huge": bytes(FILE_BYTES_MAX + 1),
    }


@pytest.mark.parametrize("kind", broken())
def test_a_broken_file_is_removed_and_made_again(tmp_path: Path, kind: str) -> None:
    cache = EmbeddingCache(tmp_path)
    path = tmp_path / f"{KEY}.safetensors"
    path.write_bytes(broken()[kind])
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, tokens())
    assert cache.get(KEY) is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    keys = [RECIPE.key(word) for word in ("one", "two", "three")]
    cache = EmbeddingCache(tmp_path)
    for age, key in enumerate(keys):
        cache.put(key, tokens())
        os.utime(tmp_path / f"{key}.safetensors", ns=(0, (1000 + age) * 10**9))
    size = (tmp_path / f"{keys[0]}.safetensors").stat().st_size
    assert cache.get(keys[0]) is not None  # now the one used last
    EmbeddingCache(tmp_path, limit_bytes=3 * size).put(RECIPE.key("four"), tokens())
    assert cache.get(keys[1]) is None
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[2]) is not None
    EmbeddingCache(tmp_path, limit_bytes=1).put(RECIPE.key("five"), tokens())
    assert [path.stem for path in tmp_path.iterdir()] == [RECIPE.key("five")], "the newest stays"


def test_half_written_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    for name, second in ((".old.part", 0), (".new.part", None)):
        (tmp_path / name).touch()
        if second is not None:
            os.utime(tmp_path / name, (second, second))
    EmbeddingCache(tmp_path).put(KEY, tokens())
    assert not (tmp_path / ".old.part").exists()
    assert (tmp_path / ".new.part").exists(), "somebody may be writing it"


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EngineError, match=r"cannot keep .* bytes in .*: No space left"):
        EmbeddingCache(tmp_path).put(KEY, tokens())
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_folders_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "prompts").touch()
    cache = EmbeddingCache(tmp_path / "prompts")
    assert cache.get(KEY) is None
    with pytest.raises(EngineError, match="cannot keep"):
        cache.put(KEY, tokens())


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file, folder = tmp_path / "w.pth", tmp_path / "kept"
    file.write_bytes(b"weights")
    os.utime(file, (1000, 1000))
    first = content_hash(file, folder)
    assert first == content_hash(file, tmp_path / "elsewhere")
    file.write_bytes(b"WEIGHTS")
    os.utime(file, (1000, 1000))
    assert content_hash(file, folder) == first, "same size and time: not read again"
    os.utime(file, (2000, 2000))
    assert content_hash(file, folder) != first
    (folder / "hashes.json").write_text('{"' + str(file) + '": [7, 2000000000000, "evil/../"]}')
    assert content_hash(file, folder) == content_hash(file, tmp_path / "fresh")
    with pytest.raises(WeightsError, match="absent"):
        content_hash(tmp_path / "absent", folder)


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("ink", "ink"),
        ("  a \t watercolour\r\n of   cats \n", "a watercolour of cats"),
        ("", ""),
        ("it's <b>bold</b>", "it's <b>bold</b>"),
    ],
)
def test_white_space_is_collapsed(prompt: str, cleaned: str) -> None:
    assert clean_prompt(prompt) == cleaned


@needs_ftfy
@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("caf\u00c3\u00a9 &amp;amp; cr\u00e8me", "caf\u00e9 & cr\u00e8me"),
        ("\u201cink\u201d\uff0c \ufb01ne\u3000", '"ink", fine'),
        ("a\x1b[31mb\x07", "ab"),
        ("\ud83d\ude00 \ud800", "\U0001f600 \ufffd"),
    ],
)
def test_prompts_are_mended_as_published(prompt: str, cleaned: str) -> None:
    assert clean_prompt(prompt) == cleaned


@needs_ftfy
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("\t\r\n")))
def test_plain_ascii_needs_no_mending(prompt: str) -> None:
    import ftfy

    if "&" not in prompt:
        assert clean_prompt(prompt) == " ".join(ftfy.fix_text(prompt).split())


def test_without_ftfy_only_plain_prompts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_prompt("plain") == "plain"
    with pytest.raises(EngineError, match=r"ftfy, which is not installed.*requirements/wan\.txt"):
        clean_prompt("caf\u00e9")


def test_a_prompt_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(PromptError, match="20001 characters"):
        clean_prompt("x" * 20_001)
