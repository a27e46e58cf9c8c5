"""An engine's prompts: the encoder runs once for all that is missing, and not again."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from brushcast.errors import EngineError, OutOfMemory, WeightsError
from brushcast.presets import Preset
from brushcast_worker.prompt_cache import EmbeddingCache
from brushcast_worker.prompts import Prompts, TextFiles, run_step
from brushcast_worker.text_step import StepOrder
from tests.worker.small_umt5 import CHANNELS, by_hand, small_weights, write_tokenizer

needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("transformers", "tokenizers")),
    reason="transformers or tokenizers is not installed (requirements/wan.txt)",
)


class Step:
    """In the step's place: keeps a made-up embedding of every prompt, as many tokens as words."""

    def __init__(self, channels: int = CHANNELS, *, lazy: bool = False) -> None:
        self.runs: list[list[str]] = []
        self.channels = channels
        self.lazy = lazy

    def __call__(self, order: Mapping[str, Any]) -> None:
        asked = StepOrder(**{**order, "prompts": tuple(order["prompts"])})
        self.runs.append(list(asked.prompts))
        cache = EmbeddingCache(Path(asked.folder), asked.limit_bytes)
        for prompt in asked.prompts if not self.lazy else ():
            x_LC = torch.ones(len(prompt.split()) + 1, self.channels, dtype=torch.bfloat16)
            cache.put(asked.recipe.key(prompt), x_LC)


@pytest.fixture
def files(tmp_path: Path) -> TextFiles:
    torch.save(small_weights(), tmp_path / "t5.pth")
    return TextFiles(
        weights=tmp_path / "t5.pth",
        tokenizer=write_tokenizer(tmp_path / "tokenizer.json"),
        device="cpu",
        dtype="float32",
        channels=CHANNELS,
    )


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "kept")


def test_a_prompt_is_encoded_once(files: TextFiles, cache: EmbeddingCache) -> None:
    step = Step()
    prompts = Prompts(files, cache, step)
    assert prompts.prompt_tokens("a watercolour of cats").shape == (5, CHANNELS)
    assert prompts.prompt_tokens("  a watercolour\nof cats ").shape == (5, CHANNELS)
    assert Prompts(files, cache, step).prompt_tokens("a watercolour of cats").shape[0] == 5
    assert step.runs == [["a watercolour of cats"]]


def test_all_presets_take_one_run(
    files: TextFiles, cache: EmbeddingCache, presets: dict[str, Preset]
) -> None:
    step = Step()
    prompts = Prompts(files, cache, step)
    words = [preset.prompt for preset in presets.values()]
    prompts.prompt_tokens(words[0])
    assert prompts.prepare([*words, *words]) == len(words) - 1
    assert prompts.prepare(words) == 0
    assert [len(run) for run in step.runs] == [1, len(words) - 1]


def test_other_weights_are_other_prompts(files: TextFiles, cache: EmbeddingCache) -> None:
    step = Step()
    Prompts(files, cache, step).prompt_tokens("ink")
    torch.save(small_weights(seed=4), files.weights)
    Prompts(files, cache, step).prompt_tokens("ink")
    assert step.runs == [["ink"], ["ink"]]


def test_a_broken_embedding_is_made_again(files: TextFiles, cache: EmbeddingCache) -> None:
    step = Step()
    prompts = Prompts(files, cache, step)
    prompts.prompt_tokens("ink")
    (kept,) = cache.folder.glob("*.safetensors")
    kept.write_bytes(b"no longer")
    assert prompts.prompt_tokens("ink").shape == (2, CHANNELS)
    assert len(step.runs) == 2


def test_tokens_of_another_width_are_refused(files: TextFiles, cache: EmbeddingCache) -> None:
    with pytest.raises(WeightsError, match=f"12 channels, wanted {CHANNELS}"):
        Prompts(files, cache, Step(channels=12)).prompt_tokens("ink")


def test_a_step_that_leaves_nothing_is_an_error(files: TextFiles, cache: EmbeddingCache) -> None:
    with pytest.raises(EngineError, match="no embedding"):
        Prompts(files, cache, Step(lazy=True)).prompt_tokens("ink")


def test_missing_weights_are_named(tmp_path: Path, cache: EmbeddingCache) -> None:
    absent = TextFiles(weights=tmp_path / "w.pth", tokenizer=tmp_path / "t.json")
    with pytest.raises(WeightsError, match=r"t\.json: No such file"):
        Prompts(absent, cache, Step()).prompt_tokens("ink")


@needs_packages
def test_the_real_step_gives_the_real_numbers(files: TextFiles, cache: EmbeddingCache) -> None:
    prompts = Prompts(files, cache)
    assert prompts.prepare(["a watercolour of cats", "ink"]) == 2
    wanted = by_hand(small_weights(), [4, 5, 6, 7, 1])
    assert (prompts.prompt_tokens("a watercolour of cats") - wanted).abs().max() < 1e-4


def said(kind: str, message: str) -> str:
    return json.dumps({"event": "error", "kind": kind, "message": message})


@pytest.mark.parametrize(
    ("code", "out", "err", "error", "words"),
    [
        (1, said("WeightsError", "no w"), "", WeightsError, "no w"),
        (1, said("OutOfMemory", "big"), "", OutOfMemory, "big"),
        (1, said("Strange", "odd"), "", EngineError, "odd"),
        (-9, '7\nnoise\n{"event": "encoded"}', "Killed", EngineError, r"code -9\): Killed"),
        (1, "", "", EngineError, "no last words"),
    ],
)  # fmt: skip
def test_the_steps_end_is_understood(
    code: int, out: str, err: str, error: type[Exception], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    done = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(error, match=words) as caught:
        run_step({})
    assert type(caught.value) is error


def test_a_step_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **options: Any) -> None:
        raise subprocess.TimeoutExpired("step", options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(EngineError, match="not done after 900 s"):
        run_step({})
