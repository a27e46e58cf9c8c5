"""The text encoder's own process: that it computes what Wan's weights mean, and what it says when
it cannot."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import brushcast_worker.text_step as text_step
from brushcast.errors import EngineError, OutOfMemory, WeightsError
from brushcast_worker.models.keys import check_weights, umt5_weights
from brushcast_worker.prompt_cache import EmbeddingCache
from brushcast_worker.text_step import (
    StepOrder,
    encode,
    load_encoder,
    load_tokenizer,
    read_order,
    umt5_sizes,
)
from tests.worker.small_umt5 import CHANNELS, by_hand, shapes_of, small_weights, write_tokenizer

PACKAGES = ("transformers", "tokenizers")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_packages = pytest.mark.skipif(
    bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (requirements/wan.txt)"
)
# transformers and what it imports deprecate things between themselves
calm = pytest.mark.filterwarnings("default")


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "t5.pth"
    torch.save(small_weights(), path)
    return path


@pytest.fixture
def order(tmp_path: Path, weights_file: Path) -> Callable[..., dict[str, Any]]:
    """An order for the small encoder, as the parent writes it."""

    def make(**changed: Any) -> dict[str, Any]:
        plain = {
            "weights": str(weights_file),
            "tokenizer": str(write_tokenizer(tmp_path / "tokenizer.json")),
            "weights_sha256": "1" * 64,
            "tokenizer_sha256": "2" * 64,
            "folder": str(tmp_path / "kept"),
            "limit_bytes": 1 << 20,
            "device": "cpu",
            "dtype": "float32",
            "max_tokens": 6,
            "prompts": ["a watercolour of cats"],
        }
        return {**plain, **changed}

    return make


@needs_packages
@calm
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_the_encoder_computes_what_the_published_names_mean(
    weights_file: Path, length: int
) -> None:
    model = load_encoder(weights_file, "float32", "cpu")
    ids = [(5 * n + 4) % 40 for n in range(length - 1)] + [1]
    wanted = by_hand(small_weights(), ids)
    found = encode(model, ids)
    assert found.shape == (length, CHANNELS)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@needs_packages
@calm
def test_the_published_size_has_the_published_count_of_parameters() -> None:
    import transformers

    shapes = shapes_of(256_384, 4096, 4096, 10_240, 64, 24)  # umt5_xxl of wan/modules/t5.py
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with torch.device("meta"):
        model = transformers.UMT5EncoderModel(transformers.UMT5Config(**umt5_sizes(weights, "w")))
    check_weights(model, umt5_weights(weights, "w"), "w")
    assert sum(x.numel() for x in weights.values()) == 5_680_910_336


@needs_packages
@calm
def test_the_table_of_tokens_is_held_once(weights_file: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        model = load_encoder(weights_file, dtype, "cpu")
        tables = {x.data_ptr() for x in model.state_dict().values() if x.shape == (40, CHANNELS)}
        assert len(tables) == 1
        assert {x.dtype for x in model.parameters()} == {getattr(torch, dtype)}


@needs_packages
@calm
def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    weights = small_weights()
    del weights["blocks.1.ffn.fc1.weight"]
    torch.save(weights, tmp_path / "t5.pth")
    with pytest.raises(WeightsError, match=r"1 missing: encoder\.block\.1\.layer\.1"):
        load_encoder(tmp_path / "t5.pth", "float32", "cpu")


@needs_packages
@calm
def test_token_numbers_beyond_the_table_and_broken_weights(tmp_path: Path) -> None:
    weights = small_weights()
    weights["norm.weight"][3] = float("nan")
    torch.save(weights, tmp_path / "t5.pth")
    model = load_encoder(tmp_path / "t5.pth", "float32", "cpu")
    with pytest.raises(WeightsError, match="token 40 of 40"):
        encode(model, [40, 1])
    with pytest.raises(WeightsError, match="not finite"):
        encode(model, [4, 1])


@needs_packages
def test_words_become_tokens_with_an_end_and_no_padding(tmp_path: Path) -> None:
    tokenize = load_tokenizer(write_tokenizer(tmp_path / "t.json"), 6)
    assert list(tokenize("a watercolour of cats")) == [4, 5, 6, 7, 1]
    assert list(tokenize("")) == [1]
    assert list(tokenize("a \U0001f408")) == [4, 35, 3, 1], "what it does not know is <unk>"
    long = list(tokenize("a " * 99))
    assert len(long) == 6
    assert long[-1] == 1


@needs_packages
@pytest.mark.parametrize("content", ["", "{}", "nonsense", '{"version": "1.0"}'])
def test_a_broken_tokenizer_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(WeightsError, match="no tokenizer"):
        load_tokenizer(tmp_path / "t.json", 6)
    with pytest.raises(WeightsError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "absent.json", 6)


@needs_packages
def test_a_tokenizer_without_an_end_is_none_of_umt5(tmp_path: Path) -> None:
    found = json.loads(write_tokenizer(tmp_path / "t.json").read_text())
    found["post_processor"] = None
    (tmp_path / "t.json").write_text(json.dumps(found))
    with pytest.raises(WeightsError, match="no UMT5 tokenizer"):
        load_tokenizer(tmp_path / "t.json", 6)("a")


@needs_packages
def test_the_process_keeps_what_it_was_told_to_encode(
    order: Callable[..., dict[str, Any]],
) -> None:
    asked = order(prompts=["a watercolour of cats", "ink"])
    done = run(json.dumps(asked))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events] == ["encoded", "encoded", "done"]
    recipe = StepOrder(**{**asked, "prompts": ()}).recipe
    x_LC = EmbeddingCache(Path(asked["folder"])).get(recipe.key("a watercolour of cats"))
    assert x_LC is not None
    assert (x_LC - by_hand(small_weights(), [4, 5, 6, 7, 1])).abs().max() < 1e-4


def test_what_goes_wrong_is_one_event_and_exit_code_1(
    order: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    done = run(json.dumps(order(weights=str(tmp_path / "absent.pth"))))
    assert done.returncode == 1
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert event["event"] == "error"
    assert ("absent.pth" if not MISSING else "brushcast[wan]") in event["message"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_said_in_a_sentence(
    name: str, weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    load: Callable[[], object] = {
        "transformers": lambda: load_encoder(weights_file, "float32", "cpu"),
        "tokenizers": lambda: load_tokenizer(tmp_path / "t.json", 6),
    }[name]
    with pytest.raises(EngineError, match=rf"{name} is not installed: .*requirements/wan\.txt"):
        load()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b"nonsense", b"\xff", b"[" * 100_000,
        b'{"weights": "w"}',
    ],
)  # fmt: skip
def test_no_order_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(EngineError, match="no order"):
        read_order(content)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompts": "ink"}, "prompts is str"),
        ({"prompts": [7]}, "wanted text"),
        ({"max_tokens": "512"}, "max_tokens is str"),
        ({"limit_bytes": True}, "limit_bytes is bool"),
        ({"weights": None}, "weights is NoneType"),
    ],
)
def test_an_order_of_other_types_is_refused(
    order: Callable[..., dict[str, Any]], changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        read_order(json.dumps(order(**changed)).encode())


def test_sizes_are_read_off_the_weights() -> None:
    sizes = umt5_sizes(small_weights(), "w")
    assert (sizes["vocab_size"], sizes["d_model"], sizes["num_layers"]) == (40, CHANNELS, 2)
    assert (sizes["num_heads"], sizes["d_kv"], sizes["d_ff"]) == (2, 6, 20)
    with pytest.raises(WeightsError, match="no UMT5 encoder"):
        umt5_sizes({"x": torch.zeros(1)}, "w")


def test_a_gpu_without_room_is_left_to_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for free_gib, wanted in ((5, "cpu"), (13, "cuda")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda n=free_gib: (n << 30, 80 << 30))
        assert text_step._device("auto", 11_361_820_672).type == wanted


class Crowded(torch.nn.Linear):
    """Fits on no GPU."""

    def to(self, *where: Any, **_: Any) -> Crowded:
        if torch.device(where[0]).type != "cpu":
            raise torch.OutOfMemoryError
        return self


def test_a_gpu_that_turns_out_full_gives_way_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Crowded(2, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (80 << 30, 80 << 30))
    assert text_step.place(model, "auto") is model
    with pytest.raises(OutOfMemory, match="does not fit on cuda:1"):
        text_step.place(model, "cuda:1")


def run(content: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "brushcast_worker.text_step"],
        input=content,
        capture_output=True,
        text=True,
        check=False,
    )
