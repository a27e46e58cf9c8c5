"""`python -m brushcast_worker.text_step`: Wan's text encoder in a process of its own.

UMT5-XXL takes 11 GB and is needed for seconds: so it is loaded here, the missing prompts are
encoded, kept (`prompt_cache`), and with the process all of it is gone. One JSON object on standard
input says what to do (`StepOrder`, prompts already cleaned); events are JSON lines on standard
output: `encoded` (key, tokens) for each prompt, `done`, or `error` (kind, message). Exit code 0 or
1.

Letters: L tokens of the prompt, its end included, C channels.

The network is transformers' UMT5EncoderModel, the weights are Wan's published file. Its sizes are
read off the weights' shapes. A prompt is run alone and without padding: padding would be masked and
cut off again. The tokenizer is the published tokenizer.json as it stands, read by `tokenizers`:
transformers 5 builds T5's anew and gives characters beyond its vocabulary another number than 4
did, with which Wan was published.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brushcast.child import say
from brushcast.errors import BrushcastError, EngineError, OutOfMemory, WeightsError
from brushcast_worker.models.keys import check_weights, read_weights, umt5_weights
from brushcast_worker.prompt_cache import DTYPES, EmbeddingCache, Recipe

INPUT_BYTES_MAX = 64 * 2**20
MISSING = (
    "Wan's text encoder needs the packages transformers and tokenizers, of which {} is not "
    "installed: wanted brushcast[wan] (requirements/wan.txt)"
)
# Beside the weights, of a GPU: the context and what one prompt computes.
SPARE_BYTES = 1 * 2**30
MAX_DISTANCE = 128  # of the relative positions (wan/modules/t5.py)
END = 1  # the token that ends a prompt

Tokenize = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOrder:
    """What one run does. weights: Wan's file. tokenizer: tokenizer.json. device: auto, cpu, cuda,
    cuda:N. The two hashes are of the two files: the keys depend on them."""

    weights: str
    tokenizer: str
    weights_sha256: str
    tokenizer_sha256: str
    folder: str
    limit_bytes: int
    device: str
    dtype: str
    max_tokens: int
    prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            wanted: type = {"int": int, "tuple[str, ...]": tuple}.get(str(field.type), str)
            if type(value) is not wanted:
                raise EngineError(f"{field.name} is {type(value).__name__}: wanted {wanted}")
        if not all(isinstance(prompt, str) for prompt in self.prompts):
            raise EngineError("prompts: wanted text")

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            tokenizer=self.tokenizer_sha256,
            weights=self.weights_sha256,
            dtype=self.dtype,
            max_tokens=self.max_tokens,
        )


def main() -> int:
    """Reads the order, works, reports. Never raises what can be said in a sentence."""
    try:
        order = read_order(sys.stdin.buffer.read(INPUT_BYTES_MAX + 1))
        encode_all(order, say)
    except BrushcastError as error:
        say("error", kind=type(error).__name__, message=" ".join(str(error).split()))
        return 1
    say("done")
    return 0


def read_order(content: bytes) -> StepOrder:
    """Raises EngineError for anything but one JSON object with exactly the fields."""
    try:
        found = json.loads(content) if len(content) <= INPUT_BYTES_MAX else None
    except (ValueError, RecursionError):
        found = None
    names = {field.name for field in fields(StepOrder)}
    if not isinstance(found, dict) or set(found) != names:
        raise EngineError(f"no order: wanted one JSON object with {', '.join(sorted(names))}")
    prompts = found["prompts"]
    return StepOrder(**{**found, "prompts": tuple(prompts) if type(prompts) is list else prompts})


def encode_all(order: StepOrder, tell: Callable[..., None]) -> None:
    """Encodes and keeps every prompt of the order. Raises EngineError, WeightsError,
    OutOfMemory."""
    cache = EmbeddingCache(Path(order.folder), order.limit_bytes)
    recipe = order.recipe
    tokenize = load_tokenizer(Path(order.tokenizer), order.max_tokens)
    model = load_encoder(Path(order.weights), order.dtype, order.device)
    for prompt in order.prompts:
        ids = tokenize(prompt)
        x_LC = encode(model, ids)
        key = recipe.key(prompt)
        cache.put(key, x_LC)
        tell("encoded", key=key, tokens=len(ids))


def encode(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """`[L, C]` on the CPU in the model's dtype. Raises WeightsError for token numbers or results
    that no encoder of this tokenizer has, OutOfMemory."""
    table: Tensor = model.get_input_embeddings().weight  # type: ignore[operator]
    if max(ids) >= len(table):
        raise WeightsError(f"token {max(ids)} of {len(table)}: tokenizer and weights do not match")
    ids_1L = torch.tensor([list(ids)], dtype=torch.int64, device=table.device)
    try:
        with torch.inference_mode():
            out = model(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L))
            x_LC: Tensor = out.last_hidden_state[0].cpu()
    except torch.OutOfMemoryError:
        raise OutOfMemory(f"the text encoder ran out of memory on {table.device}") from None
    if not bool(torch.isfinite(x_LC).all()):
        raise WeightsError("the text encoder gave numbers that are not finite: damaged weights?")
    return x_LC


def load_tokenizer(path: Path, max_tokens: int) -> Tokenize:
    """The published tokenizer: words -> token numbers, cut to max_tokens with the end kept. Raises
    EngineError where the package is missing, WeightsError for a file that is no tokenizer."""
    try:
        import tokenizers
    except ImportError:
        raise EngineError(MISSING.format("tokenizers")) from None
    if not path.is_file():
        raise WeightsError(f"no tokenizer at {path}")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
        raise WeightsError(f"{path}: no tokenizer ({ascii(str(error))[1:81]})") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)

    def tokenize(words: str) -> Sequence[int]:
        ids: list[int] = tokenizer.encode(words).ids
        if not 1 <= len(ids) <= max_tokens or ids[-1] != END:
            raise WeightsError(
                f"{path}: a prompt's tokens do not end with {END}: no UMT5 tokenizer"
            )
        return ids

    return tokenize


def load_encoder(path: Path, dtype: str, device: str) -> nn.Module:
    """transformers' encoder with Wan's weights, strictly. Raises WeightsError, EngineError,
    OutOfMemory."""
    try:
        import transformers
    except ImportError:
        raise EngineError(MISSING.format("transformers")) from None
    weights = read_weights(path)
    named = umt5_weights(weights, str(path))
    config = transformers.UMT5Config(**umt5_sizes(weights, str(path)))
    with torch.device("meta"):
        model: nn.Module = transformers.UMT5EncoderModel(config)
    check_weights(model, named, str(path))
    named = {name: x.to(DTYPES[dtype]) for name, x in named.items()}
    model.load_state_dict(named, assign=True)
    model.tie_weights()  # type: ignore[operator]  # the table of tokens: one tensor, two names
    model.eval().requires_grad_(False)
    return place(model, device)


def place(model: nn.Module, device: str) -> nn.Module:
    """Moves it to the device; with `auto` to a GPU only where there is room, and else, or when it
    turns out that there is none, to the CPU: the stream's own model needs the GPU. Raises
    OutOfMemory for a device that was asked for."""
    where = _device(device, sum(x.nbytes for x in model.parameters()))
    try:
        return model.to(where)
    except torch.OutOfMemoryError:
        if device != "auto":
            raise OutOfMemory(f"the text encoder does not fit on {where}") from None
    return model.to("cpu")


def umt5_sizes(weights: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The configuration that Wan's weights have the shapes of. Raises WeightsError."""
    try:
        vocab, width = weights["token_embedding.weight"].shape
        buckets, heads = weights["blocks.0.pos_embedding.embedding.weight"].shape
        inner = weights["blocks.0.attn.q.weight"].shape[0]
        hidden = weights["blocks.0.ffn.fc1.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(f"{source} is no UMT5 encoder of Wan ({error!r:.80})") from None
    if not heads or inner % heads:
        raise WeightsError(f"{source}: {inner} channels of attention for {heads} heads")
    layers = {match[1] for name in weights if (match := re.match(r"blocks\.([0-9]+)\.", name))}
    return {
        "vocab_size": vocab,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": hidden,
        "num_layers": len(layers),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": MAX_DISTANCE,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.0,
    }


def _device(asked: str, weights_bytes: int) -> torch.device:
    if asked != "auto":
        return torch.device(asked)
    if torch.cuda.is_available():
        free_bytes, _ = torch.cuda.mem_get_info()
        if free_bytes >= weights_bytes + SPARE_BYTES:
            return torch.device("cuda")
    return torch.device("cpu")


if __name__ == "__main__":
    sys.exit(main())
