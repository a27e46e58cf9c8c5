"""Whether a model fits, said in a sentence."""

from __future__ import annotations

import pytest

from brushcast.catalogue import read_catalogue
from brushcast.gpu_memory import Gpu, find_gpu, verdict

MODELS = read_catalogue()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", None),
        ("nonsense", None),
        ("NVIDIA H200, 143771, 9.0\n", ("NVIDIA H200", 140, 9.0)),
        ("A, 8192, 8.6\nB, with a comma, 24564, 8.9\nC, [N/A], [N/A]\n",
         ("B, with a comma", 24, 8.9)),
    ],
)  # fmt: skip
def test_the_largest_gpu_is_found(said: str, wanted: tuple[str, int, float] | None) -> None:
    gpu = find_gpu(lambda: said)
    assert (gpu and (gpu.name, round(gpu.gib), gpu.capability)) == wanted


@pytest.mark.parametrize(
    ("name", "gib", "words"),
    [
        (
            "wan-14b",
            32,
            "wan-14b wants a GPU with 42 GiB, and X has 32 GiB: too little. wan-14b-fp8",
        ),
        ("wan-14b-fp8", 32, "wan-14b-fp8 wants a GPU with 31 GiB, and X has 32 GiB: enough."),
        ("wan-1.3b", 12, "wants a GPU with 12 GiB, and X has 12 GiB: enough."),
        ("wan-1.3b", 7.7, "enough for small pictures"),
        ("wan-1.3b", 7.5, "too little. pocket fits."),
        ("wan-1.3b", 8, "enough for small pictures"),
        ("wan-1.3b", 4, "too little. pocket fits."),
        ("wan-14b", 24, "wan-14b wants a GPU with 42 GiB, and X has 24 GiB: too little. wan-1.3b"),
        ("wan-14b", 80, "enough."),
    ],
)
def test_the_verdict_offers_what_fits(name: str, gib: float, words: str) -> None:
    assert words in verdict(MODELS[name], Gpu(name="X", gib=gib, capability=8.9), MODELS.values())


def test_without_a_gpu_the_embedded_model_is_offered() -> None:
    assert "pocket runs on the CPU" in verdict(MODELS["wan-14b"], None, MODELS.values())


def test_a_gpu_without_8_bit_floats_is_not_offered_them() -> None:
    old = Gpu(name="X", gib=32, capability=8.6)
    said = verdict(MODELS["wan-14b-fp8"], old, MODELS.values())
    assert said == "wan-14b-fp8 wants a GPU that multiplies 8-bit floats, X does not."
    assert "wan-1.3b fits" in verdict(MODELS["wan-14b"], old, MODELS.values())
