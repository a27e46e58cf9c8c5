"""What an engine of Wan's asks for a prompt's tokens: from the disk, or from the text encoder.

Letters: L tokens of the prompt, its end included, C channels (4096).

The encoder runs in a process of its own (`text_step`), once for all prompts that are missing.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from brushcast.errors import EngineError, OutOfMemory, WeightsError
from brushcast_worker.prompt_cache import EmbeddingCache, Recipe, clean_prompt, content_hash

log = logging.getLogger(__name__)

PATIENCE_S = 900.0  # 11 GB from a slow disk, and a CPU: minutes
KINDS = {"WeightsError": WeightsError, "OutOfMemory": OutOfMemory}

RunStep = Callable[[Mapping[str, Any]], None]
"""Runs the step with its order (`text_step.StepOrder`). Raises EngineError with its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFiles:
    """weights: `models_t5_umt5-xxl-enc-bf16.pth`. tokenizer: `google/umt5-xxl/tokenizer.json`.
    device: of the step; auto: the GPU if there is room beside what runs there. channels: of a
    token, as the transformer wants them."""

    weights: Path
    tokenizer: Path
    device: str = "auto"
    dtype: str = "bfloat16"
    max_tokens: int = 512
    channels: int = 4096


def run_step(order: Mapping[str, Any]) -> None:
    """Runs `python -m brushcast_worker.text_step` to its end; it is killed past PATIENCE_S."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "brushcast_worker.text_step"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"the text encoder was not done after {PATIENCE_S:.0f} s") from None
    except OSError as error:
        raise EngineError(f"the text encoder cannot be started: {error}") from None
    for line in done.stdout.splitlines():
        event = _event(line)
        if event.get("event") == "error":
            message = str(event.get("message"))
            raise KINDS.get(str(event.get("kind")), EngineError)(message)
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["no last words"]
        raise EngineError(f"the text encoder died (exit code {done.returncode}): {words[0]:.300}")


class Prompts:
    """The tokens of prompts for one engine. Owned by the engine, called by its thread; a call with
    a new prompt takes as long as the step."""

    def __init__(self, files: TextFiles, cache: EmbeddingCache, run: RunStep = run_step) -> None:
        """Nothing is read yet: the files' hashes are wanted by the first prompt."""
        self._files = files
        self._cache = cache
        self._run = run
        self._recipe: Recipe | None = None

    def prompt_tokens(self, prompt: str) -> Tensor:
        """`[L, C]` in host memory: true length, no padding. Raises PromptError, WeightsError,
        EngineError, OutOfMemory."""
        key = self._known_recipe().key(clean_prompt(prompt))
        x_LC = self._read(key)
        if x_LC is None:
            self.prepare([prompt])
            x_LC = self._read(key)
        if x_LC is None:
            raise EngineError("the text encoder left no embedding of the prompt behind")
        return x_LC

    def prepare(self, prompts: Iterable[str]) -> int:
        """Encodes what is missing of many prompts (all presets) in one run; how many that were.
        Raises as `prompt_tokens` does."""
        recipe = self._known_recipe()
        wanted = dict.fromkeys(clean_prompt(prompt) for prompt in prompts)
        missing = [words for words in wanted if self._read(recipe.key(words)) is None]
        if missing:
            log.info("encoding %d prompts", len(missing))
            self._run(
                {
                    "weights": str(self._files.weights),
                    "tokenizer": str(self._files.tokenizer),
                    "weights_sha256": recipe.weights,
                    "tokenizer_sha256": recipe.tokenizer,
                    "folder": str(self._cache.folder),
                    "limit_bytes": self._cache.limit_bytes,
                    "device": self._files.device,
                    "dtype": recipe.dtype,
                    "max_tokens": recipe.max_tokens,
                    "prompts": missing,
                }
            )
        return len(missing)

    def _read(self, key: str) -> Tensor | None:
        x_LC = self._cache.get(key)
        if x_LC is not None and x_LC.shape[1] != self._files.channels:
            raise WeightsError(
                f"{self._files.weights} gives tokens of {x_LC.shape[1]} channels, "
                f"wanted {self._files.channels}"
            )
        if x_LC is not None and x_LC.shape[0] > self._files.max_tokens:
            return None
        return x_LC

    def _known_recipe(self) -> Recipe:
        if self._recipe is None:
            folder = self._cache.folder
            self._recipe = Recipe(
                tokenizer=content_hash(self._files.tokenizer, folder),
                weights=content_hash(self._files.weights, folder),
                dtype=self._files.dtype,
                max_tokens=self._files.max_tokens,
            )
        return self._recipe


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
